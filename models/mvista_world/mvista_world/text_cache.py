"""umT5's features of an instruction, computed once and kept on disk by what they are of.

The encoder has 5.7 B parameters (11 GB in bf16) and answers the same for the same words, so a
planner never holds it: `mvista text encode` fills `text_cache/` of a model folder, and what plans
reads from there. A file's name is the hash of encoder, length and words; what it holds is checked
by its own sum and by the encoder that the folder's config names.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate import init_empty_weights
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from mvista_core import weights
from mvista_core.errors import ConfigError, InstructionError, WeightsError
from mvista_core.files import make_folder, replace_file
from mvista_core.instructions import expand
from mvista_world.compute import PROCESSOR, choose
from mvista_world.config import TextConfig
from mvista_world.config_file import load_config
from mvista_world.shards import load_into, stored_weights
from mvista_world.text import NO_WORDS

FOLDER = "text_cache"
ENCODER, TOKENIZER = "text_encoder", "tokenizer"
EMBEDDING = "embedding"
TIED = ("encoder.embed_tokens.weight", "shared.weight")
"""One table of words by two names; files hold it once or twice."""
ANSWER = "`mvista text encode {folder}` makes all that its templates need (where text_encoder/ is)"


def encoder_identity(folder: Path) -> str:
    """The sha256 that names the encoder of a model folder: of all its files and the tokenizer's.

    Raises:
        WeightsError: no encoder there; a folder without one plans from its cache.
    """
    files = [
        path
        for name in (ENCODER, TOKENIZER)
        for path in sorted((folder / name).rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    ]
    if (
        not (folder / ENCODER / "config.json").is_file()
        or not (folder / TOKENIZER / "tokenizer.json").is_file()
    ):
        raise WeightsError(
            f"{folder} has no {ENCODER}/config.json and {TOKENIZER}/tokenizer.json: nothing can be "
            "encoded here; encode where they are, and copy text_cache/"
        )
    sums = {str(path.relative_to(folder)): weights.sha256_of(path) for path in files}
    return hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()


def clean(text: str) -> str:
    """The words as they are encoded: single spaces, as Wan's own pipeline does."""
    return " ".join(text.split())


def cached_file(cache: Path, encoder_sha256: str, max_tokens: int, text: str) -> Path:
    """Where features of a text lie."""
    key = json.dumps([encoder_sha256, max_tokens, clean(text)])
    return cache / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"


class CachedText:
    """Instruction strings -> token features [B, max_tokens, hidden], padding zero, from disk.

    The same call as `text.InstructionEncoder`'s, without an encoder.
    """

    def __init__(
        self, folder: Path, config: TextConfig, device: torch.device, number: torch.dtype
    ) -> None:
        self._folder = folder
        self._config = config
        self._device, self._number = device, number

    def __call__(self, instructions: Sequence[str]) -> torch.Tensor:
        """See the class.

        Raises:
            InstructionError: never encoded. WeightsError: altered, or made by another encoder.
        """
        size = (len(instructions), self._config.max_tokens, self._config.hidden)
        # umT5 has an answer to padding too; Wan's pipeline puts zeros in its place.
        features = torch.zeros(size, dtype=self._number)
        for row, text in zip(features, instructions, strict=True):
            found = self._read(text)
            row[: len(found)] = found
        return features.to(self._device)

    def _read(self, text: str) -> torch.Tensor:
        config, cache = self._config, self._folder / FOLDER
        path = cached_file(cache, config.encoder_sha256, config.max_tokens, text)
        if not path.is_file():
            self._refuse_missing(text, cache)
        return read_features(path, config)

    def _refuse_missing(self, text: str, cache: Path) -> None:
        # Names hash the encoder too: in a cache from elsewhere the words lie under another name.
        for other in sorted(cache.glob("*.safetensors")):
            about = _about(other)
            if about.get("text") == clean(text) and about.get("encoder") != (
                self._config.encoder_sha256
            ):
                raise WeightsError(
                    f'{other} holds "{text}" of encoder {about.get("encoder", "")[:12]}; this '
                    f"model was made for {self._config.encoder_sha256[:12]}: "
                    + ANSWER.format(folder=self._folder)
                )
        raise InstructionError(
            f'no features of "{text}" in {cache}; ' + ANSWER.format(folder=self._folder)
        )


def read_features(path: Path, config: TextConfig) -> torch.Tensor:
    """Features [n, hidden] of one cached text.

    Raises:
        WeightsError: damaged, altered, or of another encoder or size.
    """
    about = _about(path)
    if about.get("encoder") != config.encoder_sha256:
        raise WeightsError(
            f"{path} was made by encoder {about.get('encoder', '')[:12]}, wanted is "
            f"{config.encoder_sha256[:12]}; remove it and encode again"
        )
    with safe_open(path, framework="pt") as opened:
        found = opened.get_tensor(EMBEDDING)
    rows, width = found.shape
    if width != config.hidden or rows > config.max_tokens:
        raise WeightsError(
            f"{path}: features are {rows}x{width}, the model takes at most {config.max_tokens} of "
            f"{config.hidden}; remove it and encode again"
        )
    if _sum_of(found) != about.get("sha256"):
        raise WeightsError(f"{path} was truncated or altered; remove it and encode again")
    return found


