"""Action servers and clients for long work: progress as feedback, errors as outcomes, cancelling.

The work is a plain function `work(request, progress) -> Result` that raises `MvistaError`s, or
returns a result whose `outcome` says what failed and how far it came. It runs on its own thread of
a multi-threaded executor, so the node keeps answering meanwhile.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from typing import Any

from action_msgs.msg import GoalStatus
from rclpy.action import ActionClient, ActionServer, CancelResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.client import Client
from rclpy.node import Node
from rclpy.task import Future

from mvista_core.errors import BusyError, CancelledError, MvistaError, UnavailableError
from mvista_core.ports import Clock, Progress
from mvista_ros.convert import outcome_from_error

Work = Callable[[Any, Progress], Any]

POLL_PERIOD_S = 0.02
LOST_AFTER_S = 2.0
"""An action server unseen for so long, with a goal of ours, has died."""
ANSWER_TIMEOUT_S = 5.0


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
        self._server = ActionServer(
            node,
            action_type,
            name,
            execute_callback=self._execute,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
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

    def _execute(self, goal: ServerGoalHandle) -> Any:
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
        def progress(stage: str, fraction: float) -> bool:
            feedback = self._action_type.Feedback(stage=stage, progress=float(fraction))
            self._complete(feedback)
            goal.publish_feedback(feedback)
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
    """An action client that can be used beside the executor's thread.

    rclpy 9.1 registers the future that `send_goal_async` returns after it has sent the goal, and
    outside its lock. An answer that comes in between is lost, and a goal that runs seems never to
    have been answered (seen once in about a hundred goals): here answers wait for the sending.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._sending = threading.RLock()
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


def call_action(
    client: GoalClient,
    goal: Any,
    clock: Clock,
    on_feedback: Callable[[Any], None] | None = None,
    keep_going: Callable[[], bool] = lambda: True,
    server_timeout_s: float = ANSWER_TIMEOUT_S,
) -> tuple[int, Any]:
    """Send a goal from a thread that is not the executor's only one, and wait for its result.

    When `keep_going()` turns False the goal is cancelled and its (cancelled) result awaited.
    Returns the goal's `action_msgs/GoalStatus` status and the result message.

    Raises:
        UnavailableError: no such server within `server_timeout_s`, it refused the goal, or it has
            been gone for `LOST_AFTER_S` while its result was awaited.
        CancelledError: `keep_going()` turned False before the goal was accepted.
    """
    name = client._action_name
    if not client.wait_for_server(timeout_sec=server_timeout_s):
        raise UnavailableError(f"no action server '{name}' within {server_timeout_s:g} s")

    def forward(message: Any) -> None:
        if on_feedback is not None:
            on_feedback(message.feedback)

    handle = wait_future(client.send_goal_async(goal, forward), clock, f"action '{name}'")
    if not handle.accepted:
        raise UnavailableError(f"action '{name}' refused the goal")
    future = handle.get_result_async()
    asked_to_cancel = False
    seen_ns = clock.monotonic_ns()
    while not future.done():
        if client.server_is_ready():
            seen_ns = clock.monotonic_ns()
        elif clock.monotonic_ns() - seen_ns > round(LOST_AFTER_S * 1e9):
            raise UnavailableError(
                f"action server '{name}' was lost while it worked: not seen for "
                f"{LOST_AFTER_S:g} s; has its process ended?"
            )
        if not asked_to_cancel and not keep_going():
            asked_to_cancel = True
            handle.cancel_goal_async()
        clock.sleep_until(clock.monotonic_ns() + round(POLL_PERIOD_S * 1e9))
    answer = future.result()
    return int(answer.status), answer.result


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
