"""Weights as they lie on disk: safetensors files, one or many, whole or not, into a module.

A header says what a file holds and how long it must be, so a half-downloaded shard is named before
a tensor is read. Tensors are memory-mapped and go straight to their device in their number format:
no second copy of ten gigabytes is ever made.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from mvista_core.errors import WeightsError

SHARD_BYTES = 2 << 30
FORMATS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""Number formats that are loaded; of others, eight-bit floats say so."""
AGAIN = "fetch the file again (`hf download` goes on where it stopped)"
NAMED = 4
"""How many keys of many a message names."""


@dataclass(frozen=True)
class Stored:
    """One tensor on disk: its file, key, shape and number format there."""

    path: Path
    key: str
    shape: tuple[int, ...]
    number: str

    @property
    def count(self) -> int:
        """How many numbers it has."""
        return prod(self.shape)

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self.count * FORMATS[self.number].itemsize


def read_header(path: Path) -> dict[str, Stored]:
    """What a safetensors file holds, by key.

    Raises:
        WeightsError: missing, a Git LFS pointer, shorter or longer than its header says, or in
            numbers that are not loaded (fp8).
    """
    if not path.is_file():
        raise WeightsError(f"{path} is missing; {AGAIN}")
    size = path.stat().st_size
    # Eight bytes, little-endian, say how long the JSON header is that follows; then come the data.
    with path.open("rb") as stream:
        start = stream.read(8)
        if start == b"version ":
            raise WeightsError(f"{path} is a Git LFS pointer and no weights; run `git lfs pull`")
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if 8 + length > size:
            raise WeightsError(f"{path} ends within its header ({size} bytes); {AGAIN}")
        header = stream.read(length)
    try:
        entries = json.loads(header)
        entries.pop("__metadata__", None)
        ends = [entry["data_offsets"][1] for entry in entries.values()]
        found = {
            key: Stored(path, key, tuple(entry["shape"]), entry["dtype"])
            for key, entry in entries.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise WeightsError(f"{path} is no safetensors file ({error!r}); {AGAIN}") from None
    # Offsets count from the end of the header: the largest is where a whole file ends.
    wanted = 8 + length + max(ends, default=0)
    if size != wanted:
        raise WeightsError(f"{path} has {size} bytes, its header wants {wanted}; {AGAIN}")
    _refuse_numbers(path, found)
    return found


def _refuse_numbers(path: Path, found: Mapping[str, Stored]) -> None:
    foreign = sorted({tensor.number for tensor in found.values()} - set(FORMATS))
    if not foreign:
        return
    raise WeightsError(
        f"{path} holds {foreign}; what is loaded is F32, F16 or BF16: eight-bit files cannot be "
        "trained or searched through (Eq. 11); take the folder's bf16 or fp32 version"
    )


def stored_weights(folder: Path, stem: str) -> dict[str, Stored]:
    """The tensors of `stem`.safetensors, or of the shards that its index lists.

    Raises:
        WeightsError: see `read_header`; or a shard lacks what the index says it has.
    """
    index = folder / f"{stem}.safetensors.index.json"
    if not index.is_file():
        return read_header(folder / f"{stem}.safetensors")
    try:
        placed: dict[str, str] = dict(json.loads(index.read_text(encoding="utf-8"))["weight_map"])
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{index} is no index of shards ({error!r}); {AGAIN}") from None
    shards = {name: read_header(folder / name) for name in sorted(set(placed.values()))}
    lacking = sorted(key for key, name in placed.items() if key not in shards[name])
    if lacking:
        raise WeightsError(
            f"{folder / placed[lacking[0]]} lacks {_some(lacking)} that {index.name} places there; "
            f"is it a shard of another download? {AGAIN}"
        )
    return {key: shards[name][key] for key, name in placed.items()}


def check_fits(module: nn.Module, stored: Mapping[str, Stored], what: str) -> None:
    """Refuse weights that are not a module's own, key by key.

    Raises:
        WeightsError: keys missing, keys unexpected, or another shape; named by `what`.
    """
    own = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    missing, unexpected = sorted(own.keys() - stored.keys()), sorted(stored.keys() - own.keys())
    if missing or unexpected:
        raise WeightsError(
            f"{what}: {len(missing)} keys missing ({_some(missing)}), {len(unexpected)} unexpected "
            f"({_some(unexpected)}); these are weights of another model, or of another config"
        )
    for key, shape in own.items():
        if stored[key].shape != shape:
            raise WeightsError(
                f"{what}: '{key}' is {list(stored[key].shape)} in {stored[key].path.name}, the "
                f"config makes it {list(shape)}"
            )


def load_into(
    module: nn.Module,
    stored: Mapping[str, Stored],
    device: torch.device,
    number_of: Callable[[str], torch.dtype],
    what: str,
) -> None:
    """Give a module (made without memory) its weights: on `device`, in `number_of(key)`; what is in
    double there stays so.

    Raises:
        WeightsError: see `check_fits`.
    """
    check_fits(module, stored, what)
    exact = {key for key, own in module.state_dict().items() if own.dtype == torch.float64}
    by_file: dict[Path, list[str]] = {}
    for key, tensor in stored.items():
        by_file.setdefault(tensor.path, []).append(key)
    for path, keys in by_file.items():
        # The mapped tensors become the parameters (`assign`): one without memory has nothing to
        # copy into. Not strict, since each file brings its share; `check_fits` saw them all.
        with safe_open(path, framework="pt", device=str(device)) as opened:
            numbers = {key: torch.float64 if key in exact else number_of(key) for key in keys}
            part = {key: _as(opened.get_tensor(stored[key].key), numbers[key]) for key in keys}
        module.load_state_dict(part, strict=False, assign=True)


def read_tensors(stored: Mapping[str, Stored]) -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor as it lies on disk, file by file, mapped."""
    by_file: dict[Path, list[str]] = {}
    for key, tensor in stored.items():
        by_file.setdefault(tensor.path, []).append(key)
    for path, keys in by_file.items():
        with safe_open(path, framework="pt") as opened:
            for key in keys:
                yield key, opened.get_tensor(stored[key].key)


def _as(tensor: torch.Tensor, number: torch.dtype) -> torch.Tensor:
    return tensor.to(number) if tensor.is_floating_point() else tensor


def write_shards(
    tensors: Iterable[tuple[str, torch.Tensor]], folder: Path, stem: str, most: int = SHARD_BYTES
) -> list[str]:
    """Write tensors as they come, a shard at a time, with diffusers' names and index; returns the
    file names. One shard alone is `stem`.safetensors without an index."""
    folder.mkdir(parents=True, exist_ok=True)
    parts: list[list[str]] = []
    pending: dict[str, torch.Tensor] = {}
    # Each name holds the number of shards, known last: until then parts have hidden names, under
    # which an interrupted write passes for no weights.
    total = held = 0
    for key, tensor in tensors:
        if pending and held + tensor.nbytes > most:
            parts.append(_write_part(pending, folder, stem, len(parts)))
            pending, held = {}, 0
        pending[key] = tensor.contiguous()
        held, total = held + tensor.nbytes, total + tensor.nbytes
    parts.append(_write_part(pending, folder, stem, len(parts)))
    if len(parts) == 1:
        (folder / _part_name(stem, 0)).rename(folder / f"{stem}.safetensors")
        return [f"{stem}.safetensors"]
    names: list[str] = []
    placed: dict[str, str] = {}
    for k, keys in enumerate(parts):
        names.append(f"{stem}-{k + 1:05d}-of-{len(parts):05d}.safetensors")
        (folder / _part_name(stem, k)).rename(folder / names[-1])
        placed |= dict.fromkeys(keys, names[-1])
    index = f"{stem}.safetensors.index.json"
    document = {"metadata": {"total_size": total}, "weight_map": placed}
    (folder / index).write_text(json.dumps(document, indent=1), encoding="utf-8")
    return [*names, index]


def _part_name(stem: str, k: int) -> str:
    return f".{stem}.{k}.part"


def _write_part(tensors: dict[str, torch.Tensor], folder: Path, stem: str, k: int) -> list[str]:
    save_file(tensors, folder / _part_name(stem, k), metadata={"format": "pt"})
    return list(tensors)


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:NAMED]) + (", ..." if len(keys) > NAMED else "") or "none"
