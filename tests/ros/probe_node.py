"""A small real node for the tests of the house node: `python probe_node.py --ros-args ...`."""

from __future__ import annotations

from dataclasses import dataclass

from std_srvs.srv import Trigger

from mvista_ros.base_node import HouseNode, run_node
from mvista_ros.parameters import declare, parameter


@dataclass(frozen=True)
class ProbeParameters:
    """Parameters of every kind."""

    rate_hz: float = parameter(15.0, "Ticks per second", 1.0, 60.0)
    count: int = parameter(3, "How many", 1, 9)
    label: str = parameter("none", "A word")
    cameras: tuple[str, ...] = parameter(("cam0",), "Camera names")
    weights: tuple[float, ...] = parameter((1.0, 2.0), "Numbers")
    loud: bool = parameter(False, "Whether it says so")


class ProbeNode(HouseNode):
    """Says `serving` and `stopped`; its service `fail` raises in a callback."""

    def __init__(self) -> None:
        super().__init__("probe")
        self.settings = declare(self, ProbeParameters)
        self.create_service(Trigger, "fail", self._fail)
        self._once = self.create_timer(0.0, self._say_serving)

    def stop(self) -> None:
        print("stopped", flush=True)

    def _say_serving(self) -> None:
        self._once.cancel()
        print(f"serving {self.settings}", flush=True)

    def _fail(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        raise RuntimeError("asked to fail")


if __name__ == "__main__":
    run_node(ProbeNode)
