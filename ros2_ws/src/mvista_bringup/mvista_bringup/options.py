"""What a run may choose, and what is wrong with what was chosen. All of it, not the first only."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from mvista_core.errors import ConfigError

SHARE = "share"
NAMESPACE = "namespace"
TRUE, FALSE = "true", "false"
LARGEST = 2**31 - 1
PORTS = (1024, 65535)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*")


class Kind(Enum):
    """What the text of an option must be."""

    TEXT = "text"
    WHOLE = "a whole number"
    NUMBER = "a number"
    THREE = "three numbers with spaces between them"
    NAME = "a ROS name: letters, digits and _, parts joined by /"
    FILE = "the name of a file or folder, without its place and ending"


@dataclass(frozen=True)
class RunOption:
    """What a run may choose: a launch argument, an option of the demo.

    With `choices`, one of them. A number lies within `bounds`. An empty text is allowed only
    where it is the default.
    """

    name: str
    default: str
    text: str
    choices: tuple[str, ...] = ()
    kind: Kind = Kind.TEXT
    bounds: tuple[float, float] = (0, LARGEST)

    @property
    def allowed(self) -> str:
        """In words."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        words = self.kind.value
        bounded = self.kind in (Kind.WHOLE, Kind.NUMBER)
        return f"{words} from {self.bounds[0]} to {self.bounds[1]}" if bounded else words

    def accepts(self, value: str) -> bool:
        """Whether the text is what it must be."""
        if self.choices:
            return value in self.choices
        if value == "" or self.kind is Kind.TEXT:
            return value == self.default or self.kind is Kind.TEXT
        if self.kind is Kind.NUMBER:
            return _is_finite(value) and self.bounds[0] <= float(value) <= self.bounds[1]
        if self.kind is Kind.WHOLE:
            digits = re.fullmatch(r"-?[0-9]+", value) is not None
            return digits and self.bounds[0] <= int(value) <= self.bounds[1]
        if self.kind is Kind.THREE:
            return len(value.split()) == 3 and all(map(_is_finite, value.split()))
        if self.kind is Kind.NAME:
            bare = value.removeprefix("/") if self.name == NAMESPACE else value
            return _NAME.fullmatch(bare) is not None
        return "/" not in value and value not in (".", "..")


NAMESPACE_OPTION = RunOption(
    NAMESPACE, "", "stands before every name: two cells on one ROS domain", kind=Kind.NAME
)


@dataclass(frozen=True)
class Wrong:
    """One argument that cannot be used: why, and what to write instead."""

    name: str
    message: str
    mend: str


def wrong_arguments(options: Sequence[RunOption], chosen: Mapping[str, str]) -> tuple[Wrong, ...]:
    """Every chosen name that is no option, and every value that is not what it must be."""
    known = {option.name: option for option in options}
    found = []
    for name, value in chosen.items():
        option = known.get(name)
        if option is None:
            near = difflib.get_close_matches(name, known, n=1)
            mend = f"did you mean {near[0]}? " if near else ""
            mend += f"there are: {', '.join(known)}"
            found.append(Wrong(name, "no such argument", mend))
        elif not option.accepts(value):
            said = f"'{value}' is not {option.allowed}"
            default = f'"{option.default}"' if " " in option.default else option.default
            mend = f"{name}:={default}" if default else f"leave {name}:= out"
            found.append(Wrong(name, said, f"{mend} ({option.text})"))
    return tuple(found)


def option_values(
    options: tuple[RunOption, ...], chosen: Mapping[str, str], share: str
) -> dict[str, str]:
    """Every reference a template may hold: the defaults, what was chosen, and `{share}`.

    Raises:
        ConfigError: something was chosen that is no option, or is not what it must be; names all.
    """
    if wrong := wrong_arguments(options, chosen):
        said = "; ".join(f"{one.name}: {one.message}: {one.mend}" for one in wrong)
        raise ConfigError(said)
    return {**{option.name: option.default for option in options}, **chosen, SHARE: share}


def _is_finite(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False
