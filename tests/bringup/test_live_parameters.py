"""`ros2 param set` on running nodes: what may change does, the rest is refused with the reason."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mvista_interfaces.action import ExecutePlan, Imagine, InferActions, RunTask
from rcl_interfaces.msg import SetParametersResult
from rclpy.action import ActionServer
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.parameter_client import AsyncParameterClient
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool

from mvista_bringup.graph.spec import NodeSpec
from mvista_bringup.options import SHARE
from mvista_bringup.paths import share_root
from mvista_bringup.supervisor import Supervisor
from mvista_cameras.settings import CameraSettings
from mvista_cameras.synthetic import SyntheticCamera
from mvista_core.errors import MvistaError, OperatorRefusedError
from mvista_core.records import ActionTrajectory, Provenance
from mvista_core.timing import ManualClock, SystemClock, seconds_to_ns
from mvista_ros import convert, qos
from mvista_ros.actions import GoalClient, WorkServer, call_action
from mvista_ros.spinning import spinning
from tests.recorder.filmed import filmed

pytestmark = [pytest.mark.system, pytest.mark.beside, pytest.mark.timeout(240)]

CLOCK = SystemClock()
READY_S, PATIENCE_S = 120.0, 60.0
SMALL: dict[str, Any] = {"backend": "synthetic", "width_px": 320, "height_px": 180}
LIVE: dict[str, set[str]] = {
    "/task": {"source_camera", "target_cameras", "confirm", "server_timeout_s"},
    "/replay": {"speed", "loop"},
    "/cam0/camera": {"preview_rate_hz"},
    "/spare/driver": set(),
}
"""The nodes of this test, and which of their parameters may change at run time."""


def until(condition: Callable[[], bool]) -> None:
    deadline_ns = CLOCK.monotonic_ns() + seconds_to_ns(PATIENCE_S)
    while not condition():
        assert CLOCK.monotonic_ns() < deadline_ns
        CLOCK.sleep_until(CLOCK.monotonic_ns() + seconds_to_ns(0.01))


class Person(Node):
    """Sets parameters, asks for tasks, looks at images; planner and executor of its tasks too."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__("person", **arguments)
        self.of = {name: AsyncParameterClient(self, name) for name in LIVE}
        self.stamps_ns: list[int] = []
        self.previews: list[Image] = []
        self.create_subscription(Image, "/cam1/color/image_raw", self._see, qos.SENSOR_IN)
        self.create_subscription(Image, "/cam0/color/preview", self.previews.append, qos.SENSOR_IN)
        self.tasks = GoalClient(self, RunTask, "run_task")
        self.operator = self.create_client(SetBool, "confirm")
        self.asked: list[Imagine.Goal] = []
        self._servers = (
            WorkServer(self, Imagine, "imagine", self._imagine),
            WorkServer(self, InferActions, "infer_actions", self._infer),
            ActionServer(self, ExecutePlan, "piper/execute_plan", self._execute),
        )

    def ask(self, future: Any) -> Any:
        until(future.done)
        return future.result()

    def set(self, node: str, **values: Any) -> SetParametersResult:
        parameters = [Parameter(name, value=value) for name, value in values.items()]
        return self.ask(self.of[node].set_parameters(parameters)).results[0]

    def get(self, node: str, name: str) -> Any:
        found = self.ask(self.of[node].get_parameters([name])).values[0]
        return parameter_value_to_python(found)

    def run_task(self) -> tuple[list[str], MvistaError | None]:
        """A task that whoever is asked to confirm declines: its stages, and its end."""
        stages: list[str] = []

        def hear(feedback: Any) -> None:
            stages.append(feedback.stage)
            if feedback.stage == "confirm" and stages.count("confirm") == 1:
                self.operator.call_async(SetBool.Request(data=False))

        goal = RunTask.Goal(instruction="open the drawer")
        _, result = call_action(self.tasks, goal, CLOCK, hear, server_timeout_s=PATIENCE_S)
        return stages, convert.error_from_outcome(result.outcome)

    def has_seen(self, since: int, apart_ns: int) -> bool:
        """Whether two images of a recording lay so far apart, among those since that one."""
        found_ns = np.diff(self.stamps_ns[since:])
        return bool((np.abs(found_ns - apart_ns) < 2_000_000).any())

    def _see(self, message: Image) -> None:
        self.stamps_ns.append(convert.stamp_to_ns(message.header.stamp))

    def _imagine(self, request: Imagine.Goal, progress: Any) -> Imagine.Result:
        self.asked.append(request)
        return Imagine.Result(outcome=convert.outcome_ok(), rollout_id="r", observation_age_s=0.1)

    def _infer(self, request: InferActions.Goal, progress: Any) -> InferActions.Result:
        made = Provenance("p", "w", 0, request.initialisation, request.steps)
        names = tuple(f"joint{number}" for number in range(1, 7))
        plan = convert.trajectory_to_msg(
            ActionTrajectory(names, np.zeros((2, 6)), np.array([0.5, 1.0]), made)
        )
        return InferActions.Result(
            outcome=convert.outcome_ok(), plan_id="p", weights_sha256="w", prior=plan, refined=plan
        )

    def _execute(self, goal: ServerGoalHandle) -> ExecutePlan.Result:
        goal.succeed()
        return ExecutePlan.Result()


