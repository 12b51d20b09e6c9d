"""The backends behind the ports, by name. A new backend adds one factory here and nothing else.

A factory gives the port and a way to let `seconds` pass for it, so that one suite serves a
simulator, whose time is its own, and hardware, whose time is the world's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import numpy as np

from mvista_bringup.paths import config_file
from mvista_core.arm import ArmModel, load_arm
from mvista_core.ports import Arm, FrameSource
from mvista_core.records import JointState, RigCalibration
from mvista_core.rig import load_rig
from mvista_core.timing import ManualClock
from mvista_piper.replay import ReplayArm
from mvista_sim.cell import SimCell


@dataclass(frozen=True)
class ArmBackend:
    """An arm at rest, the file that describes it, and whether it takes set-points."""

    arm: Arm
    model: ArmModel
    wait: Callable[[float], None]
    obeys: bool = True


@dataclass(frozen=True)
class FrameBackend:
    """Cameras that have delivered at least one frame each, and the rig they hang on."""

    source: FrameSource
    rig: RigCalibration
    wait: Callable[[float], None]


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
def _replayed_arm() -> Iterator[ArmBackend]:
    """Ten seconds of an arm that stands still, with the encoder noise of a real one."""
    model, clock = load_arm(config_file("arms", "piper.yaml")), ManualClock(10**9)
    noise_rad = np.random.default_rng(0).normal(0.0, 3e-5, (2000, len(model.joint_names)))
    still = np.zeros(len(model.joint_names))
    states = [
        JointState(model.joint_names, model.home + noise, still, 5 * 10**12 + k * 5_000_000)
        for k, noise in enumerate(noise_rad)
    ]
    yield ArmBackend(ReplayArm(states, clock), model, clock.advance, obeys=False)


@contextmanager
def _sim_frames() -> Iterator[FrameBackend]:
    with _sim_cell() as cell:
        yield FrameBackend(cell, cell.rig, cell.advance)


RECORDED_ARMS: dict[str, Callable[[], AbstractContextManager[ArmBackend]]] = {
    "replay": _replayed_arm
}
ARMS: dict[str, Callable[[], AbstractContextManager[ArmBackend]]] = {"sim": _sim_arm}
FRAME_SOURCES: dict[str, Callable[[], AbstractContextManager[FrameBackend]]] = {"sim": _sim_frames}
