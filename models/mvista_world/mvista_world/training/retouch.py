"""Trains the retoucher: pictures that a packed checkpoint imagines, beside the films of them.

What is imagined is told the recorded motion (`imagine_told`): what differs from the film then is
the picture's error, not another motion that the words allow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from mvista_core import weights
from mvista_core.arm import ArmModel
from mvista_core.errors import ConfigError
from mvista_core.records import (
    MM_PER_M,
    CameraCalibration,
    CameraFrame,
    Intrinsics,
    JointState,
    RigCalibration,
)
from mvista_core.timing import SystemClock
from mvista_world.arm_pictures import DrawnArm
from mvista_world.checkpoint import Checkpoint, load_checkpoint
from mvista_world.compute import Compute, choose
from mvista_world.config import DepthConfig
from mvista_world.metrics import abs_rel, psnr
from mvista_world.pictures import color_of, depth_of
from mvista_world.probe import PlannerProbe
from mvista_world.reprojection import PosedLens, Reprojection
from mvista_world.retouch import (
    SHOWN,
    Known,
    RetouchConfig,
    Retoucher,
    Seen,
    coded,
    save_retoucher,
    seen_film,
)
from mvista_world.training.data import held_out, metres
from mvista_world.training.loop import Run, Schedule, StepLoss, log, train
from mvista_world.training.recordings import Shard, load_shard, shard_paths
from mvista_world.training.request import TrainingRequest
from mvista_world.training.vantages import vantages

FOLDER, FUTURES = "retouch", "futures"
"""Where in `--out` the retoucher is written, and beside it what was imagined for it."""


@dataclass(frozen=True)
class RetouchTraining:
    """`per_set` futures of each data set at most, and `tried` more of its last episodes that no
    step sees. A step has `batch` films, `pictures` of each. Errors below `even_below` (of a range
    of 2) count by their square; where nothing is measured they count by `unmeasured`."""

    steps: int = 3000
    batch: int = 12
    pictures: int = 2
    per_set: int = 120
    tried: int = 12
    even_below: float = 0.05
    unmeasured: float = 0.25
    learning_rate: float = 1e-3
    decay: float = 0.7
    weight_decay: float = 0.01
    seed: int = 0
    state_every: int = 100
    log_every: int = 25


@dataclass(frozen=True)
class Future:
    """One imagined future beside its film: `color` uint8 [2, V, T, H, W, 3] and `depth_mm` uint16
    [2, V, T, H, W], first what was imagined; what is known of each view: of the source
    `drawn_color` [V, H, W, 3], `drawn_mm` and `covered` [V, H, W], of the arm `arm_mm` and
    `arm_along` (of 255) [V, T, H, W]; and its window's camera, `intrinsics` [V, 4]
    (fx, fy, cx, cy, px) and `base_from_camera` [V, 4, 4]."""

    color: np.ndarray
    depth_mm: np.ndarray
    drawn_color: np.ndarray
    drawn_mm: np.ndarray
    covered: np.ndarray
    arm_mm: np.ndarray
    arm_along: np.ndarray
    intrinsics: np.ndarray
    base_from_camera: np.ndarray

    def save(self, path: Path) -> None:
        """Whole or not at all: what a killed run leaves is read by the next."""
        partial = path.with_suffix(".part")
        with partial.open("wb") as stream:
            np.savez(stream, **vars(self))
        partial.replace(path)

    @staticmethod
    def load(path: Path) -> Future:
        with np.load(path) as stored:
            return Future(**{name: stored[name] for name in stored.files})

    def known(self, view: int) -> Known:
        depth_m = metres(self.drawn_mm[view])
        drawn = Reprojection(self.drawn_color[view], depth_m, self.covered[view])
        height, width = self.covered.shape[1:]
        own = Intrinsics(width, height, *self.intrinsics[view].tolist())
        along = self.arm_along[view].astype(np.float32) / 255.0
        arm = DrawnArm(metres(self.arm_mm[view]), along)
        return Known(drawn, arm, PosedLens(own, self.base_from_camera[view]))


def run(asked: TrainingRequest) -> None:
    """Imagine with the packed checkpoint, train on that; writes `out/retouch`.

    Raises:
        ConfigError: data of another window, too few, or sides that it cannot take.
        WeightsError: no whole checkpoint.
    """
    compute = choose(device=asked.device, threads=asked.threads)
    training = asked.applied_to(RetouchTraining())
    checkpoint = load_checkpoint(asked.checkpoint, compute)
    window = checkpoint.config.window
    if window != asked.config.window:
        raise ConfigError(
            f"{asked.checkpoint} has a window of {window}, preset '{asked.config.name}' of "
            f"{asked.config.window}: give --preset as the checkpoint's"
        )
    RetouchConfig().check(window)
    folder = asked.out / FOLDER
    seen, unseen = imagine_all(checkpoint, asked, training, folder / FUTURES)
    train_retoucher(seen, unseen, folder, checkpoint.config.depth, training, compute, asked.resume)


def imagine_all(
    checkpoint: Checkpoint, asked: TrainingRequest, training: RetouchTraining, folder: Path
) -> tuple[list[Path], list[Path]]:
    """Futures to train on and to be tried on, each kept in a file, so that an interrupted run does
    not imagine it again."""
    seen: list[Path] = []
    unseen: list[Path] = []
    for one in asked.video_folders():
        shards = shard_paths([one])
        counts = [_count(path) for path in shards]
        total = sum(counts)
        last = held_out(total, training.tried)
        chosen = [*range(min(total - last, training.per_set)), *range(total - last, total)]
        starts = np.cumsum([0, *counts])
        for path, start, end in zip(shards, starts, starts[1:], strict=False):
            own = [index for index in chosen if start <= index < end]
            rows = [index - int(start) for index in own]
            made = _of_shard(checkpoint, asked, training, path, rows, folder)
            for index, future in zip(own, made, strict=True):
                (unseen if index >= total - last else seen).append(future)
    return seen, unseen


def _count(path: Path) -> int:
    """Episodes of a shard; no picture is read."""
    with np.load(path) as stored:
        return len(stored["actions"])


def _of_shard(
    checkpoint: Checkpoint,
    asked: TrainingRequest,
    training: RetouchTraining,
    path: Path,
    rows: Sequence[int],
    folder: Path,
) -> list[Path]:
    """Futures of some episodes of one shard, named by its content, the weights, the seed and what
    is kept of them."""
    if not rows:
        return []
    shard, found = load_shard(path), []
    kept = " ".join(field.name for field in fields(Future))
    said = f"{weights.sha256_of(path)} {checkpoint.sha256} {training.seed} {kept}"
    own = folder / hashlib.sha256(said.encode()).hexdigest()[:12]
    own.mkdir(parents=True, exist_ok=True)
    for row in rows:
        future = own / f"{row:04d}.npz"
        if not future.is_file():
            rng = np.random.default_rng((training.seed, row))
            imagine(checkpoint, shard, row, asked.rig, asked.arm, rng).save(future)
            log("imagined", row)
        found.append(future)
    return found


def imagine(
    checkpoint: Checkpoint,
    shard: Shard,
    row: int,
    rig: RigCalibration,
    arm: ArmModel,
    rng: np.random.Generator,
) -> Future:
    """The future of one episode, told its motion, of as many views as the model was trained on."""
    config, window = checkpoint.config, checkpoint.config.window
    lenses, poses = (each[row] for each in shard.cameras(rig, window))
    # Nobody asks for a camera's vantage: the planner draws it.
    asked_for = np.flatnonzero(vantages(poses[None], config.vantage)[0] < 0)
    views = rng.permutation(asked_for)[: config.max_views].tolist()
    cameras = []
    for view in views:
        lens = Intrinsics(window.width_px, window.height_px, *lenses[view].tolist())
        whole = lens.scaled(window.reduce)
        cameras.append(CameraCalibration(f"view{view}", poses[view], whole))
    own = RigCalibration("episode", rig.base_frame, tuple(cameras), "", "pass")
    planner = PlannerProbe(checkpoint, own, arm, SystemClock())
    source, *targets = own.names
    first = shard.color[row, views[0], 0], metres(shard.depth_mm[row, views[0], 0])
    frame = CameraFrame(*first, window.intrinsics(cameras[0].intrinsics), 0, source)
    start = shard.initial[row].astype(np.float64)
    joints = JointState(arm.joint_names, start, np.zeros_like(start), 0)
    told = shard.instructions[row][0], shard.actions[row, 0], int(rng.integers(2**31))
    rollout = planner.as_decoded(planner.imagine_told(frame, targets, joints, *told).rollout_id)
    known = planner.known(rollout.rollout_id)
    drawn = [one.drawn for one in known]
    return Future(
        np.stack([rollout.color, shard.color[row, views]]),
        np.stack([_millimetres(rollout.depth_m), shard.depth_mm[row, views]]),
        np.stack([one.color for one in drawn]),
        np.stack([_millimetres(one.depth_m) for one in drawn]),
        np.stack([one.covered for one in drawn]),
        np.stack([_millimetres(one.arm.depth_m) for one in known]),
        np.stack([np.round(one.arm.along * 255.0).astype(np.uint8) for one in known]),
        lenses[views],
        poses[views],
    )


def _millimetres(depth_m: np.ndarray) -> np.ndarray:
    return np.round(depth_m * MM_PER_M).astype(np.uint16)


def train_retoucher(
    seen: Sequence[Path],
    unseen: Sequence[Path],
    out: Path,
    depth: DepthConfig,
    training: RetouchTraining,
    compute: Compute,
    resume: bool = True,
) -> Retoucher:
    """Writes `out/retouch.safetensors` and its description.

    Raises:
        ConfigError: the state there is another run's.
    """
    torch.manual_seed(training.seed)
    config = RetouchConfig()
    model = Retoucher(config).to(compute.device)
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay
    )

    def loss_at(step: int) -> StepLoss:
        rng = np.random.default_rng((training.seed, step))
        chosen, truth = _batch(seen, depth, training, rng)
        with compute.autocast():
            found = model(chosen.map(lambda x: x.to(compute.device)))
        return losses(found, truth.to(compute.device), training)

    schedule = Schedule(training.learning_rate, training.steps, decay=training.decay)
    # Their folders are named by what they were imagined of; where those lie says nothing.
    named = "\n".join(f"{path.parent.name}/{path.name}" for path in seen)
    whose = _Whose(config, hashlib.sha256(named.encode()).hexdigest())
    this_run = Run.of("retouch", training, schedule.at, out, whose)
    train(this_run, model, optimiser, loss_at, resume)
    model.eval().requires_grad_(False)
    evaluate(model, unseen, depth, compute)
    save_retoucher(model, out)
    return model


@dataclass(frozen=True)
class _Whose:
    """Whose run a state is."""

    config: RetouchConfig
    futures_sha256: str


def _batch(
    futures: Sequence[Path], depth: DepthConfig, training: RetouchTraining, rng: np.random.Generator
) -> tuple[Seen, torch.Tensor]:
    """Some pictures of some films, and the truth [B, T, 4, H, W]; half of the films mirrored."""
    films, truths = [], []
    for index in rng.integers(len(futures), size=training.batch):
        future = Future.load(futures[index])
        view = int(rng.integers(future.color.shape[1]))
        seen, truth = _film(future, view, depth)
        few = torch.from_numpy(rng.permutation(truth.shape[1])[: training.pictures])
        moving = {n: getattr(seen, n)[:, few] for n in ("imagined", "times", "arm")}
        seen = replace(seen, **moving)
        truth = truth[:, few]
        if rng.random() < 0.5:
            seen = seen.map(lambda x: x if x.ndim < 3 else x.flip(-1))
            truth = truth.flip(-1)
        films.append(seen)
        truths.append(truth)
    names = vars(films[0])
    whole = Seen(**{name: torch.cat([getattr(film, name) for film in films]) for name in names})
    return whole, torch.cat(truths)


def _film(future: Future, view: int, depth: DepthConfig) -> tuple[Seen, torch.Tensor]:
    color, depth_m = future.color[:, view], metres(future.depth_mm[:, view])
    seen = seen_film(color[0], depth_m[0], future.known(view), depth)
    return seen, coded(color[1], depth_m[1], depth)[None]


def losses(found: torch.Tensor, truth: torch.Tensor, training: RetouchTraining) -> StepLoss:
    """Of colour, and of depth: an error of its code is one of its logarithm."""
    off = F.smooth_l1_loss(found, truth, reduction="none", beta=training.even_below)
    color, depth = off.split([SHOWN - 1, 1], dim=2)
    # 0 is measured nowhere; what lies beyond the range has no code.
    share = torch.where(truth[:, :, SHOWN - 1 :] > -0.9, 1.0, training.unmeasured)
    parts = {"color": color.mean(), "depth": (depth * share).mean()}
    return StepLoss(parts["color"] + parts["depth"], parts)


@torch.no_grad()
def evaluate(
    model: Retoucher, unseen: Sequence[Path], depth: DepthConfig, compute: Compute
) -> dict[str, float]:
    """PSNR (dB) and AbsRel of futures that no step saw, decoded and retouched, and AbsRel where the
    source shows nothing."""
    rows: dict[str, list[float]] = {}
    for path in unseen:
        future = Future.load(path)
        for view in range(future.color.shape[1]):
            seen, _ = _film(future, view, depth)
            with compute.autocast():
                after = model(seen.map(lambda x: x.to(compute.device))).cpu()
            truth_m, hidden = metres(future.depth_mm[1, view]), ~future.covered[view]
            for name, film in (("decoded", seen.imagined), ("retouched", after)):
                pixels = film[0].clamp(-1.0, 1.0).movedim(1, -1)
                depth_m = depth_of(pixels[..., SHOWN - 1 :], depth)
                color = color_of(pixels[..., : SHOWN - 1])
                rows.setdefault(f"{name}_psnr", []).append(psnr(color, future.color[1, view]))
                rows.setdefault(f"{name}_abs_rel", []).append(abs_rel(depth_m, truth_m))
                unshown = np.where(hidden, truth_m, 0.0)
                if (unshown > 0).any():
                    found = abs_rel(depth_m, unshown)
                    rows.setdefault(f"{name}_abs_rel_unseen", []).append(found)
    means = {name: float(np.nanmean(values)) for name, values in rows.items()}
    log("retouch-evaluation", len(unseen), **means)
    return means
