"""Where the arm is in every view, before the motion and as the trajectory latent will have it.

Not the paper's. Style cross-attention (Sec. 4.3) tells z to every token alike: where in a view the
arm of that motion shows has to be learnt from films, and a small generator does not learn it in
hours of two cores. Then z hardly changes what it predicts, and Eq. 11 has next to nothing to
descend. But all of it is known: z's decoder, the arm's kinematics, calibrated cameras. So points
along the arm are drawn where z brings them, and what Eq. 11 descends runs back through them.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from mvista_core.arm import ArmModel
from mvista_core.errors import ConfigError
from mvista_world.attention import zeroed
from mvista_world.config import ArmPointsConfig, ModelConfig
from mvista_world.trajectory import TrajectoryVae
from mvista_world.views import TokenGrid, ViewCameras

PER_LINK = 2
"""Points of each link: its middle and its end."""
NEAR_M = 0.05
"""Nearer to a camera than this, or behind it, a point is not drawn."""
MIDDLE_M, UNIT_M = 0.7, 0.3
"""Depths are told from the middle of a workspace in this unit, which makes them about 1."""
FEATURES = 3
"""Of a point at a place: near, by the depth there, and far."""


class ArmDrawing(nn.Module):
    """Adds to every token which points of the arm come to lie at its place when, and how deep; at
    zero at first."""

    mean: torch.Tensor
    std: torch.Tensor
    dh: torch.Tensor
    flange_from_tip_m: torch.Tensor

    def __init__(self, config: ModelConfig, own: ArmPointsConfig) -> None:
        super().__init__()
        joints = len(config.joint_names)
        # The decoder that z is of and the arm are facts, kept with the weights that learnt by them.
        self.decoder = TrajectoryVae(config.trajectory, joints).decoder.requires_grad_(False)
        self.register_buffer("mean", torch.zeros(joints))
        self.register_buffer("std", torch.ones(joints))
        # In double: a file of weights keeps half of single precision, in which an angle is 1 mrad.
        self.register_buffer("dh", torch.zeros(own.links, 4, dtype=torch.float64))
        self.register_buffer("flange_from_tip_m", torch.zeros((), dtype=torch.float64))
        _, down, across = config.transformer.patch
        self._parts = down, across
        self._stride = config.codec.temporal_stride
        self._own = own
        self._due = config.episode.pictured_actions
        points = PER_LINK * (own.links + 1) + joints - own.links
        self.embed = nn.Linear(points * FEATURES * self._stride * down * across, own.width)
        self.to_out = zeroed(nn.Linear(own.width, 2 * config.inner_dim))

    def know(self, arm: ArmModel, trajectory: TrajectoryVae) -> None:
        """Take the arm whose motions are learnt and what decodes them.

        Raises:
            ConfigError: an arm of another number of links.
        """
        if len(arm.dh) != len(self.dh):
            raise ConfigError(
                f"arm '{arm.name}' has {len(arm.dh)} links, the model is of {len(self.dh)}; see "
                "links of arm_points"
            )
        self.decoder.load_state_dict(trajectory.decoder.state_dict())
        self.mean.copy_(trajectory.mean)
        self.std.copy_(trajectory.std)
        self.dh.copy_(dh_rows(arm))
        self.flange_from_tip_m.fill_(arm.flange_from_tip_m)

    def require(self, arm: ArmModel) -> None:
        """Refuse to plan for another arm.

        Raises:
            ConfigError: its kinematics are not those that the weights were trained with.
        """
        rows = dh_rows(arm)
        same = rows.shape == self.dh.shape and torch.allclose(rows, self.dh.cpu())
        if not same or not np.isclose(float(self.flange_from_tip_m), arm.flange_from_tip_m):
            raise ConfigError(
                f"arm '{arm.name}' has other kinematics (modified_dh, flange_from_tip_m) than the "
                "arm that these weights were trained for, and they draw that one; see config/arms"
            )

    def forward(
        self,
        tokens: torch.Tensor,
        style: torch.Tensor,
        null: torch.Tensor,
        joints: torch.Tensor | None,
        cameras: ViewCameras,
        grid: TokenGrid,
    ) -> torch.Tensor:
        """tokens [B, L, d] of the grid; style [B, S, C] and what says nothing [S, C]; joints [B, J]
        before the motion.

        Raises:
            ConfigError: the joints are not told.
        """
        if joints is None:
            raise ConfigError(
                "this generator was trained to be told where the arm is, and its conditions lack "
                "it; see Conditions.joints"
            )
        if self.training:
            # In training z is given: nothing is searched, and the way back through the arm is long.
            style = style.detach()
        # Millimetres are lost in half precision: all but the network is in full.
        with torch.autocast(tokens.device.type, enabled=False):
            away = style.float() - null.float()
            # Nothing where nothing is told, and all of it within any motion's distance from there.
            known = 1.0 - torch.exp(-away.pow(2).sum(dim=(1, 2)))
            poses = joints.float()[:, None]
            if grid.frames > 1:
                poses = torch.cat([poses, self._decoded(style.float())], dim=1)
            first, later = self.drawn(poses, cameras, grid).split([1, grid.frames - 1], dim=1)
            told_of = torch.cat([first, later * known.view(-1, 1, 1, 1, 1, 1)], dim=1)
            weight, bias = self.embed.weight.float(), self.embed.bias.float()
            found = F.gelu(F.linear(told_of, weight, bias))
        # [B, frames, V, rows, columns, 2 d]: one half is the colour map's, the other the depth's.
        added = self.to_out(found.to(tokens.dtype)).to(tokens.dtype)
        added = added.unflatten(-1, (2, -1))[..., : grid.modalities, :]
        return tokens + added.movedim(5, 4).flatten(1, 5)

    def drawn(self, poses: torch.Tensor, cameras: ViewCameras, grid: TokenGrid) -> torch.Tensor:
        """Features [B, frames, V, rows, columns, ...] of joint positions [B, T, J] at the times of
        the pictures: of each time within a latent frame, latent cell of a token and point. After
        the points come those at the tip that say how far each joint beyond the links is moved."""
        points = self.points(poses)
        moved = ((poses - self.mean) / self.std)[..., len(self.dh) :]
        tips = points[..., -1:, :].expand(*moved.shape, 3)
        u, v, depth = projected(torch.cat([points, tips], dim=-2), cameras)
        told = torch.cat([torch.ones_like(points[..., 0]), moved], dim=-1)
        down, across = self._parts
        rows, columns = (
            (torch.arange(count * parts, device=u.device) + 0.5) / parts - 0.5
            for count, parts in ((grid.rows, down), (grid.columns, across))
        )
        # [B, V, T, rows, columns, P], in cells of the latent grid.
        x = (columns[:, None] - u[..., None, None, :]) * across
        y = (rows[:, None, None] - v[..., None, None, :]) * down
        away = x**2 + y**2
        there = ((depth > NEAR_M) * told.unsqueeze(1))[..., None, None, :]
        near = torch.exp(-0.5 * away / self._own.near_cells**2) * there
        far = torch.exp(-0.5 * away / self._own.far_cells**2) * there
        deep = near * ((depth - MIDDLE_M) / UNIT_M)[..., None, None, :]
        found = torch.stack([near, deep, far], dim=-1)
        # A latent frame after the first holds `temporal_stride` pictures (`codec`).
        found = torch.cat([found[:, :, :1].expand(-1, -1, self._stride - 1, *[-1] * 4), found], 2)
        found = found.unflatten(4, (grid.columns, across)).unflatten(3, (grid.rows, down))
        found = found.unflatten(2, (grid.frames, self._stride))
        # B V F k R down C across P f -> B F V R C (k down across P f)
        return found.permute(0, 2, 1, 4, 6, 3, 5, 7, 8, 9).flatten(5)

    def points(self, poses: torch.Tensor) -> torch.Tensor:
        """Base frame, m: joint positions [..., J] to points [..., P, 3] along the arm's links."""
        ends = link_ends(poses, self.dh.to(poses), self.flange_from_tip_m.to(poses))
        middles = 0.5 * (ends[..., 1:, :] + ends[..., :-1, :])
        return torch.cat([middles, ends[..., 1:, :]], dim=-2)

    def _decoded(self, style: torch.Tensor) -> torch.Tensor:
        """Joint positions [B, T - 1, J] of latents [B, S, C] at the pictures after the first."""
        actions = self.decoder(style.transpose(1, 2)).transpose(1, 2)
        return actions[:, self._due] * self.std + self.mean


