"""Action servers and clients for long work: progress as feedback, errors as outcomes, cancelling.

The work is a plain function `work(request, progress) -> Result` that raises `MvistaError`s, or
returns a result whose `outcome` says what failed and how far it came. It runs on its own thread of
a multi-threaded executor, so the node keeps answering meanwhile.
"""

from __future__ import annotations

import threading
import traceback
import uuid
from collections.abc import Callable
from typing import Any

from action_msgs.msg import GoalStatus
from rclpy.action import ActionClient, CancelResponse
from rclpy.action.client import ClientGoalHandle
from rclpy.action.server import RCLError, ServerGoalHandle
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.client import Client
from rclpy.node import Node
from rclpy.task import Future
from unique_identifier_msgs.msg import UUID

from mvista_core.errors import BusyError, CancelledError, MvistaError, UnavailableError
from mvista_core.ports import Clock, Progress
from mvista_ros.convert import outcome_from_error
from mvista_ros.goal_server import GoalServer

Work = Callable[[Any, Progress], Any]

POLL_PERIOD_S = 0.02
LOST_AFTER_S = 2.0
"""An action server unseen for so long, with a goal of ours, has died."""
ANSWER_TIMEOUT_S = 5.0
CANCEL_TIMEOUT_S = 30.0
"""How long a cancelled goal's result is awaited; a step of a large model takes seconds."""
LOOK_PERIOD_S = 0.5
DOUBTS = 6
"""Times a new server is asked for our result, once per look: it is found in several steps."""


