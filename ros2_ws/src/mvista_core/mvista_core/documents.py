"""What a YAML file holds, asked for by kind: a value of another kind is refused with its place.

    document = read_document(path, CalibrationError, "calibration/README.md shows one")
    width_px = document["cameras"].items()[0]["intrinsics"]["width_px"].whole()

says, where it has to, "session.yaml: cameras[0].intrinsics.width_px is 'wide', not a whole number".
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mvista_core.errors import MvistaError
from mvista_core.records import Float64

SHOWN = 40
"""Characters of a value that a message repeats."""


@dataclass(frozen=True)
class Document:
    """A value, the file and the place it was found at, and how its misuse is reported."""

    value: Any
    file: str
    kind: type[MvistaError]
    hint: str = ""
    place: str = ""

    def refuse(self, words: str) -> MvistaError:
        """The error that says `words` of this place."""
        where = f"{self.file}: {self.place}" if self.place else self.file
        return self.kind(f"{where} {words}" + (f"; {self.hint}" if self.hint else ""))

    def __getitem__(self, key: str) -> Document:
        """The value of a key that must be there."""
        found = self.get(key)
        if found is None:
            raise self.refuse(f"lacks '{key}'")
        return found

    def get(self, key: str) -> Document | None:
        """The value of a key; None where it is missing or null."""
        value = self._mapping().get(key)
        place = f"{self.place}.{key}" if self.place else key
        return None if value is None else replace(self, value=value, place=place)

    def entries(self) -> dict[str, Document]:
        """All keys of a mapping, as text, with their values."""
        return {
            str(key): replace(self, value=value, place=f"{self.place}.{key}".lstrip("."))
            for key, value in self._mapping().items()
        }

    def items(self) -> list[Document]:
        """The values of a list."""
        if not isinstance(self.value, list):
            raise self._not("a list")
        return [
            replace(self, value=value, place=f"{self.place}[{k}]")
            for k, value in enumerate(self.value)
        ]

    def text(self) -> str:
        """Text; numbers and dates, which YAML tells from it, count as what was written."""
        if isinstance(self.value, bool) or not isinstance(self.value, str | int | float | date):
            raise self._not("text")
        return str(self.value)

    def number(self, finite: bool = True) -> float:
        """A number (also one that YAML takes for text, such as 1e-3)."""
        value = self.value
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                raise self._not("a number") from None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._not("a number")
        try:
            found = float(value)
        except OverflowError:
            raise self._not("a number of a size that anything has") from None
        if finite and not math.isfinite(found):
            raise self._not("a finite number")
        return found

    def whole(self, least: int, most: int) -> int:
        """A whole number within bounds, both included."""
        found = self.number()
        # A stamp in nanoseconds has more digits than a float: keep what YAML read.
        exact = self.value if isinstance(self.value, int) else round(found)
        if not isinstance(self.value, int) and found != exact:
            raise self._not("a whole number")
        if not least <= exact <= most:
            raise self._not(f"within {least} to {most}")
        return exact

    def truth(self) -> bool:
        """true or false."""
        if not isinstance(self.value, bool):
            raise self._not("true or false")
        return self.value

    def numbers(self, *shape: int) -> Float64:
        """Finite numbers in nested lists of this shape; -1: any length along that side."""
        said = "x".join("any" if side < 0 else str(side) for side in shape)
        try:
            found = np.array(self.value, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            raise self._not(f"{said} numbers") from None
        fits = found.ndim == len(shape) and all(
            side in (-1, length) for side, length in zip(shape, found.shape, strict=True)
        )
        if not isinstance(self.value, list) or not fits or not np.isfinite(found).all():
            raise self._not(f"{said} finite numbers")
        return found

    def _mapping(self) -> dict[Any, Any]:
        if not isinstance(self.value, dict):
            raise self._not("a mapping (key: value)")
        return self.value

    def _not(self, wanted: str) -> MvistaError:
        return self.refuse(f"is {_shown(self.value)}, not {wanted}")


def read_document(path: Path | str, kind: type[MvistaError], hint: str = "") -> Document:
    """The YAML document in `path`.

    Raises:
        kind: no such file, not readable, or not YAML.
    """
    try:
        text = Path(path).read_bytes()
    except FileNotFoundError:
        raise kind(f"no file {path}" + (f"; {hint}" if hint else "")) from None
    except OSError as error:
        raise kind(f"{path} cannot be read: {error.strerror}") from None
    return parse_document(text, str(path), kind, hint)


def parse_document(text: bytes, file: str, kind: type[MvistaError], hint: str = "") -> Document:
    """As `read_document`, of a text that was read from `file`."""
    try:
        return Document(yaml.safe_load(text), file, kind, hint)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 0
        raise kind(f"{file} is not YAML: line {line}: {error.problem}") from None
    except (
        yaml.YAMLError,
        ValueError,
        TypeError,
        ArithmeticError,
        LookupError,
        AttributeError,
        RecursionError,
    ):
        raise kind(f"{file} is not YAML, or holds a value that nothing can be") from None


def _shown(value: Any) -> str:
    """A value in words: its kind where it holds others, else itself, cut."""
    if value is None:
        return "empty"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, bool):
        return "true" if value else "false"
    said = f"'{value}'" if isinstance(value, str) else str(value)
    return said if len(said) <= SHOWN else said[: SHOWN - 3] + "..."
