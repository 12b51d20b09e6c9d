"""Which code a result is of."""

from __future__ import annotations

import hashlib
import pkgutil
from functools import cache
from importlib.machinery import FileFinder
from pathlib import Path

ABOVE = "mvista_cli"
"""The one room that no result depends on: nothing that is measured may import it."""


@cache
def code_revision() -> str:
    """One sum over the sources of all rooms that a result may depend on: all but the command's."""
    digest = hashlib.sha256()
    for found in sorted(pkgutil.iter_modules(), key=lambda found: found.name):
        ours = found.ispkg and found.name.startswith("mvista_") and found.name != ABOVE
        if ours and isinstance(found.module_finder, FileFinder):
            folder = Path(found.module_finder.path) / found.name
            for path in sorted(folder.rglob("*.py")):
                digest.update(f"{path.relative_to(folder.parent)}\n".encode() + path.read_bytes())
    return digest.hexdigest()
