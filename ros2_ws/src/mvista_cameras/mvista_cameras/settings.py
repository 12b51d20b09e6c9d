"""Camera settings: one frozen record, read from `config/cameras.yaml`, checked across fields."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mvista_cameras.connection import ConnectionTimes
from mvista_cameras.profiles import StreamRequest
from mvista_cameras.records import SyncConfig
from mvista_cameras.sync import sync_for
from mvista_core.errors import ConfigError

BACKENDS = ("femto_bolt", "emulated", "synthetic")
REGISTRATIONS = ("own", "sdk")


def _setting(
    default: bool | int | float | str,
    text: str,
    low: float | None = None,
    high: float | None = None,
) -> Any:
    # The metadata is what `mvista_ros.parameters.declare` shows for a ROS parameter.
    return field(default=default, metadata={"text": text, "minimum": low, "maximum": high})


@dataclass(frozen=True)
class CameraSettings:
    """Which camera, in which mode, how it is synchronised, and when it counts as lost."""

    backend: str = _setting(
        "femto_bolt",
        "femto_bolt (hardware); emulated (its SDK emulated); synthetic (pictures made beforehand)",
    )
    emulation: str = _setting(
        "", "What the emulated camera does, as YAML: {noisy: true, rate_error: 0.0047}"
    )
    serial: str = _setting("", "Serial number of the camera; empty: the only one connected")
    index: int = _setting(0, "Place of this camera in the rig: its laser's time slot", 0, 15)
    width_px: int = _setting(1280, "Colour width; 3840 for calibration", 16, 3840)
    height_px: int = _setting(720, "Colour height; 2160 for calibration", 16, 2160)
    rate_hz: int = _setting(15, "Captures per second that are published", 1, 60)
    depth_width_px: int = _setting(640, "Native depth width (640x576 narrow, unbinned)", 16, 1024)
    depth_height_px: int = _setting(576, "Native depth height", 16, 1024)
    registration: str = _setting("own", "Depth to colour by: own (registration.py) or sdk")
    sync_role: str = _setting("standalone", "standalone, primary or secondary (by sync hub)")
    start_delay_s: float = _setting(
        0.0, "Opened so long after the start: 2 s between cameras, primary last", 0.0, 60.0
    )
    first_image_s: float = _setting(6.0, "Time for the first pair of images", 0.5, 60.0)
    silence_s: float = _setting(1.0, "Nothing of a stream for so long: opened anew", 0.1, 10.0)
    retry_s: float = _setting(0.5, "First pause before opening again; doubles", 0.1, 10.0)
    longest_retry_s: float = _setting(5.0, "Longest pause before opening again", 0.5, 60.0)
    most_starts: int = _setting(
        5, "Starts in a row without steady images before the camera is left alone", 1, 20
    )
    pairing_tolerance_s: float = _setting(
        0.01, "Colour and depth of one capture differ by at most this", 0.0005, 0.03
    )
    latency_s: float = _setting(
        0.03, "Capture to fastest arrival, where the SDK gives no global stamps", 0.0, 0.3
    )

    def __post_init__(self) -> None:
        _check("backend", self.backend, BACKENDS)
        _check("registration", self.registration, REGISTRATIONS)
        # From half a period on the depth of the next capture could lie as near as its own.
        if self.pairing_tolerance_s >= 0.5 / self.rate_hz:
            raise ConfigError(
                f"pairing_tolerance_s is {self.pairing_tolerance_s} s; allowed: less than half a "
                f"period, {0.5 / self.rate_hz:.4f} s at {self.rate_hz} Hz"
            )
        if self.backend == "emulated" and self.registration == "sdk":
            raise ConfigError("registration 'sdk' needs the real SDK; with emulated allowed: own")
        if self.emulation and self.backend != "emulated":
            raise ConfigError(f"emulation is for backend emulated; backend is {self.backend}")
        if self.longest_retry_s < self.retry_s:
            raise ConfigError(
                f"longest_retry_s {self.longest_retry_s} s is shorter than retry_s {self.retry_s} s"
            )
        self.sync  # noqa: B018 - refuses an unknown role now, not when the camera is opened

    @property
    def color(self) -> StreamRequest:
        """The colour stream asked for."""
        return StreamRequest(self.width_px, self.height_px, self.rate_hz)

    @property
    def depth(self) -> StreamRequest:
        """The depth stream asked for."""
        return StreamRequest(self.depth_width_px, self.depth_height_px, self.rate_hz)

    @property
    def sync(self) -> SyncConfig:
        """The sync setting of this camera."""
        return sync_for(self.sync_role, self.index)

    @property
    def times(self) -> ConnectionTimes:
        """When to open, to give up and to try again."""
        return ConnectionTimes(
            self.start_delay_s,
            self.first_image_s,
            self.silence_s,
            self.retry_s,
            self.longest_retry_s,
            self.most_starts,
        )


def _check(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{name} is '{value}'; allowed: {', '.join(allowed)}")
