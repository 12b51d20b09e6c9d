"""What the topics brought, without a node: newest images, running depth means, joints."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from mvista_calibration.collect import DepthMean
from mvista_core.errors import CameraSilentError, StaleFeedbackError
from mvista_core.ports import Clock
from mvista_core.records import Float32, Intrinsics, JointState
from mvista_core.timing import seconds_to_ns
from mvista_ros.convert.image_bytes import ReceivedImage, image_from_bytes

POLL_S = 0.02
JOINT_HISTORY = 1000


@dataclass
class _Feed:
    info: Intrinsics | None = None
    color: bytes = b""
    color_arrived_ns: int = 0
    mean: DepthMean | None = None


@dataclass
class FrameBuffer:
    """Thread-safe. Callbacks put messages in; the collecting thread asks and waits.

    Serialised colour images are kept as they came and read in place when asked for: one of
    3840x2160 is 25 MB. Depth is only looked at while a mean is asked for. "Fresh" goes by arrival
    on the monotonic clock, so recordings that are replayed with their own stamps serve as well.
    """

    cameras: tuple[str, ...]
    clock: Clock
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._feeds = {name: _Feed() for name in self.cameras}
        self._joints: deque[tuple[int, JointState]] = deque(maxlen=JOINT_HISTORY)

    def add_info(self, camera: str, info: Intrinsics) -> None:
        """The lens of a camera's colour images."""
        with self._lock:
            self._feeds[camera].info = info

    def add_color(self, camera: str, message: bytes) -> None:
        """A serialised colour image arrived."""
        with self._lock:
            feed = self._feeds[camera]
            feed.color, feed.color_arrived_ns = message, self.clock.monotonic_ns()

    def add_depth(self, camera: str, message: bytes) -> None:
        """A serialised depth image arrived; counted if a mean is being taken."""
        with self._lock:
            feed = self._feeds[camera]
            mean = feed.mean
        if mean is not None:
            mean.add(depth_m(image_from_bytes(message)))

    def add_joints(self, state: JointState) -> None:
        """The arm's joints arrived."""
        with self._lock:
            self._joints.append((self.clock.monotonic_ns(), state))

    def lens(self, camera: str) -> Intrinsics | None:
        """As the camera's info says; None before the first."""
        return self._feeds[camera].info

    def wait_color(self, after_ns: int, timeout_s: float) -> dict[str, ReceivedImage]:
        """The newest colour image of every camera, all arrived after `after_ns` (monotonic).

        Raises:
            CameraSilentError: some camera sent no image or no camera info in time.
        """

        def silent() -> list[str]:
            return [
                name
                for name, feed in self._feeds.items()
                if feed.info is None or feed.color_arrived_ns <= after_ns
            ]

        self._wait(silent, timeout_s, "colour images with camera info")
        with self._lock:
            return {name: image_from_bytes(feed.color) for name, feed in self._feeds.items()}

    def start_depth(self, cameras: Sequence[str]) -> None:
        """Begin a new mean for each of these cameras."""
        with self._lock:
            for name in cameras:
                self._feeds[name].mean = DepthMean()

    def wait_depth(self, frames: int, timeout_s: float) -> dict[str, tuple[Float32, int]]:
        """Mean depth [H, W] m and its frames for each camera started; ends the means.

        Raises:
            CameraSilentError: fewer than `frames` came in time from some camera.
        """
        means = {name: feed.mean for name, feed in self._feeds.items() if feed.mean is not None}
        try:
            self._wait(
                lambda: [name for name, mean in means.items() if mean.frames < frames],
                timeout_s,
                f"{frames} depth images",
            )
        finally:
            with self._lock:
                for name in means:
                    self._feeds[name].mean = None
        return {name: (mean.mean(), mean.frames) for name, mean in means.items()}

    def joints_since(self, after_ns: int) -> list[JointState]:
        """Joint states that arrived after `after_ns` (monotonic).

        Raises:
            StaleFeedbackError: none did.
        """
        with self._lock:
            found = [state for arrived_ns, state in self._joints if arrived_ns > after_ns]
        if not found:
            raise StaleFeedbackError(
                "no joint states arrived during the shot; is the arm's driver running? Without an "
                "arm set board_on_gripper: false"
            )
        return found

    def ages_s(self) -> dict[str, float | None]:
        """Seconds since each camera's newest colour image; None: none yet."""
        now_ns = self.clock.monotonic_ns()
        with self._lock:
            return {
                name: (now_ns - feed.color_arrived_ns) / 1e9 if feed.color else None
                for name, feed in self._feeds.items()
            }

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
