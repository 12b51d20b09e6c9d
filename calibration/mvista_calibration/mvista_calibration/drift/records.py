"""What the drift watch says of cameras and joints."""

from __future__ import annotations

from dataclasses import dataclass

LEARNING, OK, WARNING, BLIND = "learning", "ok", "warning", "blind"
"""States of a camera or joint; blind: what is seen does not show it."""


@dataclass(frozen=True)
class CameraDrift:
    """One camera. `moved_m` and `turned_rad` are the sizes of its motion since the baseline (in
    its own frame) with sigma; `share` is how much of the background is recognised. `against_others`
    is what the other cameras say of it since the baseline: height and tilt mostly, m and rad."""

    camera: str
    state: str
    moved_m: float = float("nan")
    moved_sd_m: float = float("nan")
    turned_rad: float = float("nan")
    turned_sd_rad: float = float("nan")
    share: float = float("nan")
    against_others: tuple[float, float] = (float("nan"), float("nan"))
    words: str = ""


@dataclass(frozen=True)
class JointDrift:
    """One joint's zero offset, rad, with sigma; BLIND where the poses seen do not show it."""

    joint: str
    state: str
    offset_rad: float
    sd_rad: float


@dataclass(frozen=True)
class DriftReport:
    """All there is to say now; `warnings` in words, empty when all is well."""

    cameras: tuple[CameraDrift, ...]
    joints: tuple[JointDrift, ...]
    robot_gap_m: tuple[float, ...]
    disagreement_m: float
    warnings: tuple[str, ...]
