"""A checkpoint's `config.json`: a `ModelConfig` and the instruction templates, as text and back."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mvista_core.camera_range import SIM_CELL, TrainedCameras, trained_cameras
from mvista_core.errors import ConfigError
from mvista_core.imaging import ModelWindow
from mvista_core.vantage import Vantage
from mvista_world.config import (
    CAMERAS,
    ArmPointsConfig,
    CodecConfig,
    CrossModalityConfig,
    CrossViewConfig,
    DepthConfig,
    ModelConfig,
    OptimisationConfig,
    SamplerConfig,
    SourcePointsConfig,
    SourceRenderConfig,
    StyleConfig,
    TextConfig,
    TrajectoryConfig,
    TransformerConfig,
)

C = TypeVar("C")
TRAINED_CAMERAS = "trained_cameras"


def save_config(
    config: ModelConfig,
    templates: Sequence[str],
    path: Path,
    cameras: TrainedCameras | None = None,
) -> None:
    """Write the config as JSON, with the instruction templates and the cameras it was trained on
    (None: `sim_cell`'s, unstated)."""
    document = {"model": dataclasses.asdict(config), "templates": list(templates)}
    if cameras is not None:
        document[TRAINED_CAMERAS] = cameras.document()
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")


def _optional(kind: type[C], values: Mapping[str, Any] | None) -> C | None:
    return None if values is None else kind(**values)


def load_config(path: Path) -> tuple[ModelConfig, tuple[str, ...]]:
    """Read what `save_config` wrote.

    Raises:
        ConfigError: unknown or missing fields, or values that do not fit together.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        model = document["model"]
        config = ModelConfig(
            name=model["name"],
            window=ModelWindow(**model["window"]),
            frame_count=model["frame_count"],
            frame_period_s=model["frame_period_s"],
            max_views=model["max_views"],
            joint_names=tuple(model["joint_names"]),
            # Checkpoints of before these were stated do not name them.
            cameras=tuple(model.get("cameras", CAMERAS)),
            depth=DepthConfig(**model["depth"]),
            codec=CodecConfig(**model["codec"]),
            transformer=TransformerConfig(
                **{**model["transformer"], "patch": tuple(model["transformer"]["patch"])}
            ),
            # Checkpoints of before these were stated have none of the modules.
            cross_modality=_optional(CrossModalityConfig, model.get("cross_modality")),
            cross_view=_optional(CrossViewConfig, model.get("cross_view")),
            source_render=_optional(SourceRenderConfig, model.get("source_render")),
            source_points=_optional(SourcePointsConfig, model.get("source_points")),
            arm_points=_optional(ArmPointsConfig, model.get("arm_points")),
            vantage=_optional(Vantage, model.get("vantage")),
            flat_cameras=model.get("flat_cameras", False),
            joined_depth=model.get("joined_depth", False),
            # Those of before it was stated have the backbone's own width.
            style=StyleConfig(**model.get("style", {})),
            text=TextConfig(**model["text"]),
            trajectory=TrajectoryConfig(**model["trajectory"]),
            # Checkpoints of before modes were stated have their results from mode 1.
            sampler=SamplerConfig(**{"mode": 1, **model["sampler"]}),
            optimisation=OptimisationConfig(**model["optimisation"]),
        )
        return config, tuple(document["templates"])
    except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        raise ConfigError(f"{path}: not a model config ({error!r})") from None


def stated_cameras(path: Path) -> TrainedCameras:
    """From where `save_config`'s file says that views can be asked.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8")).get(TRAINED_CAMERAS)
    except (ValueError, AttributeError, OSError) as error:
        raise ConfigError(f"{path}: not a model config ({error!r})") from None
    # Checkpoints of before these were stated were trained on the cell's own.
    return SIM_CELL if document is None else trained_cameras(document)
