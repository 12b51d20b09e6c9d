"""The rows of a rig's cameras: real ones, or as many Femto Bolts whose SDK is emulated."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from mvista_bringup.graph.spec import NodeSpec, RigRows, Template, Value, When
from mvista_bringup.options import RunOption

HUB, FREE = "hub", "free"
START_GAP_S = 2.0
"""Devices opened at once fail at random."""
NOISY = "{noisy: true}"
"""Emulated: grain as of a real sensor, so that a JPEG is of a real one's size."""

CAMERA_SYNC_OPTION = RunOption(
    "camera_sync", HUB, "hub: the rig's first camera is its primary; free", (HUB, FREE)
)


def real_cameras(
    rig: tuple[str, Template], told: Sequence[tuple[str, Value]], when: When
) -> tuple[RigRows, RigRows]:
    """A process for each camera of the rig, behind a hub or free."""

    def rows(sync: str) -> RigRows:
        started = partial(_real, sync, (rig, *told))
        return RigRows(rig[1], started, (when, When("camera_sync", sync)))

    return rows(HUB), rows(FREE)


def emulated_cameras(rig: tuple[str, Template], when: When) -> RigRows:
    """The same processes, each with an emulated SDK; one rig's names and lenses fit them."""
    return RigRows(rig[1], partial(_emulated, rig), (when,))


def _real(
    sync: str, told: tuple[tuple[str, Value], ...], names: tuple[str, ...]
) -> tuple[NodeSpec, ...]:
    """Behind a hub the first is the primary, opened last.

    A secondary that starts after its primary misses triggers.
    """
    rows = []
    for index, name in enumerate(names):
        role = "standalone" if sync == FREE else "secondary" if index else "primary"
        turn = index if sync == FREE else (index - 1) % len(names)
        rows.append(
            _camera(
                name,
                *told,
                ("index", index),
                ("sync_role", role),
                ("start_delay_s", turn * START_GAP_S),
            )
        )
    return tuple(rows)


def _emulated(rig: tuple[str, Template], names: tuple[str, ...]) -> tuple[NodeSpec, ...]:
    return tuple(
        _camera(name, rig, ("index", index), ("backend", "emulated"), ("emulation", NOISY))
        for index, name in enumerate(names)
    )


def _camera(name: str, *told: tuple[str, Value]) -> NodeSpec:
    return NodeSpec("mvista_cameras", "camera_node", "camera", name, "config/cameras.yaml", told)
