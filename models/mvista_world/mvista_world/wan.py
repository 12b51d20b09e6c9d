"""What is known of Wan2.2-TI2V-5B in diffusers' layout, and what is not it.

The class defaults of diffusers' autoencoder are another model's (Wan 2.1's 16 channels), and
latents scaled by wrong statistics are plausible and worthless: they are compared number by number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from mvista_core.errors import WeightsError
from mvista_world.config import CodecConfig, ModelConfig, TransformerConfig

HUB = "Wan-AI/Wan2.2-TI2V-5B-Diffusers"
GET = f"`hf download {HUB} --local-dir FOLDER`"
CONVERT = (
    "python scripts/convert_wan_to_diffusers.py --model_type Wan2.2-TI2V-5B --output_path FOLDER "
    "--dtype none"
)
"""diffusers' own script, in its repository."""
ORIGINAL_FILES = ("Wan2.2_VAE.pth", "Wan2.1_VAE.pth", "models_t5_umt5-xxl-enc-bf16.pth")

LATENTS_MEAN = (
    -0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557, -0.1382, 0.0542,
    0.2813, 0.0891, 0.1570, -0.0098, 0.0375, -0.1825, -0.2246, -0.1207, -0.0698, 0.5109,
    0.2665, -0.2108, -0.2158, 0.2502, -0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899,
    -0.2799, -0.1230, -0.0313, -0.1649, 0.0117, 0.0723, -0.2839, -0.2083, -0.0520, 0.3748,
    0.0152, 0.1957, 0.1433, -0.2944, 0.3573, -0.0548, -0.1681, -0.0667,
)  # fmt: skip
LATENTS_STD = (
    0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.4990, 0.4818, 0.5013, 0.8158, 1.0344,
    0.5894, 1.0901, 0.6885, 0.6165, 0.8454, 0.4978, 0.5759, 0.3523, 0.7135, 0.6804,
    0.5833, 1.4146, 0.8986, 0.5659, 0.7069, 0.5338, 0.4889, 0.4917, 0.4069, 0.4999,
    0.6866, 0.4093, 0.5709, 0.6065, 0.6415, 0.4944, 0.5726, 1.2042, 0.5458, 1.6887,
    0.3971, 1.0600, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744,
)  # fmt: skip
"""Of the 48 latent channels of the Wan2.2 autoencoder, from its own code (`vae2_2.py`)."""


def vae_config(codec: CodecConfig) -> dict[str, Any]:
    """vae/config.json of an AutoencoderKLWan as the codec says; Wan2.2's own at width 160."""
    return {
        "_class_name": "AutoencoderKLWan",
        "base_dim": codec.width,
        "decoder_base_dim": codec.width * 8 // 5,
        "z_dim": codec.latent_channels,
        "dim_mult": [1, 2, 4, 4],
        "num_res_blocks": 2,
        "attn_scales": [],
        "temperal_downsample": [False, True, True],
        "dropout": 0.0,
        "is_residual": True,
        "in_channels": 12,
        "out_channels": 12,
        "patch_size": 2,
        "scale_factor_temporal": codec.temporal_stride,
        "scale_factor_spatial": codec.spatial_stride,
        "latents_mean": list(LATENTS_MEAN),
        "latents_std": list(LATENTS_STD),
    }


def transformer_config(config: ModelConfig) -> dict[str, Any]:
    """transformer/config.json of the backbone that a config says."""
    t = config.transformer
    return {
        "_class_name": "WanTransformer3DModel",
        "patch_size": list(t.patch),
        "num_attention_heads": t.num_attention_heads,
        "attention_head_dim": t.attention_head_dim,
        "in_channels": config.codec.latent_channels,
        "out_channels": config.codec.latent_channels,
        "text_dim": config.text.hidden,
        "freq_dim": t.freq_dim,
        "ffn_dim": t.ffn_dim,
        "num_layers": t.num_layers,
        "cross_attn_norm": True,
        "qk_norm": t.qk_norm,
        "eps": 1e-6,
        "image_dim": None,
        "added_kv_proj_dim": None,
        "rope_max_seq_len": 1024,
    }


