"""A cell and an operator in a process of their own: one future is asked for, what came is printed.

python -m tests.planning.far_client
"""

from __future__ import annotations

import json
import os
import sys
import threading
from functools import partial
from typing import Any

from mvista_interfaces.action import Imagine
from mvista_interfaces.msg import ImaginedRollout

from mvista_ros import qos
from mvista_ros.actions import GoalClient, call_action
from mvista_ros.convert.rollouts import rollout_from_msg
from mvista_ros.spinning import spinning
from tests.fakes.noisy_cell import CLOCK, NoisyCell

ARRIVAL_S = 30.0


class Operator(NoisyCell):
    """Cameras and an arm, and somebody who looks at the rollout."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.imagine = GoalClient(self, Imagine, "imagine")
        self.heard: list[ImaginedRollout] = []
        self.arrived = threading.Event()
        self.create_subscription(ImaginedRollout, "imagined/rollout", self._see, qos.STATIC)

    def _see(self, message: ImaginedRollout) -> None:
        self.heard.append(message)
        self.arrived.set()


def main() -> None:
    """Ask, wait for the rollout, tell."""
    with spinning(Operator, int(os.environ["ROS_DOMAIN_ID"]), threads=3) as cell:
        goal = Imagine.Goal(
            instruction="touch the red cube", source_camera="cam1", target_cameras=["cam2"]
        )
        call = partial(call_action, server_timeout_s=90.0, answer_timeout_s=60.0)
        _, seen = call(cell.imagine, goal, CLOCK)
        cell.arrived.wait(ARRIVAL_S)
        message = cell.heard[-1] if cell.heard else None
        found = {"code": seen.outcome.code, "words": seen.outcome.message, "id": seen.rollout_id}
        if message is not None:
            rollout = rollout_from_msg(message)
            sent = sum(len(image.data) for image in (*message.color, *message.depth))
            raw = rollout.color.nbytes + rollout.depth_m.nbytes // 2
            found |= {"heard": message.rollout_id, "cameras": list(message.cameras)}
            found |= {"sent_bytes": sent, "raw_bytes": raw, "formats": message.depth[0].format}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
