"""What a node may not do by itself: pace a duty by the wall clock, or hear a topic unguarded."""

from __future__ import annotations

import ast
import re
from importlib.util import find_spec
from pathlib import Path

from tests.architecture.source_tree import (
    ROOT,
    calls,
    class_of_each_call,
    package_of,
    shipped_files,
)

HOUSE = "mvista_ros/base_node.py"
LISTENING = "mvista_ros/listening.py"
ROS_CLOCK_CALLS = ("get_clock", "create_rate", "ROSClock")
"""Ways to the node's ROS clock, which is the wall clock or somebody's /clock."""

READS_THE_WALL_CLOCK = {
    "mvista_bringup": "stamps of transforms",
    "mvista_calibration": "the date of a rig",
    "mvista_calibration_ros": "the name of a folder, ages of images by their stamps",
    "mvista_calibration_sim": "stamps of images and joint states",
    "mvista_cameras": "stamps of captures, and how old they were when sent",
    "mvista_cli": "ages of rigs, the times of images beside an execution",
    "mvista_core": "beside the monotonic clock, for whoever tells one by the other",
    "mvista_eval": "what a bench compares to stamps",
    "mvista_executor": "stamps of set-points, and the age of a plan and of feedback by its stamps",
    "mvista_piper": "stamps of joint states",
    "mvista_planning": "how old what was seen is, by its stamps",
    "mvista_recorder": "when a message was heard, and the name of an episode",
    "mvista_ros": "stamps of diagnostics, and how old a frame is",
    "mvista_sim": "stamps of frames and joint states",
    "mvista_teleop": "stamps of set-points, and how old a pose is by its stamp",
    "mvista_world": "the stamp of a rollout",
}
"""Packages that may ask for `now_ns()`, and for which stamps."""
PACING = {"sleep_until", "create_timer", "wait", "join"}


def _where(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"


def test_a_timer_is_made_by_a_house_node_on_its_steady_clock() -> None:
    strays = [
        f"{_where(path, call)} {callee}"
        for path in shipped_files()
        if not str(path).endswith(HOUSE)
        for callee, bases, call in class_of_each_call(path)
        if callee.endswith("create_timer")
        and (
            callee != "self.create_timer"
            or not any(base.endswith(("HouseNode", "Node")) and base != "Node" for base in bases)
            or any(keyword.arg in ("clock", None) for keyword in call.keywords)
            or len(call.args) > 3
        )
    ]
    assert not strays, f"use HouseNode.create_timer as it is: {strays}"


def test_no_node_asks_for_the_ros_clock() -> None:
    strays = [
        f"{path.relative_to(ROOT)}:{line} calls {callee}"
        for path in shipped_files()
        for callee, line in calls(path)
        if callee.split(".")[-1] in ROS_CLOCK_CALLS
    ]
    assert not strays, "stamps come from `system_clock`, periods from a steady clock: " + str(
        strays
    )


def test_the_wall_clock_is_read_for_stamps_only() -> None:
    """Each package that reads it says for which stamps, and none of them waits by it."""
    strays = []
    for path in shipped_files():
        for callee, _, call in class_of_each_call(path):
            name = callee.split(".")[-1]
            if name == "now_ns" and package_of(path) not in READS_THE_WALL_CLOCK:
                strays.append(f"{_where(path, call)}: reads the wall clock")
            if name in PACING and ".now_ns()" in ast.unparse(call):
                strays.append(f"{_where(path, call)}: waits by the wall clock")
    assert not strays, "\n".join(strays)


def test_a_topic_is_heard_through_the_listening_helper() -> None:
    strays = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in shipped_files()
        if not str(path).endswith(LISTENING)
        for callee, line in calls(path)
        if callee.split(".")[-1] == "create_subscription" or callee == "Subscription"
    ]
    assert not strays, f"use HouseNode.listen (mvista_ros.listening): {strays}"


def test_no_node_takes_a_name_that_rclpy_keeps_for_itself() -> None:
    """`self._services = ...` in a node replaces the list that rclpy's executors go through."""
    spec = find_spec("rclpy")
    assert spec is not None and spec.origin is not None
    source = Path(spec.origin).with_name("node.py").read_text(encoding="utf-8")
    kept = set(re.findall(r"\bself\.(_[a-z]\w*)", source))
    assert {"_services", "_timers", "_publishers"} <= kept
    taken = [
        f"{_where(path, node)} self.{node.attr}"
        for path in shipped_files()
        if path.name.endswith("node.py")
        for kind in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(kind, ast.ClassDef) and any("Node" in ast.unparse(b) for b in kind.bases)
        for node in ast.walk(kind)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        if ast.unparse(node.value) == "self" and node.attr in kept
    ]
    assert not taken
