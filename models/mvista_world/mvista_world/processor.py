"""How much of the machine the networks take."""

from __future__ import annotations

import torch


def use_threads(count: int) -> None:
    """Compute with so many processor threads; 0 leaves it to torch, which takes every core."""
    if count > 0:
        torch.set_num_threads(count)