def config_of(folder: Path, start: ModelConfig) -> ModelConfig:
    """`start` with the sizes that a published folder's own configs state.

    Raises:
        WeightsError: a config is missing or states no sizes.
    """
    found = read_json(folder / "transformer" / "config.json")
    vae, text = (read_json(folder / name / "config.json") for name in ("vae", "text_encoder"))
    try:
        sizes = {f.name: found[f.name] for f in fields(TransformerConfig) if f.name != "patch"}
        transformer = TransformerConfig(**sizes, patch=tuple(found["patch_size"]))
        codec = replace(start.codec, width=vae["base_dim"], latent_channels=vae["z_dim"])
        spoken = replace(
            start.text, hidden=text["d_model"], layers=text["num_layers"], heads=text["num_heads"]
        )
    except (KeyError, TypeError) as error:
        raise WeightsError(f"{folder}: its configs state no {error}; get them with {GET}") from None
    return replace(start, transformer=transformer, codec=codec, text=spoken)


def read_json(path: Path) -> dict[str, Any]:
    """A config file of a model folder.

    Raises:
        WeightsError: missing, or no JSON object.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} is missing or damaged ({error}); get it with {GET}") from None
    if not isinstance(found, dict):
        raise WeightsError(f"{path} holds no object of settings; get it with {GET}")
    return found


def check_transformer(path: Path, config: ModelConfig) -> None:
    """Refuse a transformer/config.json that is not the backbone of `config`.

    Raises:
        WeightsError: with what differs, by name.
    """
    _compare(path, read_json(path), transformer_config(config), config.name)


def check_vae(path: Path, codec: CodecConfig) -> None:
    """Refuse a vae/config.json of another autoencoder, or one with another's statistics.

    Raises:
        WeightsError: with what differs, by name.
    """
    found = read_json(path)
    wanted = vae_config(codec)
    for name in ("latents_mean", "latents_std"):
        given, right = found.get(name), wanted.pop(name)
        # Left out, the class would take Wan 2.1's.
        if given is None or len(given) != len(right):
            raise WeightsError(
                f"{path}: {name} has {len(given or ())} channels, this autoencoder "
                f"{codec.latent_channels}: the statistics are of another VAE; get it with {GET}"
            )
        off = [
            k
            for k, pair in enumerate(zip(given, right, strict=True))
            if abs(pair[0] - pair[1]) > 1e-4
        ]
        if off:
            k = off[0]
            raise WeightsError(
                f"{path}: {name}[{k}] is {given[k]}, Wan2.2's is {right[k]} ({len(off)} channels "
                f"differ): the statistics are of another VAE; get it with {GET}"
            )
    _compare(path, found, wanted, "Wan2.2's autoencoder")


def _compare(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any], what: str) -> None:
    """Fields that a file leaves out have the class's defaults, which are compared as absent."""
    differing = [
        f"{name} {found[name]!r} (wanted {value!r})"
        for name, value in wanted.items()
        if name in found and found[name] != value
    ]
    if differing:
        raise WeightsError(
            f"{path} is of another model than {what}: {', '.join(differing)}; get "
            f"Wan2.2-TI2V-5B with {GET}"
        )


def refuse_foreign(folder: Path) -> None:
    """Say by name what a folder holds that is not loaded: other formats, other Wans.

    Raises:
        WeightsError: GGUF files, Wan's original layout, a pair of experts (A14B), or a model whose
            latents are not those of Wan2.2-TI2V-5B.
    """
    gguf = sorted(path.name for path in folder.rglob("*.gguf"))
    if gguf:
        raise WeightsError(
            f"{folder} holds GGUF files ({gguf[0]}); quantised weights are not loaded: take the "
            f"bf16 or fp32 safetensors, {GET}"
        )
    # Before the original layout: an A14B has Wan 2.1's autoencoder, and would pass for a Wan 2.1.
    if any((folder / name).is_dir() for name in ("transformer_2", "high_noise_model")):
        raise WeightsError(
            f"{folder} is a Wan2.2 A14B (two experts of 14 B); wanted is Wan2.2-TI2V-5B, {GET}"
        )
    original = [name for name in ORIGINAL_FILES if (folder / name).is_file()]
    if ORIGINAL_FILES[0] in original:
        raise WeightsError(
            f"{folder} is in Wan's original layout ({original[0]}); convert it with diffusers' "
            f"script: {CONVERT}"
        )
    if original:
        raise WeightsError(
            f"{folder} is a Wan 2.1 in its original layout ({original[0]}, 16 latent channels); "
            f"wanted is Wan2.2-TI2V-5B, {GET}"
        )
    path = folder / "transformer" / "config.json"
    channels = read_json(path).get("in_channels") if path.is_file() else None
    if channels in (16, 36):
        raise WeightsError(
            f"{path}: in_channels {channels} is a Wan 2.1 or an A14B (16 latent channels); wanted "
            f"is Wan2.2-TI2V-5B (48), {GET}"
        )
