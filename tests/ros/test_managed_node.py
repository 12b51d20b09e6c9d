"""A managed node by the services that `ros2 lifecycle` calls: which step is carried out, and what
becomes of one that refuses or fails."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from rclpy.node import Node

from mvista_core.errors import ArmNotReadyError, MvistaError
from mvista_core.timing import SystemClock, seconds_to_ns
from mvista_ros import qos
from mvista_ros.base_node import Health
from mvista_ros.convert import outcome_from_status
from mvista_ros.managed_node import ManagedNode
from tests.fakes.lifecycle_client import PATIENCE_S, LifecycleClient
from tests.ros.typing_aliases import Spin

pytestmark = pytest.mark.ros

CLOCK = SystemClock()
CONFIGURE, ACTIVATE = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE
DEACTIVATE, CLEANUP = Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP
ALLOWED = {"unconfigured": {CONFIGURE}, "inactive": {ACTIVATE, CLEANUP}, "active": {DEACTIVATE}}


class Held(ManagedNode):
    """Notes its steps; `trouble` is what the next one raises."""

    def __init__(self) -> None:
        super().__init__("held")
        self.steps: list[str] = []
        self.trouble: Exception | None = None

    def configure(self) -> None:
        self._do("configure")

    def activate(self) -> None:
        self._do("activate")

    def deactivate(self) -> None:
        self._do("deactivate")

    def release(self) -> None:
        self._do("release")

    def look(self) -> Health:
        return Health(message="held")

    def _do(self, step: str) -> None:
        self.steps.append(step)
        trouble, self.trouble = self.trouble, None
        if trouble is not None:
            raise trouble


def until(condition: Callable[[], bool]) -> None:
    deadline_ns = CLOCK.monotonic_ns() + seconds_to_ns(PATIENCE_S)
    while not condition():
        assert CLOCK.monotonic_ns() < deadline_ns
        CLOCK.sleep_until(CLOCK.monotonic_ns() + seconds_to_ns(0.01))


class Watcher(Node):
    def __init__(self) -> None:
        super().__init__("watcher")
        self.held = LifecycleClient(self, "/held")
        self.told = DiagnosticStatus()
        self.create_subscription(DiagnosticArray, "/diagnostics", self._hear, qos.STATUS)

    def _hear(self, message: DiagnosticArray) -> None:
        self.told = next((s for s in message.status if s.name == "/held"), self.told)

    def says(self, level: bytes, words: str) -> bool:
        return self.told.level == level and words in self.told.message


@pytest.fixture
def watched(spinning: Spin) -> tuple[Held, Watcher]:
    node, watcher = Held(), Watcher()
    spinning(node), spinning(watcher)
    return node, watcher


def test_each_transition_is_its_step_and_no_other(watched: tuple[Held, Watcher]) -> None:
    node, watcher = watched
    order = (CONFIGURE, ACTIVATE, DEACTIVATE, CLEANUP, CONFIGURE, ACTIVATE)
    states = ("inactive", "active", "inactive", "unconfigured", "inactive", "active")
    for transition, state in zip(order, states, strict=True):
        for wrong in {CONFIGURE, ACTIVATE, DEACTIVATE, CLEANUP} - ALLOWED[node.lifecycle]:
            before = len(node.steps)
            assert not watcher.held.change(wrong) and len(node.steps) == before
        assert watcher.held.change(transition)
        assert watcher.held.state() == node.lifecycle == state
    assert node.steps == ["configure", "activate", "deactivate", "release", "configure", "activate"]
    until(lambda: watcher.says(DiagnosticStatus.OK, "held"))
    node.stop()
    assert node.lifecycle == "finalized" and node.steps[-1] == "release"
    assert not watcher.held.change(CONFIGURE)


def test_a_step_that_is_refused_leaves_the_state_and_a_reason(
    watched: tuple[Held, Watcher],
) -> None:
    node, watcher = watched
    node.trouble = ArmNotReadyError("it is asleep")
    assert not watcher.held.change(CONFIGURE)
    assert watcher.held.state() == "unconfigured" and node.steps == ["configure"]
    words = "unconfigured: nothing is open; configure was refused: [33] it is asleep"
    until(lambda: watcher.says(DiagnosticStatus.ERROR, words))
    assert outcome_from_status(watcher.told).code == ArmNotReadyError.code
    assert watcher.held.change(CONFIGURE)
    until(lambda: watcher.says(DiagnosticStatus.WARN, "inactive: held"))
    node.trouble = ValueError("a bug")
    assert not watcher.held.change(ACTIVATE)
    assert watcher.held.state() == "unconfigured", "what failed is let go of"
    assert node.steps[-2:] == ["activate", "release"]
    until(lambda: watcher.says(DiagnosticStatus.ERROR, "activate failed: ValueError: a bug"))


@pytest.mark.parametrize("trouble", [ArmNotReadyError("it is asleep"), ValueError("a bug")])
def test_a_node_that_is_its_own_manager_ends_with_what_was_refused(
    watched: tuple[Held, Watcher], trouble: Exception
) -> None:
    node, watcher = watched
    node.trouble = trouble
    with pytest.raises(type(trouble), match=str(trouble)):
        node.start()
    assert watcher.held.state() == "unconfigured"
    assert ("release" in node.steps) is not isinstance(trouble, MvistaError)
    node.start()
    assert watcher.held.state() == "active"
    node.autostart = False
    node.start()
