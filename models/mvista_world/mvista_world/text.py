"""The instruction encoder of the `tiny` preset: a small BERT whose word-level tokenizer travels
in the checkpoint. Trained together with the generator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import nn
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from mvista_core.errors import ConfigError
from mvista_core.instructions import expand
from mvista_world.config import TextConfig

SPECIAL = ("[PAD]", "[UNK]")
NO_WORDS = ""
"""Against which guidance is taken; what Wan's own pipeline says where nothing is to be avoided."""
WORDS = "bert.embeddings.word_embeddings.weight"


def build_tokenizer(
    templates: Sequence[str], known: PreTrainedTokenizerFast | None = None
) -> PreTrainedTokenizerFast:
    """Word-level tokenizer over every word the templates can produce.

    Words of `known` keep their numbers: weights that were trained on them can go on.
    """
    # A closed vocabulary: what was never trained is refused by name before it gets here.
    words = {word for t in templates for s in expand(t) for word in s.split()}
    before = list(SPECIAL) if known is None else _in_order(known)
    vocabulary = {word: i for i, word in enumerate([*before, *sorted(words.difference(before))])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer saved beside the weights.

    Raises:
        ConfigError: there is none.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ConfigError(f"no {path}: no instruction encoder was trained there")
    return PreTrainedTokenizerFast(tokenizer_file=str(path), pad_token="[PAD]", unk_token="[UNK]")


def _in_order(tokenizer: PreTrainedTokenizerFast) -> list[str]:
    numbers = tokenizer.get_vocab()
    return sorted(numbers, key=numbers.__getitem__)


class TextEncoder(Protocol):
    """Instruction strings -> token features [B, n, hidden], zero where a text has no more tokens.

    `InstructionEncoder` computes them, `text_cache.CachedText` reads them.
    """

    def __call__(self, instructions: Sequence[str]) -> torch.Tensor: ...


class InstructionEncoder(nn.Module):
    """Instruction strings -> token features [B, n, hidden]; padding is zero, as in Wan's T5."""

    def __init__(self, config: TextConfig, tokenizer: PreTrainedTokenizerFast) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.max_tokens = config.max_tokens
        self.bert = BertModel(
            BertConfig(
                vocab_size=len(tokenizer),
                hidden_size=config.hidden,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                intermediate_size=2 * config.hidden,
                max_position_embeddings=config.max_tokens,
                hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0,
            ),
            add_pooling_layer=False,
        )

    def start_from(self, state: dict[str, torch.Tensor]) -> None:
        """A checkpoint's weights; words that it did not have, the last ones, keep their own.

        Raises:
            RuntimeError: weights of another shape.
        """
        fresh = self.bert.embeddings.word_embeddings.weight
        known = state.get(WORDS)
        if known is not None and len(known) < len(fresh):
            state = {**state, WORDS: torch.cat([known, fresh.detach()[len(known) :]])}
        self.load_state_dict(state)

    def forward(self, instructions: Sequence[str]) -> torch.Tensor:
        batch = self.tokenizer(
            list(instructions),
            padding="max_length",
            max_length=self.max_tokens,
            truncation=False,
            return_tensors="pt",
            return_token_type_ids=False,
        )
        mask = batch["attention_mask"].to(self.bert.device)
        ids = batch["input_ids"].to(self.bert.device)
        hidden = self.bert(input_ids=ids, attention_mask=mask).last_hidden_state
        return hidden * mask.unsqueeze(-1)