def _graph(episode: Path) -> tuple[NodeSpec, ...]:
    shown = {**SMALL, "rate_hz": 10, "preview_rate_hz": 0.0}
    return (
        NodeSpec("mvista_planning", "task_node", "task", parameter_file="config/task.yaml"),
        NodeSpec(
            "mvista_recorder",
            "episode_replay_node",
            "replay",
            parameters=(("episode", str(episode)), ("loop", True)),
        ),
        NodeSpec(
            "mvista_cameras",
            "camera_node",
            "camera",
            "cam0",
            "config/cameras.yaml",
            tuple(shown.items()),
        ),
        # It has no bus here, and needs none to say what it does not change; no task is for it.
        NodeSpec(
            "mvista_piper",
            "piper_node",
            "driver",
            "spare",
            "config/piper.yaml",
            (("autostart", False),),
        ),
    )


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    folder = tmp_path_factory.mktemp("live")
    source = SyntheticCamera("cam1", CameraSettings(**SMALL, rate_hz=5), ManualClock(10**18))
    episode = filmed(folder, [s for s in (source.next(1.0) for _ in range(5)) if s])
    with (
        Supervisor(_graph(episode), {SHARE: str(share_root())}, folder) as supervisor,
        spinning(Person, supervisor.domain_id, threads=4) as node,
    ):
        supervisor.wait_ready(READY_S)
        yield node
        supervisor.check()


def _rests(person: Person) -> bool:
    """Whether no image comes within a second, of a recording that has one every 0.2 s."""
    count = len(person.stamps_ns)
    CLOCK.sleep_until(CLOCK.monotonic_ns() + seconds_to_ns(1.0))
    return len(person.stamps_ns) == count


def _another(value: Any, low: float, high: float) -> Any:
    """A value of the same kind within the range, and not the same."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return f"{value}x"
    if isinstance(value, list):
        return [*value, "x"]
    step = type(value)(1)
    return value + step if value + step <= high else value - step if value - step >= low else low


@pytest.mark.parametrize("node", LIVE)
def test_every_parameter_changes_or_is_refused_with_the_reason(person: Person, node: str) -> None:
    names = list(person.ask(person.of[node].list_parameters()).result.names)
    assert LIVE[node] <= set(names) and len(names) > 4
    for name in names:
        told = person.ask(person.of[node].describe_parameters([name])).descriptors[0]
        ranges = [*told.floating_point_range, *told.integer_range]
        low, high = (ranges[0].from_value, ranges[0].to_value) if ranges else (0, math.inf)
        before = person.get(node, name)
        wanted = _another(before, low, high)
        result = person.set(node, **{name: wanted})
        if name in LIVE[node]:
            assert result.successful and person.get(node, name) == wanted, result.reason
            assert person.set(node, **{name: before}).successful
            continue
        assert not result.successful and person.get(node, name) == before
        assert name in result.reason and result.reason.startswith("[10] "), result.reason
        assert name == "use_sim_time" or told.read_only
        assert name == "use_sim_time" or "does not change while the node runs" in result.reason


def test_a_value_that_the_start_would_refuse_is_refused_and_changes_nothing(person: Person) -> None:
    for value, word in ((30.0, "range"), (math.nan, "range"), (2, "type"), ("fast", "type")):
        result = person.set("/replay", speed=value)
        assert not result.successful and word in result.reason, (value, result.reason)
        assert person.get("/replay", "speed") == 1.0


def test_a_recording_goes_on_at_the_speed_that_is_set(person: Person) -> None:
    """Its stamps are of now: five frames a second lie 0.2 s apart, at four times the speed 0.05.

    So they do after it has come to its end and shall loop again.
    """
    assert person.set("/replay", loop=False).successful
    until(lambda: _rests(person))
    assert person.set("/replay", loop=True).successful
    for speed in (1.0, 4.0, 0.5):
        assert person.set("/replay", speed=speed).successful
        until(partial(person.has_seen, len(person.stamps_ns), seconds_to_ns(0.2 / speed)))
    assert np.diff(person.stamps_ns).min() > 0
    assert person.set("/replay", speed=1.0).successful


def test_previews_come_while_they_are_asked_for(person: Person) -> None:
    changed = partial(person.set, "/cam0/camera")
    assert changed(preview_rate_hz=10.0).successful
    count = len(person.previews)
    until(lambda: len(person.previews) > count + 3)
    assert changed(preview_rate_hz=0.0).successful
    CLOCK.sleep_until(CLOCK.monotonic_ns() + seconds_to_ns(0.3))  # what was under way
    count = len(person.previews)
    CLOCK.sleep_until(CLOCK.monotonic_ns() + seconds_to_ns(0.5))
    assert len(person.previews) == count


def test_the_next_task_waits_for_the_operator_once_that_is_set(person: Person) -> None:
    stages, error = person.run_task()
    assert error is None and "confirm" not in stages
    assert person.asked[-1].source_camera == "cam1"
    changed = partial(person.set, "/task")
    assert changed(confirm=True).successful and changed(source_camera="cam3").successful
    stages, error = person.run_task()
    assert "confirm" in stages and isinstance(error, OperatorRefusedError)
    assert person.asked[-1].source_camera == "cam3"
    assert changed(confirm=False).successful
    assert person.run_task()[1] is None
