"""A model folder in Wan2.2-TI2V-5B's layout, small: real classes, random weights, some 12 MB."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mvista_core.imaging import ModelWindow
from mvista_world.assemble import make_random
from mvista_world.config import (
    CodecConfig,
    CrossModalityConfig,
    CrossViewConfig,
    ModelConfig,
    SamplerConfig,
    StyleConfig,
    TextConfig,
    TransformerConfig,
)
from mvista_world.presets import wan22_ti2v_5b
from mvista_world.text_cache import encode_folder
from tests.world.tiny import ARM, CONFIG, TEMPLATES

SMALL = replace(
    wan22_ti2v_5b(),
    name="small_wan",
    # 320x180 would be padded to 320x192; its middle is enough here.
    window=ModelWindow(64, 64, 2),
    frame_count=5,
    codec=CodecConfig("wan", 48, 16, 4, 10),
    transformer=TransformerConfig(2, 2, 16, 48, 32),
    cross_modality=CrossModalityConfig(8, 2),
    cross_view=CrossViewConfig(8, 2),
    style=StyleConfig(16, 1),
    text=TextConfig("umt5", 16, 1, 2, 24),
    trajectory=CONFIG.trajectory,
    sampler=SamplerConfig(2, 5.0, solver="unipc"),
)


def write_wan_folder(
    folder: Path, config: ModelConfig = SMALL, encoded: bool = True, seed: int = 0
) -> Path:
    """The folder; its words are cached unless `encoded` is False."""
    make_random(folder, config, TEMPLATES, seed, home=tuple(ARM.home))
    if encoded:
        encode_folder(folder)
    return folder
