"""Which camera the settings ask for."""

from __future__ import annotations

from collections.abc import Callable

from mvista_cameras.emulator.camera import EmulatedCamera
from mvista_cameras.emulator.sdk import EmulatedSdk
from mvista_cameras.femto_bolt import FemtoBolt
from mvista_cameras.orbbec import OrbbecDevice, load_sdk
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
        return FemtoBolt(camera, settings, clock, device_opener(EmulatedSdk([body]), settings))
    return FemtoBolt(camera, settings, clock, device_opener(load_sdk(), settings))


def device_opener(sdk: object, settings: CameraSettings) -> Callable[[], OrbbecDevice]:
    """Opens the camera of the settings on an SDK, real or emulated."""
    return lambda: OrbbecDevice(sdk, settings.serial, settings.registration == "sdk")
