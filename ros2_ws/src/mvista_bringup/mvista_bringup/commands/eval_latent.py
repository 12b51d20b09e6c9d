"""`mvista eval latent`: what Eq. 11 has to work with.

The frozen generator's velocity error (Eq. 2) on filmed futures of held-out scenes, told the motion
that was filmed, another instruction's motion in the same scene, or nothing. A latent optimisation
can find the motion only as far as the first is smaller than the others.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass

import numpy as np

from mvista_bringup import paths
from mvista_core import instructions
from mvista_core.arm import load_arm
from mvista_core.errors import ConfigError
from mvista_core.records import ActionTrajectory, Float64
from mvista_core.rig import load_rig
from mvista_sim.cell import SimCell, SimClock
from mvista_sim.tasks import TEMPLATES
from mvista_world.probe import PlannerProbe, load_probe

NOISE_LEVELS = (0.2, 0.4, 0.6, 0.8, 0.95)


@dataclass(frozen=True)
class ErrorRow:
    """Mean error over scenes when told one thing, per noise level, and its standard error."""

    told: str
    mean: tuple[float, ...]
    standard_error: tuple[float, ...]


def run(args: argparse.Namespace) -> int:
    if args.episodes < 2 or args.seed < 0:
        raise ConfigError(
            f"--episodes {args.episodes} --seed {args.seed}: at least 2 episodes, seeds from 0"
        )
    rig = load_rig(paths.config_file("rigs", "sim_cell.yaml"))
    arm = load_arm(paths.config_file("arms", "piper.yaml"))
    cell = SimCell(arm, rig)
    planner = load_probe(args.checkpoint, rig, arm, SimClock(cell))
    scenes = [
        _scene_errors(cell, planner, seed) for seed in range(args.seed, args.seed + args.episodes)
    ]
    rows = _rows(scenes)
    sys.stdout.write("told       " + "".join(f"   t={t:<5}" for t in NOISE_LEVELS) + "\n")
    for row in rows:
        sys.stdout.write(f"{row.told:10s} " + "".join(f"  {m:7.4f}" for m in row.mean) + "\n")
    if args.json is not None:
        document = {
            "episodes": args.episodes,
            "first_seed": args.seed,
            "weights_sha256": planner.weights_sha256,
            "noise_levels": NOISE_LEVELS,
            "rows": [asdict(row) for row in rows],
        }
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def _scene_errors(cell: SimCell, planner: PlannerProbe, seed: int) -> dict[str, Float64]:
    """Errors [levels] of one scene for each thing the generator is told."""
    own_words = cell.reset("touch_cube", seed)
    joints, expert = cell.state(), cell.expert()
    others = [w for w in instructions.expand(TEMPLATES["touch_cube"]) if w != own_words]
    other = cell.expert(str(np.random.default_rng(seed).choice(others)))
    config = planner.config
    filmed = cell.run_actions(expert, config.episode.frame_times_s)
    views = [
        [next(f for f in row if f.camera == name) for row in filmed] for name in config.cameras
    ]
    rollout = planner.adopt(views, joints, own_words).rollout_id
    told: dict[str, ActionTrajectory | None] = {"true": expert, "other": other, "nothing": None}
    return {name: planner.explained(rollout, a, NOISE_LEVELS) for name, a in told.items()}


def _rows(scenes: list[dict[str, Float64]]) -> list[ErrorRow]:
    rows = []
    for told in scenes[0]:
        errors = np.stack([scene[told] for scene in scenes])
        spread = errors.std(axis=0, ddof=1) / np.sqrt(len(scenes))
        rows.append(ErrorRow(told, tuple(errors.mean(axis=0)), tuple(spread)))
    return rows
