"""What is done to be quick and gives the same numbers: one record, each of it switchable."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Speed:
    """`distinct_times`: modulation of the two times there are, not of every token's (the others of
    `PLAIN` are diffusers' own way). `kept_context`: keys and values of text and style once per run
    of a solver, never where gradients are taken. `batched_guidance`: the words and no words in one
    batch. `compiled`: blocks by torch.compile, refused where there is no compiler.
    `tiled_decoding`: diffusers' overlapping tiles for pictures larger than one, in less memory;
    blended where tiles meet, and so the same numbers only within one tile.
    """

    distinct_times: bool = True
    kept_context: bool = True
    batched_guidance: bool = True
    compiled: bool = False
    tiled_decoding: bool = False


PLAIN = Speed(False, False, False)
"""None of it."""
EXACT = ("distinct_times", "kept_context", "batched_guidance", "compiled")
"""Fields that change no number beyond rounding."""

RESIDENT, BLOCKS = "none", "blocks"
OFFLOADS = (RESIDENT, BLOCKS)
"""What waits in this machine's memory until a card computes it: nothing, or the backbone's blocks,
each brought over for its own forward (accelerate's hooks)."""


@dataclass(frozen=True)
class Running:
    """How a planner's networks run; no plan depends on it beyond rounding."""

    speed: Speed = Speed()
    offload: str = RESIDENT


AS_USUAL = Running()
