"""Which camera the settings ask for."""

from __future__ import annotations

from dataclasses import dataclass

from mvista_cameras.emulator.camera import EmulatedCamera
from mvista_cameras.emulator.sdk import EmulatedSdk
from mvista_cameras.femto_bolt import FemtoBolt
from mvista_cameras.orbbec import OrbbecDevice, Sdk, load_sdk, serials
from mvista_cameras.ports import ShotSource
from mvista_cameras.settings import CameraSettings
from mvista_cameras.synthetic import SyntheticCamera
from mvista_core.ports import Clock


def open_source(camera: str, settings: CameraSettings, clock: Clock) -> ShotSource:
    """The source of one camera. Hardware is opened later, when its turn has come.

    Raises:
        CameraError: the Orbbec SDK does not load.
    """
    if settings.backend == "synthetic":
        return SyntheticCamera(camera, settings, clock)
    if settings.backend == "emulated":
        body = EmulatedCamera(settings.serial or f"EMU{settings.index:05d}", clock)
        return FemtoBolt(camera, settings, clock, OrbbecOpener(EmulatedSdk([body]), settings))
    return FemtoBolt(camera, settings, clock, OrbbecOpener(load_sdk(), settings))


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
