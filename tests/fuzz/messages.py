"""Messages as nobody should send them: random ones of any type, and valid ones with parts spoiled.

Everything is drawn from a `numpy.random.Generator`, so that a seed repeats a run.
"""

from __future__ import annotations

import array
import copy
import importlib
import re
from typing import Any

import numpy as np
from numpy.random import Generator

FLOATS = (0.0, -0.0, 1e-308, 1.0, -1.0, 1e6, -1e6, 3.4e38, np.inf, -np.inf, np.nan)
TEXTS = (
    "",
    "joint1",
    "joint6",
    "gripper",
    "rgb8",
    "16UC1",
    "bgr8",
    "cam1",
    "\u00e9\u4e2d",
    "x" * 300,
)
MOST_ITEMS = 8
MOST_BYTES = 4096
"""A sequence of octets is as long as an image's row or two, not as an image."""
INTEGER = re.compile(r"^(u?)int(8|16|32|64)$")
BOUNDED = re.compile(r"<=\d+")
FIXED = re.compile(r"^(.*)\[(\d+)\]$")


def random_message(kind: Any, rng: Generator) -> Any:
    """A message of this type, every field drawn at random."""
    message = kind()
    for name, written in kind.get_fields_and_field_types().items():
        setattr(message, name, _value(written, rng))
    return message


def spoiled(message: Any, rng: Generator, share: float = 0.3) -> Any:
    """A copy of a message, of whose fields (at any depth) about a share is drawn anew."""
    found = copy.deepcopy(message)
    for name, written in found.get_fields_and_field_types().items():
        value = getattr(found, name)
        if hasattr(value, "get_fields_and_field_types"):
            setattr(found, name, spoiled(value, rng, share))
        elif rng.random() < share:
            setattr(found, name, _bent(value, written, rng))
    return found


def _bent(value: Any, written: str, rng: Generator) -> Any:
    """A sequence shortened, doubled or with one item spoiled; anything else drawn anew."""
    if not isinstance(value, list | array.array) or not len(value):
        return _value(written, rng)
    way = rng.integers(4)
    if way == 0:
        return value[: int(rng.integers(len(value)))]
    if way == 1:
        return value * 2
    if way == 2:
        return _value(written, rng)
    bent = copy.copy(value)
    bent[int(rng.integers(len(value)))] = _item(written, rng)
    return bent


def _item(written: str, rng: Generator) -> Any:
    inner = written[len("sequence<") : -1].split(",")[0] if written.startswith("sequence<") else ""
    fixed = FIXED.match(written)
    return _value(inner or (fixed.group(1) if fixed else written), rng)


def _value(written: str, rng: Generator) -> Any:
    """A value of a field type as rosidl writes it."""
    written = BOUNDED.sub("", written)
    if written.startswith("sequence<"):
        inner = written[len("sequence<") : -1].split(",")[0].strip()
        return _items(inner, int(rng.integers(MOST_ITEMS + 1)), rng)
    if fixed := FIXED.match(written):
        return _items(fixed.group(1), int(fixed.group(2)), rng)
    if written in ("float", "double", "float32", "float64"):
        return float(rng.choice(FLOATS) if rng.random() < 0.5 else rng.normal(0.0, 2.0))
    if written in ("string", "wstring"):
        return str(rng.choice(TEXTS))
    if written == "boolean":
        return bool(rng.integers(2))
    if written in ("octet", "byte"):
        return bytes([int(rng.integers(256))])
    if whole := INTEGER.match(written):
        return _whole(bool(whole.group(1)), int(whole.group(2)), rng)
    package, name = written.split("/")
    return random_message(getattr(importlib.import_module(f"{package}.msg"), name), rng)


def _whole(unsigned: bool, bits: int, rng: Generator) -> int:
    low, high = (0, 2**bits - 1) if unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    anything = low + int.from_bytes(rng.bytes(bits // 8), "little")
    drawn = (low, high, 0, 1, int(rng.integers(100)), anything)
    return drawn[int(rng.integers(len(drawn)))]


def _items(inner: str, count: int, rng: Generator) -> Any:
    if inner in ("uint8", "octet", "byte"):
        size = count if inner != "uint8" else int(rng.integers(MOST_BYTES))
        raw = rng.integers(0, 256, size, dtype=np.uint8).tobytes()
        return array.array("B", raw) if inner == "uint8" else [bytes([b]) for b in raw]
    return [_value(inner, rng) for _ in range(count)]
