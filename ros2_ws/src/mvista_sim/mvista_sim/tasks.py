"""The three tasks: what stands on the table for a seed, and when the task is done.

A scene is a function of (task, seed, clutter) alone; the colour that is asked for changes nothing
in it. Lengths in metres in the arm's base frame.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mvista_core import instructions
from mvista_core.errors import ConfigError

COLORS = {
    "red": "0.85 0.08 0.08 1",
    "green": "0.08 0.62 0.15 1",
    "blue": "0.10 0.20 0.85 1",
    "yellow": "0.95 0.82 0.05 1",
}
TEMPLATES = {
    "touch_cube": "touch the {red|green|blue|yellow} cube",
    "open_drawer": "open the drawer",
    "put_orange": "put the orange in the bowl",
}
CUBE_HALF_M = 0.025
ORANGE_RADIUS_M = 0.028
BOWL_RADIUS_M = 0.062
BOWL_HEIGHT_M = 0.035
DRAWER_DEPTH_M, DRAWER_WIDTH_M, DRAWER_HEIGHT_M = 0.12, 0.15, 0.075
HANDLE_OFFSET_M = 0.042
DRAWER_OPENED_M = 0.05
CLUTTER = 2
"""Most distractors of a scene where nobody asks for more."""
DISTRACTOR_COLORS = ("0.45 0.32 0.22 1", "0.55 0.55 0.55 1", "0.5 0.25 0.55 1", "0.93 0.93 0.9 1")


@dataclass(frozen=True)
class Placed:
    """An object on the table: centre (x, y), yaw, kind and look."""

    name: str
    kind: str
    x_m: float
    y_m: float
    yaw_rad: float
    rgba: str = ""


@dataclass(frozen=True)
class SceneLayout:
    """Everything placed for one (task, seed)."""

    task: str
    seed: int
    objects: tuple[Placed, ...]
    default_instruction: str
    start_offset_rad: NDArray[np.float64] = field(repr=False)

    def named(self, name: str) -> Placed:
        """One object; `ConfigError` lists the names there are."""
        for item in self.objects:
            if item.name == name:
                return item
        raise ConfigError(f"no '{name}' in this scene; it has {[o.name for o in self.objects]}")


def check_instruction(task: str, instruction: str) -> str:
    """The normalised instruction, if it is one of the task's own.

    Raises:
        InstructionError: it is not; the message lists the task's template.
    """
    return instructions.check(instruction, [TEMPLATES[task]])


def task_of(instruction: str) -> str:
    """Which task an instruction belongs to; `InstructionError` lists the templates."""
    wanted = instructions.check(instruction, list(TEMPLATES.values()))
    return next(t for t, text in TEMPLATES.items() if wanted in instructions.expand(text))


def make_layout(task: str, seed: int, clutter: int = CLUTTER) -> SceneLayout:
    """The scene of one task and seed, with at most `clutter` distractors.

    Raises:
        ConfigError: no such task, or a negative seed.
    """
    if task not in TEMPLATES:
        raise ConfigError(f"no task '{task}'; there are {sorted(TEMPLATES)}")
    if seed < 0:
        raise ConfigError(f"seed {seed} is negative; seeds count from 0")
    rng = np.random.default_rng((seed, list(TEMPLATES).index(task)))
    offset = rng.uniform(-0.03, 0.03, size=6)
    if task == "touch_cube":
        objects = _cubes(rng)
        words = instructions.expand(TEMPLATES[task])
        asked = words[int(rng.integers(len(words)))]
    elif task == "open_drawer":
        objects = [_drawer(rng)]
        asked = TEMPLATES[task]
    else:
        objects = _orange_and_bowl(rng)
        asked = TEMPLATES[task]
    objects += _distractors(rng, objects, clutter)
    return SceneLayout(task, seed, tuple(objects), asked, offset)


def _cubes(rng: np.random.Generator) -> list[Placed]:
    names = list(COLORS)
    rng.shuffle(names)
    centres = _scatter(rng, len(names), (0.26, 0.43), (-0.19, 0.19), 0.095)
    return [
        Placed(f"{name}_cube", "cube", x, y, float(rng.uniform(-0.5, 0.5)), COLORS[name])
        for name, (x, y) in zip(names, centres, strict=True)
    ]


def _drawer(rng: np.random.Generator) -> Placed:
    x, y = rng.uniform(0.42, 0.47), rng.uniform(-0.12, 0.12)
    return Placed("drawer", "drawer", float(x), float(y), float(rng.uniform(-0.25, 0.25)))


def _orange_and_bowl(rng: np.random.Generator) -> list[Placed]:
    (ox, oy), (bx, by) = _scatter(rng, 2, (0.27, 0.40), (-0.17, 0.17), 0.16)
    return [
        Placed("orange", "orange", ox, oy, 0.0, "0.95 0.45 0.05 1"),
        Placed("bowl", "bowl", bx, by, 0.0, "0.35 0.55 0.75 1"),
    ]


def _distractors(rng: np.random.Generator, others: list[Placed], most: int) -> list[Placed]:
    placed: list[Placed] = []
    for i in range(int(rng.integers(0, most + 1))):
        for _ in range(60):
            x, y = float(rng.uniform(0.24, 0.46)), float(rng.uniform(-0.22, 0.22))
            clear = all(np.hypot(x - o.x_m, y - o.y_m) > _reach(o) for o in others + placed)
            if clear:
                kind = ("post", "slab")[int(rng.integers(2))]
                color = DISTRACTOR_COLORS[int(rng.integers(len(DISTRACTOR_COLORS)))]
                yaw = float(rng.uniform(-1.5, 1.5))
                placed.append(Placed(f"distractor{i}", kind, x, y, yaw, color))
                break
    return placed


def _reach(item: Placed) -> float:
    """How far from its centre another small object must stay."""
    return {"drawer": 0.24, "bowl": 0.13, "orange": 0.11}.get(item.kind, 0.08)


def _scatter(
    rng: np.random.Generator,
    count: int,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    apart_m: float,
) -> list[tuple[float, float]]:
    """`count` points at least `apart_m` from each other, by rejection."""
    while True:
        points = np.column_stack([rng.uniform(*x_range, count), rng.uniform(*y_range, count)])
        gaps = np.linalg.norm(points[:, None] - points[None], axis=-1) + np.eye(count)
        if gaps.min() >= apart_m:
            return [(float(x), float(y)) for x, y in points]
