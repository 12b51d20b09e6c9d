"""A model folder's facts in words and as a document."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from mvista_world.model_facts import ModelFacts

LAYOUTS = {
    "flat": "one file per network (`mvista model convert` writes the layout of all sizes)",
    "parts": "transformer/, vae/ and so on, as diffusers has them",
    "backbone": "Wan2.2-TI2V-5B as published: a start of training, it cannot plan",
}


def as_document(facts: ModelFacts) -> dict[str, Any]:
    """Layout, config, parts and cached words."""
    return {
        "folder": str(facts.folder),
        "layout": facts.layout,
        "parameters": facts.parameters,
        "parts": [asdict(part) for part in facts.parts],
        "sentences": len(facts.sentences),
        "encoded": facts.encoded,
        "model": asdict(facts.config),
    }


def as_text(facts: ModelFacts) -> str:
    """A table of parts, and what surrounds it."""
    config, window = facts.config, facts.config.window
    rows = [
        f"  {part.name:16s} {part.parameters / 1e6:10.3f} M {part.size / 2**20:10.1f} MiB  "
        + "+".join(part.numbers)
        for part in facts.parts
    ]
    lines = [
        f"{facts.folder}: {config.name}, {LAYOUTS[facts.layout]}",
        *rows,
        f"  a planner holds  {facts.parameters / 1e6:10.3f} M",
        f"  {config.frame_count} frames of {window.width_px}x{window.height_px}, at most "
        f"{config.max_views} views at once; {config.sampler.steps} steps of "
        f"{config.sampler.solver}, shift {config.sampler.shift:g}",
    ]
    if facts.sentences:
        lines.append(f"  {facts.encoded} of {len(facts.sentences)} sentences can be heard")
    return "\n".join(lines)
