"""What is done each period: see who else commands, tick the stream, send that, hear the arm."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from mvista_core.errors import RivalWritersError
from mvista_core.executor_settings import ExecutorSettings
from mvista_core.ports import Clock
from mvista_core.records import Float64, JointCommand, JointState
from mvista_core.timing import seconds_to_ns
from mvista_executor.gaps import GAP_PERIODS, GapMeter
from mvista_executor.goal_queue import GoalQueue
from mvista_executor.report import Recording, Tick
from mvista_executor.rivals import Rivals
from mvista_executor.stream import ExecutionStream

LOOK_TURNS = 20
"""Turns between two looks for rivals."""


@dataclass(frozen=True)
class Turn:
    """A set-point to send, and whose: `plan_id` is empty without one, `running` while it moves."""

    tick: Tick
    command: JointCommand
    plan_id: str
    recording: Recording
    running: bool


class RestRate:
    """Of the set-points of a hold every `turns`-th goes out, of a motion each.

    Each costs the driver, at real-time priority, what a set-point of a motion costs: at the full
    rate a resting arm kept half a core from the planner.
    """

    def __init__(self, turns: int) -> None:
        self._turns, self._rested = turns, 0
        self._held: Float64 | None = None

    def leaves_out(self, command: JointCommand, running: bool) -> bool:
        """Whether this one, the next of the stream, only repeats what was just sent."""
        # A hold repeats one array; the first of it has been sent.
        rests = not running and command.positions is self._held and not command.velocities.any()
        self._held = command.positions
        self._rested = self._rested + 1 if rests else 0
        return self._rested % self._turns != 0


class CommandLoop:
    """`step` on the ticker's thread, `look` on another; `lock` guards the stream and its goals."""

    def __init__(
        self,
        stream: ExecutionStream,
        lock: threading.Lock,
        goals: GoalQueue,
        newest: Callable[[], JointState | None],
        rivals: Rivals,
        settings: ExecutorSettings,
        clock: Clock,
        log: Callable[[str], object],
    ) -> None:
        """`newest` is what is measured; `log` is told of each rival once."""
        self._stream, self._lock, self._goals, self._newest = stream, lock, goals, newest
        self._rivals, self._clock, self._log = rivals, clock, log
        self.gaps = GapMeter(settings.period_s)
        self._late_ns = seconds_to_ns(GAP_PERIODS * settings.period_s)
        self._stepped_ns: int | None = None
        self._rest = RestRate(settings.rest_turns)
        self.rival: RivalWritersError | None = None
        self._turns = 0

    def step(
        self, hear: Callable[[], object], send: Callable[[JointCommand], object]
    ) -> Turn | None:
        """One period: `send` what is due, then `hear` what was measured, which delays nothing so.

        After a gap it is heard first: all that was measured before would pass for silence.
        """
        now_ns = self._clock.monotonic_ns()
        late = self._stepped_ns is None or now_ns - self._stepped_ns > self._late_ns
        self._stepped_ns = now_ns
        if late:
            hear()
        turn = self.turn()
        if turn is not None:
            send(turn.command)
        if not late:
            hear()
        return turn

    def turn(self) -> Turn | None:
        """The set-point for now; None where there is none to send, or one that may be left out."""
        if self._turns % LOOK_TURNS == 0:
            self._look_for_rivals()
        self._turns += 1
        with self._lock:
            if self.rival is not None:
                self._stream.let_go()
            tick = self._stream.tick(self._newest())
            self._goals.note(tick)
            if tick.command is None:
                return None
            # Together: a plan may be taken over as soon as the lock is free.
            running = self._goals.active is not None
            turn = Turn(tick, tick.command, self._goals.plan_id, self._stream.recording, running)
        self.gaps.tick(self._clock.monotonic_ns(), turn.command.stamp_ns)
        return None if self._rest.leaves_out(turn.command, running) else turn

    def look(self, late_s: float, slow: str) -> tuple[str, str, tuple[tuple[str, str], ...]]:
        """OK, WARN or ERROR, a sentence, and the numbers; call it once a report.

        A gap of more than `late_s` is late; `slow` says why the thread is not real-time, if so.
        """
        gap_s = self.gaps.take_s()
        values = (
            ("largest gap between ticks (s)", f"{gap_s:.4f}"),
            (f"gaps over {GAP_PERIODS} periods", str(self.gaps.total)),
            ("other publishers of joint_command", str(self._rivals.writers)),
            ("other executors", str(self._rivals.servers)),
        )
        rival = self.rival
        if rival is not None:
            return "ERROR", f"[{rival.code}] {rival}", values
        level = "WARN" if gap_s > late_s or slow else "OK"
        return level, self._stream.status.value, values

    def _look_for_rivals(self) -> None:
        rival = self._rivals.look()
        if rival is not None:
            if self.rival is None:
                self._log(str(rival))
            # At every look: a goal may have been taken over between two.
            self._goals.stop_for(rival)
        self.rival = rival
