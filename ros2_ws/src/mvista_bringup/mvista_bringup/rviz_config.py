"""RViz's configuration for one cell: the shipped file with its arm, cameras and namespace put in.

The shipped file shows the arm `piper` and the simulated cell's cameras; with any other arm, rig
or namespace its topics and frames would be nobody's, and RViz would stay black without a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from mvista_bringup.graph.spec import absolute

SHIPPED_ARM, SHIPPED_CAMERAS = "piper", ("cam0", "cam1", "cam2", "cam3")
_CAMERA = re.compile(rf"\b({'|'.join(SHIPPED_CAMERAS)})\b")


def written(shipped: Path, target: Path, arm: str, cameras: Sequence[str], namespace: str) -> Path:
    """The shipped configuration for this cell, as a file at `target`."""
    document = yaml.safe_load(shipped.read_text(encoding="utf-8"))
    manager = document["Visualization Manager"]
    manager["Displays"] = list(_each_camera(manager["Displays"], cameras))
    document["Visualization Manager"] = _renamed(manager, arm, namespace)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return target


def _each_camera(displays: Sequence[Any], cameras: Sequence[str]) -> Iterator[Any]:
    """A shipped camera's display is the i-th camera's of the rig; further ones get the last's."""
    shown = {camera: display for display in displays if (camera := _camera_of(display))}
    for display in displays:
        if "Displays" in display:
            yield {**display, "Displays": list(_each_camera(display["Displays"], cameras))}
        elif not _camera_of(display):
            yield display
        elif _camera_of(display) == SHIPPED_CAMERAS[0]:
            for index, name in enumerate(cameras):
                like = SHIPPED_CAMERAS[min(index, len(SHIPPED_CAMERAS) - 1)]
                yield _replaced(shown[like], like, name)


def _camera_of(display: Any) -> str:
    """The shipped camera that a display shows; "" for a group and for what shows none."""
    found = None if "Displays" in display else _CAMERA.search(yaml.safe_dump(display))
    return found[1] if found else ""


def _replaced(value: Any, old: str, new: str) -> Any:
    if isinstance(value, dict):
        return {key: _replaced(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, old, new) for item in value]
    return re.sub(rf"\b{old}\b", new, value) if isinstance(value, str) else value


def _renamed(value: Any, arm: str, namespace: str) -> Any:
    """Topics below the namespace, and the arm's topics and base frame by its own name."""
    if isinstance(value, dict):
        return {key: _renamed(item, arm, namespace) for key, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item, arm, namespace) for item in value]
    if value == f"{SHIPPED_ARM}_base":
        return f"{arm}_base"
    if not isinstance(value, str) or not value.startswith("/"):
        return value
    head, _, rest = value.strip("/").partition("/")
    return absolute(namespace, arm if head == SHIPPED_ARM else head, rest)
