"""One layout of model folders for every size, and what is said of anything else."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from safetensors.torch import load_file, save_file

from mvista_core import weights
from mvista_core.errors import ConfigError, WeightsError
from mvista_core.timing import ManualClock
from mvista_world.assemble import Sizes, convert, make_random
from mvista_world.checkpoint import load_checkpoint
from mvista_world.compute import choose
from mvista_world.folder import BACKBONE, FLAT, PARTS, recognise
from mvista_world.model_facts import read_facts, verify
from mvista_world.planner import load_planner
from mvista_world.presets import preset
from mvista_world.shards import stored_weights, write_shards
from tests.world.tiny import ARM, CONFIG, RIG, TEMPLATES, make_observation, write_checkpoint
from tests.world.wan_folder import SMALL, write_wan_folder

SHIPPED = Path(__file__).parents[2] / "models/checkpoints/tiny"
PUBLISHED = ("transformer", "vae", "text_encoder", "tokenizer", "scheduler")


@pytest.fixture(scope="module")
def wan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_wan_folder(tmp_path_factory.mktemp("wan") / "folder")


@pytest.fixture
def published(wan: Path, tmp_path: Path) -> Path:
    """Wan2.2-TI2V-5B-Diffusers as it would lie there, small: written by diffusers, in shards."""
    folder = tmp_path / "Wan2.2-TI2V-5B-Diffusers"
    for name in PUBLISHED:
        shutil.copytree(wan / name, folder / name)
    shutil.copyfile(wan / "model_index.json", folder / "model_index.json")
    model = WanTransformer3DModel.from_pretrained(folder / "transformer")
    shutil.rmtree(folder / "transformer")
    model.save_pretrained(folder / "transformer", max_shard_size="40KB")
    assert len(list((folder / "transformer").glob("*.safetensors"))) > 1
    return folder


def test_diffusers_reads_the_parts_as_its_own(wan: Path) -> None:
    """The very layout: its classes load our files, tensor for tensor."""
    backbone = WanTransformer3DModel.from_pretrained(wan / "transformer")
    vae = AutoencoderKLWan.from_pretrained(wan / "vae")
    loaded = load_checkpoint(wan, choose("fp32"))
    ours = loaded.generator.backbone.state_dict()
    for key, tensor in backbone.state_dict().items():
        assert torch.equal(ours[key], tensor.float()), key
    for key, tensor in vae.state_dict().items():
        assert torch.equal(loaded.codec.vae.state_dict()[key], tensor), key  # type: ignore[attr-defined]


def test_a_published_folder_loads_with_no_missing_and_no_unexpected_key(published: Path) -> None:
    assert recognise(published) == BACKBONE
    facts = verify(published)
    assert facts.config.transformer == SMALL.transformer
    assert [part.name for part in facts.parts] == ["backbone", "vae", "text_encoder"]
    with pytest.raises(WeightsError, match="as published.*make-random --backbone"):
        load_checkpoint(published)


def test_a_start_of_training_takes_the_backbone_and_adds_nothing_to_its_output(
    published: Path, tmp_path: Path
) -> None:
    before = {path: path.read_bytes() for path in published.rglob("*") if path.is_file()}
    make_random(tmp_path / "start", SMALL, TEMPLATES, backbone=published)
    assert {path: path.read_bytes() for path in before} == before
    assert read_facts(tmp_path / "start").layout == PARTS
    generator = load_checkpoint(tmp_path / "start", choose("fp32")).generator
    taken = load_file(next(iter(sorted((published / "transformer").glob("*.safetensors")))))
    for key, tensor in taken.items():
        assert torch.equal(generator.backbone.state_dict()[key], tensor.float())
    for block in generator.backbone.blocks:
        assert not block.style.attention.to_out[0].weight.any()
        assert not block.cross_view.to_out.weight.any()


def test_a_flat_checkpoint_converted_plans_the_same(tmp_path: Path) -> None:
    flat = write_checkpoint(tmp_path / "flat")
    convert(flat, tmp_path / "parts")
    assert (recognise(flat), recognise(tmp_path / "parts")) == (FLAT, PARTS)
    plans = []
    for folder in (flat, tmp_path / "parts"):
        planner = load_planner(folder, RIG, ARM, ManualClock(7), choose("fp32"))
        seen = make_observation("open the drawer")
        rollout = planner.imagine(seen, "cam1", ["cam2"], 3, lambda *_: True)
        plan = planner.infer_actions(rollout.rollout_id, "head", 2, lambda *_: True)
        plans.append((rollout.color, rollout.depth_m, plan.losses, plan.refined.positions))
    # The same weights to the bit (below); but mapped ones lie where the file has them, and kernels
    # of some processors add in another order where memory is not aligned.
    for one, other in zip(*plans, strict=True):
        # Of a colour that lies between two numbers either may be told.
        atol = 1 if one.dtype == np.uint8 else 1e-5
        np.testing.assert_allclose(one.astype(np.float64), other, rtol=1e-4, atol=atol)


def test_the_shipped_checkpoint_converted_has_the_same_weights_to_the_bit(tmp_path: Path) -> None:
    convert(SHIPPED, tmp_path / "parts")
    before, after = (load_checkpoint(f, choose("fp32")) for f in (SHIPPED, tmp_path / "parts"))
    assert before.config == after.config and before.templates == after.templates
    for name in ("codec", "text", "generator", "trajectory", "refiner"):
        one, other = (getattr(found, name).state_dict() for found in (before, after))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one), name


def test_weights_are_held_in_the_numbers_that_were_asked_for(wan: Path) -> None:
    """bf16 but for what diffusers keeps in float32; the autoencoder is float32 in either."""
    wide = set(WanTransformer3DModel._keep_in_fp32_modules)
    loaded = load_checkpoint(wan, choose("bf16"))
    for key, tensor in loaded.generator.state_dict().items():
        kept = key.startswith("backbone.") and wide & set(key.split(".")) and ".style." not in key
        assert tensor.dtype == (torch.float32 if kept else torch.bfloat16), key
    assert {p.dtype for p in loaded.codec.parameters()} == {torch.float32}  # type: ignore[attr-defined]
    narrow = load_checkpoint(wan, choose("fp32")).generator
    assert {p.dtype for p in narrow.parameters()} == {torch.float32}


def test_shards_hold_what_one_file_holds(tmp_path: Path) -> None:
    tensors = {f"t{k}": torch.full((k + 1, 3), float(k)) for k in range(9)}
    names = write_shards(tensors.items(), tmp_path / "many", "model", most=60)
    assert len(names) > 3 and names[-1].endswith(".index.json")
    assert write_shards(tensors.items(), tmp_path / "one", "model") == ["model.safetensors"]
    many, one = (stored_weights(tmp_path / name, "model") for name in ("many", "one"))
    assert {k: v.shape for k, v in many.items()} == {k: v.shape for k, v in one.items()}
    for key, found in many.items():
        assert torch.equal(load_file(found.path)[key], tensors[key])


def test_parameters_are_counted_by_what_they_are_for() -> None:
    """The style attention of the full size: 0.19 B at width 512, 1.13 B at the backbone's own."""
    full, narrow = 30 * 4 * 3072 * 3072, 30 * 4 * 3072 * 512
    assert (round(full / 1e9, 2), round(narrow / 1e9, 2)) == (1.13, 0.19)
    config = preset("wan22_ti2v_5b")
    assert (config.style.width, config.style.heads) == (512, 4)


