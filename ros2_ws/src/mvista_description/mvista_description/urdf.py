"""The cell's xacro expanded in process, with the same arguments as on the command line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import xacro

from mvista_core.errors import ConfigError

PACKAGE = "mvista_description"
CELL = "cell.urdf.xacro"


def xacro_file(name: str = CELL, folder: str = "urdf") -> Path:
    """One file of `urdf/` (or another folder), in the source tree or in an ament prefix.

    Raises:
        ConfigError: it is in neither.
    """
    prefixes = [part for part in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if part]
    roots = [Path(__file__).resolve().parents[1]]
    roots += [Path(prefix) / "share" / PACKAGE for prefix in prefixes]
    for root in roots:
        if (root / folder / name).is_file():
            return root / folder / name
    raise ConfigError(f"no {folder}/{name} in {[str(root) for root in roots]}; build {PACKAGE}")


def cell_urdf(arm_file: Path | str, arguments: Mapping[str, str] | None = None) -> str:
    """URDF of the cell as text; `arguments` are the others of `cell.urdf.xacro` (README.md).

    Raises:
        ConfigError: a file is missing, or is no arm or rig file.
    """
    return expanded(xacro_file(), {"arm_file": str(Path(arm_file).absolute()), **(arguments or {})})


def expanded(file: Path, mappings: Mapping[str, str]) -> str:
    """A xacro file with these arguments as text.

    Raises:
        ConfigError: it cannot be expanded, or a file that it reads is missing.
    """
    try:
        document = xacro.process_file(str(file), mappings=dict(mappings))
    except xacro.XacroException as error:
        raise ConfigError(f"{file.name} with {mappings}: {error}") from None
    return str(document.toprettyxml(indent="  "))
