"""What the topics brought, without a node: newest images, running depth means, joints."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from mvista_calibration.session.guide import DepthMean
from mvista_core.errors import CameraSilentError, StaleFeedbackError
from mvista_core.ports import Clock
from mvista_core.records import Float32, Intrinsics, JointState
from mvista_core.timing import seconds_to_ns
from mvista_ros.convert.image_bytes import ReceivedImage, color_from_bytes, depth_from_bytes

POLL_S = 0.02
JOINT_HISTORY = 12_000
"""A minute at 200 Hz: longer than any shot takes."""


@dataclass(frozen=True)
class MeanDepth:
    """Depth float32 [H, W] m (0 invalid) averaged over `frames`, the last stamped `last_ns`."""

    depth_m: Float32
    frames: int
    last_ns: int


class _Averaging:
    """A mean of depth stamped `from_ns` or later, filled by one thread and read by another."""

    def __init__(self, from_ns: int) -> None:
        self._from_ns = from_ns
        self._mean, self._last_ns = DepthMean(), 0
        self._lock = threading.Lock()

    def add(self, message: bytes) -> None:
        image = depth_from_bytes(message)
        if image.stamp_ns < self._from_ns:
            return
        with self._lock:
            self._mean.add(depth_m(image))
            self._last_ns = image.stamp_ns

    @property
    def frames(self) -> int:
        return self._mean.frames

    def result(self) -> MeanDepth:
        with self._lock:
            return MeanDepth(self._mean.mean(), self._mean.frames, self._last_ns)


@dataclass
class _Feed:
    info: Intrinsics | None = None
    color: ReceivedImage | None = None
    color_arrived_ns: int = 0
    averaging: _Averaging | None = None


@dataclass
class FrameBuffer:
    """Thread-safe. Callbacks put messages in; the collecting thread asks and waits.

    Serialised colour images are read in place: one of 3840x2160 is 25 MB. Depth is only looked at
    while a mean is asked for. What belongs together goes by stamps, since a message may arrive long
    after it was taken; whether a topic is alive goes by arrival, so recordings that are replayed
    with their own stamps serve as well.
    """

    cameras: tuple[str, ...]
    clock: Clock
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._feeds = {name: _Feed() for name in self.cameras}
        self._joints: deque[JointState] = deque(maxlen=JOINT_HISTORY)

    def add_info(self, camera: str, info: Intrinsics) -> None:
        """The lens of a camera's colour images."""
        with self._lock:
            self._feeds[camera].info = info

    def add_color(self, camera: str, message: bytes) -> None:
        """A serialised colour image arrived."""
        image = color_from_bytes(message)
        with self._lock:
            feed = self._feeds[camera]
            feed.color, feed.color_arrived_ns = image, self.clock.monotonic_ns()

    def add_depth(self, camera: str, message: bytes) -> None:
        """A serialised depth image arrived; counted if a mean is being taken."""
        with self._lock:
            averaging = self._feeds[camera].averaging
        if averaging is not None:
            averaging.add(message)

    def add_joints(self, state: JointState) -> None:
        """The arm's joints arrived."""
        with self._lock:
            self._joints.append(state)

    def lens(self, camera: str) -> Intrinsics | None:
        """As the camera's info says; None before the first."""
        return self._feeds[camera].info

    def wait_color(
        self, after_ns: int, timeout_s: float, stamped_from: Mapping[str, int] | None = None
    ) -> dict[str, ReceivedImage]:
        """The newest colour image of every camera, all arrived after `after_ns` (monotonic).

        `stamped_from` names, by camera, the earliest stamp that will do.

        Raises:
            CameraSilentError: some camera sent no such image, or no camera info, in time.
        """
        earliest = stamped_from or {}

        def silent() -> list[str]:
            return [
                name
                for name, feed in self._feeds.items()
                if feed.info is None
                or feed.color is None
                or feed.color_arrived_ns <= after_ns
                or feed.color.stamp_ns < earliest.get(name, 0)
            ]

        self._wait(silent, timeout_s, "colour images with camera info")
        with self._lock:
            return {name: feed.color for name, feed in self._feeds.items() if feed.color}

    def start_depth(self, from_ns: Mapping[str, int]) -> None:
        """Begin a new mean for each of these cameras, of depth with this stamp or a later one."""
        with self._lock:
            for name, earliest_ns in from_ns.items():
                self._feeds[name].averaging = _Averaging(earliest_ns)

    def wait_depth(self, frames: int, silent_s: float) -> dict[str, MeanDepth]:
        """The mean of at least `frames` depth images for each camera started; ends the means.

        However long a slow camera takes, as long as it goes on.

        Raises:
            CameraSilentError: a camera that lacks frames still sent none for `silent_s`.
        """
        kept = {name: feed.averaging for name, feed in self._feeds.items() if feed.averaging}
        try:
            self._gather(kept, frames, silent_s)
        finally:
            with self._lock:
                for name in kept:
                    self._feeds[name].averaging = None
        return {name: one.result() for name, one in kept.items()}

    def joints_between(self, start_ns: int, end_ns: int) -> list[JointState]:
        """Joint states stamped within these two, both included.

        Raises:
            StaleFeedbackError: there are none.
        """
        with self._lock:
            found = [state for state in self._joints if start_ns <= state.stamp_ns <= end_ns]
        if not found:
            raise StaleFeedbackError(
                f"no joint states are stamped within the shot's {(end_ns - start_ns) / 1e9:.1f} s; "
                "is the arm's driver running, and stamped by the cameras' clock? Without an arm "
                "set board_on_gripper: false"
            )
        return found

    def ages_s(self) -> dict[str, float | None]:
        """Seconds since each camera's newest colour image; None: none yet."""
        now_ns = self.clock.monotonic_ns()
        with self._lock:
            return {
                name: (now_ns - feed.color_arrived_ns) / 1e9 if feed.color is not None else None
                for name, feed in self._feeds.items()
            }

    def _gather(self, kept: Mapping[str, _Averaging], frames: int, silent_s: float) -> None:
        started_ns = self.clock.monotonic_ns()
        counted = dict.fromkeys(kept, (0, started_ns))
        while lacking := [name for name, one in kept.items() if one.frames < frames]:
            now_ns = self.clock.monotonic_ns()
            for name in lacking:
                have, since_ns = counted[name]
                if kept[name].frames > have:
                    counted[name] = kept[name].frames, now_ns
                elif now_ns - since_ns >= seconds_to_ns(silent_s):
                    raise CameraSilentError(
                        f"{name}: no depth image for {silent_s:g} s, {have} of {frames} came; "
                        "check the camera and depth_topic in config/calibration.yaml, and "
                        "`mvista doctor`"
                    )
            self.clock.sleep_until(now_ns + seconds_to_ns(POLL_S))

    def _wait(self, lacking: Callable[[], list[str]], timeout_s: float, what: str) -> None:
        deadline_ns = self.clock.monotonic_ns() + seconds_to_ns(timeout_s)
        while names := lacking():
            if self.clock.monotonic_ns() >= deadline_ns:
                raise CameraSilentError(
                    f"{', '.join(names)}: no {what} within {timeout_s:g} s; check the cameras and "
                    "the topics in config/calibration.yaml, and `mvista doctor`"
                )
            self.clock.sleep_until(self.clock.monotonic_ns() + seconds_to_ns(POLL_S))


def depth_m(image: ReceivedImage) -> Float32:
    """float32 [H, W] metres, 0 invalid, of a 16-bit image in millimetres."""
    return np.asarray(image.pixels, dtype=np.float32) * np.float32(1e-3)
