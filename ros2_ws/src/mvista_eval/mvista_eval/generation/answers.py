"""One scene: its film, what the model imagines of it, and the naive answers beside.

An answer is a rollout of the film's views and times. All but the model's are of two kinds: those
that only know what the model knows (`REPROJECTED`), and those that know more of the truth and so
say what a picture could be worth (`NEAREST`, `STILL`, `RECODED`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mvista_core.imaging import ModelWindow
from mvista_core.records import (
    CameraFrame,
    Float32,
    Intrinsics,
    JointState,
    Observation,
    RigCalibration,
    Rollout,
    UInt8,
)
from mvista_eval.cell import quiet
from mvista_eval.generation.viewpoints import nearest_camera
from mvista_sim.cell import SimCell
from mvista_world.cameras import look_at_point
from mvista_world.config import DepthConfig
from mvista_world.probe import ANYWHERE, PlannerProbe
from mvista_world.reprojection import PosedLens, reproject

IMAGINED = "imagined"
DECODED = "imagined, before retouching"
"""What the codec decodes, where the checkpoint has a retoucher (`mvista_world.retouch`)."""
REPROJECTED = "source's first frame reprojected"
"""The source's whole first image, drawn from each view and held still; where it saw nothing, the
nearest pixel that it saw."""
NEAREST = "nearest trained camera's film"
"""The true future from another place: the best that can be drawn by a model to which a camera is
an identity, not a pose. Nearest by angle, never the asked camera itself."""
STILL = "own first frame held still"
"""The truth of the view itself at first: no motion."""
RECODED = "autoencoder of the film"
"""decode(encode(truth)): the ceiling of whatever is generated in latents."""
ANSWERS = (IMAGINED, DECODED, REPROJECTED, NEAREST, STILL, RECODED)


@dataclass(frozen=True)
class AnsweredScene:
    """`answers` by name, each like the `film`; `seen` bool [V, H, W] is what of a view's first
    frame the source's first frame shows; `nearest` names each view's nearest trained camera."""

    film: Rollout
    answers: Mapping[str, Rollout]
    seen: NDArray[np.bool_]
    nearest: tuple[str, ...]


@dataclass(frozen=True)
class AskedScene:
    """What is asked of the model in one scene; with `told` it is told the motion too.

    `rig` holds the cameras it is asked for, `trained` those it was trained on, and `films` says
    which camera of the cell films a trained one.
    """

    task: str
    seed: int
    told: bool
    rig: RigCalibration
    trained: RigCalibration
    films: Mapping[str, str]


def answer(cell: SimCell, planner: PlannerProbe, asked: AskedScene) -> AnsweredScene:
    """Film the expert, imagine its first frame's future, and give every other answer.

    The seed is also the noise's.

    Raises:
        ConfigError, MvistaError: see `SimCell.reset` and `SimCell.expert`.
    """
    words = cell.reset(asked.task, asked.seed)
    joints, expert, config = cell.state(), cell.expert(), planner.config
    source, *targets = config.cameras
    frames = tuple(cell.latest(name) for name in config.cameras)
    rows = cell.run_actions(expert, config.episode.frame_times_s)
    views = {name: [_of(row, name) for row in rows] for name in cell.cameras()}
    if asked.told:
        actions = expert.positions.astype(np.float32)
        window = config.window.frame(frames[0])
        imagined = planner.imagine_told(window, targets, joints, words, actions, asked.seed)
    else:
        observation = Observation(frames, joints, asked.rig.content_hash, words)
        imagined = planner.imagine(observation, source, targets, asked.seed, quiet, ANYWHERE)
    return _answered(planner, asked, imagined, views, joints, words)


def _answered(
    planner: PlannerProbe,
    asked: AskedScene,
    imagined: Rollout,
    views: Mapping[str, list[CameraFrame]],
    joints: JointState,
    words: str,
) -> AnsweredScene:
    config = planner.config
    film = planner.adopt([views[name] for name in config.cameras], joints, words)
    centre = look_at_point(np.stack([c.base_from_camera for c in asked.rig.cameras]))
    others = [asked.trained.camera(name) for name in config.cameras]
    nearest = tuple(
        nearest_camera(asked.rig.camera(name), others, centre) for name in config.cameras
    )
    windows = [[config.window.frame(f) for f in views[asked.films[name]]] for name in nearest]
    color, depth_m = _held(film, film.color[:, :1], film.depth_m[:, :1])
    answers = {
        IMAGINED: imagined,
        NEAREST: replace(
            film,
            color=np.stack([[f.color for f in view] for view in windows]),
            depth_m=np.stack([[f.depth_m for f in view] for view in windows]),
        ),
        STILL: replace(film, color=color, depth_m=depth_m),
        RECODED: planner.recoded(film.rollout_id),
    }
    first = views[config.cameras[0]][0]
    answers[REPROJECTED], seen = reprojected(film, first, asked.rig, config.window)
    if planner.retouches:
        answers[DECODED] = planner.as_decoded(imagined.rollout_id)
    within = {n: _in_range(answers[n], config.depth) for n in ANSWERS if n in answers}
    return AnsweredScene(_in_range(film, config.depth), within, seen, nearest)


def reprojected(
    film: Rollout, frame: CameraFrame, rig: RigCalibration, window: ModelWindow
) -> tuple[Rollout, NDArray[np.bool_]]:
    """The source's whole first image from every view, held still, and what of each window it
    covers [V, H, W].

    The model is given a window of that image; a robot has all of it, and so has this.
    """
    source = PosedLens(frame.intrinsics, rig.camera(frame.camera).base_from_camera)
    windows, covered = [], []
    for name in film.cameras:
        camera = rig.camera(name)
        target = PosedLens(camera.intrinsics, camera.base_from_camera)
        seen, drawn = np.ones(frame.depth_m.shape, bool), frame
        if name != frame.camera:
            found = reproject(frame.color, frame.depth_m, source, target)
            seen, filled = found.covered, found.filled()
            drawn = replace(
                frame, color=filled.color, depth_m=filled.depth_m, intrinsics=camera.intrinsics
            )
        windows.append(window.frame(drawn))
        covered.append(_reduced(seen, camera.intrinsics, window))
    color, depth_m = _held(
        film,
        np.stack([one.color for one in windows])[:, None],
        np.stack([one.depth_m for one in windows])[:, None],
    )
    return replace(film, color=color, depth_m=depth_m), np.stack(covered)


def _reduced(mask: NDArray[np.bool_], lens: Intrinsics, window: ModelWindow) -> NDArray[np.bool_]:
    """A mask of a whole image as its window's: True where more than half of a block is."""
    left, top = (max(0, start) for start in window.origin(lens))
    area, k = window.image_area(lens), window.reduce
    reduced = np.zeros((window.height_px, window.width_px), bool)
    height, width = reduced[area].shape
    blocks = mask[top : top + height * k, left : left + width * k].reshape(height, k, width, k)
    reduced[area] = blocks.mean(axis=(1, 3)) > 0.5
    return reduced


def _held(film: Rollout, color: UInt8, depth_m: Float32) -> tuple[UInt8, Float32]:
    """First frames [V, 1, ...] at every time of the film."""
    return (
        np.broadcast_to(color, film.color.shape).copy(),
        np.broadcast_to(depth_m, film.depth_m.shape).copy(),
    )


def _in_range(rollout: Rollout, depth: DepthConfig) -> Rollout:
    """Depths that the model has no code for count for nobody: the floor behind the table is
    metres away, and would outweigh all else in an answer that knows it."""
    known = (rollout.depth_m >= depth.near_m) & (rollout.depth_m <= depth.far_m)
    return replace(rollout, depth_m=np.where(known, rollout.depth_m, np.float32(0.0)))


def _of(row: list[CameraFrame], camera: str) -> CameraFrame:
    return next(frame for frame in row if frame.camera == camera)
