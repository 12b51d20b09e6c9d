"""A client of a running calibration: collect, solve, verify, and the simulated board's carrier."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from mvista_interfaces.action import CollectCalibration, SolveCalibration, VerifyCalibration
from rclpy.node import Node
from std_srvs.srv import SetBool, Trigger

from mvista_core.errors import UnavailableError
from mvista_core.ports import Clock
from mvista_ros.actions import GoalClient, call_action, call_service
from mvista_ros.convert import raise_outcome
from mvista_ros.spinning import spinning

LOOKS_PER_PLACE = 3
"""Refused so often at one place, the board is carried on."""

ARRIVAL_TIMEOUT_S = 70.0
"""The simulated board may take 60 s from one place to the next."""

Hear = Callable[[Any], None]
Check = Callable[[], None]


class CalibrationClient:
    """Goals for the calibration node of this ROS domain. `check` is called while a goal is awaited
    and may raise."""

    def __init__(self, node: Node, clock: Clock, check: Check = lambda: None) -> None:
        self._clock, self._check = clock, check
        self._collect = GoalClient(node, CollectCalibration, "calibration/collect")
        self._solve = GoalClient(node, SolveCalibration, "calibration/solve")
        self._verify = GoalClient(node, VerifyCalibration, "calibration/verify")
        self._next = node.create_client(Trigger, "sim/next_place")
        self._show = node.create_client(SetBool, "sim/show_board")

    def collect(self, session: str, shots: int, hear: Hear) -> CollectCalibration.Result:
        """Record shots while the simulated board is carried on, until coverage is enough.

        Raises:
            MvistaError: what the node refused it with; UnavailableError: no such node.
        """
        goal = CollectCalibration.Goal(session=session, shots=shots)
        return self._carried(self._collect, goal, hear)

    def scene(self, session: str, hear: Hear, take_away: bool = True) -> CollectCalibration.Result:
        """Record the scene's depth, the simulated board taken away first. Raises as `collect`."""
        if take_away:
            self.show_board(False)
        goal = CollectCalibration.Goal(session=session, scene=True)
        return self._result(self._collect, goal, hear)

    def solve(self, session: str, method: str, hear: Hear) -> SolveCalibration.Result:
        """Solve a session; a rig that the gate refused is a result, not an error.

        Raises:
            MvistaError: the session cannot be used.
        """
        goal = SolveCalibration.Goal(session=session, method=method)
        result = self._result(self._solve, goal, hear, refused_is_error=False)
        if not result.report:
            raise_outcome(result.outcome)
        return result

    def verify(self, rig_file: str, session: str, hear: Hear) -> VerifyCalibration.Result:
        """Hold a rig file against a session, or (empty) against shots taken now."""
        goal = VerifyCalibration.Goal(rig_file=rig_file, session=session)
        return self._carried(self._verify, goal, hear)

    def show_board(self, shown: bool) -> None:
        """Take the simulated board away, or bring it back; returns when that is done."""
        call_service(self._show, SetBool.Request(data=shown), self._clock, ARRIVAL_TIMEOUT_S)

    def next_place(self) -> None:
        """Carry the simulated board on; returns when it is there."""
        answer = call_service(self._next, Trigger.Request(), self._clock, ARRIVAL_TIMEOUT_S)
        if not answer.success:
            raise UnavailableError(f"the board is not carried on: {answer.message}")

    def _carried(self, client: GoalClient, goal: Any, hear: Hear) -> Any:
        """Await a goal and carry the board on: after a shot, or after looks in vain."""
        carry, shots, refused = threading.Event(), 0, 0

        def listen(feedback: Any) -> None:
            nonlocal shots, refused
            hear(feedback)
            if feedback.shots > shots:
                shots, refused = feedback.shots, 0
                carry.set()
            elif feedback.refused:
                refused += 1
                if refused >= LOOKS_PER_PLACE:
                    refused = 0
                    carry.set()

        def keep_going() -> bool:
            nonlocal refused
            if carry.is_set():
                self.next_place()
                # What was refused on the way says nothing about the place.
                refused = 0
                carry.clear()
            return True

        return self._result(client, goal, listen, keep_going)

    def _result(
        self,
        client: GoalClient,
        goal: Any,
        hear: Hear,
        keep_going: Callable[[], bool] = lambda: True,
        refused_is_error: bool = True,
    ) -> Any:
        def go_on() -> bool:
            self._check()
            return keep_going()

        _, result = call_action(client, goal, self._clock, hear, go_on)
        if refused_is_error:
            raise_outcome(result.outcome)
        return result


@contextmanager
def calibration_client(
    domain_id: int, clock: Clock, check: Check = lambda: None
) -> Iterator[CalibrationClient]:
    """A client on a ROS domain, spun by a thread of its own."""
    with spinning(partial(Node, "calibration_operator"), domain_id) as node:
        yield CalibrationClient(node, clock, check)
