"""A URDF made of boxes, cylinders and spheres: its shapes, and where its links are at some joints.

As much of URDF as `mvista_description` writes; a mesh is refused, not left out.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mvista_core.errors import ConfigError
from mvista_core.geometry import Array, exp_so3, pose_from, rotation_from_rpy

Rgb = tuple[int, int, int]
GREY: Rgb = (150, 150, 150)
_SIZES = {"box": ("size",), "cylinder": ("radius", "length"), "sphere": ("radius",)}
_MOVING = {"revolute", "continuous", "prismatic"}


@dataclass(frozen=True)
class Shape:
    """One solid of a link. `size_m`: box x, y, z; cylinder radius, length (z); sphere radius."""

    link: str
    kind: str
    size_m: tuple[float, ...]
    link_from_shape: Array
    color: Rgb


@dataclass(frozen=True)
class Joint:
    """`follows` is the joint whose position moves it, `factor` times: itself, or what it mimics."""

    parent: str
    child: str
    kind: str
    parent_from_joint: Array
    axis: Array
    follows: str
    factor: float

    def parent_from_child(self, positions: Mapping[str, float]) -> Array:
        """At these positions (rad, m); a joint that is not named stands at 0."""
        moved = self.factor * positions.get(self.follows, 0.0) * self.axis
        if self.kind == "prismatic":
            return self.parent_from_joint @ pose_from(np.eye(3), moved)
        if self.kind in _MOVING:
            return self.parent_from_joint @ pose_from(exp_so3(moved), np.zeros(3))
        return self.parent_from_joint


@dataclass(frozen=True)
class Drawing:
    """What is drawn of a robot: its shapes, and its joints from the root outwards."""

    root: str
    shapes: tuple[Shape, ...]
    joints: tuple[Joint, ...]

    @property
    def links(self) -> tuple[str, ...]:
        """Those that have a shape."""
        return tuple(dict.fromkeys(shape.link for shape in self.shapes))

    def root_from_links(self, positions: Mapping[str, float]) -> dict[str, Array]:
        """The 4x4 pose of every link, by name, at these joint positions (rad, m)."""
        poses = {self.root: np.eye(4)}
        for joint in self.joints:
            poses[joint.child] = poses[joint.parent] @ joint.parent_from_child(positions)
        return poses

    @classmethod
    def of(cls, urdf: str) -> Drawing:
        """Read a URDF.

        Raises:
            ConfigError: no URDF, a shape that is none of box, cylinder, sphere, or no single root.
        """
        try:
            robot = ElementTree.fromstring(urdf)
        except ElementTree.ParseError as error:
            raise ConfigError(f"not a URDF: {error}") from None
        colors = {
            found.get("name", ""): _color(found)
            for found in robot.findall("material")
            if found.find("color") is not None
        }
        shapes = tuple(
            _shape(link.get("name", ""), visual, colors)
            for link in robot.findall("link")
            for visual in link.findall("visual")
        )
        root, joints = _outwards([_joint(found) for found in robot.findall("joint")])
        return cls(root, shapes, joints)


def _outwards(joints: list[Joint]) -> tuple[str, tuple[Joint, ...]]:
    """The root, and the joints so that a parent comes before its children."""
    children = {joint.child for joint in joints}
    roots = {joint.parent for joint in joints} - children
    if len(roots) != 1:
        raise ConfigError(f"a URDF has one root; this one has {sorted(roots)}")
    (root,) = roots
    ordered: list[Joint] = []
    reached = {root}
    while len(ordered) < len(joints):
        found = [j for j in joints if j.parent in reached and j.child not in reached]
        if not found:
            raise ConfigError(f"joints of the URDF do not hang together beyond {sorted(reached)}")
        ordered += found
        reached |= {joint.child for joint in found}
    return root, tuple(ordered)


def _joint(found: ElementTree.Element) -> Joint:
    parent, child = found.find("parent"), found.find("child")
    if parent is None or child is None:
        raise ConfigError(f"joint '{found.get('name')}' of the URDF lacks its parent or child link")
    axis, mimic = found.find("axis"), found.find("mimic")
    return Joint(
        parent.get("link", ""),
        child.get("link", ""),
        found.get("type", "fixed"),
        _pose(found.find("origin")),
        np.array([1.0, 0.0, 0.0]) if axis is None else _numbers(axis.get("xyz", "1 0 0")),
        found.get("name", "") if mimic is None else mimic.get("joint", ""),
        1.0 if mimic is None else float(mimic.get("multiplier", "1")),
    )


def _shape(link: str, visual: ElementTree.Element, colors: Mapping[str, Rgb]) -> Shape:
    geometry = visual.find("geometry")
    solid = geometry[0] if geometry is not None and len(geometry) else None
    if solid is None or solid.tag not in _SIZES:
        said = "nothing" if solid is None else solid.tag
        raise ConfigError(f"link '{link}' is drawn as {said}; drawn are {', '.join(_SIZES)}")
    size_m = [value for key in _SIZES[solid.tag] for value in _numbers(solid.get(key, ""))]
    material = visual.find("material")
    color = GREY if material is None else colors.get(material.get("name", ""), GREY)
    return Shape(link, solid.tag, tuple(size_m), _pose(visual.find("origin")), color)


def _color(material: ElementTree.Element) -> Rgb:
    color = material.find("color")
    rgba = [] if color is None else _numbers(color.get("rgba", "")).tolist()
    red, green, blue, *_ = (round(255 * value) for value in (*rgba, 0.6, 0.6, 0.6))
    return red, green, blue


def _pose(origin: ElementTree.Element | None) -> Array:
    if origin is None:
        return np.eye(4)
    angles_rad, at_m = origin.get("rpy", "0 0 0"), origin.get("xyz", "0 0 0")
    return pose_from(rotation_from_rpy(_numbers(angles_rad)), _numbers(at_m))


def _numbers(text: str) -> Array:
    return np.array([float(word) for word in text.split()])
