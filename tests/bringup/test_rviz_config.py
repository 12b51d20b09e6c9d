"""RViz is shown this cell: its arm, its rig's cameras, its namespace, in names that RViz knows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mvista_bringup import rviz_config
from mvista_bringup.graph.monitor import MONITOR
from mvista_bringup.graph.robot import REAL_ROBOT
from mvista_bringup.graph.spec import NodeSpec, active_rows
from mvista_bringup.paths import config_file
from tests.bringup.launches import CAMERAS, MONITORED, RIG, ROBOT

SHIPPED = config_file("rviz", "mvista4d.rviz")
NAMES = yaml.safe_load((Path(__file__).parent / "rviz_names.yaml").read_text(encoding="utf-8"))
"""What RViz registers in each distribution (the file's head says how it was read)."""
CELLS = {
    "the shipped one": (rviz_config.SHIPPED_ARM, rviz_config.SHIPPED_CAMERAS, ""),
    "another arm": ("left", rviz_config.SHIPPED_CAMERAS, ""),
    "one camera": ("piper", ("front",), ""),
    "five cameras": ("piper", ("front", "wrist", "left", "right", "top"), ""),
    "a namespace": ("piper", rviz_config.SHIPPED_CAMERAS, "lab/cell_a"),
    "all of it": ("right", ("front", "wrist", "left", "right", "top"), "lab"),
}
SHOWN_BY_RVIZ = {
    "DepthCloud", "Grid", "Image", "Marker", "MarkerArray", "Path", "PointCloud2", "RobotModel",
    "TF",
}  # fmt: skip
"""Displays of rviz_default_plugins; Group is rviz_common's."""
EARLIEST = {"CameraInfo Topic"}
"""Names that RViz has not always had, and for whose absence the launch has a way out."""


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value


def _written(target: Path, arm: str, cameras: tuple[str, ...], namespace: str) -> Any:
    path = rviz_config.written(SHIPPED, target, arm, cameras, namespace)
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _shown() -> list[dict[str, Any]]:
    """The shipped file's displays."""
    found = _displays(yaml.safe_load(SHIPPED.read_text(encoding="utf-8")))
    return [display for display in found if display["Class"] != "rviz_common/Group"]


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


def _unknown(value: Any, known: Any, place: str) -> Iterator[str]:
    """Names and values of a part of the configuration that the table of names does not have."""
    if isinstance(known, dict):
        entries = value if isinstance(value, dict) else {"Value": value}
        for key, item in entries.items():
            if key not in known:
                yield f"{place}: {key}"
            else:
                yield from _unknown(item, known[key], f"{place}: {key}")
    elif isinstance(known, list) and value not in known:
        yield f"{place}: {value!r} is none of {known}"
    elif isinstance(value, dict):
        yield f"{place}: holds {list(value)}"


def _as_of(known: Any, distribution: str) -> Any:
    """The table of one distribution: what has a `since` there, or none."""
    if not isinstance(known, dict):
        return known
    table = {}
    for key, item in known.items():
        since = item.get("since") if isinstance(item, dict) else None
        if since is None or distribution in since:
            table[key] = None if since is not None else _as_of(item, distribution)
    return table


def _unknown_classes(listed: Any, known: Any, place: str) -> Iterator[str]:
    for item in listed:
        name, inner = item["Class"], item.get("Displays", [])
        if known.get(name) is None:
            yield f"{place}: no class {name}, or none whose properties were read"
            continue
        rest = {key: value for key, value in item.items() if key != "Displays"}
        yield from _unknown(rest, known[name], f"{place} '{item.get('Name', name)}'")
        yield from _unknown_classes(inner, known, place)


@pytest.mark.parametrize("distribution", NAMES["distributions"])
@pytest.mark.parametrize("cell", CELLS)
def test_every_class_and_property_is_one_that_rviz_registers(
    tmp_path: Path, cell: str, distribution: str
) -> None:
    """A name that RViz does not know does nothing, and nobody is told."""
    written = _written(tmp_path / "a.rviz", *CELLS[cell])
    manager, known = written["Visualization Manager"], _as_of(NAMES, distribution)
    wrong = [
        *_unknown_classes(written["Panels"], known["panels"], "panel"),
        *_unknown_classes(manager["Displays"], known["displays"], "display"),
        *_unknown_classes(manager["Tools"], known["tools"], "tool"),
        *_unknown_classes([manager["Views"]["Current"]], known["views"], "view"),
        *_unknown_classes([manager["Transformation"]["Current"]], known["transformers"], "frames"),
        *_unknown(manager["Global Options"], known["global options"], "global options"),
    ]
    assert not wrong, wrong
    assert not set(manager) - {
        "Class", "Displays", "Global Options", "Tools", "Transformation", "Views"
    }  # fmt: skip


def test_a_name_that_came_later_is_one_with_a_way_out() -> None:
    late = {
        key
        for display in _displays(yaml.safe_load(SHIPPED.read_text(encoding="utf-8")))
        for key in display
        if isinstance(entry := NAMES["displays"][display["Class"]].get(key), dict)
        and "since" in entry
    }
    assert late == EARLIEST


def _displays(document: Any) -> Iterator[Any]:
    waiting = list(document["Visualization Manager"]["Displays"])
    while waiting:
        display = waiting.pop(0)
        waiting += display.pop("Displays", [])
        yield display


@pytest.mark.parametrize(
    ("display", "key", "value"),
    [
        ("Grid", "Cell Count", 20),
        ("RobotModel", "Robot Description", "robot_description"),
        ("Image", "Topic", {"Reliability Policy": "Best effort"}),
        ("DepthCloud", "Reliability Policy", "Best Effort"),
        ("PointCloud2", "Style", "Dots"),
        ("Path", "Line Style", {"Value": "Lines"}),
    ],
)
def test_a_wrong_name_would_be_found(display: str, key: str, value: Any) -> None:
    """Names of ROS 1, and those that RViz itself spells in two ways."""
    listed = [{"Class": f"rviz_default_plugins/{display}", "Name": "x", key: value}]
    assert list(_unknown_classes(listed, _as_of(NAMES["displays"], "jazzy"), "display"))


def test_rviz_shows_all_that_was_asked_for() -> None:
    kinds = {display["Class"].removeprefix("rviz_default_plugins/") for display in _shown()}
    assert kinds == SHOWN_BY_RVIZ


def test_all_of_it_is_drawn_in_the_rigs_base_frame() -> None:
    manager = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))["Visualization Manager"]
    assert manager["Global Options"]["Fixed Frame"] == RIG.base_frame


