"""Trials of the drift watch in the simulated cell, one per process: quiet, moved, zeros."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np

from mvista_calibration.drift.watch import DriftWatch
from mvista_calibration_sim.drift_cell import DriftCell
from mvista_core.arm import load_arm
from mvista_core.records import CameraFrame, Float64, JointState
from mvista_core.rig import load_rig
from mvista_eval.cell import arm_file, cell_settings, rig_file
from mvista_eval.trials import Study

MOVE_M, TURN_RAD, ZERO_RAD = 0.01, float(np.deg2rad(1.0)), float(np.deg2rad(2.0))
SETTLE_S = 45
"""Learning (25 frames) and a full window, before anything is spoiled."""
MOVED_S, ZEROS_S = 60, 300
AXES = ("x 1 cm", "y 1 cm", "z 1 cm", "x 1 deg", "y 1 deg", "z 1 deg")


@dataclass(frozen=True)
class DriftTrial:
    """`kind` is quiet, moved or zeros; `seconds` of unmoved frames for a quiet one."""

    kind: str
    seed: int
    seconds: int = 0


@dataclass(frozen=True)
class DriftDetection:
    """What was spoiled, and after how many seconds of frames the right warning came (None: not);
    `wrong` are warnings of anything else. For a quiet trial `subject` is "" and all are wrong."""

    kind: str
    seed: int
    subject: str
    what: str
    delay_s: int | None
    wrong: tuple[str, ...]
    frames_s: int
    estimate: float = float("nan")
    """The motion found (m or rad) when it warned; in a quiet trial the largest seen, m."""


def study() -> Study[DriftTrial, DriftDetection]:
    """Trials in the shipped cell, each in a process of one thread."""
    return Study("drift", run, DriftDetection, cell_settings(), one_thread=True)


def run(trial: DriftTrial) -> list[DriftDetection]:
    """One trial from a fresh cell."""
    arm = load_arm(arm_file())
    rig = load_rig(rig_file())
    cell, watch = DriftCell(arm, rig, trial.seed), DriftWatch(rig, arm)
    try:
        return {"quiet": _quiet, "moved": _moved, "zeros": _zeros}[trial.kind](cell, watch, trial)
    finally:
        cell.close()


def _quiet(cell: DriftCell, watch: DriftWatch, trial: DriftTrial) -> list[DriftDetection]:
    wrong: dict[str, None] = {}
    largest = 0.0
    for frames, joints in cell.moments(trial.seconds):
        watch.add(frames, joints)
        report = watch.report()
        wrong.update(dict.fromkeys(text.split(" by ")[0] for text in report.warnings))
        largest = max([largest, *(c.moved_m for c in report.cameras if np.isfinite(c.moved_m))])
    return [DriftDetection("quiet", trial.seed, "", "", None, tuple(wrong), trial.seconds, largest)]


def _moved(cell: DriftCell, watch: DriftWatch, trial: DriftTrial) -> list[DriftDetection]:
    """All cameras by all axes at once, each in a copy of the settled watch."""
    found: list[DriftDetection] = []
    waiting: dict[tuple[str, int], DriftWatch] = {}
    for second, (frames, joints) in enumerate(cell.moments(SETTLE_S + MOVED_S)):
        if second < SETTLE_S:
            watch.add(frames, joints)
            continue
        if second == SETTLE_S:
            names = [frame.camera for frame in frames]
            waiting = {(n, axis): copy.deepcopy(watch) for n in names for axis in range(6)}
        delay = second - SETTLE_S + 1
        for key, one in list(waiting.items()):
            one.add(_with(frames, cell.seen_from(key[0], _twist(key[1]))), joints)
            detection = _judged(one, key, trial.seed, delay)
            if detection.delay_s is not None or delay == MOVED_S:
                found.append(detection)
                del waiting[key]
        if not waiting:
            break
    return found


def _judged(watch: DriftWatch, key: tuple[str, int], seed: int, delay: int) -> DriftDetection:
    camera, axis = key
    report = watch.report()
    of_it = next(c for c in report.cameras if c.camera == camera)
    wrong = tuple(t for t in report.warnings if not t.startswith(camera))
    return DriftDetection(
        "moved", seed, camera, AXES[axis], delay if of_it.state == "warning" else None, wrong,
        delay, of_it.moved_m if axis < 3 else of_it.turned_rad,
    )  # fmt: skip


def _zeros(cell: DriftCell, watch: DriftWatch, trial: DriftTrial) -> list[DriftDetection]:
    """The joints report 2 degrees too much, one joint per copy of the watch."""
    found: list[DriftDetection] = []
    waiting: dict[int, DriftWatch] = {}
    for second, (frames, joints) in enumerate(cell.moments(SETTLE_S + ZEROS_S)):
        if second < SETTLE_S:
            watch.add(frames, joints)
            continue
        if second == SETTLE_S:
            waiting = {joint: copy.deepcopy(watch) for joint in range(6)}
        delay = second - SETTLE_S + 1
        for joint, one in list(waiting.items()):
            positions = joints.positions.copy()
            positions[joint] += ZERO_RAD
            one.add(frames, JointState(joints.names, positions, joints.velocities, joints.stamp_ns))
            report = one.report()
            name = joints.names[joint]
            hit = any(text.startswith(name) for text in report.warnings)
            if hit or delay == ZEROS_S:
                wrong = tuple(t for t in report.warnings if not t.startswith(name))
                size = next((j.offset_rad for j in report.joints if j.joint == name), float("nan"))
                found.append(
                    DriftDetection(
                        "zeros",
                        trial.seed,
                        name,
                        "2 deg",
                        delay if hit else None,
                        wrong,
                        delay,
                        size,
                    )
                )
                del waiting[joint]
        if not waiting:
            break
    return found


def _with(frames: tuple[CameraFrame, ...], other: CameraFrame) -> tuple[CameraFrame, ...]:
    return tuple(other if frame.camera == other.camera else frame for frame in frames)


def _twist(axis: int) -> Float64:
    twist = np.zeros(6)
    twist[axis] = MOVE_M if axis < 3 else TURN_RAD
    return twist
