"""What a planner holds of each of its rollouts, and how its stages are told."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mvista_core.errors import CancelledError
from mvista_core.ports import Progress
from mvista_core.records import CameraFrame, Float32, JointState, Rollout, UInt8
from mvista_world.config import ModelConfig
from mvista_world.generator import Conditions
from mvista_world.motion_reader import MotionReader, Watched
from mvista_world.pictures import Pictures, UnreadRollout
from mvista_world.reprojection import Reprojection
from mvista_world.requested_views import RequestedViews


@dataclass(frozen=True)
class AskedFuture:
    """What a rollout is made of: the source's whole image and its window, the model window that
    the first view begins with (`given`), the views, the words, where the arm was, and what the
    source shows of each view (`encode_shown`)."""

    observed: CameraFrame
    own: CameraFrame
    given: Reprojection
    views: RequestedViews
    instruction: str
    joints: JointState
    shown: torch.Tensor | None = None

    def described(self, config: ModelConfig, seed: int, stamp_ns: int) -> dict[str, Any]:
        """All fields of a new `Rollout` but its pictures."""
        cameras, window = self.views.calibrations, config.window
        return {
            "rollout_id": uuid.uuid4().hex[:12],
            "instruction": self.instruction,
            "cameras": self.views.names,
            "intrinsics": tuple(window.intrinsics(camera.intrinsics) for camera in cameras),
            "base_from_camera": np.stack([camera.base_from_camera for camera in cameras]),
            "times_s": config.episode.frame_times_s,
            "seed": seed,
            "stamp_ns": stamp_ns,
        }


@dataclass(frozen=True)
class HeldRollout:
    """A rollout as it is shown, and `imagined` before its pictures were retouched (the same where
    they are not), which is what is explained, refined by and judged.

    It stays with the generator: latents of the views that are explained, which of them were given
    (`clean`), what they were imagined from, and the pictures of the vantage, where there is one:
    that view was not asked for, but it is explained. `whole` are the latents of every view on the
    grid, those that nobody explains too, of `asked.views.cameras`."""

    rollout: Rollout
    imagined: Rollout
    asked: AskedFuture
    latents: torch.Tensor
    clean: torch.Tensor
    conditions: Conditions
    whole: torch.Tensor
    vantage: Pictures | None = None

    def watched_by(self, reader: MotionReader | None) -> Watched | None:
        """All of it before a motion reader, where there is one: that is bound to no number of
        views."""
        if reader is None or self.conditions.joints is None:
            return None
        every = [list(range(len(self.asked.views.grid)))]
        cameras = self.asked.views.cameras.pick(0, every)
        return Watched(reader, self.whole, cameras, self.conditions.joints)

    def explained_pictures(self) -> tuple[UInt8, Float32]:
        """Colour [V, T, H, W, 3] and depth [V, T, H, W] of the views that are explained."""
        rollout, count = self.imagined, self.conditions.cameras.views
        first, depth_m = rollout.view_color, rollout.depth_m[:count]
        if self.vantage is not None:
            first = self.vantage.color
            depth_m = np.concatenate([self.vantage.depth_m(0)[None], depth_m[1:]])
        return np.stack([first(0), *map(rollout.view_color, range(1, count))]), depth_m


def look(rollout: Rollout, color: Sequence[int], progress: Progress) -> None:
    """Every depth and the colour of these views, told as a stage where any is still a latent."""
    if isinstance(rollout, UnreadRollout):
        rollout.pictures.read(color, lambda done: proceed(progress, "decode", done))


def look_explained(held: HeldRollout, progress: Progress) -> None:
    """What `explained_pictures` are made of, told alike."""
    count = held.conditions.cameras.views
    if held.vantage is None:
        look(held.imagined, range(count), progress)
        return
    held.vantage.read((0,), lambda done: proceed(progress, "decode", done / 2))
    # Of the source's own view nothing is explained.
    look(held.imagined, range(1, count), lambda stage, done: progress(stage, 0.5 + done / 2))


def proceed(progress: Progress, stage: str, fraction: float) -> bool:
    """Report; True to go on. Raises where it is asked to stop, since it may be asked only once."""
    if not progress(stage, fraction):
        raise CancelledError(f"cancelled at stage '{stage}' ({fraction:.0%} of it done)")
    return True
