"""The two seams of this package: a device that is driven, and a source of captures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mvista_cameras.records import (
    Damaged,
    DeviceIdentity,
    RawImage,
    SourceReport,
    StreamProfile,
    SyncConfig,
)
from mvista_core.capture import Capture
from mvista_core.registration import StreamCalibration


class CaptureDevice(Protocol):
    """One opened RGB-D device. Every method raises `CameraError` when the device fails."""

    def identity(self) -> DeviceIdentity: ...

    def color_profiles(self) -> Sequence[StreamProfile]: ...

    def depth_profiles(self) -> Sequence[StreamProfile]: ...

    def write_sync(self, config: SyncConfig) -> None: ...

    def read_sync(self) -> SyncConfig:
        """What the device says it will do, which need not be what was written."""

    def start(self, color: StreamProfile, depth: StreamProfile) -> StreamCalibration: ...

    def stop(self) -> None:
        """Stop the streams and stay open; `start` begins anew."""

    def wait(self, timeout_s: float) -> Sequence[RawImage | Damaged]:
        """Images that arrived, colour and depth in any order; empty when none came in time.

        One that cannot be read is `Damaged`, and none of the others' business.
        """

    def close(self) -> None:
        """Stop and let go of the device; never raises."""


class DeviceOpener(Protocol):
    """How one camera is opened, and whether it is there at all."""

    def __call__(self) -> CaptureDevice:
        """Open it. Raises `CameraError`."""

    def connected(self) -> bool:
        """Whether the bus lists it; touches no stream. Raises `CameraError`."""


class CaptureSource(Protocol):
    """One camera that delivers captures: hardware, emulated, synthetic. A new one streams."""

    @property
    def camera(self) -> str: ...

    def next(self, timeout_s: float) -> Capture | None:
        """The next capture, or None when none came within `timeout_s`; keeps the camera alive."""

    def skip(self, reason: str) -> None:
        """The newest capture's colour could not be decoded: it is counted among the damaged."""

    def stream(self, wanted: bool) -> None:
        """Whether it shall stream; without, it is opened and checked, and `next` keeps it so.

        May be called from any thread; `next` carries it out.
        """

    def report(self) -> SourceReport: ...

    def close(self) -> None: ...
