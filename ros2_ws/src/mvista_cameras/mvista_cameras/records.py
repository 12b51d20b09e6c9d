"""What crosses between the parts of a camera: streams, settings, images, how it does."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from numpy.typing import NDArray

from mvista_core.errors import CameraError


class Stream(Enum):
    """The two streams of an RGB-D camera that are used."""

    COLOR = "colour"
    DEPTH = "depth"


@dataclass(frozen=True)
class StreamProfile:
    """One way a sensor can stream; `pixel_format` is the SDK's name (RGB, MJPG, Y16, ...)."""

    width_px: int
    height_px: int
    rate_hz: int
    pixel_format: str

    def __str__(self) -> str:
        return f"{self.width_px}x{self.height_px}@{self.rate_hz} {self.pixel_format}"


@dataclass(frozen=True)
class DeviceIdentity:
    """What a device says of itself; `connection` as the SDK words it ("USB3.2", "USB2.1")."""

    model: str
    serial: str
    firmware: str
    connection: str


@dataclass(frozen=True)
class SyncConfig:
    """Hardware sync of one device; `role` is `standalone`, `primary` or `secondary`."""

    role: str = "standalone"
    depth_delay_us: int = 0
    color_delay_us: int = 0
    trigger_out: bool = False


@dataclass(frozen=True)
class RawImage:
    """One image as the device gave it.

    `pixels` uint8 [H, W, 3] RGB or uint16 [H, W] millimetres; or, undecoded, `jpeg`. `device_us`
    counts on the device's own clock; `global_us` is the SDK's estimate of the capture on the host's
    wall clock, 0 where it has none.
    """

    stream: Stream
    width_px: int
    height_px: int
    device_us: int
    global_us: int = 0
    pixels: NDArray[Any] | None = None
    jpeg: bytes = b""


@dataclass(frozen=True)
class Damaged:
    """An image that came and cannot be used: cut short, not to be decoded, of another size."""

    stream: Stream
    reason: str

    def __str__(self) -> str:
        return f"{self.stream.value}: {self.reason}"


class Condition(Enum):
    """How a camera does."""

    OK = "streaming"
    READY = "ready"
    """Opened and checked; images are not wanted."""
    WAITING = "waiting"
    FAILED = "failed"


@dataclass(frozen=True)
class SourceReport:
    """A camera's state in a sentence, and the numbers behind it (name with unit, value).

    `warning` is what is wrong while it streams all the same.
    """

    condition: Condition
    message: str
    values: tuple[tuple[str, str], ...] = field(default=())
    warning: str = ""

    def refusal(self) -> CameraError:
        """The sentence as the error that refuses a step."""
        # Whoever tells an error puts its number before it; the message has it already.
        return CameraError(self.message.removeprefix(f"[{CameraError.code}] "))
