"""What is known of the views of a held future beside what its generator drew of them.

The source's first image says what each of them begins with, calibration where the ground lies, and
the motion that is read off the future where the arm is at every time of it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch

from mvista_core.arm import ArmModel
from mvista_core.records import ActionTrajectory, Float64, JointState, Provenance
from mvista_world.arm_pictures import draw_arm
from mvista_world.config import ModelConfig
from mvista_world.given import drawn_in
from mvista_world.held import HeldRollout
from mvista_world.motion_reader import MotionReader
from mvista_world.reprojection import lenses_of
from mvista_world.retouch import Known

Decode = Callable[[torch.Tensor, JointState, Provenance], ActionTrajectory]


class KnownViews:
    """View by view. The motion is read once, when the first of them is asked for.

    A reader alone reads it: the generator may be at work when somebody looks. Without one the arm
    is drawn as it was measured, in every picture.
    """

    def __init__(
        self,
        held: HeldRollout,
        reader: MotionReader | None,
        decode: Decode,
        arm: ArmModel,
        config: ModelConfig,
    ) -> None:
        self._held, self._decode, self._arm, self._config = held, decode, arm, config
        self._watched = held.watched_by(reader)

    def __call__(self, view: int) -> Known:
        asked = self._held.asked
        lens = lenses_of(self._held.imagined)[view]
        drawn = drawn_in(asked.views, asked.observed, asked.own, self._config.window, view)
        return Known(drawn, draw_arm(self._poses, self._arm, lens), lens)

    @cached_property
    def _poses(self) -> Float64:
        """Joint positions [T, J] at the times of the pictures, measured at the first of them."""
        joints = self._held.asked.joints
        start = joints.ordered(self._config.joint_names)
        if self._watched is None:
            return np.tile(start, (self._config.frame_count, 1))
        found = Provenance("read", "", self._held.rollout.seed)
        read = self._decode(self._watched.read(), joints, found).positions
        return np.concatenate([start[None], read[self._config.episode.pictured_actions]])
