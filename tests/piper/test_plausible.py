"""Laws of judging: what an arm can do passes, what it cannot does not, an outlier ends nothing."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mvista_core.timing import seconds_to_ns
from mvista_piper.plausible import AGREEING, RUN, Judge, Reach

JOINT = Reach("joint1", -2.8, 2.8, 6.0, 0.01)
PERIOD_NS = seconds_to_ns(0.005)


def judge_at(value: float, frames: int = 5) -> tuple[Judge, int]:
    judge, now_ns = Judge((JOINT,)), 0
    for _ in range(frames):
        now_ns += PERIOD_NS
        judge.accept((value,), now_ns)
    return judge, now_ns


@given(st.floats(-2.8, 2.8))
def test_the_first_frames_count_once_they_agree(value: float) -> None:
    judge = Judge((JOINT,))
    assert [judge.accept((value,), k * PERIOD_NS) for k in range(AGREEING)] == [False, False, True]
    assert judge.dropped == 0


@given(st.lists(st.floats(-6.0, 6.0), min_size=10, max_size=200))
def test_no_motion_of_an_arm_is_dropped(speeds: list[float]) -> None:
    judge, now_ns = judge_at(0.0)
    position = 0.0
    for speed in speeds:
        now_ns += PERIOD_NS
        position = float(np.clip(position + speed * 0.005, -2.8, 2.8))
        assert judge.accept((position,), now_ns)
    assert judge.dropped == 0


@given(st.lists(st.floats(-40.0, 40.0), min_size=1, max_size=300), st.integers(1, 20))
def test_whatever_comes_what_passes_never_leaps_unless_it_was_said(
    values: list[float], periods: int
) -> None:
    """Between two values that count there is a speed of an arm, a pause, or a run of drops."""
    judge, now_ns = judge_at(0.0)
    last, last_ns, in_a_row = 0.0, now_ns, 0
    for value in values:
        now_ns += periods * PERIOD_NS
        if not judge.accept((value,), now_ns):
            in_a_row += 1
            continue
        assert -2.8 <= value <= 2.8
        reach = 6.0 * (now_ns - last_ns) / 1e9 + 0.01 + 1e-9
        paused = now_ns - last_ns > seconds_to_ns(0.1)
        assert abs(value - last) <= reach or in_a_row >= RUN - 1 or paused
        last, last_ns, in_a_row = value, now_ns, 0


@given(st.floats(-2.0, 2.0), st.floats(-100.0, 100.0))
def test_one_outlier_is_dropped_and_ends_nothing(here: float, outlier: float) -> None:
    judge, now_ns = judge_at(here)
    if abs(outlier - here) <= 0.05:
        return
    assert not judge.accept((outlier,), now_ns + PERIOD_NS)
    assert (judge.dropped, judge.in_a_row) == (1, 1)
    assert judge.accept((here,), now_ns + 2 * PERIOD_NS)
    assert judge.in_a_row == 0


def test_a_run_elsewhere_counts_once_it_was_a_run() -> None:
    judge, now_ns = judge_at(0.0)
    passed = [judge.accept((1.0,), now_ns + (k + 1) * PERIOD_NS) for k in range(RUN)]
    assert passed == [False] * (RUN - 1) + [True]
    assert judge.dropped == RUN and "joint1 from 0.000 to 1.000 in 0.0" in judge.said


def test_after_a_pause_the_stream_begins_afresh() -> None:
    judge, now_ns = judge_at(0.0)
    now_ns += seconds_to_ns(0.11)
    assert not judge.accept((2.0,), now_ns)
    assert not judge.accept((0.0,), now_ns + PERIOD_NS)
    assert [judge.accept((0.0,), now_ns + (k + 2) * PERIOD_NS) for k in range(2)] == [False, True]


def test_without_a_reach_a_frame_that_was_parsed_counts() -> None:
    judge = Judge()
    for _ in range(RUN - 1):
        judge.refuse("4 bytes")
    assert judge.accept((), 0) and judge.in_a_row == 0 and judge.dropped == RUN - 1
