"""The models there are by name: this project's small ones, and Wan2.2-TI2V-5B's for every rig."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from mvista_core.errors import ConfigError
from mvista_core.imaging import ModelWindow
from mvista_core.vantage import Vantage
from mvista_world.config import (
    ArmPointsConfig,
    CodecConfig,
    CrossModalityConfig,
    CrossViewConfig,
    ModelConfig,
    OptimisationConfig,
    SamplerConfig,
    SourcePointsConfig,
    SourceRenderConfig,
    StyleConfig,
    TextConfig,
    TransformerConfig,
)


def tiny() -> ModelConfig:
    """The shipped checkpoint: runs on two CPU cores."""
    return ModelConfig("tiny")


def tiny_views() -> ModelConfig:
    """`tiny` for cameras anywhere: a window of 16x10 latent cells (8x5 tokens), so that an epipolar
    line crosses more cells than it has samples; told what the source shows of each view, and where
    that lies."""
    return ModelConfig(
        "tiny_views",
        window=ModelWindow(128, 80, 2),
        source_render=SourceRenderConfig(),
        source_points=SourcePointsConfig(),
        arm_points=ArmPointsConfig(),
        vantage=Vantage(),
        # Eq. 11's steps undo what its motion reader read: 9 of 20 put_orange instead of 19.
        optimisation=OptimisationConfig(head_steps=0),
    )


def wan22_ti2v_5b() -> ModelConfig:
    """Wan2.2-TI2V-5B's own shape, for 320x180 images: padded to 192 rows, which divide by 32."""
    return ModelConfig(
        "wan22_ti2v_5b",
        window=ModelWindow(320, 192, 1, padded=True),
        # 32 periods of 0.2 s are the 6.4 s of `tiny`, over which the 96 actions are due.
        frame_count=33,
        frame_period_s=0.2,
        codec=CodecConfig("wan", 48, 16, 4, 160),
        transformer=TransformerConfig(30, 24, 128, 14336, 256),
        cross_modality=CrossModalityConfig(256, 8),
        cross_view=CrossViewConfig(256, 8, 8),
        style=StyleConfig(512, 4),
        text=TextConfig("umt5", 4096, 24, 64, 512),
        sampler=SamplerConfig(40, 5.0, solver="unipc", guidance=5.0),
    )


def wan22_ti2v_5b_240() -> ModelConfig:
    """For the 320x240 images of the paper's simulated rigs (`paper_rigs`): padded to 256 rows."""
    window = ModelWindow(320, 256, 1, padded=True)
    return dataclasses.replace(wan22_ti2v_5b(), name="wan22_ti2v_5b_240", window=window)


def wan22_ti2v_5b_720() -> ModelConfig:
    """For 1280x720 images, a quarter of which are as `wan22_ti2v_5b`'s."""
    window = ModelWindow(320, 192, 4, padded=True)
    return dataclasses.replace(wan22_ti2v_5b(), name="wan22_ti2v_5b_720", window=window)


PRESETS = {
    make.__name__: make
    for make in (tiny, tiny_views, wan22_ti2v_5b, wan22_ti2v_5b_240, wan22_ti2v_5b_720)
}


def preset(name: str, without: Sequence[str] = ()) -> ModelConfig:
    """A preset by name, `without` some of `LEFT_OUT`; `ConfigError` lists the names there are."""
    if name not in PRESETS:
        raise ConfigError(f"no model preset '{name}'; there are {sorted(PRESETS)}")
    return PRESETS[name]().without(without)


def vantage_of(name: str) -> Vantage:
    """Where a preset's model reads its source from.

    Raises:
        ConfigError: as the source stands.
    """
    found = preset(name).vantage
    if found is None:
        raise ConfigError(
            f"preset '{name}' reads its source as it stands; --vantage is for one that has a "
            "vantage, as tiny_views"
        )
    return found
