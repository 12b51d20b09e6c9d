"""The motion of a hand that leads an arm for a bench: half of the time it moves, half it rests."""

from __future__ import annotations

import numpy as np

from mvista_core.arm import ArmModel
from mvista_piper.emulator.hand import HandMotion

PHASE_S = 10.0
"""So long it moves, then so long it rests."""
_STEP_S = 0.02
_SPEED_RAD_S, _SPEED_M_S = 0.8, 0.05


def phase_s(seconds: float) -> float:
    """How long each motion and each rest of so many seconds is."""
    return min(PHASE_S, 0.5 * seconds)


def phases(seconds: float) -> int:
    """How many motions there are, with as many rests."""
    return max(round(seconds / (2 * phase_s(seconds))), 1)


def hand_motion(arm: ArmModel, seconds: float, seed: int) -> HandMotion:
    """From home and back to it in every phase: no joint near a limit, speeds as a person's."""
    rng = np.random.default_rng(seed)
    half_s = phase_s(seconds)
    times, rows = [0.0], [arm.home]
    for phase in range(phases(seconds)):
        began_s = 2 * phase * half_s
        local = np.arange(_STEP_S, half_s + 0.5 * _STEP_S, _STEP_S)
        rate = rng.uniform(0.15, 0.5, len(arm.home)) * 2 * np.pi
        speed = np.where(np.array(arm.joint_names) == "gripper", _SPEED_M_S, _SPEED_RAD_S)
        swing = speed / rate * rng.uniform(0.3, 1.0, len(arm.home))
        # Begins and ends at rest: the envelope is flat there.
        envelope = np.sin(np.pi * local / half_s)[:, None] ** 2
        room = 0.8 * np.minimum(arm.upper - arm.home, arm.home - arm.lower)
        room = np.where(room > 0.0, room, 0.8 * (arm.upper - arm.lower))
        wave = np.minimum(swing, room) * np.sin(local[:, None] * rate)
        wave = np.where((arm.home <= arm.lower) | (arm.home >= arm.upper), np.abs(wave), wave)
        times += [*(began_s + local), began_s + 2 * half_s]
        rows += [*(arm.home + envelope * wave), arm.home]
    rows = [np.clip(row, arm.lower, arm.upper) for row in rows]
    return HandMotion(np.array(times), np.array(rows))
