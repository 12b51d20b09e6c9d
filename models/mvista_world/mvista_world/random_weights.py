"""Seeded weights for a model of any size: random where a backbone is to be stood in for, and the
start of training for all that is added to it. Tensor by tensor: nothing holds the whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import prod

import torch
from accelerate import init_empty_weights
from tokenizers import Tokenizer
from tokenizers.models import Unigram
from tokenizers.pre_tokenizers import Metaspace
from tokenizers.processors import TemplateProcessing
from torch import nn
from transformers import UMT5Config, UMT5EncoderModel

from mvista_core.instructions import expand
from mvista_world.block import MultiViewBlock
from mvista_world.config import ModelConfig, TextConfig
from mvista_world.folder import BACKBONE_KEYS, is_added
from mvista_world.generator import MultiViewGenerator

Tensors = Iterator[tuple[str, torch.Tensor]]
AWAKE = 0.02
"""Standard deviation by which added weights leave their start where they shall take part."""


def random_tensors(shapes: Mapping[str, Sequence[int]], seed: int, number: torch.dtype) -> Tensors:
    """A tensor for each shape: scales (of norms and gates) one, biases zero, all else normal with
    the variance that keeps a layer's output as large as its input."""
    rng = torch.Generator().manual_seed(seed)
    for key, shape in shapes.items():
        name = key.rsplit(".", 1)[-1]
        if name == "gamma" or (name == "weight" and len(shape) == 1):
            yield key, torch.ones(tuple(shape), dtype=number)
        elif name == "bias":
            yield key, torch.zeros(tuple(shape), dtype=number)
        else:
            fan_in = max(prod(shape[1:]), 1)
            drawn = torch.randn(tuple(shape), generator=rng).mul_(fan_in**-0.5)
            yield key, drawn.to(number)


def random_backbone(config: ModelConfig, seed: int, number: torch.dtype) -> Tensors:
    """Every tensor of the config's WanTransformer3DModel, by its own key."""
    with init_empty_weights():
        state = MultiViewGenerator(config).state_dict()
    shapes = {
        key.removeprefix(BACKBONE_KEYS): tuple(value.shape)
        for key, value in state.items()
        if not is_added(key)
    }
    return random_tensors(shapes, seed, number)


def additions(config: ModelConfig, seed: int, number: torch.dtype, awake: bool) -> Tensors:
    """All that the generator has beside the backbone, as training starts with it, a block at a
    time; `awake` moves every weight a little, so that what starts at zero takes part."""
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    for key, tensor in _initial(config):
        moved = torch.randn(tensor.shape, generator=rng).mul_(AWAKE) if awake else 0.0
        yield key, (tensor + moved).to(number)


def _initial(config: ModelConfig) -> Tensors:
    layers = config.transformer.num_layers
    bare = dataclasses.replace(config.transformer, num_layers=0)
    for key, tensor in (
        MultiViewGenerator(dataclasses.replace(config, transformer=bare)).state_dict().items()
    ):
        if is_added(key):
            yield key, tensor
    # Wan's share of a block is never filled: only what is added to it.
    slim = dataclasses.replace(config, transformer=dataclasses.replace(bare, ffn_dim=1))
    for k in range(layers):
        for key, tensor in MultiViewBlock(slim).state_dict().items():
            named = f"{BACKBONE_KEYS}blocks.{k}.{key}"
            if is_added(named):
                yield named, tensor


def random_module(module: nn.Module, seed: int) -> Iterable[tuple[str, torch.Tensor]]:
    """Float32 tensors for a module made without memory."""
    shapes = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    return random_tensors(shapes, seed, torch.float32)


def random_text_encoder(text: TextConfig, templates: Sequence[str], seed: int) -> UMT5EncoderModel:
    """A umT5 encoder in bf16 of the config's width and layers, for `unigram`'s vocabulary."""
    torch.manual_seed(seed)
    config = UMT5Config(
        vocab_size=unigram(templates).get_vocab_size(),
        d_model=text.hidden,
        d_kv=text.hidden // text.heads,
        d_ff=text.hidden * 5 // 2,
        num_layers=text.layers,
        num_heads=text.heads,
        feed_forward_proj="gated-gelu",
    )
    return UMT5EncoderModel(config).eval().to(torch.bfloat16)


def unigram(templates: Sequence[str]) -> Tokenizer:
    """A tokenizer of umT5's kind whose pieces are the templates' words and their letters."""
    words = sorted({word for t in templates for s in expand(t) for word in s.split()})
    letters = sorted({letter for word in words for letter in word} | {"\u2581"})
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces += [(f"\u2581{word}", -1.0) for word in words] + [(letter, -9.0) for letter in letters]
    tokenizer = Tokenizer(Unigram(pieces, unk_id=2))
    tokenizer.pre_tokenizer = Metaspace()
    tokenizer.post_processor = TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer
