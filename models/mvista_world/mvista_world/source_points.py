"""Where what the source's first frame shows lies, in the base frame, as the generator is told it.

Not the paper's. Eq. 7's camera token is an angle and a distance round a look-at point, and says
neither where that point is nor how long the lens: what a view shows could lie anywhere for the arm,
whose joints the trajectory latent is of. A measured depth and a calibrated camera say where.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from mvista_world.attention import zeroed
from mvista_world.config import ModelConfig, SourcePointsConfig
from mvista_world.config_limits import SUBCELLS
from mvista_world.views import TokenGrid, ViewCameras

UNIT_M = 0.25
"""Points are told in this unit, which makes those of a workspace about 1."""
FARTHEST = 8.0
"""Units beyond which a coordinate is told as this: walls differ, and no arm reaches them."""


class SourcePoints(nn.Module):
    """Adds to every token, at all times, where its place was measured to lie; at zero at first."""

    def __init__(self, config: ModelConfig, own: SourcePointsConfig) -> None:
        super().__init__()
        _, down, across = config.transformer.patch
        self._parts = down * SUBCELLS, across * SUBCELLS
        self.embed = nn.Conv2d(4, own.width, self._parts, stride=self._parts)
        self.to_out = zeroed(nn.Linear(own.width, config.inner_dim))

    def forward(
        self, tokens: torch.Tensor, shown: torch.Tensor, cameras: ViewCameras, grid: TokenGrid
    ) -> torch.Tensor:
        """tokens [B, L, d] of the grid; shown as in `Conditions`, of these cameras."""
        points = self.points(shown[:, -(SUBCELLS**2) :, 0], cameras, grid)
        # Half precision tells a metre to 4 mm: points are read in full, whatever weights are in.
        with torch.autocast(tokens.device.type, enabled=False):
            weight, bias = self.embed.weight.float(), self.embed.bias
            found = F.conv2d(points, weight, bias if bias is None else bias.float(), self._parts)
        places = F.gelu(found).flatten(2).mT
        added = self.to_out(places.to(tokens.dtype)).to(tokens.dtype)
        return (tokens.unflatten(1, (grid.frames, -1)) + added.unsqueeze(1)).flatten(1, 2)

    def points(self, depths_m: torch.Tensor, cameras: ViewCameras, grid: TokenGrid) -> torch.Tensor:
        """float32 [B, 4, V*2h, M*2w] of depths [B, 4, V*h, M*w]: x, y and z in the base frame, in
        `UNIT_M`, and whether there is one; all 0 where not."""
        depth = F.pixel_shuffle(depths_m.double(), SUBCELLS)[:, 0]
        down, across = self._parts
        # [B, V, rows, M, columns] of parts; centres in token pixels, of which integers are centres.
        depth = depth.unflatten(2, (grid.modalities, -1)).unflatten(1, (grid.views, -1))
        v, u = (
            (torch.arange(count * parts, device=depth.device).double() + 0.5) / parts - 0.5
            for count, parts in ((grid.rows, down), (grid.columns, across))
        )
        k = cameras.intrinsics[:, :, :, :, None, None, None]
        x = (u - k[:, :, 0, 2]) / k[:, :, 0, 0] * depth
        y = (v[:, None, None] - k[:, :, 1, 2]) / k[:, :, 1, 1] * depth
        rotation, centre = cameras.base_from_camera[:, :, :3].split([3, 1], dim=-1)
        seen = torch.einsum("bvij,jbvrmc->bivrmc", rotation, torch.stack([x, y, depth]))
        placed = seen + centre.permute(0, 2, 1, 3)[..., None, None]
        there = (depth > 0).unsqueeze(1)
        told = (placed / UNIT_M).clamp(-FARTHEST, FARTHEST) * there
        return torch.cat([told, there], dim=1).flatten(4, 5).flatten(2, 3).float()
