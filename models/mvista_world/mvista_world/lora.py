"""Low-rank adapters (LoRA) of the backbone: added by peft, kept in a file of their own, merged.

The file names what it was trained on: the sum of the backbone's files, the rank and the scale. On
another backbone its numbers load as well and mean nothing, so that is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from mvista_core import weights
from mvista_core.errors import WeightsError
from mvista_world.folder import ADDITIONS, BACKBONE_KEYS, DIFFUSION, TRANSFORMER, is_added
from mvista_world.shards import read_header, read_tensors, stored_weights

LORA = "lora"
FILE = f"{LORA}.safetensors"
TARGETS = (
    r"backbone\.blocks\.\d+\."
    r"(attn1\.(to_q|to_k|to_v|to_out\.0)|attn2\.(to_q|to_k|to_v|to_out\.0)|ffn\.net\.(0\.proj|2))"
)
"""The linear layers of Wan's own blocks, by the generator's names; what is added has none."""
DOWN, UP = "lora_A", "lora_B"
ADAPTER = "default"
"""peft's name of the one adapter there is."""


@dataclass(frozen=True)
class LoraFacts:
    """Of what backbone (`weights.part_identity` of transformer/), of which rank, and how strong:
    W + alpha / rank * B A."""

    base_sha256: str
    rank: int
    alpha: int

    @property
    def scale(self) -> float:
        return self.alpha / self.rank


def add_adapters(generator: nn.Module, rank: int, alpha: int, shapes_only: bool = False) -> None:
    """Put adapters without effect on `TARGETS`, in float32; nothing but them needs gradients then.

    `shapes_only` makes them without memory, for a generator that was.
    """
    # Of those who train: a robot needs no peft.
    from peft import LoraConfig, inject_adapter_in_model

    asked = LoraConfig(r=rank, lora_alpha=alpha, target_modules=TARGETS)
    inject_adapter_in_model(asked, generator, low_cpu_mem_usage=shapes_only)
    for key, parameter in generator.named_parameters():
        parameter.requires_grad_(is_adapter(key))
        if is_adapter(key):
            parameter.data = parameter.data.float()


def is_adapter(key: str) -> bool:
    """Whether a key of the generator's is an adapter's."""
    return f".{DOWN}." in key or f".{UP}." in key


def plain_key(key: str) -> str:
    """A key of a generator with adapters as it is without: of the file, or of a base weight."""
    return key.replace(f".{ADAPTER}.", ".").replace(".base_layer.", ".")


def write_adapters(tensors: Mapping[str, torch.Tensor], facts: LoraFacts, folder: Path) -> None:
    """Write adapters by their `plain_key`s."""
    about = {
        "format": "pt",
        "base_sha256": facts.base_sha256,
        "rank": str(facts.rank),
        "alpha": str(facts.alpha),
    }
    save_file(dict(tensors), folder / FILE, metadata=about)


def read_facts(folder: Path) -> LoraFacts:
    """What the adapters of a folder are of.

    Raises:
        WeightsError: there are none, or the file does not say.
    """
    path = folder / FILE
    read_header(path)
    try:
        with safe_open(path, framework="pt") as opened:
            about = dict(opened.metadata() or {})
        return LoraFacts(about["base_sha256"], int(about["rank"]), int(about["alpha"]))
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise WeightsError(
            f"{path} does not say what it was trained on ({error!r}); `mvista train generator "
            "--lora` writes files that do"
        ) from None


def check_base(folder: Path, base: Path) -> LoraFacts:
    """The facts of adapters that are of `base`'s backbone.

    Raises:
        WeightsError: they are of another one; see `read_facts`.
    """
    facts, found = read_facts(folder), weights.part_identity(base, TRANSFORMER)
    if facts.base_sha256 != found:
        raise WeightsError(
            f"{folder / FILE} was trained on backbone {facts.base_sha256[:12]}, "
            f"{base / TRANSFORMER} is {found[:12]}: take the folder that it was trained from"
        )
    return facts


def check_rank(folder: Path, base: Path, rank: int) -> None:
    """Refuse to go on from adapters that are not of this backbone and rank.

    Raises:
        WeightsError: they are not; see `check_base`.
    """
    facts = check_base(folder, base)
    if facts.rank != rank:
        raise WeightsError(
            f"{folder / FILE} has rank {facts.rank}, asked for is {rank}: ranks cannot be changed; "
            f"give --lora {facts.rank}, or merge it (`mvista model merge`) and start from that"
        )


def start_from_adapters(generator: nn.Module, folder: Path) -> None:
    """Fill the generator's adapters, and what is added to it, with those of an earlier run.

    Raises:
        WeightsError: they are of other layers.
    """
    found = dict(read_tensors(read_header(folder / FILE)))
    found |= dict(read_tensors(stored_weights(folder, ADDITIONS)))
    own = {
        plain_key(key): parameter
        for key, parameter in generator.named_parameters()
        if is_adapter(key) or is_added(key)
    }
    if own.keys() != found.keys():
        raise WeightsError(f"{folder / FILE} is of other layers than this model's; see --adapter")
    with torch.no_grad():
        for key, parameter in own.items():
            parameter.copy_(found[key])


def merged_backbone(base: Path, folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """The backbone of `base` with the adapters of `folder` in it, by its own keys, a tensor at a
    time, in the numbers of `base`.

    Raises:
        WeightsError: they are of another backbone, or of layers that it has not.
    """
    facts = check_base(folder, base)
    adapters = dict(read_tensors(read_header(folder / FILE)))
    stored = stored_weights(base / TRANSFORMER, DIFFUSION)
    for key, tensor in read_tensors(stored):
        layer = BACKBONE_KEYS + key.removesuffix(".weight")
        down = adapters.pop(f"{layer}.{DOWN}.weight", None)
        up = adapters.pop(f"{layer}.{UP}.weight", None)
        if down is not None and up is not None:
            added = facts.scale * (up.float() @ down.float())
            tensor = (tensor.float() + added).to(tensor.dtype)
        yield key, tensor
    # One that met no layer would be lost in silence.
    if adapters:
        raise WeightsError(
            f"{folder / FILE} adapts {sorted(adapters)[0]}, which {base / TRANSFORMER} has not"
        )
