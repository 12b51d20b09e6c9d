"""Long work behind an action: progress, errors as outcomes, one at a time, cancelling."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from action_msgs.msg import GoalStatus
from mvista_interfaces.action import Imagine
from rclpy.action import GoalResponse
from rclpy.action import client as client_module
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node

from mvista_core.errors import BusyError, CancelledError, InstructionError, UnavailableError
from mvista_core.ports import Progress
from mvista_core.timing import SystemClock
from mvista_ros import actions
from mvista_ros.actions import GoalClient, WorkServer, call_action, succeeded
from mvista_ros.convert import error_from_outcome
from tests.ros.typing_aliases import Spin

pytestmark = pytest.mark.ros

WAIT_S = 20.0
CLOCK = SystemClock()
Ask = Callable[..., tuple[int, Any]]


class _Bench:
    """A work server whose work does what the instruction says."""

    def __init__(self, node: Node) -> None:
        self.release = threading.Event()
        self.running = threading.Event()
        self.begun = self.ended = self.refused = 0
        self.server = WorkServer(node, Imagine, "imagine", self._counted)
        finish = self.server._finish

        def finished(goal: Any, result: Any) -> Any:
            self.refused += self.begun == 0
            return finish(goal, result)

        self.server._finish = finished  # type: ignore[method-assign]

    def _counted(self, request: Imagine.Goal, progress: Progress) -> Imagine.Result:
        self.begun += 1
        try:
            return self._work(request, progress)
        finally:
            self.ended += 1

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


def test_feedback_that_repeats_is_not_sent_again(bench: _Bench, ask: Ask) -> None:
    """A task that waited told the same eight times a second: 1,987 messages in four minutes."""
    heard: list[tuple[str, float]] = []

    def hear(feedback: Imagine.Feedback) -> None:
        heard.append((feedback.stage, feedback.progress))

    def release() -> None:
        assert bench.running.wait(WAIT_S)
        threading.Event().wait(0.3)  # some 30 reports of one and the same
        bench.release.set()

    later = threading.Thread(target=release)
    later.start()
    ask("long", on_feedback=hear)
    later.join()
    assert heard == [("denoise", 0.5), ("done", 1.0)]


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


def test_an_executor_that_looks_at_a_client_as_soon_as_it_is_there_finds_its_lock(
    spinning: Spin, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = spinning(Node("asker"))
    add, counted = node.add_waitable, []

    def add_and_look(waitable: Any) -> None:
        add(waitable)
        counted.append(waitable.get_num_entities())

    monkeypatch.setattr(node, "add_waitable", add_and_look)
    GoalClient(node, Imagine, "imagine")
    assert counted


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


def test_a_goal_that_is_accepted_after_its_client_gave_up_is_cancelled(
    spinning: Spin, ask: Ask
) -> None:
    """`GoalClient`: whoever leaves `call_action` without a result leaves no goal behind."""
    bench = _Bench(node := Node("late"))
    gave_up = threading.Event()

    def accept(_: Any) -> GoalResponse:
        gave_up.wait(WAIT_S)
        return GoalResponse.ACCEPT

    bench.server._server.register_goal_callback(accept)
    spinning(node)
    with pytest.raises(UnavailableError, match="did not answer within 0.3 s"):
        ask("long", answer_timeout_s=0.3)
    gave_up.set()
    assert _until(lambda: bench.begun == bench.ended > 0 or bench.refused > 0)
    assert not bench.server.busy


def test_a_late_acceptance_alone_is_answered_with_a_cancel(
    spinning: Spin, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cancel that is sent at once can come before the goal, and is for nobody then."""
    bench = _Bench(node := Node("late"))
    gave_up = threading.Event()

    def accept(_: Any) -> GoalResponse:
        gave_up.wait(WAIT_S)
        return GoalResponse.ACCEPT

    bench.server._server.register_goal_callback(accept)
    spinning(node)
    monkeypatch.setattr(actions, "ClientGoalHandle", _Nobody)
    with pytest.raises(UnavailableError, match="did not answer"):
        ask("long", answer_timeout_s=0.3)
    gave_up.set()
    assert _until(lambda: bench.begun == bench.ended > 0 or bench.refused > 0)


class _Nobody:
    """A goal handle whose cancel reaches nobody."""

    def __init__(self, *_: Any) -> None: ...

    def cancel_goal_async(self) -> None: ...


