"""The backends behind the ports, by name. A new backend adds one factory here and nothing else.

A factory gives the port and a way to let `seconds` pass for it, so that one suite serves a
simulator, whose time is its own, and hardware, whose time is the world's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from mvista_bringup.paths import config_file
from mvista_core.arm import ArmModel, load_arm
from mvista_core.ports import Arm, FrameSource
from mvista_core.records import RigCalibration
from mvista_core.rig import load_rig
from mvista_sim.cell import SimCell


@dataclass(frozen=True)
class ArmBackend:
    """An arm at rest, and the file that describes it."""

    arm: Arm
    model: ArmModel
    wait: Callable[[float], None]


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
def _sim_frames() -> Iterator[FrameBackend]:
    with _sim_cell() as cell:
        yield FrameBackend(cell, cell.rig, cell.advance)


ARMS: dict[str, Callable[[], AbstractContextManager[ArmBackend]]] = {"sim": _sim_arm}
FRAME_SOURCES: dict[str, Callable[[], AbstractContextManager[FrameBackend]]] = {"sim": _sim_frames}
