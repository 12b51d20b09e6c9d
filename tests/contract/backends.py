"""The backends behind the ports, by name. A new backend adds one factory here and nothing else.

A factory gives the port and a way to let `seconds` pass for it, so that one suite serves a
simulator, whose time is its own, and hardware, whose time is the world's.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import can
import numpy as np

from mvista_bringup.paths import config_file
from mvista_core.arm import ArmModel, load_arm
from mvista_core.ports import Arm
from mvista_core.records import JointState
from mvista_core.rig import load_rig
from mvista_core.timing import ManualClock
from mvista_piper.bus import open_bus
from mvista_piper.driver import PiperDriver
from mvista_piper.emulator import EmulatedPiper, EmulatorSettings
from mvista_piper.link import PiperLink
from mvista_piper.settings import PiperSettings
from mvista_recorder.episode_reader import EpisodeReader
from mvista_recorder.replayed import ReplayedEpisode
from mvista_sim.cell import SimCell
from tests.contract.frame_backends import CAMERA_SOURCES, FrameBackend
from tests.recorder.filmed import filmed

_channels = itertools.count()


@dataclass(frozen=True)
class ArmBackend:
    """An arm at rest, the file that describes it, and whether it takes set-points."""

    arm: Arm
    model: ArmModel
    wait: Callable[[float], None]
    obeys: bool = True


@contextmanager
def _sim_cell() -> Iterator[SimCell]:
    rig = load_rig(config_file("rigs", "sim_cell.yaml"))
    cell = SimCell(load_arm(config_file("arms", "piper.yaml")), rig)
    try:
        yield cell
    finally:
        cell.close()


@contextmanager
def _sim_arm() -> Iterator[ArmBackend]:
    with _sim_cell() as cell:
        yield ArmBackend(cell, cell.arm, cell.advance)


@contextmanager
def _emulated_arm() -> Iterator[ArmBackend]:
    """The driver and the emulated arm, over python-can's virtual bus."""
    model, clock = load_arm(config_file("arms", "piper.yaml")), ManualClock(10**12)
    channel = f"contract-{next(_channels)}"
    settings = PiperSettings(interface="virtual", channel=channel, enable_at_start=True)
    driver = PiperDriver(PiperLink(partial(open_bus, settings), clock), model, settings, clock)
    arm = EmulatedPiper(EmulatorSettings(tuple(model.home[:6]), float(model.home[6]), enabled=True))
    with can.Bus(interface="virtual", channel=channel) as wire:

        def wait(seconds: float) -> None:
            for _ in range(max(round(seconds * settings.command_rate_hz), 1)):
                while (message := wire.recv(0.0)) is not None:
                    arm.receive(message.arbitration_id, bytes(message.data))
                for can_id, data in arm.step(clock.monotonic_ns()):
                    wire.send(can.Message(arbitration_id=can_id, data=data, is_extended_id=False))
                clock.advance(settings.period_s)
                driver.poll()
                driver.tick()

        driver.open()
        wait(0.5)
        try:
            yield ArmBackend(driver, model, wait)
        finally:
            driver.close()


@contextmanager
def _replayed_arm() -> Iterator[ArmBackend]:
    """An episode of ten seconds in which an arm stands still, with a real encoder's noise."""
    model, clock = load_arm(config_file("arms", "piper.yaml")), ManualClock(10**9)
    noise_rad = np.random.default_rng(0).normal(0.0, 3e-5, (2000, len(model.joint_names)))
    still = np.zeros(len(model.joint_names))
    states = [
        JointState(model.joint_names, model.home + noise, still, 5 * 10**12 + k * 5_000_000)
        for k, noise in enumerate(noise_rad)
    ]
    with tempfile.TemporaryDirectory() as root:
        reader = EpisodeReader(filmed(Path(root), joints={"/piper/joint_states": states}))
        arm = ReplayedEpisode(reader, clock).arm("piper")
        yield ArmBackend(arm, model, clock.advance, obeys=False)


@contextmanager
def _sim_frames() -> Iterator[FrameBackend]:
    with _sim_cell() as cell:
        yield FrameBackend(cell, cell.rig, cell.advance)


RECORDED_ARMS: dict[str, Callable[[], AbstractContextManager[ArmBackend]]] = {
    "replay": _replayed_arm
}
ARMS: dict[str, Callable[[], AbstractContextManager[ArmBackend]]] = {
    "emulated": _emulated_arm,
    "sim": _sim_arm,
}
FRAME_SOURCES: dict[str, Callable[[], AbstractContextManager[FrameBackend]]] = {
    "sim": _sim_frames,
    **CAMERA_SOURCES,
}