def test_counted_parts_are_the_networks_own(wan: Path) -> None:
    facts, loaded = read_facts(wan), load_checkpoint(wan, choose("fp32"))
    counted = {part.name: part.parameters for part in facts.parts}
    blocks = loaded.generator.backbone.blocks
    style = sum(p.numel() for block in blocks for p in block.style.parameters())
    own = sum(p.numel() for p in loaded.generator.parameters())
    beside = ("trajectory", "vae", "text_encoder", "refine")
    assert counted["style"] == style
    assert sum(count for name, count in counted.items() if name not in beside) == own
    assert (facts.encoded, len(facts.sentences)) == (3, 3)


Damage = Callable[[Path], object]


def edit(path: Path, **changes: object) -> None:
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, **changes}))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def as_fp8(path: Path) -> None:
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    for entry in header.values():
        if "dtype" in entry:
            entry["dtype"] = "F8_E4M3"
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


def first_shard(folder: Path) -> Path:
    return sorted((folder / "transformer").glob("*.safetensors"))[0]


def without_a_key(path: Path) -> None:
    tensors = load_file(path)
    tensors.pop(sorted(tensors)[0])
    save_file(tensors, path)


REFUSED: dict[str, tuple[Damage, str]] = {
    "Wan 2.1": (
        lambda f: edit(f / "transformer/config.json", in_channels=16, out_channels=16),
        r"in_channels 16 is a Wan 2\.1 or an A14B.*wanted is Wan2\.2-TI2V-5B \(48\), `hf download",
    ),
    "A14B": (
        lambda f: (f / "transformer_2").mkdir(),
        r"is a Wan2\.2 A14B \(two experts of 14 B\); wanted is Wan2\.2-TI2V-5B, `hf download",
    ),
    "another model": (
        lambda f: edit(f / "transformer/config.json", _class_name="FluxTransformer2DModel"),
        r"is a FluxTransformer2DModel; wanted is Wan2\.2-TI2V-5B",
    ),
    "GGUF": (
        lambda f: (f / "transformer/wan-Q4_K.gguf").touch(),
        r"GGUF files \(wan-Q4_K\.gguf\).*bf16 or fp32 safetensors, `hf download",
    ),
    "fp8": (
        lambda f: as_fp8(first_shard(f)),
        r"holds \['F8_E4M3'\]; what is loaded is F32, F16 or BF16",
    ),
    "half a shard": (
        lambda f: cut(first_shard(f)),
        r"00001-of-\d+\.safetensors has \d+ bytes, its header wants \d+; fetch the file again",
    ),
    "a few bytes of a shard": (
        lambda f: first_shard(f).write_bytes(first_shard(f).read_bytes()[:30]),
        r"00001-of-\d+\.safetensors ends within its header \(30 bytes\)",
    ),
    "no shard": (lambda f: first_shard(f).unlink(), r"00001-of-\d+\.safetensors is missing"),
    "a pointer": (
        lambda f: first_shard(f).write_text("version https://git-lfs.github.com/spec/v1\n" * 9),
        r"is a Git LFS pointer and no weights; run `git lfs pull`",
    ),
    "a foreign shard": (
        lambda f: without_a_key(first_shard(f)),
        r"lacks .* that diffusion_pytorch_model\.safetensors\.index\.json places there",
    ),
    "another depth": (
        lambda f: edit(f / "transformer/config.json", num_layers=3),
        r"\d+ keys missing \(blocks\.2\.",
    ),
    "another width": (
        lambda f: edit(f / "transformer/config.json", ffn_dim=64),
        r"'blocks\.0\.ffn.*' is \[48.*\] in .*, the config makes it \[64",
    ),
    "statistics left out": (
        lambda f: edit(f / "vae/config.json", latents_mean=None),
        r"latents_mean has 0 channels, this autoencoder 48: .* of another VAE",
    ),
    "statistics of Wan 2.1": (
        lambda f: edit(f / "vae/config.json", latents_std=[2.8184] * 16),
        r"latents_std has 16 channels, this autoencoder 48: .* of another VAE",
    ),
    "one other number": (
        lambda f: edit(
            f / "vae/config.json",
            latents_mean=[
                *json.loads((f / "vae/config.json").read_text())["latents_mean"][:-1],
                0.5,
            ],
        ),
        r"latents_mean\[47\] is 0\.5, Wan2\.2's is -0\.0667 \(1 channels differ\)",
    ),
    "another autoencoder": (
        lambda f: edit(f / "vae/config.json", is_residual=False),
        r"is_residual False \(wanted True\)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_wan22_ti2v_5b_is_refused_by_name(case: str, published: Path) -> None:
    damage, words = REFUSED[case]
    damage(published)
    with pytest.raises(WeightsError, match=words):
        verify(published)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (
            ("Wan2.2_VAE.pth", "models_t5_umt5-xxl-enc-bf16.pth"),
            r"Wan's original layout \(Wan2\.2_VAE\.pth\).*python scripts/convert_wan_to_diffusers"
            r"\.py --model_type Wan2\.2-TI2V-5B --output_path FOLDER --dtype none$",
        ),
        (("Wan2.1_VAE.pth",), r"is a Wan 2\.1 in its original layout"),
        (("Wan2.1_VAE.pth", "high_noise_model/a.safetensors"), r"is a Wan2\.2 A14B"),
        ((), r"manifest\.json is missing.*transformer/config\.json too.*`hf download"),
    ],
)
def test_other_layouts_are_named(files: tuple[str, ...], words: str, tmp_path: Path) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(WeightsError, match=words):
        recognise(tmp_path)


