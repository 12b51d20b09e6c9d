"""Cameras of `mvista_cameras` behind the `FrameSource` port, for the contract suite."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mvista_cameras.emulator.camera import scaled_to
from mvista_cameras.emulator.scene import FEMTO_BOLT_COLOR
from mvista_cameras.emulator.sdk import EmulatedSdk
from mvista_cameras.femto_bolt import FemtoBolt
from mvista_cameras.ports import CaptureSource
from mvista_cameras.settings import CameraSettings
from mvista_cameras.sources import OrbbecOpener
from mvista_cameras.synthetic import SyntheticCamera
from mvista_core.capture import Capture
from mvista_core.ports import FrameSource
from mvista_core.records import CameraCalibration, RigCalibration
from mvista_core.timing import ManualClock
from mvista_recorder.episode_reader import EpisodeReader
from mvista_recorder.replayed import ReplayedEpisode
from tests.cameras.emulated import SMALL, SmallCamera
from tests.contract.camera_set import CameraSet
from tests.recorder.filmed import filmed

CAMERAS = ("cam0", "cam1")
LENS = scaled_to(FEMTO_BOLT_COLOR, 320, 180)
START_NS = 1_700_000_000 * 10**9


@dataclass(frozen=True)
class FrameBackend:
    """Cameras that have delivered at least one frame each, and the rig they hang on."""

    source: FrameSource
    rig: RigCalibration
    wait: Callable[[float], None]


def _rig() -> RigCalibration:
    cameras = tuple(CameraCalibration(name, np.eye(4), LENS) for name in CAMERAS)
    return RigCalibration("contract", "base", cameras, "2026-01-01", "pass")


def _of(sources: list[CaptureSource], clock: ManualClock) -> FrameBackend:
    cameras = CameraSet(sources, clock)
    while any(cameras.latest(name) is None for name in CAMERAS):
        cameras.pump(0.1)
    return FrameBackend(cameras, _rig(), cameras.pump)


@contextmanager
def emulated_femto_bolts() -> Iterator[FrameBackend]:
    """The driver of the hardware, whole, over an SDK that is emulated."""
    clock = ManualClock(START_NS)
    sdk = EmulatedSdk([SmallCamera(f"SN{name}", clock) for name in CAMERAS])
    sources: list[CaptureSource] = []
    for index, name in enumerate(CAMERAS):
        settings = CameraSettings(
            backend="emulated", serial=f"SN{name}", index=index, sync_role="standalone", **SMALL
        )
        sources.append(FemtoBolt(name, settings, clock, OrbbecOpener(sdk, settings)))
    yield _of(sources, clock)


@contextmanager
def synthetic() -> Iterator[FrameBackend]:
    """Pictures made beforehand."""
    clock = ManualClock(START_NS)
    settings = CameraSettings(backend="synthetic", width_px=320, height_px=180)
    cameras: list[CaptureSource] = [
        SyntheticCamera(name, replace(settings, index=index), clock)
        for index, name in enumerate(CAMERAS)
    ]
    yield _of(cameras, clock)


@contextmanager
def replayed() -> Iterator[FrameBackend]:
    """Ten frames per camera in an episode, of the synthetic cameras, played in a loop."""
    clock = ManualClock(START_NS)
    settings = CameraSettings(backend="synthetic", width_px=320, height_px=180)
    with tempfile.TemporaryDirectory() as folder:
        shots: list[Capture] = []
        for index, name in enumerate(CAMERAS):
            source = SyntheticCamera(name, replace(settings, index=index), ManualClock(START_NS))
            taken = (source.next(1.0) for _ in range(10))
            shots += [shot for shot in taken if shot is not None]
        replay = ReplayedEpisode(EpisodeReader(filmed(Path(folder), shots)), clock, loop=True)
        clock.advance(0.1)
        yield FrameBackend(replay, _rig(), clock.advance)


CAMERA_SOURCES: dict[str, Callable[[], AbstractContextManager[FrameBackend]]] = {
    "emulated": emulated_femto_bolts,
    "replay": replayed,
    "synthetic": synthetic,
}
