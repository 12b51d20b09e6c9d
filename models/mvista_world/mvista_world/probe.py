"""What only evaluation and training ask of a planner: the truth in place of one of its stages."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mvista_core import instructions
from mvista_core.arm import ArmModel
from mvista_core.ports import Clock
from mvista_core.records import (
    ActionTrajectory,
    CameraFrame,
    Float32,
    Float64,
    ImagineOptions,
    JointState,
    RigCalibration,
    Rollout,
    UInt8,
)
from mvista_world.checkpoint import load_checkpoint
from mvista_world.choices import MethodChoices
from mvista_world.compute import Compute
from mvista_world.decode import decode_views
from mvista_world.encode import encode_views
from mvista_world.flow import denoising_error
from mvista_world.given import given_to
from mvista_world.held import AskedFuture
from mvista_world.layout import to_grid
from mvista_world.pictures import described
from mvista_world.planner import WorldModelPlanner
from mvista_world.reprojection import Reprojection
from mvista_world.requested_views import RequestedViews
from mvista_world.retouch import Known

ANYWHERE = ImagineOptions(allow_out_of_range=True)


class PlannerProbe(WorldModelPlanner):
    """A planner that can be told what it would have to find out."""

    def imagine_told(
        self,
        frame: CameraFrame,
        target_cameras: Sequence[str],
        joints: JointState,
        instruction: str,
        actions: Float32,
        seed: int,
    ) -> Rollout:
        """The future of known actions [L, J], told by their latent; `frame` is a model window.

        Where imagination chooses one of many motions, this one is known: what `refine` needs to
        learn from imagined clouds.

        Raises:
            InstructionError: no template. ObservationError: from a vantage next to nothing is seen.
        """
        words = instructions.check(instruction, self.templates)
        # The window stands in for the whole image.
        views = self._asked(frame.camera, target_cameras)
        given = given_to(views, frame, frame, self.config.window)
        asked = AskedFuture(frame, frame, given, views, words, joints)
        return self._imagine(self._seen(asked, _go_on), seed, _go_on, self._style(actions))

    def adopt(
        self, frames: Sequence[Sequence[CameraFrame]], joints: JointState, instruction: str
    ) -> Rollout:
        """Take what really happened, frames [V][T], as a rollout: the truth in place of
        imagination, to measure what imagination costs.

        Raises:
            ObservationError: from a vantage next to nothing of a frame is seen.
        """
        source, *targets = (view[0].camera for view in frames)
        views, window = self._asked(source, targets), self.config.window
        windows = [[window.frame(frame) for frame in view] for view in frames]
        given = [
            given_to(views, seen, own, window)
            for seen, own in zip(frames[0], windows[0], strict=True)
        ]
        # What the vantage would film is not known: the source's film, drawn there, is read instead.
        grid: list[Sequence[CameraFrame | Reprojection]] = [given, *windows[1:]]
        if views.vantage is not None:
            grid.append(windows[0])
        color, depth_m = _stacked(grid)
        codec = self._checkpoint.codec
        latents = to_grid(encode_views(codec, color, depth_m, self.config, self.compute)[None])
        words = instructions.check(instruction, self.templates)
        asked = AskedFuture(frames[0][0], windows[0][0], given[0], views, words, joints)
        asked = self._seen(asked, _go_on)
        color, depth_m = _stacked(windows)
        lenses = [camera.intrinsics for camera in views.calibrations]
        depth_m = np.stack(
            [window.without_padding(*pair) for pair in zip(depth_m, lenses, strict=True)]
        )
        shown: dict[str, Any] = {"color": color, "depth_m": depth_m.astype(np.float32)}
        rollout = Rollout(**asked.described(self.config, 0, self._clock.now_ns()), **shown)
        self._keep(self._explainable(rollout, asked, latents))
        return rollout

    def recoded(self, rollout_id: str) -> Rollout:
        """decode(encode(pictures)) of a rollout taken by `adopt`: the autoencoder's own ceiling.

        Raises:
            RolloutError: the rollout is not held here.
        """
        held = self._find(rollout_id)
        rollout, codec, views = held.rollout, self._checkpoint.codec, len(held.asked.views)
        pictures = rollout.color, rollout.depth_m
        latents = to_grid(encode_views(codec, *pictures, self.config, self.compute)[None])
        color, depth_m = decode_views(codec, latents, views, self.config, self.compute)
        return replace(rollout, color=color, depth_m=depth_m.astype(np.float32))

    def retold(self, rollout_id: str, instruction: str) -> str:
        """Hold the same rollout once more, to be explained with other words; returns its id.

        Raises:
            RolloutError: the rollout is not held here. InstructionError: no template.
        """
        held = self._find(rollout_id)
        wanted = instructions.check(instruction, self.templates)
        said = {"rollout_id": uuid.uuid4().hex[:12], "instruction": wanted}
        told, imagined = (described(one, **said) for one in (held.rollout, held.imagined))
        # The seed stays: whatever is drawn to explain it is the same, and the words alone differ.
        text = self._text(wanted)
        asked = replace(held.asked, instruction=wanted)
        conditions = replace(held.conditions, text=text)
        self._keep(
            replace(held, rollout=told, imagined=imagined, asked=asked, conditions=conditions)
        )
        return told.rollout_id

    @property
    def retouches(self) -> bool:
        """Whether what is shown is not what was decoded."""
        return self._checkpoint.retoucher is not None

    def as_decoded(self, rollout_id: str) -> Rollout:
        """A held rollout before its pictures were retouched; itself where they were not.

        Raises:
            RolloutError: the rollout is not held here.
        """
        return self._find(rollout_id).imagined

    def known(self, rollout_id: str) -> tuple[Known, ...]:
        """What a retoucher is told of each view of a held rollout.

        Raises:
            RolloutError: the rollout is not held here.
        """
        held = self._find(rollout_id)
        return tuple(map(self._known(held), range(len(held.asked.views))))

    def read_hidden(self, rollout_id: str) -> ActionTrajectory:
        """What the action head reads where the rollout is all noise (t = 1): of the words and the
        given first frame alone, a policy without imagination.

        Raises:
            RolloutError: the rollout is not held here.
        """
        return self._read_hidden(self._find(rollout_id))

    def reconstruct(self, actions: ActionTrajectory, joints: JointState) -> ActionTrajectory:
        """decode(encode(actions)): the ceiling that the trajectory latent sets."""
        return self._trajectory(self._style(actions.positions), joints, actions.provenance)

    def explained(
        self, rollout_id: str, actions: ActionTrajectory | None, noise_levels: Sequence[float]
    ) -> Float64:
        """Eq. 2's error of a held rollout per noise level, told `actions` or (None) nothing.

        What Eq. 11 descends is the difference between one trajectory's values and another's; all
        share their noise.

        Raises:
            RolloutError: the rollout is not held here.
        """
        held = self._find(rollout_id)
        told = held.conditions
        if actions is not None:
            told = replace(told, style=self._style(actions.positions))
        noise = torch.randn(held.latents.shape, generator=torch.Generator().manual_seed(0))
        noise = noise.to(held.latents.device)
        generator, errors = self._checkpoint.generator, []
        with torch.no_grad(), self.compute.autocast():
            for level in noise_levels:
                t = torch.tensor([level], device=noise.device)
                error, _ = denoising_error(generator, held.latents, noise, t, held.clean, told)
                errors.append(error.item())
        return np.array(errors, np.float64)

    def _asked(self, source: str, targets: Sequence[str]) -> RequestedViews:
        """Wherever the cameras stand: how far the range carries is what evaluation asks."""
        return self._finder.find(source, targets, ANYWHERE)

    def _style(self, actions: Float32 | Float64) -> torch.Tensor:
        """The mode of q(z | a), [1, S, C], of actions [L, J]."""
        given = torch.from_numpy(actions.astype(np.float32))[None].to(self.compute.device)
        with torch.no_grad():
            return self._checkpoint.trajectory.encode(given)


def _stacked(
    films: Sequence[Sequence[CameraFrame | Reprojection]],
) -> tuple[UInt8, Float32]:
    """Colour [V, T, H, W, 3] and depth [V, T, H, W] of windows [V][T]."""
    color = np.stack([np.stack([each.color for each in film]) for film in films])
    return color, np.stack([np.stack([each.depth_m for each in film]) for film in films])


def _go_on(stage: str, fraction: float) -> bool:
    return True


def load_probe(
    checkpoint: Path,
    rig: RigCalibration,
    arm: ArmModel,
    clock: Clock,
    compute: Compute | None = None,
    choices: MethodChoices | None = None,
) -> PlannerProbe:
    """As `load_planner`, and with its errors."""
    return PlannerProbe(load_checkpoint(checkpoint, compute, choices), rig, arm, clock)