class WorkServer:
    """An action server whose Result has an `outcome` and whose Feedback has `stage`, `progress`.

    One goal at a time: another is answered at once with `BusyError`'s outcome, never queued.
    `complete` fills in what the action's feedback has beyond the two.
    Needs a multi-threaded executor (`run_node(..., threads=4)`).
    """

    def __init__(
        self,
        node: Node,
        action_type: Any,
        name: str,
        work: Work,
        complete: Callable[[Any], None] = lambda feedback: None,
    ) -> None:
        self._node = node
        self._complete = complete
        self._action_type = action_type
        self._name = name
        self._work = work
        self._running = threading.Lock()
        self._stopping = threading.Event()
        self._server = GoalServer(
            node,
            action_type,
            name,
            execute_callback=self._execute,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
            handle_accepted_callback=self._begin,
            callback_group=ReentrantCallbackGroup(),
        )

    @property
    def busy(self) -> bool:
        """Whether a goal is being worked on."""
        return self._running.locked()

    def stop(self, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        """Ask the running work to end (its progress returns False) and wait for it."""
        self._stopping.set()
        if self._running.acquire(timeout=timeout_s):
            self._running.release()

    def _begin(self, goal: ServerGoalHandle) -> None:
        try:
            goal.execute()
        except RCLError:
            # Cancelled between rclpy's look at its state and its change: told by `_execute`.
            self._server.notify_execute(goal, None)

    def _execute(self, goal: ServerGoalHandle) -> Any:
        if goal.is_cancel_requested or self._stopping.is_set():
            return self._finish(goal, self._failed(CancelledError("cancelled before it began")))
        if not self._running.acquire(blocking=False):
            busy = BusyError(f"'{self._name}' works on another goal; one at a time, none queued")
            return self._finish(goal, self._failed(busy))
        try:
            return self._finish(goal, self._work(goal.request, self._progress_of(goal)))
        except Exception as error:
            return self._finish(goal, self._failed(error))
        finally:
            self._running.release()

    def _progress_of(self, goal: ServerGoalHandle) -> Progress:
        told: Any = None

        def progress(stage: str, fraction: float) -> bool:
            nonlocal told
            feedback = self._action_type.Feedback(stage=stage, progress=float(fraction))
            self._complete(feedback)
            # Work asks often whether to go on; a client wants to hear what changed.
            if feedback != told:
                goal.publish_feedback(feedback)
                told = feedback
            return not (goal.is_cancel_requested or self._stopping.is_set())

        return progress

    def _failed(self, error: Exception) -> Any:
        if not isinstance(error, MvistaError):
            trace = "".join(traceback.format_exception(error))
            self._node.get_logger().error(f"'{self._name}' failed: {trace}")
        return self._action_type.Result(outcome=outcome_from_error(error))

    def _finish(self, goal: ServerGoalHandle, result: Any) -> Any:
        if result.outcome.code == 0:
            goal.succeed()
        elif result.outcome.code == CancelledError.code and goal.is_cancel_requested:
            goal.canceled()
        else:
            goal.abort()
        return result


class GoalClient(ActionClient):
    """An action client that can be used beside the executor's thread, and disowns no goal.

    rclpy 9.1 registers the future that `send_goal_async` returns after it has sent the goal, and
    outside its lock. An answer that comes in between is lost, and a goal that runs seems never to
    have been answered (seen once in about a hundred goals): here answers wait for the sending.
    It also makes its lock after it has told the node of the client, and an executor that spins
    already looks for that lock in vain.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._sending = threading.RLock()
        self._lock = threading.Lock()
        super().__init__(*args, **kwargs)

    def send_goal_async(self, *args: Any, **kwargs: Any) -> Any:
        """As rclpy's."""
        with self._sending:
            return super().send_goal_async(*args, **kwargs)

    async def execute(self, taken_data: Any) -> None:
        """As rclpy's; called by the executor with what has come."""
        with self._sending:
            pass
        await super().execute(taken_data)

    def give_up(self, goal_id: UUID, sent: Future) -> None:
        """Nobody waits for this goal any more: it is cancelled wherever it is.

        At once by its id, which a server that takes goals late finds beside the goal, even when
        this process has ended by then; and once more when the acceptance comes.
        """
        ClientGoalHandle(self, goal_id, None).cancel_goal_async()
        sent.add_done_callback(_cancel_if_accepted)

    def servers(self) -> frozenset[bytes]:
        """The middleware's ids of the servers there are; one that was started again has another."""
        status = f"{self._action_name}/_action/status"
        found = self._node.get_publishers_info_by_topic(status)
        return frozenset(bytes(info.endpoint_gid) for info in found)


def _cancel_if_accepted(sent: Future) -> None:
    if sent.cancelled() or sent.exception() is not None:
        return
    handle = sent.result()
    if handle.accepted:
        handle.cancel_goal_async()


def call_action(
    client: GoalClient,
    goal: Any,
    clock: Clock,
    on_feedback: Callable[[Any], None] | None = None,
    keep_going: Callable[[], bool] = lambda: True,
    server_timeout_s: float = ANSWER_TIMEOUT_S,
    cancel_timeout_s: float = CANCEL_TIMEOUT_S,
    answer_timeout_s: float = ANSWER_TIMEOUT_S,
) -> tuple[int, Any]:
    """Send a goal from a thread that is not the executor's only one, and wait for its result.

    When `keep_going()` turns False the goal is cancelled and its (cancelled) result awaited, for
    `cancel_timeout_s` at most. However this is left without a result, the goal is cancelled, also
    when it is accepted only later. Returns the goal's `action_msgs/GoalStatus` status and the
    result message.

    Raises:
        UnavailableError: no such server within `server_timeout_s`, no answer of it within
            `answer_timeout_s`, it refused the goal, it has been gone for `LOST_AFTER_S` while its
            result was awaited, it was started again and does not know the goal, or it did not end
            it in time after it was cancelled.
        CancelledError: `keep_going()` turned False before the goal was accepted.
    """
    name = client._action_name
    if not client.wait_for_server(timeout_sec=server_timeout_s):
        raise UnavailableError(f"no action server '{name}' within {server_timeout_s:g} s")

    def forward(message: Any) -> None:
        if on_feedback is not None:
            on_feedback(message.feedback)

    goal_id = UUID(uuid=list(uuid.uuid4().bytes))
    sent = client.send_goal_async(goal, forward, goal_id)
    try:
        handle = _accepted(sent, name, clock, keep_going, answer_timeout_s)
        return _ResultWait(client, handle, clock, cancel_timeout_s).result(keep_going)
    except BaseException:
        client.give_up(goal_id, sent)
        raise


def _accepted(
    sent: Future, name: str, clock: Clock, keep_going: Callable[[], bool], timeout_s: float
) -> Any:
    until_ns = clock.monotonic_ns() + round(timeout_s * 1e9)
    while not sent.done():
        if not keep_going():
            raise CancelledError(f"cancelled before action '{name}' took the goal")
        if clock.monotonic_ns() >= until_ns:
            raise UnavailableError(
                f"action '{name}' did not answer within {timeout_s:g} s; the goal is cancelled, "
                "also if it is accepted late"
            )
        clock.sleep_until(clock.monotonic_ns() + round(POLL_PERIOD_S * 1e9))
    handle = sent.result()
    if not handle.accepted:
        raise UnavailableError(f"action '{name}' refused the goal")
    return handle


class _ResultWait:
    """Waits for one goal's result, and for no longer than there is somebody who can give it.

    The middleware keeps a server that was killed for its lease (4 or 20 s). One started again
    meanwhile knows nothing of its goals: it is noticed by its id, and asked.
    """

    def __init__(
        self, client: GoalClient, handle: Any, clock: Clock, cancel_timeout_s: float
    ) -> None:
        self._client, self._handle, self._clock = client, handle, clock
        self._name = client._action_name
        self._asked = [handle.get_result_async()]
        self._known = client.servers()
        self._doubts = 0
        self._seen_ns = self._look_ns = clock.monotonic_ns()
        self._cancel_timeout_s = cancel_timeout_s
        self._end_by_ns: int | None = None

    def result(self, keep_going: Callable[[], bool]) -> tuple[int, Any]:
        """The status and the result.

        Raises:
            UnavailableError: see `call_action`.
        """
        while (answer := self._answer()) is None:
            self._check_server()
            if self._end_by_ns is None and not keep_going():
                self._handle.cancel_goal_async()
                wait_ns = round(self._cancel_timeout_s * 1e9)
                self._end_by_ns = self._clock.monotonic_ns() + wait_ns
            if self._end_by_ns is not None and self._clock.monotonic_ns() > self._end_by_ns:
                raise UnavailableError(
                    f"action '{self._name}' did not end its goal within "
                    f"{self._cancel_timeout_s:g} s of being cancelled"
                )
            self._clock.sleep_until(self._clock.monotonic_ns() + round(POLL_PERIOD_S * 1e9))
        return int(answer.status), answer.result

    def _answer(self) -> Any:
        answers = [future.result() for future in self._asked if future.done()]
        for answer in answers:
            if answer.status != GoalStatus.STATUS_UNKNOWN:
                return answer
        if answers:
            raise UnavailableError(
                f"action server '{self._name}' does not know the goal that it was given: it was "
                "started again meanwhile, or there are two of it"
            )
        return None

    def _check_server(self) -> None:
        now_ns = self._clock.monotonic_ns()
        if self._client.server_is_ready():
            self._seen_ns = now_ns
        elif now_ns - self._seen_ns > round(LOST_AFTER_S * 1e9):
            raise UnavailableError(
                f"action server '{self._name}' was lost while it worked: not seen for "
                f"{LOST_AFTER_S:g} s; has its process ended?"
            )
        if now_ns - self._look_ns < round(LOOK_PERIOD_S * 1e9):
            return
        self._look_ns = now_ns
        servers = self._client.servers()
        if servers - self._known:
            self._known |= servers
            self._doubts = DOUBTS
        if self._doubts:
            self._doubts -= 1
            self._asked.append(self._handle.get_result_async())


def succeeded(status: int) -> bool:
    """Whether an action status says that the goal was reached."""
    return status == GoalStatus.STATUS_SUCCEEDED


def call_service(
    client: Client, request: Any, clock: Clock, timeout_s: float = ANSWER_TIMEOUT_S
) -> Any:
    """Call a service from a thread that is not the executor's only one, and wait for the answer.

    Raises:
        UnavailableError: no such service, or no answer, within `timeout_s`.
    """
    name = client.service_name
    if not client.wait_for_service(timeout_sec=timeout_s):
        raise UnavailableError(f"no service '{name}' within {timeout_s:g} s")
    return wait_future(client.call_async(request), clock, f"service '{name}'", timeout_s)


def wait_future(future: Future, clock: Clock, who: str, timeout_s: float = ANSWER_TIMEOUT_S) -> Any:
    """The result of a future that another thread's executor completes.

    Raises:
        UnavailableError: not done within `timeout_s`; the message names `who`.
    """
    deadline_ns = clock.monotonic_ns() + round(timeout_s * 1e9)
    while not future.done():
        if clock.monotonic_ns() >= deadline_ns:
            future.cancel()
            raise UnavailableError(f"{who} did not answer within {timeout_s:g} s")
        clock.sleep_until(clock.monotonic_ns() + round(POLL_PERIOD_S * 1e9))
    return future.result()
