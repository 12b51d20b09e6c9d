"""`mvista bench executor`: what is made of a record of set-points, and the work it gives."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as run
from hypothesis import strategies as st

from mvista_bringup.paths import config_file
from mvista_cli import cli
from mvista_core.arm import load_arm
from mvista_core.timing import SystemClock
from mvista_eval.executor.load import gentle_motion
from mvista_eval.executor.setpoints import Recorded, ToldGap, figures_of
from mvista_eval.executor.standstill import common, merged, overlap_ns, standstills, witnesses

PERIOD_NS = 5_000_000
START_NS = 1_700_000_000_123_456_789
SPANS = st.sets(st.integers(0, 40))
NEVER = np.empty((0, 2), np.int64)


def _record(late_ns: np.ndarray, wire_ns: int = 400_000) -> np.ndarray:
    stamps = START_NS + np.cumsum(PERIOD_NS + late_ns)
    return np.stack([stamps, stamps + wire_ns], axis=1)


def _all() -> tuple[int, int]:
    return START_NS, START_NS + 10**12


def test_an_even_stream_has_no_error_and_no_gap() -> None:
    found = figures_of(_record(np.zeros(1000, np.int64)), _all(), PERIOD_NS, (), NEVER)
    assert (found.setpoints, found.gaps, found.silent, found.arrival_gaps) == (1000, 0, 0, 0)
    assert found.period_error_ms.largest == 0.0
    assert found.wire_ms.p99 == pytest.approx(0.4)


@run(max_examples=30, deadline=None, derandomize=True)
@given(st.sets(st.integers(1, 199), max_size=10), st.integers(0, 10))
def test_every_gap_is_counted_and_silent_unless_told(late: set[int], told: int) -> None:
    delays = np.zeros(200, np.int64)
    delays[sorted(late)] = 7_000_000
    record = _record(delays)
    lines = [ToldGap(int(record[at, 0]), 12.0) for at in sorted(late)[:told]]
    found = figures_of(record, _all(), PERIOD_NS, lines, NEVER)
    assert found.gaps == found.arrival_gaps == len(late)
    assert found.silent == max(len(late) - told, 0)


def test_only_the_window_counts() -> None:
    record = _record(np.array([0, 0, 20_000_000, 0, 0], np.int64))
    window = int(record[2, 0]), int(record[-1, 0])
    assert figures_of(record, window, PERIOD_NS, (), NEVER).gaps == 0


def test_a_lost_setpoint_is_a_silent_gap() -> None:
    record = np.delete(_record(np.zeros(50, np.int64)), [20, 21], axis=0)
    found = figures_of(record, _all(), PERIOD_NS, (), NEVER)
    assert (found.gaps, found.silent) == (1, 1)


def test_a_gap_counts_only_with_the_time_in_which_the_machine_ran() -> None:
    delays = np.zeros(100, np.int64)
    delays[[20, 60]] = 30_000_000
    record = _record(delays)
    late = record[[20, 60], 0]
    still = np.array([[late[0] - 28_000_000, late[0]], [late[1] - 20_000_000, late[1] - 1_000_000]])
    found = figures_of(record, _all(), PERIOD_NS, (), still)
    assert (found.gaps, found.gaps_beyond_standstill) == (2, 1)
    assert found.standstills == 2 and found.standstill_ms == pytest.approx(47.0)


@run(max_examples=50, deadline=None, derandomize=True)
@given(SPANS, SPANS)
def test_intervals_are_sets_of_instants(a: set[int], b: set[int]) -> None:
    """Against instants counted one by one."""
    spans = [merged(np.array([[at, at + 1] for at in x], np.int64).reshape(-1, 2)) for x in (a, b)]
    both = merged(common(*spans))
    assert {t for begin, end in both.tolist() for t in range(begin, end)} == a & b
    begin, end = np.array([10], np.int64), np.array([30], np.int64)
    assert overlap_ns(begin, end, spans[0])[0] == len([t for t in a if 10 <= t < 30])


def test_witnesses_watch_and_agree_or_say_nothing(tmp_path: Path) -> None:
    cores = sorted(os.sched_getaffinity(0))[:1]
    with witnesses(cores, tmp_path):
        SystemClock().sleep_until(SystemClock().monotonic_ns() + 1_500_000_000)
    still = standstills(cores, tmp_path)
    assert still.shape[1] == 2 and (still[:, 1] > still[:, 0]).all()


@pytest.mark.parametrize("gaps", [(), (ToldGap(1_700_000_000_987_654_321, 12.3),)])
def test_what_was_heard_is_read_as_it_was_written(
    tmp_path: Path, gaps: tuple[ToldGap, ...]
) -> None:
    heard = Recorded(_record(np.zeros(5, np.int64)), gaps)
    heard.write(tmp_path / "heard.npz")
    again = Recorded.read(tmp_path / "heard.npz")
    assert again.gaps == gaps and (again.setpoints == heard.setpoints).all()


def test_the_motions_are_gentle_and_come_home() -> None:
    arm = load_arm(config_file("arms", "piper.yaml"))
    for number in range(20):
        motion = gentle_motion(arm, number)
        assert np.allclose(motion.positions[-1], arm.home)
        speed = np.abs(np.diff(motion.positions, axis=0)) * 15.0
        assert (speed <= 0.1 * arm.max_velocity).all()


def test_bad_numbers_are_refused() -> None:
    assert cli.main(["bench", "executor", "--seconds", "0"]) == cli.EXIT_REFUSED
    assert cli.main(["bench", "executor", "--cores", "0"]) == cli.EXIT_REFUSED
