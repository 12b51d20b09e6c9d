"""What every backend of the `FrameSource` port owes its callers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

from mvista_core.errors import RigError
from mvista_core.records import CameraFrame
from tests.contract.backends import FRAME_SOURCES
from tests.contract.frame_backends import FrameBackend

pytestmark = pytest.mark.contract


@pytest.fixture(params=sorted(FRAME_SOURCES))
def backend(request: pytest.FixtureRequest) -> Iterator[FrameBackend]:
    with FRAME_SOURCES[request.param]() as made:
        yield made


def newest(backend: FrameBackend, camera: str) -> CameraFrame:
    frame = backend.source.latest(camera)
    assert frame is not None
    return frame


def test_the_cameras_are_the_rigs_in_its_order(backend: FrameBackend) -> None:
    assert tuple(backend.source.cameras()) == backend.rig.names


def test_a_frame_is_its_cameras_with_its_intrinsics(backend: FrameBackend) -> None:
    for name in backend.source.cameras():
        frame = newest(backend, name)
        assert frame.camera == name
        assert frame.intrinsics == backend.rig.camera(name).intrinsics


def test_colour_and_depth_show_something(backend: FrameBackend) -> None:
    for name in backend.source.cameras():
        frame = newest(backend, name)
        assert frame.color.std() > 5
        valid = frame.depth_m[frame.depth_m > 0]
        assert valid.size > frame.depth_m.size / 2
        assert 0.05 < np.median(valid) < 5.0
        assert (frame.depth_m >= 0).all() and np.isfinite(frame.depth_m).all()


def test_depth_is_in_whole_millimetres(backend: FrameBackend) -> None:
    """What 16UC1 can carry, so that a frame in process equals one that crossed a topic."""
    depth_mm = newest(backend, backend.source.cameras()[0]).depth_m * 1000
    np.testing.assert_allclose(depth_mm, np.round(depth_mm), atol=1e-2)


def test_views_differ(backend: FrameBackend) -> None:
    pictures = [newest(backend, name).color for name in backend.source.cameras()]
    assert all((a != b).any() for a, b in pairwise(pictures))


def test_stamps_advance_and_kept_frames_do_not_change(backend: FrameBackend) -> None:
    name = backend.source.cameras()[0]
    first = newest(backend, name)
    color, depth = first.color.copy(), first.depth_m.copy()
    backend.wait(0.2)
    second = newest(backend, name)
    assert (second.stamp_ns - first.stamp_ns) / 1e9 == pytest.approx(0.2, abs=0.1)
    np.testing.assert_array_equal(first.color, color)
    np.testing.assert_array_equal(first.depth_m, depth)


def test_an_unknown_camera_is_refused_by_name(backend: FrameBackend) -> None:
    with pytest.raises(RigError, match="no camera 'nowhere'"):
        backend.source.latest("nowhere")
