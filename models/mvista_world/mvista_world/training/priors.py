"""Real priors for the refiner: what the planner infers on training episodes, and what it imagined.

The imagination is told the recorded motion (`imagine_told`): a free one would choose another style
than the recording's, and the difference between the two is nothing a refiner could see.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mvista_core.arm import ArmModel
from mvista_core.records import STEPS_AS_USUAL, CameraFrame, JointState, RigCalibration
from mvista_core.timing import SystemClock
from mvista_world.compute import choose
from mvista_world.probe import PlannerProbe, load_probe
from mvista_world.training import recordings
from mvista_world.training.loop import log
from mvista_world.training.refine_data import PRIORS_FILE, Priors, names_of, save_priors
from mvista_world.training.request import TrainingRequest


@dataclass(frozen=True)
class PriorSettings:
    """`every`-th episode of each folder, at most `per_folder`; steps of Eq. 11 from the head, as
    many as a plan of these weights takes where nobody says."""

    per_folder: int = 80
    # Prime to the refiner's ten (`VALIDATION_EVERY`): some of these episodes it holds out.
    every: int = 7
    steps: int = STEPS_AS_USUAL
    views: int = 3
    seed: int = 0


def run(asked: TrainingRequest) -> None:
    """What a packed checkpoint infers and imagines on training scenes, into `out/refine`;
    `asked.steps` is the number of scenes of each data set."""
    settings = PriorSettings(seed=asked.seed)
    if asked.steps is not None:
        settings = replace(settings, per_folder=asked.steps)
    for one in asked.video_sets():
        one.require_every_camera(asked.rig)
    compute = choose(threads=asked.threads)
    planner = load_probe(asked.checkpoint, asked.rig, asked.arm, SystemClock(), compute)
    path = asked.out / "refine" / PRIORS_FILE
    make_priors(planner, asked.video_folders(), asked.rig, asked.arm, settings, path)


def make_priors(
    planner: PlannerProbe,
    folders: Sequence[Path],
    rig: RigCalibration,
    arm: ArmModel,
    settings: PriorSettings,
    path: Path,
) -> Priors:
    """Write `path` (see `Priors`): indices count through the folders in their order."""
    rows: dict[str, list[np.ndarray]] = {"views": [], "positions": [], "color": [], "depth": []}
    indices: list[int] = []
    for index, episode in _episodes(folders, settings):
        # Other views for every scene: which cameras a task imagines is not known in advance.
        rng = np.random.default_rng((settings.seed, index))
        views = rng.permutation(len(rig.cameras))[: settings.views]
        start = episode.initial.astype(np.float64)
        joints = JointState(arm.joint_names, start, np.zeros_like(start), 0)
        names = [rig.names[v] for v in views]
        frame = CameraFrame(
            episode.color[views[0], 0],
            episode.depth_mm[views[0], 0].astype(np.float32) * np.float32(1e-3),
            planner.config.window.intrinsics(rig.camera(names[0]).intrinsics),
            0,
            names[0],
        )
        rollout = planner.imagine_told(
            frame, names[1:], joints, episode.instruction, episode.actions, index
        )
        plan = planner.infer_actions(rollout.rollout_id, "head", settings.steps, lambda *_: True)
        indices.append(index)
        rows["views"].append(views)
        rows["positions"].append(plan.prior.positions.astype(np.float32))
        # What a refiner is shown: a retoucher would draw the prior's own arm into it.
        imagined = planner.as_decoded(rollout.rollout_id)
        rows["color"].append(imagined.color)
        rows["depth"].append(np.round(imagined.depth_m * 1000.0).astype(np.uint16))
        if len(indices) % 20 == 0:
            log("priors", len(indices))
    stacked = {key: np.stack(values) for key, values in rows.items()}
    priors = Priors(
        np.array(indices, np.int64),
        stacked["positions"],
        stacked["views"].astype(np.int64),
        stacked["color"],
        stacked["depth"],
        names_of(folders),
    )
    save_priors(path, priors)
    return priors


@dataclass(frozen=True)
class _Episode:
    """color [V, T, H, W, 3], depth_mm [V, T, H, W], actions [L, J], initial [J]."""

    color: np.ndarray
    depth_mm: np.ndarray
    actions: np.ndarray
    initial: np.ndarray
    instruction: str


def _episodes(folders: Sequence[Path], settings: PriorSettings) -> Iterator[tuple[int, _Episode]]:
    base = 0
    for folder in folders:
        position = taken = 0
        for path in recordings.shard_paths([folder]):
            recordings.require_one_rig(path)
            shard = recordings.load_shard(path)
            with np.load(path) as stored:
                initial = stored["initial"]
            for row in range(len(initial)):
                if (position + row) % settings.every == 0 and taken < settings.per_folder:
                    taken += 1
                    yield (
                        base + position + row,
                        _Episode(
                            shard.color[row],
                            shard.depth_mm[row],
                            shard.actions[row, 0],
                            initial[row],
                            shard.instructions[row][0],
                        ),
                    )
            position += len(initial)
        base += position
