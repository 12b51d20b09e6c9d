"""The validator refuses what the backbone would silently truncate."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mvista_core.episode_shape import TINY
from mvista_core.errors import ConfigError
from mvista_core.imaging import ModelWindow
from mvista_core.rig import load_rig
from mvista_world.config import (
    CAMERAS,
    CrossModalityConfig,
    CrossViewConfig,
    DepthConfig,
    OptimisationConfig,
    SamplerConfig,
    TransformerConfig,
)
from mvista_world.config_file import load_config, save_config
from mvista_world.presets import PRESETS, preset, tiny
from tests.world.tiny import CONFIG, TEMPLATES

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window": ModelWindow(48, 40, 2)}, "window height 40 px is not a multiple of 16"),
        ({"window": ModelWindow(40, 32, 2)}, "window width 40 px is not a multiple of 16"),
        ({"frame_count": 6}, r"frame_count 6 is not 4k\+1"),
        ({"max_views": 0}, "max_views 0: at least the source view"),
        ({"max_views": 600}, "1200 token rows exceed the rotary table of 1024"),
        ({"frame_count": 4101}, "1026 token frames exceed the rotary table of 1024"),
        ({"window": ModelWindow(16 * 600, 32, 2)}, "1200 token columns exceed the rotary table"),
        (
            {"trajectory": replace(CONFIG.trajectory, action_count=30)},
            r"action_count 30 is not a multiple of 4 \(2\^stages\)",
        ),
        (
            {"cross_modality": CrossModalityConfig(width=33)},
            "cross_modality: width 33 is not a multiple of 2 heads",
        ),
        (
            {"cross_modality": CrossModalityConfig(window=4)},
            "cross_modality: window 4 is not odd",
        ),
        ({"cross_view": CrossViewConfig(heads=0)}, "cross_view: width 32 is not a multiple of 0"),
        ({"cross_view": CrossViewConfig(samples=0)}, "cross_view: 0 samples .* at least 1 sample"),
        ({"cross_view": CrossViewConfig(max_offset=-1.0)}, "max_offset -1.0; .* no negative"),
        ({"sampler": SamplerConfig(steps=0)}, "steps=0.* reference_views and steps 1 or more"),
        ({"sampler": SamplerConfig(shift=float("nan"))}, "shift=nan.* shift above 0"),
        ({"depth": DepthConfig(1.0, 0.5)}, "needs 0 < near_m < far_m"),
        ({"depth": DepthConfig(0.0, 0.5)}, "needs 0 < near_m < far_m"),
        (
            {"transformer": TransformerConfig(patch=(2, 2, 2)), "frame_count": 9},
            "3 latent frames .* not a multiple of the temporal patch 2",
        ),
    ],
)
def test_a_shape_that_would_be_truncated_is_refused(change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(CONFIG, **change)


@pytest.mark.parametrize(
    "wrong",
    [
        {"learning_rate": 0.0},
        {"head_learning_rate": float("nan")},
        {"lambda_z": -1e-3},
        {"t_low": 1.0},
        {"t_high": 1.5},
        {"head_t_low": float("nan")},
        {"draws": 0},
        {"head_draws": 0},
        {"random_steps": -1},
        {"still_weight": 2.0},
    ],
)
def test_an_optimisation_that_finds_nothing_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="learning rates are above 0, .* still_weight 0 to 1"):
        replace(CONFIG, optimisation=OptimisationConfig(**wrong))  # type: ignore[arg-type]


def test_a_wan_stride_makes_the_window_step_32() -> None:
    wan = preset("wan22_ti2v_5b")
    with pytest.raises(ConfigError, match="height 720 px is not a multiple of 32"):
        replace(wan, window=ModelWindow(1280, 720, 1))


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_valid_and_survive_json(name: str, tmp_path: Path) -> None:
    config = preset(name)
    save_config(config, TEMPLATES, tmp_path / "config.json")
    assert load_config(tmp_path / "config.json") == (config, TEMPLATES)


def test_the_shipped_checkpoint_states_what_the_preset_states() -> None:
    """Whoever has not loaded it yet (the collector, a node's defaults) reads the preset."""
    config, _ = load_config(ROOT / "models/checkpoints/tiny/config.json")
    # It was trained before there was in-block fusion, and its results are of before mode 2.
    assert config == replace(
        tiny(),
        cross_modality=None,
        cross_view=None,
        sampler=replace(tiny().sampler, mode=1),
    )
    assert config.episode == TINY
    assert config.cameras == CAMERAS and len(CAMERAS) <= config.max_views
    assert config.optimisation.steps_from("head") < config.optimisation.steps_from("random")
    assert set(CAMERAS) <= set(load_rig(ROOT / "config/rigs/sim_cell.yaml").names)


def test_an_unknown_preset_lists_the_presets() -> None:
    with pytest.raises(ConfigError, match=r"no model preset 'huge'.*tiny.*wan22_ti2v_5b"):
        preset("huge")


def test_a_preset_without_fusion_states_so_in_its_file(tmp_path: Path) -> None:
    assert tiny().cross_modality is not None and tiny().cross_view is not None
    config = preset("tiny", ["cross_view"])
    assert config == replace(tiny(), cross_view=None)
    save_config(config, TEMPLATES, tmp_path / "config.json")
    assert load_config(tmp_path / "config.json")[0].cross_view is None
    with pytest.raises(ConfigError, match=r"no module \['cross_time'\].*cross_modality"):
        preset("tiny", ["cross_time"])


def test_a_preset_with_the_papers_alternatives_states_so_in_its_file(tmp_path: Path) -> None:
    """Table 2's "EA" and Table 10's "Flatten Cam"."""
    plain, flat = preset("tiny", ["offsets"]), preset("tiny", ["spherical"])
    assert plain.cross_view == replace(CrossViewConfig(), max_offset=0.0) and flat.flat_cameras
    for name, config in (("offsets", plain), ("spherical", flat)):
        assert config.lacks(name) and not tiny().lacks(name)
        save_config(config, TEMPLATES, tmp_path / "config.json")
        assert load_config(tmp_path / "config.json")[0] == config
    with pytest.raises(ConfigError, match="left out itself"):
        preset("tiny", ["cross_view", "offsets"])


@pytest.mark.parametrize("damage", ["unknown field", "missing field", "not json", "no file"])
def test_a_damaged_config_file_is_refused_by_name(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    save_config(CONFIG, TEMPLATES, path)
    document = json.loads(path.read_text())
    if damage == "unknown field":
        document["model"]["sampler"]["order"] = 2
    elif damage == "missing field":
        del document["model"]["frame_count"]
    path.write_text("{" if damage == "not json" else json.dumps(document))
    if damage == "no file":
        path.unlink()
    with pytest.raises(ConfigError, match=r"config\.json: not a model config"):
        load_config(path)
