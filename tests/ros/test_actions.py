"""Long work behind an action: progress, errors as outcomes, one at a time, cancelling."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from mvista_interfaces.action import Imagine
from rclpy.action import client as client_module
from rclpy.node import Node

from mvista_core.errors import BusyError, CancelledError, InstructionError, UnavailableError
from mvista_core.ports import Progress
from mvista_core.timing import SystemClock
from mvista_ros.actions import GoalClient, WorkServer, call_action, succeeded
from mvista_ros.convert import error_from_outcome
from tests.ros.typing_aliases import Spin

WAIT_S = 20.0
CLOCK = SystemClock()
Ask = Callable[..., tuple[int, Any]]


class _Bench:
    """A work server whose work does what the instruction says."""

    def __init__(self, node: Node) -> None:
        self.release = threading.Event()
        self.running = threading.Event()
        self.server = WorkServer(node, Imagine, "imagine", self._work)

    def _work(self, request: Imagine.Goal, progress: Progress) -> Imagine.Result:
        if request.instruction == "unknown":
            raise InstructionError.unknown("unknown", ["open the drawer"])
        if request.instruction == "surprise":
            raise ZeroDivisionError("surprise")
        self.running.set()
        while request.instruction == "long" and not self.release.wait(0.01):
            if not progress("denoise", 0.5):
                raise CancelledError("imagine was cancelled")
        progress("done", 1.0)
        return Imagine.Result(rollout_id=f"rollout of {request.instruction}")


@pytest.fixture
def bench(spinning: Spin) -> Iterator[_Bench]:
    node = Node("server")
    bench = _Bench(node)
    spinning(node)
    yield bench
    bench.server.stop()


@pytest.fixture
def ask(spinning: Spin) -> Ask:
    node = Node("client")
    client = GoalClient(node, Imagine, "imagine")
    spinning(node)

    def asker(instruction: str, **arguments: Any) -> tuple[int, Any]:
        return call_action(client, Imagine.Goal(instruction=instruction), CLOCK, **arguments)

    return asker


def test_work_answers_and_reports_progress(bench: _Bench, ask: Ask) -> None:
    stages: list[str] = []
    status, result = ask("short", on_feedback=lambda f: stages.append(f.stage))
    assert succeeded(status) and result.outcome.code == 0
    assert result.rollout_id == "rollout of short"
    assert stages == ["done"]


def test_an_error_comes_back_with_its_class_and_message(bench: _Bench, ask: Ask) -> None:
    status, result = ask("unknown")
    assert not succeeded(status)
    error = error_from_outcome(result.outcome)
    assert isinstance(error, InstructionError) and "open the drawer" in str(error)


def test_a_surprise_is_an_outcome_too_and_the_server_lives_on(bench: _Bench, ask: Ask) -> None:
    status, result = ask("surprise")
    assert not succeeded(status) and "ZeroDivisionError" in result.outcome.message
    assert succeeded(ask("short")[0])


def test_a_second_goal_is_refused_while_one_runs(bench: _Bench, ask: Ask) -> None:
    answers: list[tuple[int, Any]] = []
    first = threading.Thread(target=lambda: answers.append(ask("long")))
    first.start()
    assert bench.running.wait(WAIT_S)
    status, result = ask("short")
    assert not succeeded(status)
    assert isinstance(error_from_outcome(result.outcome), BusyError)
    bench.release.set()
    first.join(WAIT_S)
    assert succeeded(answers[0][0])


def test_cancelling_reaches_the_work_and_its_outcome_says_so(bench: _Bench, ask: Ask) -> None:
    status, result = ask("long", keep_going=lambda: not bench.running.is_set())
    assert not succeeded(status)
    assert isinstance(error_from_outcome(result.outcome), CancelledError)
    assert not bench.server.busy


def test_an_answer_that_comes_while_the_goal_is_being_sent_is_not_lost(
    bench: _Bench, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = client_module.Future

    def slowly() -> Any:
        CLOCK.sleep_until(CLOCK.monotonic_ns() + 200_000_000)
        return made()

    monkeypatch.setattr(client_module, "Future", slowly)
    assert succeeded(ask("short")[0])


def test_stopping_the_node_ends_the_work(bench: _Bench, ask: Ask) -> None:
    answers: list[tuple[int, Any]] = []
    asker = threading.Thread(target=lambda: answers.append(ask("long")))
    asker.start()
    assert bench.running.wait(WAIT_S)
    bench.server.stop()
    asker.join(WAIT_S)
    assert answers[0][1].outcome.code == CancelledError.code


def test_a_server_that_is_not_there_is_named(ask: Ask) -> None:
    with pytest.raises(UnavailableError, match=r"no action server .imagine. within 0\.1 s"):
        ask("short", server_timeout_s=0.1)


def test_a_server_that_goes_away_in_the_middle_is_not_awaited_for_ever(
    spinning: Spin, ask: Ask
) -> None:
    node = Node("mortal")
    bench = _Bench(node)
    spinning(node)
    answers: list[BaseException] = []

    def send() -> None:
        try:
            ask("long")
        except UnavailableError as error:
            answers.append(error)

    asker = threading.Thread(target=send)
    asker.start()
    assert bench.running.wait(WAIT_S)
    bench.server._server.destroy()
    asker.join(WAIT_S)
    bench.release.set()
    assert "lost while it worked" in str(answers[0])
