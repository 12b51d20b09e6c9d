"""Which camera the settings ask for."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from mvista_cameras.emulator.camera import EmulatedCamera
from mvista_cameras.emulator.sdk import EmulatedSdk
from mvista_cameras.femto_bolt import FemtoBolt
from mvista_cameras.orbbec import OrbbecDevice, Sdk, load_sdk, serials
from mvista_cameras.ports import CaptureSource
from mvista_cameras.settings import CameraSettings
from mvista_cameras.synthetic import SyntheticCamera
from mvista_core.documents import parse_document
from mvista_core.errors import ConfigError
from mvista_core.ports import Clock


def open_source(camera: str, settings: CameraSettings, clock: Clock) -> CaptureSource:
    """The source of one camera. Hardware is opened later, when its turn has come.

    Raises:
        CameraError: the Orbbec SDK does not load. ConfigError: an emulation that there is not.
    """
    if settings.backend == "synthetic":
        return SyntheticCamera(camera, settings, clock)
    if settings.backend == "emulated":
        # By index, so that the cameras of an emulated rig differ: the serial tints their pictures.
        serial = settings.serial or f"EMU{settings.index:05d}"
        body = EmulatedCamera(serial, clock, **_emulation(settings.emulation))
        return FemtoBolt(camera, settings, clock, OrbbecOpener(EmulatedSdk([body]), settings))
    return FemtoBolt(camera, settings, clock, OrbbecOpener(load_sdk(), settings))


def _emulation(text: str) -> dict[str, Any]:
    """Attributes of an emulated camera, each of the kind that its default is.

    Raises:
        ConfigError: not such a mapping.
    """
    document = parse_document(text.encode(), "emulation", ConfigError) if text else None
    allowed = {
        f.name: f.default
        for f in fields(EmulatedCamera)
        if isinstance(f.default, bool | int | float)
    }
    chosen: dict[str, Any] = {}
    for name, value in (document.entries() if document else {}).items():
        kind = type(allowed.get(name))
        if name not in allowed:
            raise value.refuse(f"is nothing that can be set; allowed: {', '.join(allowed)}")
        if kind is bool:
            chosen[name] = value.truth()
        else:
            chosen[name] = value.whole(-(2**62), 2**62) if kind is int else value.number()
    return chosen


@dataclass(frozen=True)
class OrbbecOpener:
    """Opens the camera of the settings on an SDK, real or emulated."""

    sdk: Sdk
    settings: CameraSettings

    def __call__(self) -> OrbbecDevice:
        """Raises `CameraError`."""
        return OrbbecDevice(self.sdk, self.settings.serial, self.settings.registration == "sdk")

    def connected(self) -> bool:
        """Whether it is listed; opens nothing."""
        listed = [serial for serial, _ in serials(self.sdk)]
        return self.settings.serial in listed if self.settings.serial else bool(listed)
