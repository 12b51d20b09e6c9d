"""The true world behind a simulated calibration session, and the ways to spoil it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from mvista_calibration.records import BoardView, Session
from mvista_core.geometry import exp_so3, pose_from
from mvista_core.records import Float64, Intrinsics

Bool = np.ndarray[tuple[int, int], np.dtype[np.bool_]]


@dataclass
class World:
    """C cameras, S shots; a spoiler changes it before anything is observed.

    `base_from_board` [C, S, 4, 4] is the board when camera c exposed shot s (the same for all c
    unless it moved); `square_scale` [S] is true over stated square size; `seen` [C, S] says which
    cameras look at all; `corner_noise_px` and `blur_px` are [C].
    """

    intrinsics: tuple[Intrinsics, ...]
    base_from_camera: Float64
    scene_base_from_camera: Float64
    base_from_board: Float64
    square_scale: Float64
    seen: Bool
    corner_noise_px: Float64
    blur_px: Float64
    spoil: str = ""
    detail: str = ""


def spoil_world(world: World, spoil: str, rng: np.random.Generator) -> None:
    """Apply one of `SPOILERS` in place; `detail` then says in words what was done."""
    world.spoil = spoil
    world.detail = _IN_WORLD[spoil](world, rng) if spoil in _IN_WORLD else ""


def spoil_session(session: Session, spoil: str, rng: np.random.Generator) -> tuple[Session, str]:
    """The session as wrongly recorded, and what was wrong; unchanged for spoilers of the world."""
    if spoil != "mirrored_order":
        return session, ""
    if rng.random() < 0.5 and session.scene:
        return _streams_mirrored(session), "scene depth assigned to the cameras in mirrored order"
    victim = session.names[int(rng.integers(len(session.names)))]
    return _corners_mirrored(session, victim), f"{victim}'s corners numbered from the other side"


def _misprint(world: World, rng: np.random.Generator) -> str:
    factor = 1.0 + rng.choice([-0.01, 0.01])
    world.square_scale = world.square_scale * factor
    return f"board printed at {factor:.2f} of its size"


def _bumped(world: World, rng: np.random.Generator) -> str:
    victim = int(rng.integers(len(world.intrinsics)))
    axis = rng.standard_normal(3)
    axis /= np.linalg.norm(axis)
    pose = world.base_from_camera[victim]
    if rng.random() < 0.5:
        shift_m = float(rng.uniform(0.005, 0.02))
        step = pose_from(np.eye(3), shift_m * axis)
        words = f"camera {victim} pushed by {shift_m * 1e3:.1f} mm"
    else:
        turn_deg = float(rng.uniform(0.5, 2.0))
        step = pose_from(exp_so3(np.deg2rad(turn_deg) * axis), np.zeros(3))
        words = f"camera {victim} turned by {turn_deg:.2f} deg"
    world.scene_base_from_camera = world.scene_base_from_camera.copy()
    world.scene_base_from_camera[victim] = pose @ step
    return words + " between the stages"


def _confused(world: World, rng: np.random.Generator) -> str:
    factor = float(rng.choice([0.8, 0.9, 1.1, 1.25]))
    first = 0 if rng.random() < 0.5 else len(world.square_scale) // 2
    world.square_scale = world.square_scale.copy()
    world.square_scale[first:] *= factor
    return f"from shot {first} on another board with squares of {factor:.2f} times the size"


def _too_few(world: World, rng: np.random.Generator) -> str:
    kept = int(rng.integers(2, 4))
    world.seen = world.seen.copy()
    if rng.random() < 0.5:
        world.seen[:, kept:] = False
        return f"only {kept} shots"
    victim = int(rng.integers(len(world.intrinsics)))
    shots = np.nonzero(world.seen[victim])[0]
    world.seen[victim, shots[max(kept - 2, 1) :]] = False
    return f"camera {victim} sees the board in {max(kept - 2, 1)} shot(s) only"


def _unfocused(world: World, rng: np.random.Generator) -> str:
    corner_noise_px, blur_px = world.corner_noise_px.copy(), world.blur_px.copy()
    one = rng.random() < 0.5
    victims = [int(rng.integers(len(world.intrinsics)))] if one else range(len(world.intrinsics))
    noise, blur = rng.uniform(1.5, 3.0), rng.uniform(9.0, 16.0)
    for victim in victims:
        corner_noise_px[victim], blur_px[victim] = noise, blur
    world.corner_noise_px, world.blur_px = corner_noise_px, blur_px
    return f"camera(s) {list(victims)} out of focus: corners {noise:.1f} px"


def _moving(world: World, rng: np.random.Generator) -> str:
    """Cameras expose up to 50 ms apart while the board moves at 0.08 to 0.25 m/s and turns."""
    cameras, shots = world.base_from_board.shape[:2]
    delays_s: Float64 = np.asarray(rng.uniform(0.0, 0.05, cameras))
    moved = world.base_from_board.copy()
    for shot in range(shots):
        direction = rng.standard_normal(3)
        velocity = rng.uniform(0.08, 0.25) * direction / np.linalg.norm(direction)
        turning = rng.normal(0.0, 0.3, 3)
        for camera in range(cameras):
            pose = moved[camera, shot]
            turn = exp_so3(turning * delays_s[camera])
            shift = velocity * delays_s[camera]
            moved[camera, shot] = pose_from(turn @ pose[:3, :3], pose[:3, 3] + shift)
    world.base_from_board = moved
    return f"board moving while cameras expose {np.ptp(delays_s) * 1e3:.0f} ms apart"


def _streams_mirrored(session: Session) -> Session:
    mirror = dict(zip(session.names, reversed(session.names), strict=True))
    scene = tuple(replace(image, camera=mirror[image.camera]) for image in session.scene)
    order = {name: i for i, name in enumerate(session.names)}
    return replace(session, scene=tuple(sorted(scene, key=lambda image: order[image.camera])))


def _corners_mirrored(session: Session, victim: str) -> Session:
    columns = session.board.squares_x - 1

    def mirrored(view: BoardView) -> BoardView:
        if view.camera != victim:
            return view
        rows, across = np.divmod(view.corner_ids, columns)
        ids = rows * columns + (columns - 1 - across)
        order = np.argsort(ids)
        return replace(view, corner_ids=ids[order], corners_px=view.corners_px[order])

    return replace(session, views=tuple(mirrored(view) for view in session.views))


_IN_WORLD: dict[str, Callable[[World, np.random.Generator], str]] = {
    "misprint_1pct": _misprint,
    "bumped_between_stages": _bumped,
    "boards_confused": _confused,
    "too_few_views": _too_few,
    "unfocused": _unfocused,
    "moving_board": _moving,
}
SPOILERS = (*_IN_WORLD, "mirrored_order")
