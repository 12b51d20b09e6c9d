"""Intervals: what they hold, and how often."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mvista_eval.statistics import mean_interval, median_interval


def test_the_interval_of_a_mean_is_students() -> None:
    # t(0.975, 3) = 3.1824 (tables); the standard error of 1, 2, 3, 4 is 0.6455.
    found = mean_interval([1.0, 2.0, math.nan, 3.0, 4.0])
    assert (found.value, found.count) == (2.5, 4)
    assert found.high - found.value == pytest.approx(3.1824 * 0.6455, rel=1e-3)
    assert found.value - found.low == pytest.approx(found.high - found.value)


def test_too_few_values_have_an_estimate_and_no_interval() -> None:
    assert math.isnan(mean_interval([]).value) and mean_interval([]).count == 0
    assert mean_interval([3.0]).value == 3.0 and math.isnan(mean_interval([3.0]).low)
    assert mean_interval([math.inf, 1.0]).value == math.inf
    assert median_interval([5.0, 1.0]).value == 3.0 and math.isnan(median_interval([5.0, 1.0]).low)
    assert math.isnan(median_interval([]).value)


def test_the_interval_of_a_median_lies_between_values_that_tables_name() -> None:
    # Distribution-free 95 % intervals: ranks 1 and 6 of 6, 3 and 10 of 12, 18 and 33 of 50.
    for count, low, high in ((6, 1, 6), (12, 3, 10), (50, 18, 33)):
        found = median_interval([float(value) for value in range(count, 0, -1)])
        assert (found.low, found.high) == (low, high)


@pytest.mark.parametrize("interval", [mean_interval, median_interval])
def test_nineteen_of_twenty_intervals_hold_the_truth(interval: object) -> None:
    rng = np.random.default_rng(0)
    found = [interval(rng.normal(1.0, 2.0, 15).tolist()) for _ in range(400)]  # type: ignore[operator]
    share = np.mean([one.low <= 1.0 <= one.high for one in found])
    assert 0.92 <= share <= 0.995
