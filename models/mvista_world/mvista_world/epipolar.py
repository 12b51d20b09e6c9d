"""Sec. 4.2: where a token of one view lies in the others, as samples along its epipolar lines.

Positions are token-grid pixels (column, row): (0, 0) is the centre of the first token, the image
reaches from -0.5 to size - 0.5. Only poses relative to one another enter, so no world frame does.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class EpipolarSamples:
    """The sampling basis of App. A for B rigs of V views with n tokens each.

    others [V, V-1]: the views that each view looks into; pixels [B, V, V-1, n, K, 2]: where;
    seen bool [B, V, V-1, n]: whether any of the token's ray is in that view's image. Where it is
    not, the positions mean nothing.
    """

    others: torch.Tensor
    pixels: torch.Tensor
    seen: torch.Tensor


def epipolar_samples(
    intrinsics: torch.Tensor, base_from_camera: torch.Tensor, rows: int, columns: int, count: int
) -> EpipolarSamples:
    """`count` samples (K), evenly spaced in the image, on each token's line in each other view.

    `intrinsics` [B, V, 3, 3] are of the token grid. The line is the image of the token's ray, so
    it holds only what lies before both cameras. Computed in float64.
    """
    k, pose = intrinsics.double(), base_from_camera.double()
    others = other_views(k.shape[1]).to(k.device)
    turn, centre = pose[..., :3, :3], pose[..., :3, 3]
    to_image = k[:, others] @ turn[:, others].mT
    baseline = centre[:, :, None] - centre[:, others]
    # A point of the ray is (1 - s) epipole + s vanishing with s in [0, 1], in homogeneous pixels:
    # its ends, the camera and infinity, are numbers too, and parallel cameras no special case.
    epipole = (to_image @ baseline.unsqueeze(-1)).mT
    rays = _pixels(rows, columns, k.device) @ torch.linalg.inv(k).mT @ turn.mT
    vanishing = rays.unsqueeze(2) @ to_image.mT
    # Half-way is then one baseline away and not one metre: numbers of like size.
    vanishing = vanishing * baseline.norm(dim=-1)[..., None, None]
    low, high = _inside(epipole, vanishing, rows, columns)
    first, last = (torch.lerp(epipole, vanishing, s.unsqueeze(-1)) for s in (low, high))
    seen = (low < high) & (first[..., 2] > 0) & (last[..., 2] > 0)
    ends = (torch.where(seen[..., None], p[..., :2] / p[..., 2:], 0.0) for p in (first, last))
    first, last = (end.unsqueeze(-2) for end in ends)
    # Middles of K equal pieces: no point of the line is farther than half a spacing from one.
    along = (torch.arange(count, device=k.device, dtype=k.dtype) + 0.5) / count
    pixels = torch.lerp(first, last, along[:, None])
    return EpipolarSamples(others, pixels, seen)


def other_views(views: int) -> torch.Tensor:
    """Index [V, V-1] of all views but one's own."""
    return torch.tensor([[u for u in range(views) if u != v] for v in range(views)]).long()


def _pixels(rows: int, columns: int, device: torch.device) -> torch.Tensor:
    """Homogeneous token centres [rows * columns, 3] in token order."""
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    ones = torch.ones_like(row)
    return torch.stack([column, row, ones], dim=-1).flatten(0, 1).double().to(device)


def _inside(
    epipole: torch.Tensor, vanishing: torch.Tensor, rows: int, columns: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The range of s in which (1 - s) epipole + s vanishing lies in the image; low > high: none."""
    # Each border is a half-space a . p >= 0 of homogeneous pixels, linear in s; together the four
    # also say that the point is before the camera.
    borders = torch.tensor(
        [[1, 0, 0.5], [-1, 0, columns - 0.5], [0, 1, 0.5], [0, -1, rows - 0.5]],
        dtype=epipole.dtype,
        device=epipole.device,
    )
    near, far = torch.broadcast_tensors(epipole @ borders.mT, vanishing @ borders.mT)
    crossing = near / (near - far)
    enters, leaves, never = (near < 0) & (far >= 0), (near >= 0) & (far < 0), (near < 0) & (far < 0)
    low = torch.where(enters, crossing, 0.0).amax(dim=-1)
    high = torch.where(leaves, crossing, 1.0).amin(dim=-1)
    return low, torch.where(never.any(dim=-1), -1.0, high)
