"""Where configuration, weights and outputs lie, in the source tree and when installed.

In a source tree (also one built with `--symlink-install`) the repository's own folders win, so an
edited YAML takes effect at once; elsewhere it is `share/mvista_bringup` of the ament prefix.
"""

from __future__ import annotations

import os
from pathlib import Path

from mvista_core.errors import ConfigError

PACKAGE = "mvista_bringup"
DEFAULT_CHECKPOINT = "tiny_views"
"""Of `models/checkpoints`, where nobody names one."""


def source_root() -> Path | None:
    """The repository this file lies in, or None when it runs from an installed copy."""
    for parent in Path(__file__).resolve().parents:
        if (parent / "config" / "arms").is_dir() and (parent / "ros2_ws" / "src").is_dir():
            return parent
    return None


def share_root() -> Path:
    """The folder that holds `config/`, `launch/` and `models/checkpoints/`.

    Raises:
        ConfigError: neither a source tree nor an installed package can be found.
    """
    root = source_root()
    if root is not None:
        return root
    prefixes = [part for part in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if part]
    for prefix in prefixes:
        share = Path(prefix) / "share" / PACKAGE
        if (share / "config").is_dir():
            return share
    raise ConfigError(
        f"no {PACKAGE}/config under any of {len(prefixes)} ament prefixes; source the workspace's "
        "install/setup.bash, or run from a source tree after `make setup`"
    )


def config_file(*parts: str) -> Path:
    """One file under `config/`, e.g. `config_file("rigs", "sim_cell.yaml")`.

    Raises:
        ConfigError: there is no such file; the message lists its neighbours.
    """
    return _existing(share_root() / "config", parts)


def launch_file(name: str) -> Path:
    """One file under `launch/`.

    Raises:
        ConfigError: there is no such file; the message lists its neighbours.
    """
    return _existing(share_root() / "launch", (name,))


def checkpoint_dir(name: str = DEFAULT_CHECKPOINT) -> Path:
    """A checkpoint's folder, which need not exist yet (training makes it)."""
    return share_root() / "models" / "checkpoints" / name


def output_dir(*parts: str) -> Path:
    """A folder for generated files, made if missing.

    It is `build/` of the source tree, `$MVISTA_OUTPUT`, or `mvista_output/` in the current folder.
    """
    root = source_root()
    default = root / "build" if root is not None else Path.cwd() / "mvista_output"
    folder = Path(os.environ.get("MVISTA_OUTPUT", default)).joinpath(*parts)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _existing(folder: Path, parts: tuple[str, ...]) -> Path:
    path = folder.joinpath(*parts)
    if not path.is_file():
        present = sorted(p.name for p in path.parent.glob("*")) if path.parent.is_dir() else []
        raise ConfigError(f"no file {path}; {path.parent} holds {present}")
    return path
