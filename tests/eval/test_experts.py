"""`mvista eval experts`'s bookkeeping."""

from __future__ import annotations

import pytest

from mvista_core.errors import ConfigError
from mvista_eval.experts import Attempt, Failure, measure, rate_of


def test_a_scene_that_failed_counts_and_says_why() -> None:
    attempts = [Attempt("touch_cube", seed, "" if seed else "missed by 9 mm") for seed in range(4)]
    rate = rate_of("touch_cube", attempts)
    assert (rate.episodes, rate.successes) == (4, 3)
    assert rate.failures == (Failure(0, "missed by 9 mm"),)
    assert rate.low < 0.75 < rate.high
    assert str(rate).splitlines()[1] == "  seed 0: missed by 9 mm"


@pytest.mark.parametrize(("episodes", "first_seed"), [(0, 0), (1, -1)])
def test_bad_numbers_are_refused(episodes: int, first_seed: int) -> None:
    with pytest.raises(ConfigError, match="at least 1 episode, seeds from 0"):
        measure(["touch_cube"], episodes, first_seed)
