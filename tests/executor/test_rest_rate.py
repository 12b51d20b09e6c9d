"""A hold goes out less often than a motion, and nothing that differs is ever left out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvista_core.errors import ConfigError
from mvista_core.executor_settings import ExecutorSettings
from mvista_core.records import Float64, JointCommand
from mvista_executor.command_loop import RestRate


def command(positions: Float64, speed: float, stamp_ns: int) -> JointCommand:
    return JointCommand(("joint1",), positions, np.array([speed]), stamp_ns)


@given(
    st.integers(1, 6),
    st.lists(st.sampled_from(["hold", "move", "elsewhere", "goal holds"]), max_size=80),
)
def test_who_listens_knows_the_newest_set_point_within_so_many_turns(
    turns: int, done: list[str]
) -> None:
    rate, positions = RestRate(turns), np.zeros(1)
    heard: Float64 | None = None
    since = 0
    for number, what in enumerate(done):
        if what in ("move", "elsewhere"):
            positions = positions + 0.001
        speed = 0.2 if what == "move" else 0.0
        left_out = rate.leaves_out(command(positions, speed, number), what == "goal holds")
        if left_out:
            assert heard is positions, "it only repeats"
            assert what == "hold", "while a goal is at work each goes out"
            since += 1
        else:
            heard, since = positions, 0
        assert since < turns


def test_a_hold_of_a_second_is_sent_at_its_own_rate() -> None:
    settings = ExecutorSettings()
    rate, positions = RestRate(settings.rest_turns), np.zeros(1)
    sent = [
        number
        for number in range(round(settings.rate_hz) + 1)
        if not rate.leaves_out(command(positions, 0.0, number), False)
    ]
    assert len(sent) == settings.rest_rate_hz + 1
    assert set(np.diff(sent)) == {settings.rate_hz / settings.rest_rate_hz}


def test_a_hold_is_never_quicker_than_a_motion() -> None:
    assert ExecutorSettings(rest_rate_hz=500.0).rest_turns == 1
    with pytest.raises(ConfigError, match="rest_rate_hz is 5.0, allowed 20"):
        ExecutorSettings(rest_rate_hz=5.0)
