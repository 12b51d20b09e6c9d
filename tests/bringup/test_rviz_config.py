"""RViz is shown this cell: its arm, its rig's cameras, its namespace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from mvista_bringup import rviz_config
from mvista_bringup.paths import config_file

SHIPPED = config_file("rviz", "mvista4d.rviz")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value


def _written(target: Path, arm: str, cameras: tuple[str, ...], namespace: str) -> Any:
    path = rviz_config.written(SHIPPED, target, arm, cameras, namespace)
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_the_shipped_cell_gets_the_shipped_file(tmp_path: Path) -> None:
    shipped = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    written = _written(
        tmp_path / "a.rviz", rviz_config.SHIPPED_ARM, rviz_config.SHIPPED_CAMERAS, ""
    )
    assert written == shipped


def test_another_cell_gets_its_own_names(tmp_path: Path) -> None:
    cameras = ("front", "wrist", "left", "right", "top")
    written = _written(tmp_path / "deep" / "b.rviz", "left", cameras, "lab/cell_a")
    assert written["Visualization Manager"]["Global Options"]["Fixed Frame"] == "left_base"
    texts = list(_texts(written))
    topics = [text for text in texts if text.startswith("/")]
    assert topics and all(topic.startswith("/lab/cell_a/") for topic in topics)
    assert not any("cam0" in text or "cam3" in text or "piper" in text for text in texts)
    for topic in ("left/robot_description", "left/planned/path", "display/diagnostics"):
        assert f"/lab/cell_a/{topic}" in topics
    for camera in cameras:
        for topic in ("color/image_raw", "depth/image_raw", "color/camera_info"):
            assert f"/lab/cell_a/{camera}/{topic}" in topics
        assert f"/lab/cell_a/imagined/{camera}/color/image_raw" in topics
        assert f"Cloud of {camera}" in texts