def test_a_call_that_is_interrupted_cancels_its_goal(bench: _Bench, ask: Ask) -> None:
    def interrupted() -> bool:
        if bench.running.is_set():
            raise KeyboardInterrupt
        return True

    with pytest.raises(KeyboardInterrupt):
        ask("long", keep_going=interrupted)
    assert _until(lambda: bench.ended == 1 and not bench.server.busy)


def test_work_that_is_cancelled_before_it_begins_is_never_begun(
    bench: _Bench, spinning: Spin
) -> None:
    """`WorkServer`: between acceptance and the thread that is to work on it."""
    held: list[Any] = []
    bench.server._server.register_handle_accepted_callback(held.append)
    client = GoalClient(node := Node("client"), Imagine, "imagine")
    spinning(node)
    assert client.wait_for_server(WAIT_S)
    sent = client.send_goal_async(Imagine.Goal(instruction="short"))
    assert _until(lambda: bool(held) and sent.done())
    cancelled = sent.result().cancel_goal_async()
    assert _until(cancelled.done)
    answer = sent.result().get_result_async()
    held[0].execute()
    assert _until(answer.done)
    assert answer.result().status == GoalStatus.STATUS_CANCELED
    assert isinstance(error_from_outcome(answer.result().result.outcome), CancelledError)
    assert bench.begun == 0


def test_a_cancel_between_rclpys_look_and_its_change_ends_no_process(
    bench: _Bench, spinning: Spin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks whether a goal was cancelled, then says that it executes: one step too many."""
    held: list[Any] = []
    bench.server._server.register_handle_accepted_callback(held.append)
    client = GoalClient(node := Node("client"), Imagine, "imagine")
    spinning(node)
    assert client.wait_for_server(WAIT_S)
    sent = client.send_goal_async(Imagine.Goal(instruction="short"))
    assert _until(lambda: bool(held) and sent.done())
    assert _until(sent.result().cancel_goal_async().done)
    looks = iter([False])
    true_look = ServerGoalHandle.is_cancel_requested.fget
    looked = property(lambda goal: next(looks, true_look(goal)))
    monkeypatch.setattr(ServerGoalHandle, "is_cancel_requested", looked)
    answer = sent.result().get_result_async()
    bench.server._begin(held[0])
    assert _until(answer.done)
    assert answer.result().status == GoalStatus.STATUS_CANCELED and bench.begun == 0


def test_a_server_that_was_started_again_does_not_know_the_goal(spinning: Spin, ask: Ask) -> None:
    """The first one is as good as dead, and the middleware shows it still."""
    first = _Bench(node := Node("first"))
    first.server._server.register_handle_accepted_callback(lambda goal: first.running.set())
    spinning(node)
    answers: list[BaseException] = []

    def send() -> None:
        try:
            ask("long")
        except UnavailableError as error:
            answers.append(error)

    asker = threading.Thread(target=send)
    asker.start()
    assert first.running.wait(WAIT_S)
    _Bench(again := Node("again"))  # whole before it is spun: see `HouseNode`
    spinning(again)
    asker.join(WAIT_S)
    assert answers and "does not know the goal" in str(answers[0])


def test_every_wait_after_a_cancel_is_bounded(spinning: Spin, ask: Ask) -> None:
    """The work does not hear, or the answer never comes."""
    bench = _Bench(node := Node("deaf"))
    bench.server._server.register_handle_accepted_callback(lambda goal: bench.running.set())
    spinning(node)
    with pytest.raises(UnavailableError, match="did not end its goal within 0.5 s of being"):
        ask("long", keep_going=lambda: not bench.running.is_set(), cancel_timeout_s=0.5)


def test_a_cancel_before_the_answer_does_not_wait_for_it(spinning: Spin, ask: Ask) -> None:
    bench = _Bench(node := Node("slow"))
    release = threading.Event()
    bench.server._server.register_goal_callback(
        lambda _: GoalResponse.ACCEPT if release.wait(WAIT_S) else GoalResponse.REJECT
    )
    spinning(node)
    with pytest.raises(CancelledError, match="before action 'imagine' took the goal"):
        ask("long", keep_going=lambda: False)
    release.set()
    assert _until(lambda: bench.begun == bench.ended > 0 or bench.refused > 0)


def _until(condition: Callable[[], bool]) -> bool:
    deadline_ns = CLOCK.monotonic_ns() + round(WAIT_S * 1e9)
    while not condition() and CLOCK.monotonic_ns() < deadline_ns:
        CLOCK.sleep_until(CLOCK.monotonic_ns() + 10_000_000)
    return condition()