def link_ends(
    poses: torch.Tensor, dh: torch.Tensor, flange_from_tip_m: torch.Tensor
) -> torch.Tensor:
    """The base, each link's end and the tip, base frame, m: [..., J] to [..., links + 2, 3].

    Forward kinematics as `ArmModel.base_from_tip`; more joints (the gripper) are ignored.
    """
    rotation = torch.eye(3).to(poses).expand(*poses.shape[:-1], 3, 3)
    place = poses.new_zeros(*poses.shape[:-1], 3)
    ends = [place]
    for joint, (a, alpha, d, offset) in enumerate(dh.unbind(0)):
        cos, sin = (poses[..., joint] + offset).cos(), (poses[..., joint] + offset).sin()
        ca, sa, zero = alpha.cos(), alpha.sin(), torch.zeros_like(cos)
        step = torch.stack([a, -sa * d, ca * d])
        place = place + (rotation @ step)
        turn = torch.stack(
            [cos, -sin, zero, sin * ca, cos * ca, zero - sa, sin * sa, cos * sa, zero + ca], dim=-1
        )
        rotation = rotation @ turn.unflatten(-1, (3, 3))
        ends.append(place)
    return torch.stack([*ends, place + rotation[..., 2] * flange_from_tip_m], dim=-2)


def projected(
    points: torch.Tensor, cameras: ViewCameras
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Where points [B, T, P, 3] show in each view, in token pixels, and their depth (m): each
    [B, V, T, P]. Those behind a camera are put where none is drawn."""
    rotation, centre = cameras.base_from_camera[:, :, :3].float().split([3, 1], dim=-1)
    away = points[:, None] - centre[:, :, None, None, :, 0]
    seen = torch.einsum("bvij,bvtpi->bvtpj", rotation, away)
    depth = seen[..., 2]
    scale = 1.0 / depth.clamp(min=NEAR_M)
    k = cameras.intrinsics.float()[:, :, :, :, None, None]
    u = k[:, :, 0, 0] * seen[..., 0] * scale + k[:, :, 0, 2]
    v = k[:, :, 1, 1] * seen[..., 1] * scale + k[:, :, 1, 2]
    return u, v, depth


def dh_rows(arm: ArmModel) -> torch.Tensor:
    """Modified DH as `link_ends` takes it, float64 [links, 4]."""
    rows = [(row.a_m, row.alpha_rad, row.d_m, row.theta_offset_rad) for row in arm.dh]
    return torch.tensor(rows, dtype=torch.float64)
