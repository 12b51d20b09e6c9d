"""Who has no hardware collects through the same nodes: a simulated leader, cell and cameras."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mvista_interfaces.msg import TeleopState
from mvista_interfaces.srv import EndEpisode, StartEpisode
from std_srvs.srv import Trigger

from mvista_bringup import paths
from mvista_bringup.graph.spec import Entry, NodeSpec
from mvista_bringup.graph.teleop_record import TELEOP_RECORD, TELEOP_RECORD_OPTIONS
from mvista_bringup.options import option_values
from mvista_bringup.supervisor import Supervisor
from mvista_core.timing import SystemClock
from mvista_eval.teleop.bench import TeleopDesk
from mvista_recorder.episode_reader import EpisodeReader
from mvista_recorder.layout import CameraChannels, episode_folders
from mvista_recorder.repair import faults
from mvista_ros.actions import call_service
from mvista_ros.spinning import spinning
from tests.system.test_teleop import until

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(600)]

CLOCK = SystemClock()
START_S, ANSWER_S = 180.0, 30.0
SLOWER: dict[str, tuple[tuple[str, float], ...]] = {
    "sim": (("frame_rate_hz", 3.0),),
    "recorder": (("camera_rate_hz", 0.5), ("joint_rate_hz", 10.0), ("least_free_gib", 0.01)),
}
"""A machine that is shared need not keep the rates of a robot's."""


def slower(entry: Entry) -> Entry:
    if not isinstance(entry, NodeSpec):
        return entry
    return replace(entry, parameters=(*entry.parameters, *SLOWER.get(entry.name, ())))


def test_a_simulated_leader_is_followed_and_recorded(tmp_path: Path) -> None:
    chosen = {"hardware": "sim", "recorder": "node", "episodes": str(tmp_path / "episodes")}
    values = option_values(TELEOP_RECORD_OPTIONS, chosen, str(paths.share_root()))
    with (
        Supervisor(tuple(map(slower, TELEOP_RECORD)), values, tmp_path / "run") as supervisor,
        spinning(TeleopDesk, supervisor.domain_id) as desk,
    ):

        def asked(kind: Any, name: str, **fields: object) -> Any:
            client = desk.create_client(kind, name)
            return call_service(client, kind.Request(**fields), CLOCK, ANSWER_S)

        supervisor.wait_ready(START_S)
        assert asked(Trigger, "leader/ready").success
        assert until(lambda: asked(Trigger, "teleop/engage").success), desk.said
        assert until(lambda: desk.state == TeleopState.FOLLOWING), desk.said
        started: list[Any] = []

        def recording() -> bool:
            started.append(asked(StartEpisode, "recorder/start", instruction="touch the red cube"))
            return started[-1].outcome.code == 0

        assert until(recording), started[-1].outcome.message
        assert until(lambda: asked(Trigger, "leader/perform").success), desk.said
        assert until(lambda: bool(desk.commands)), "set-points, while the hand moves"
        first = len(desk.commands)
        assert until(lambda: len(desk.commands) - first > 600), desk.said
        ended = asked(EndEpisode, "recorder/end", label="success")
        assert ended.outcome.code == 0, ended.outcome.message
    (folder,) = episode_folders(tmp_path / "episodes")
    assert faults(folder) == []
    reader = EpisodeReader(folder)
    assert reader.manifest.label == "success"
    for name in reader.rig().names:
        assert reader.manifest.streams[CameraChannels.of(name).color.name].count > 5
    leader, follower = (
        np.array([state.positions for state in reader.joints(f"/{arm}/joint_states")])
        for arm in ("leader", "piper")
    )
    assert np.ptp(leader, axis=0).max() > 0.1
    assert np.ptp(follower, axis=0).max() > 0.5 * np.ptp(leader, axis=0).max()
    assert {"/piper/joint_command", "/teleop/state"} <= set(reader.manifest.streams)
