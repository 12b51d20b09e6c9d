"""Instruction templates, "touch the {red|green|blue|yellow} cube": a sentence with choices."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from mvista_core.errors import InstructionError

_CHOICE = re.compile(r"\{([^{}]+)\}")


def expand(template: str) -> tuple[str, ...]:
    """Every sentence a template stands for, in the order of its choices."""
    parts = _CHOICE.split(template)
    options = [part.split("|") if i % 2 else [part] for i, part in enumerate(parts)]
    return tuple("".join(words) for words in itertools.product(*options))


def normalise(instruction: str) -> str:
    """Lower case, single spaces, no closing full stop."""
    return " ".join(instruction.lower().split()).rstrip(" .!")


def check(instruction: str, templates: Sequence[str]) -> str:
    """The normalised instruction if a template produces it.

    Raises:
        InstructionError: none does; the message lists the templates.
    """
    wanted = normalise(instruction)
    if any(wanted in expand(template) for template in templates):
        return wanted
    raise InstructionError.unknown(instruction, templates)