def test_rviz_reads_images_with_best_effort_and_what_stays_with_transient_local() -> None:
    for display in _shown():
        topic = display.get("Topic") or display.get("Description Topic", {})
        if display["Class"].endswith("/Image"):
            assert topic["Reliability Policy"] == "Best Effort", display["Name"]
        elif display["Class"].endswith(("/Path", "/MarkerArray", "/PointCloud2", "/RobotModel")):
            assert topic["Durability Policy"] == "Transient Local", display["Name"]
        elif display["Class"].endswith("/DepthCloud"):
            assert display["Reliability Policy"] == "Best effort"


def test_the_robot_models_are_those_that_are_published() -> None:
    values = ROBOT.values({"rviz": "true"})
    rows = [r for r in active_rows(REAL_ROBOT, values) if r.package == "robot_state_publisher"]
    published = {
        (
            f"{row.namespace}/robot_description",
            str(dict(row.parameters)["frame_prefix"]).rstrip("/"),
        )
        for row in rows
        if isinstance(row, NodeSpec)
    }
    shown = {
        (display["Description Topic"]["Value"], display["TF Prefix"])
        for display in _shown()
        if display["Class"].endswith("/RobotModel")
    }
    assert shown == published


def test_live_clouds_find_the_intrinsics() -> None:
    """An RViz that cannot be told the topic takes the depth image's: it is led to the colour's."""
    rows = active_rows(MONITOR, MONITORED.values({}))
    (rviz,) = [row for row in rows if row.package == "rviz2"]
    assert isinstance(rviz, NodeSpec)
    led = dict(rviz.remappings)
    clouds = [d for d in _shown() if d["Class"].endswith("/DepthCloud")]
    assert len(clouds) == len(CAMERAS)
    for cloud in clouds:
        info = cloud["Depth Map Topic"].replace("image_raw", "camera_info")
        assert led[info] == cloud["CameraInfo Topic"]
