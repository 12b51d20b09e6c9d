"""Pictures and actions of one episode share its length, and begin where they should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvista_core.episode_shape import TINY, EpisodeShape
from mvista_core.imaging import ModelWindow


@given(frames=st.integers(2, 60), actions=st.integers(1, 400), rate_hz=st.floats(1.0, 200.0))
def test_pictures_begin_at_the_start_and_actions_one_period_after(
    frames: int, actions: int, rate_hz: float
) -> None:
    shape = EpisodeShape(ModelWindow(32, 32, 1), frames, 0.2, actions, rate_hz)
    assert shape.frame_times_s.shape == (frames,) and shape.frame_times_s[0] == 0.0
    np.testing.assert_allclose(np.diff(shape.frame_times_s), 0.2)
    assert shape.action_times_s.shape == (actions,)
    np.testing.assert_allclose(shape.action_times_s[0], 1.0 / rate_hz)
    np.testing.assert_allclose(shape.action_times_s[-1], actions / rate_hz)


def test_the_last_picture_is_taken_when_the_last_action_is_due() -> None:
    """What `refine` compares at a frame is the action that is due there."""
    assert TINY.frame_times_s[-1] == pytest.approx(TINY.action_times_s[-1])
    assert TINY.action_count % (TINY.frame_count - 1) == 0
