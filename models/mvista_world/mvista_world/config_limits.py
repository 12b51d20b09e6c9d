"""What a model's record may be, in one place: `config.ModelConfig` asks as it is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mvista_core.errors import ConfigError

if TYPE_CHECKING:
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
    )

VIEW_MODES = (1, 2)
ACTION_HEADS = ("reader", "generator")
"""Who reads a future: the motion reader, where the checkpoint has one, or the generator's own
consistency head."""
SOLVERS = ("euler", "unipc")
TRAJECTORIES = ("tcn_vae", "actions")
"""What the trajectory latent is: Eq. 9's, or the actions themselves."""
SUBCELLS = 2
"""Parts of a latent cell along each axis whose depth is told (`shown.cell_depths`)."""
# Wan2.2's `rope_max_seq_len`: positions of one axis, which the rows of all views share.
ROPE_LIMIT = 1024


def validate(config: ModelConfig) -> None:
    """Refuse what the backbone would silently truncate.

    Raises:
        ConfigError: with the value, what is allowed, and the field's name.
    """
    _check_grid(config)
    _check_trajectory(config)
    if config.joined_depth and config.cross_modality is not None:
        raise ConfigError(
            "with joined_depth colour and depth of a place are one token, and cross_modality has "
            "nothing to join: with depth_tokens left out, leave out both"
        )
    _check_sampler(config.sampler)
    if config.sampler.step_cache and config.transformer.num_layers < 2:
        raise ConfigError(
            f"step_cache {config.sampler.step_cache}: a backbone of one block has none after the "
            "first; set it to 0"
        )
    _check_optimisation(config.optimisation)
    if not 0 < config.depth.near_m < config.depth.far_m:
        raise ConfigError(f"depth range {config.depth} needs 0 < near_m < far_m")
    _check_fusion(config.cross_modality, config.cross_view)
    _check_source(config.source_render, config.source_points, config.codec)
    if config.arm_points is not None:
        _check_arm_points(config.arm_points, config)
    if config.vantage is not None and config.source_render is None:
        raise ConfigError(
            "from a vantage a part of the picture is filled in, and source_render says which: with "
            "source_render left out, leave out vantage"
        )
    if config.vantage is not None and config.max_views < 2:
        raise ConfigError(
            f"max_views {config.max_views}: with a vantage the source's own view is completed "
            "beside another; 2 or more are needed"
        )
    width, heads = config.style.width, config.style.heads
    if (width is None) != (heads is None) or (width and heads and width % heads) or width == 0:
        raise ConfigError(
            f"style: width {width} of {heads} heads; a width is a multiple of its heads, and both "
            "are null for the backbone's own"
        )


def _check_trajectory(config: ModelConfig) -> None:
    own = config.trajectory
    stretch = 2**own.stages
    if own.action_count % stretch:
        raise ConfigError(
            f"action_count {own.action_count} is not a multiple of {stretch} (2^stages)"
        )
    if own.kind not in TRAJECTORIES:
        raise ConfigError(f"trajectory kind '{own.kind}' is none of {list(TRAJECTORIES)}")
    joints = len(config.joint_names)
    if own.kind == "actions" and own.channels != stretch * joints:
        raise ConfigError(
            f"trajectory channels {own.channels}: a token of actions is {stretch} (2^stages) of "
            f"{joints} joints, {stretch * joints}"
        )


def _check_source(
    render: SourceRenderConfig | None, points: SourcePointsConfig | None, codec: CodecConfig
) -> None:
    if render and codec.spatial_stride % SUBCELLS:
        raise ConfigError(
            f"source_render tells depths of {SUBCELLS}x{SUBCELLS} parts of a latent cell; one "
            f"of {codec.spatial_stride} px has none"
        )
    if render and not (render.width >= 1 and min(render.seen_std, render.unseen_std) > 0.0):
        raise ConfigError(f"{render}: width is 1 or more, deviations are above 0")
    if points and points.width < 1:
        raise ConfigError(f"{points}: width is 1 or more")
    if points and not render:
        raise ConfigError(
            "source_points says where what source_render shows lies: with source_render left out, "
            "leave out both"
        )


def _check_arm_points(own: ArmPointsConfig, config: ModelConfig) -> None:
    joints = len(config.joint_names)
    if not (own.width >= 1 and 1 <= own.links <= joints and 0.0 < own.near_cells < own.far_cells):
        raise ConfigError(
            f"{own}: width is 1 or more, links 1 to {joints} (joint_names), 0 < near_cells < "
            "far_cells"
        )
    if config.transformer.patch[0] != 1:
        raise ConfigError(
            f"arm_points tells a latent frame's times apart, and a patch of "
            f"{config.transformer.patch[0]} joins frames; patch begins with 1"
        )


