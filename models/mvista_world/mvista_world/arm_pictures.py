"""The arm of a motion as a calibrated view would see it: what is known without imagining it.

Its links are rods from joint to joint, of one thickness: a drawing of where, and how deep, and of
which part, not of what it looks like.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from mvista_core.arm import ArmModel
from mvista_core.geometry import invert, project, transform_points
from mvista_core.records import Float32, Float64
from mvista_world.arm_points import NEAR_M, dh_rows, link_ends
from mvista_world.reprojection import PosedLens

ROD_M = 0.035
"""Half the thickness of a link."""
APART_M = 0.015
"""Of the balls that a rod is drawn as."""


@dataclass(frozen=True)
class DrawnArm:
    """A view's pictures of it [T, H, W]: depth_m (0: no arm), and `along` the links which place is
    seen there, from 0 at the base to 1 at the tip (0 where there is no arm)."""

    depth_m: Float32
    along: Float32


def draw_arm(poses: Float64, arm: ArmModel, lens: PosedLens) -> DrawnArm:
    """The arm's links at joint positions [T, J]."""
    own, balls = lens.intrinsics, _balls(poses, arm).numpy()
    seen = transform_points(invert(lens.base_from_camera), balls)
    # Behind the camera a pixel is NaN, which is near nothing.
    u, v = torch.from_numpy(project(seen, own.matrix)).float().unbind(-1)
    z = torch.from_numpy(seen[..., 2]).float()
    columns = torch.arange(own.width_px, dtype=torch.float32)
    rows = torch.arange(own.height_px, dtype=torch.float32)
    # Metres from a ball's centre, in its own plane: a little less than what its outline spans.
    across = ((columns - u[..., None]) * (z / own.fx_px)[..., None]).square()
    down = ((rows - v[..., None]) * (z / own.fy_px)[..., None]).square()
    found = np.zeros((2, len(poses), *lens.shape), np.float32)
    places = torch.linspace(0.0, 1.0, balls.shape[1])
    for depth_m, along, depth, one, other in zip(*found, z, across, down, strict=True):
        inward = ROD_M**2 - one[:, None, :] - other[:, :, None]
        surface = depth[:, None, None] - inward.clamp(min=0.0).sqrt()
        there = (inward > 0) & (depth > NEAR_M)[:, None, None]
        nearest = torch.where(there, surface, torch.inf).min(dim=0)
        any_there = there.any(dim=0)
        depth_m[:] = torch.where(any_there, nearest.values, 0.0).numpy()
        along[:] = torch.where(any_there, places[nearest.indices], 0.0).numpy()
    return DrawnArm(*found)


def _balls(poses: Float64, arm: ArmModel) -> torch.Tensor:
    """Base frame, m: points [T, N, 3] along the links, from the base to the tip."""
    flange = torch.tensor(arm.flange_from_tip_m, dtype=torch.float64)
    ends = link_ends(torch.from_numpy(np.asarray(poses, np.float64)), dh_rows(arm), flange)
    drawn = []
    for start, end in zip(ends.unbind(1), ends[:, 1:].unbind(1), strict=False):
        # A link is as long in every pose.
        count = int(np.ceil(float((end - start)[0].norm()) / APART_M))
        share = torch.linspace(0.0, 1.0, count + 1, dtype=torch.float64)[:, None]
        drawn.append(start[:, None] + share * (end - start)[:, None])
    return torch.cat(drawn, dim=1)
