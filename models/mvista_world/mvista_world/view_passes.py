"""Sec. 5.1 and App. D: in how many sampling runs the views of a request are imagined.

Mode 1 is one run of all views. Mode 2 imagines a few reference views first, then completes the
others, with what was imagined frozen: given, as the source's first frame is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mvista_core.errors import ConfigError
from mvista_world.config import SamplerConfig

MOST_VIEWS = 5
"""As far as the paper goes, and as the cell has cameras."""


@dataclass(frozen=True)
class ViewPass:
    """One sampling run: which views of the whole grid share this one's, the first `frozen` of them
    imagined by runs before it. View 0 is what is given: the source, or its vantage."""

    views: tuple[int, ...]
    frozen: int

    def known(self, frames: int) -> torch.Tensor:
        """What is given, bool [V, T']: the source's first frame and all that is frozen."""
        known = torch.zeros(len(self.views), frames, dtype=torch.bool)
        known[0, 0] = True
        known[: self.frozen] = True
        return known


def passes(views: int, sampler: SamplerConfig, max_views: int) -> tuple[ViewPass, ...]:
    """The runs of a request of `views` views; none holds more than `max_views`, as in training.

    Raises:
        ConfigError: more views than can be imagined; see `sampler.mode`.
    """
    if sampler.mode == 1:
        if views > max_views:
            raise ConfigError(
                f"{views} views asked for; this model was trained on at most {max_views}, and mode "
                f"1 imagines all at once; mode 2 completes up to {MOST_VIEWS} in turn"
            )
        return (ViewPass(tuple(range(views)), 0),)
    most = MOST_VIEWS if max_views > 1 else 1
    if views > most:
        raise ConfigError(f"{views} views asked for; mode 2 completes at most {most}")
    references = _references(views, sampler, max_views)
    kept = tuple(range(references))
    room = max_views - references
    later = [
        (*kept, *range(first, min(first + room, views)))
        for first in (range(references, views, room) if views > references else ())
    ]
    return ViewPass(kept, 0), *(ViewPass(held, references) for held in later)


def completed(view: int, sampler: SamplerConfig, max_views: int) -> ViewPass:
    """The run of one view more, the last, beside references of the `view` views before it."""
    references = _references(view, sampler, max_views)
    return ViewPass((*range(references), view), references)


def _references(views: int, sampler: SamplerConfig, max_views: int) -> int:
    """How many views stay in the runs after the first, which need room for a view that is
    missing."""
    return min(views, sampler.reference_views, max(max_views - 1, 1))


def take_views(grid: torch.Tensor, views: int, chosen: Sequence[int]) -> torch.Tensor:
    """[B, C, T, V*h, M*w] of `views` views to the same of the `chosen` ones."""
    return grid.unflatten(3, (views, -1))[:, :, :, list(chosen)].flatten(3, 4)


def put_views(
    grid: torch.Tensor, views: int, chosen: Sequence[int], part: torch.Tensor
) -> torch.Tensor:
    """`grid` with the rows of `chosen` replaced by `part`; the inverse of `take_views`."""
    whole = grid.unflatten(3, (views, -1)).clone()
    whole[:, :, :, list(chosen)] = part.unflatten(3, (len(chosen), -1))
    return whole.flatten(3, 4)