def _check_grid(config: ModelConfig) -> None:
    stride, patch = config.codec.spatial_stride, config.transformer.patch
    # Of one view, not of the stack: where only the whole divides, a token would straddle two views.
    for axis, size, step in (
        ("height", config.window.height_px, stride * patch[1]),
        ("width", config.window.width_px, stride * patch[2]),
    ):
        if size % step:
            raise ConfigError(
                f"window {axis} {size} px is not a multiple of {step} (codec stride {stride} times "
                "patch): the backbone would drop rows; see window in the model config"
            )
    if (config.frame_count - 1) % config.codec.temporal_stride:
        raise ConfigError(
            f"frame_count {config.frame_count} is not {config.codec.temporal_stride}k+1: "
            "the codec would drop frames"
        )
    if config.latent_frames % patch[0]:
        raise ConfigError(
            f"{config.latent_frames} latent frames (frame_count {config.frame_count}) are not a "
            f"multiple of the temporal patch {patch[0]}: the backbone would drop frames"
        )
    if config.max_views < 1:
        raise ConfigError(f"max_views {config.max_views}: at least the source view is needed")
    rows, _ = config.token_grid
    for axis, count in (
        ("rows", config.max_views * rows),
        ("columns", config.row_tokens),
        ("frames", config.latent_frames // patch[0]),
    ):
        if count > ROPE_LIMIT:
            raise ConfigError(f"{count} token {axis} exceed the rotary table of {ROPE_LIMIT}")


def _check_sampler(sampler: SamplerConfig) -> None:
    wrong = sampler.mode not in VIEW_MODES or min(sampler.reference_views, sampler.steps) < 1
    if wrong or not sampler.shift > 0.0:
        raise ConfigError(
            f"{sampler}: mode is one of {VIEW_MODES}, reference_views and steps 1 or more, shift "
            "above 0"
        )
    low, high = sampler.guidance_low, sampler.guidance_high
    # Asked for what is right, since NaN makes every comparison false and so is refused.
    if not (sampler.guidance >= 1.0 and 0.0 <= low < high <= 1.0):
        raise ConfigError(
            f"{sampler}: guidance is 1 (none) or more, between noise levels 0 <= low < high <= 1"
        )
    if not 0.0 <= sampler.step_cache < 1.0:
        raise ConfigError(
            f"step_cache {sampler.step_cache}: a share from 0 (every step in full) to below 1"
        )
    if sampler.solver not in SOLVERS:
        raise ConfigError(f"solver '{sampler.solver}' is none of {list(SOLVERS)}")


def _check_optimisation(eq11: OptimisationConfig) -> None:
    # As above: what is right is asked for, and NaN is not.
    rates = eq11.learning_rate > 0.0 and eq11.head_learning_rate > 0.0 and eq11.lambda_z >= 0.0
    times = all(
        0.0 <= low < high <= 1.0
        for low, high in ((eq11.t_low, eq11.t_high), (eq11.head_t_low, eq11.head_t_high))
    )
    counts = min(eq11.draws, eq11.head_draws) >= 1 and min(eq11.head_steps, eq11.random_steps) >= 0
    if not (rates and times and counts and 0.0 <= eq11.still_weight <= 1.0):
        raise ConfigError(
            f"{eq11}: learning rates are above 0, lambda_z 0 or more, noise levels 0 <= low < high "
            "<= 1, draws 1 or more, steps 0 or more, still_weight 0 to 1"
        )
    if eq11.action_head not in ACTION_HEADS:
        raise ConfigError(f"action_head '{eq11.action_head}' is none of {list(ACTION_HEADS)}")


def _check_fusion(modality: CrossModalityConfig | None, view: CrossViewConfig | None) -> None:
    for name, module in (("cross_modality", modality), ("cross_view", view)):
        if module is None:
            continue
        if module.heads < 1 or module.width < 1 or module.width % module.heads:
            raise ConfigError(
                f"{name}: width {module.width} is not a multiple of {module.heads} heads"
            )
    # An even window has no middle: padded by its half, `unfold` gives a row and a column too many.
    if modality is not None and (modality.window < 1 or modality.window % 2 == 0):
        raise ConfigError(f"cross_modality: window {modality.window} is not odd and 1 or more")
    if view is not None and (view.samples < 1 or not view.max_offset >= 0):
        raise ConfigError(
            f"cross_view: {view.samples} samples of max_offset {view.max_offset}; at least 1 "
            "sample is needed, and no negative offset"
        )
