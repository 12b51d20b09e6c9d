"""Colour and depth of a place in one token: the alternative to the paper's layout (Table 5's "cat
depth"), which gives each map tokens of its own, side by side, and lets Eq. 3-5 join them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from mvista_core.errors import ConfigError
from mvista_world.views import TokenGrid


class JoinedDepth(nn.Module):
    """A linear map of both embeddings of a place to one token, and of that to both again.

    As the patch embedding is linear too, that is one of twice the channels, of which each half
    starts from weights for one map. It begins with the mean of both, handed back to both.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.join = nn.Linear(2 * dim, dim)
        self.split = nn.Linear(dim, 2 * dim)
        whole = torch.eye(dim)
        with torch.no_grad():
            self.join.weight.copy_(torch.cat([whole, whole], dim=1) / 2)
            self.split.weight.copy_(torch.cat([whole, whole]))
        nn.init.zeros_(self.join.bias)
        nn.init.zeros_(self.split.bias)

    def together(
        self, tokens: torch.Tensor, clean: torch.Tensor, grid: TokenGrid
    ) -> tuple[torch.Tensor, torch.Tensor, TokenGrid]:
        """tokens [B, L, d] and which are known [..., L], of the grid, to those of half as many and
        theirs. Both maps of a place are known or neither (`layout.clean_mask`).

        Raises:
            ConfigError: a grid of one map.
        """
        if grid.modalities != 2:
            raise ConfigError(
                f"a grid of {grid.modalities} map; with joined_depth a token is of two, colour "
                "and depth"
            )
        both = grid.maps(tokens).movedim(1, -2).flatten(-2)
        rows = grid.frames * grid.views * grid.rows
        known = clean.unflatten(-1, (rows, 2, grid.columns))[..., 0, :].flatten(-2)
        return self.join(both).flatten(1, 4), known, replace(grid, modalities=1)

    def apart(self, tokens: torch.Tensor, grid: TokenGrid) -> torch.Tensor:
        """tokens [B, L / 2, d] to [B, L, d] of the grid of two maps."""
        places = self.split(tokens).unflatten(1, (grid.frames, grid.views, grid.rows, -1))
        return grid.tokens(places.unflatten(-1, (2, -1)).movedim(-2, 1))
