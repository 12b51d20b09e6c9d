"""What a planner holds of each of its rollouts, and how its stages are told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mvista_core.errors import CancelledError
from mvista_core.ports import Progress
from mvista_core.records import CameraFrame, JointState, Rollout
from mvista_world.generator import Conditions
from mvista_world.pictures import UnreadRollout
from mvista_world.requested_views import RequestedViews


@dataclass(frozen=True)
class AskedFuture:
    """What a rollout is made of: the source's whole image and the model's window of it, the views,
    the words, where the arm was, and what the window shows of each view (`shown_by`)."""

    observed: CameraFrame
    frame: CameraFrame
    views: RequestedViews
    instruction: str
    joints: JointState
    shown: torch.Tensor | None = None


@dataclass(frozen=True)
class HeldRollout:
    """A rollout as it stays with the generator: latents of the views that are explained, which of
    them were given (`clean`), and what they were imagined from."""

    rollout: Rollout
    asked: AskedFuture
    latents: torch.Tensor
    clean: torch.Tensor
    conditions: Conditions


def look(held: HeldRollout, color: Sequence[int], progress: Progress) -> None:
    """Every depth and the colour of these views, told as a stage where any is still a latent."""
    if isinstance(held.rollout, UnreadRollout):
        held.rollout.pictures.read(color, lambda done: proceed(progress, "decode", done))


def proceed(progress: Progress, stage: str, fraction: float) -> bool:
    """Report; True to go on. Raises where it is asked to stop, since it may be asked only once."""
    if not progress(stage, fraction):
        raise CancelledError(f"cancelled at stage '{stage}' ({fraction:.0%} of it done)")
    return True