def encode(
    folder: Path, config: TextConfig, texts: Sequence[str], device: torch.device
) -> tuple[list[Path], int]:
    """Fill the cache of a model folder: (files of all texts, how many were made now).

    The encoder is loaded only where a text is missing, in bf16, and let go again.

    Raises:
        WeightsError: no encoder here, another one than the config names, or it does not fit.
        InstructionError: a text is longer than the model hears.
    """
    identity = encoder_identity(folder)
    if config.encoder_sha256 and identity != config.encoder_sha256:
        raise WeightsError(
            f"{folder / ENCODER} is encoder {identity[:12]}, this model was made for "
            f"{config.encoder_sha256[:12]}: its words would mean something else; take the "
            "text_encoder/ and tokenizer/ that it was trained with"
        )
    cache = folder / FOLDER
    paths = [cached_file(cache, identity, config.max_tokens, text) for text in texts]
    missing = [(t, p) for t, p in zip(texts, paths, strict=True) if not p.is_file()]
    if missing:
        make_folder(cache, WeightsError)
        tokenizer = load_tokenizer(folder)
        encoder = load_encoder(folder, config, device)
        # A file at a time, whole or not there: after a kill only what is missing is encoded.
        for text, path in missing:
            features = _encode_one(encoder, tokenizer, clean(text), config.max_tokens)
            about = {"text": clean(text), "encoder": identity, "sha256": _sum_of(features)}
            replace_file(path, save({EMBEDDING: features}, about), WeightsError)
    return paths, len(missing)


def encode_folder(
    folder: Path, texts: Sequence[str] = (), device: str = PROCESSOR
) -> tuple[int, int]:
    """Fill a folder's cache with every sentence of its templates and `texts`: (all, made now).

    Raises:
        WeightsError, InstructionError: see `encode`. ConfigError: no model config there.
    """
    config, templates = load_config(folder / weights.CONFIG)
    if config.text.kind != "umt5":
        raise ConfigError(
            f"{folder} hears words through an encoder of its own ('{config.text.kind}'), which is "
            "a part of every plan: there is nothing to encode ahead"
        )
    wanted = [sentence for template in templates for sentence in expand(template)]
    if config.sampler.guided:
        wanted.append(NO_WORDS)
    paths, made = encode(folder, config.text, [*wanted, *texts], choose(device=device).device)
    return len(paths), made


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """umT5's tokenizer from tokenizer/tokenizer.json; it ends every text with "</s>" itself."""
    path = folder / TOKENIZER / "tokenizer.json"
    return PreTrainedTokenizerFast(
        tokenizer_file=str(path), pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


def load_encoder(folder: Path, config: TextConfig, device: torch.device) -> UMT5EncoderModel:
    """The encoder of a model folder, frozen, in bf16 but for what transformers keeps in float32.

    Raises:
        WeightsError: it is not whole, not umT5, or its features are of another width.
    """
    path = folder / ENCODER / "config.json"
    try:
        described = UMT5Config.from_json_file(path)
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} is missing or damaged ({error})") from None
    if described.model_type != "umt5" or described.d_model != config.hidden:
        raise WeightsError(
            f"{path}: a {described.model_type} with features of {described.d_model}; the model "
            f"takes umt5's of {config.hidden}"
        )
    with init_empty_weights():
        encoder = UMT5EncoderModel(described)
    stored = stored_weights(folder / ENCODER, "model")
    for key, other in (TIED, TIED[::-1]):
        if other in stored:
            stored.setdefault(key, stored[other])
    wide = set(UMT5EncoderModel._keep_in_fp32_modules or ())

    def number_of(key: str) -> torch.dtype:
        return torch.float32 if wide.intersection(key.split(".")) else torch.bfloat16

    load_into(encoder, stored, device, number_of, str(folder / ENCODER))
    encoder.tie_weights()
    return encoder.eval().requires_grad_(False)


@torch.no_grad()
def _encode_one(
    encoder: UMT5EncoderModel, tokenizer: PreTrainedTokenizerFast, text: str, max_tokens: int
) -> torch.Tensor:
    """[n, hidden]: padded for the encoder and cut again, as Wan's pipeline does it."""
    needed = len(tokenizer(text)["input_ids"])
    # Wan's pipeline cuts here without a word; the end of an instruction may name the object.
    if needed > max_tokens:
        raise InstructionError(
            f'"{text[:60]}..." has {needed} tokens, at most {max_tokens} are heard'
        )
    batch = tokenizer(text, padding="max_length", max_length=max_tokens, return_tensors="pt")
    where = next(encoder.parameters()).device
    ids, mask = batch["input_ids"].to(where), batch["attention_mask"].to(where)
    features = encoder(ids, mask).last_hidden_state[0, :needed]
    return features.cpu().contiguous()


def _about(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, framework="pt") as opened:
            return dict(opened.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is damaged ({error}); remove it and encode again") from None


def _sum_of(features: torch.Tensor) -> str:
    # By bytes: NumPy has no bf16.
    number = features.contiguous().view(torch.uint8).numpy().tobytes()
    return hashlib.sha256(number).hexdigest()