@pytest.mark.parametrize("name", ["transformer/diffusion_pytorch_model.safetensors", "config.json"])
def test_an_altered_file_of_ours_is_refused_before_it_is_read(
    name: str, wan: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(wan, tmp_path / "copy")
    data = bytearray((folder / name).read_bytes())
    data[-1] ^= 1
    (folder / name).write_bytes(bytes(data))
    with pytest.raises(WeightsError, match=f"{name} was truncated or altered: expected sha256"):
        load_checkpoint(folder)


def test_a_transformer_of_another_config_is_refused(wan: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(wan, tmp_path / "copy")
    edit(folder / "transformer/config.json", num_attention_heads=4)
    listed = json.loads((folder / "manifest.json").read_text())["files"]
    weights.write_manifest(folder, list(listed))
    with pytest.raises(WeightsError, match=r"num_attention_heads 4 \(wanted 2\)"):
        load_checkpoint(folder)


def test_a_folder_that_is_there_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(ConfigError, match="has something in it"):
        make_random(tmp_path, SMALL, TEMPLATES)
    with pytest.raises(ConfigError, match="'test' has no Wan backbone"):
        make_random(tmp_path / "new", CONFIG, TEMPLATES)
    with pytest.raises(ConfigError, match=r"frame_count 6 is not 4k\+1"):
        Sizes(frames=6).applied_to(SMALL)
    with pytest.raises(ConfigError, match="text_width a multiple of 64"):
        Sizes(text_width=100).applied_to(SMALL)


def test_wans_own_networks_are_refused_in_one_file_each(tmp_path: Path) -> None:
    flat = write_checkpoint(tmp_path)
    edit(flat / "config.json", model={
        **json.loads((flat / "config.json").read_text())["model"],
        "codec": {"kind": "wan"}, "text": {"kind": "umt5"},
    })  # fmt: skip
    weights.write_manifest(flat, ["config.json"])
    with pytest.raises(ConfigError, match=r"wants codec 'wan'.*`mvista model`"):
        load_checkpoint(flat)


def test_the_seed_decides_every_weight(tmp_path: Path, wan: Path) -> None:
    one = make_random(tmp_path / "one", replace(SMALL), TEMPLATES, home=tuple(ARM.home))
    assert one == weights.verify(wan)
    assert make_random(tmp_path / "two", SMALL, TEMPLATES, 1, home=tuple(ARM.home)) != one
