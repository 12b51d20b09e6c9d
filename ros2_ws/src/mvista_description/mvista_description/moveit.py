"""The semantic description (SRDF) of one arm: made from the arm file, and held against its URDF."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

from mvista_description.urdf import expanded, xacro_file

SRDF = "piper.srdf.xacro"
FOLDER = "moveit"


def moveit_file(name: str) -> Path:
    """One file of `moveit/`, in the source tree or in an ament prefix.

    Raises:
        ConfigError: it is in neither.
    """
    return xacro_file(name, FOLDER)


def arm_srdf(arm_file: Path | str, arm: str = "piper") -> str:
    """SRDF of the arm `arm` as text, with the home pose of its arm file.

    Raises:
        ConfigError: a file is missing, or is no arm file.
    """
    return expanded(moveit_file(SRDF), {"arm_file": str(Path(arm_file).absolute()), "arm": arm})


def problems(srdf: str, urdf: str) -> tuple[str, ...]:
    """What MoveIt could not find or would not take of an SRDF beside this URDF; () is none.

    Names of links, joints and groups, chains, the values of group states against the joints'
    limits, pairs of one link, and a description of another robot.
    """
    return tuple(_Checked(ElementTree.fromstring(srdf), ElementTree.fromstring(urdf)).problems())


def without_states_outside(srdf: str, urdf: str) -> tuple[str, tuple[str, ...]]:
    """The SRDF without the group states that the limits do not allow, and which those were."""
    robot = ElementTree.fromstring(srdf)
    checked = _Checked(robot, ElementTree.fromstring(urdf))
    left_out: tuple[str, ...] = ()
    for state in robot.findall("group_state"):
        if found := tuple(checked.outside(state)):
            robot.remove(state)
            left_out += found
    return ElementTree.tostring(robot, encoding="unicode") + "\n", left_out


class _Checked:
    """One SRDF beside one URDF."""

    def __init__(self, srdf: ElementTree.Element, urdf: ElementTree.Element) -> None:
        self._srdf, self._urdf = srdf, urdf
        self._links = {str(link.get("name")) for link in urdf.iterfind("link")}
        self._joints = {str(joint.get("name")): joint for joint in urdf.iterfind("joint")}
        self._groups = {str(group.get("name")) for group in srdf.iterfind("group")}
        self._parents = {
            _named(joint, "child"): _named(joint, "parent") for joint in self._joints.values()
        }

    def problems(self) -> Iterator[str]:
        """One sentence each."""
        if self._srdf.get("name") != self._urdf.get("name"):
            yield f"it describes '{self._srdf.get('name')}', the URDF '{self._urdf.get('name')}'"
        for kind, name in self._mentioned():
            known = {"link": self._links, "joint": self._joints, "group": self._groups}[kind]
            if name not in known:
                yield f"no {kind} '{name}'; there are {sorted(known)}"
        for chain in self._srdf.iterfind("group/chain"):
            base, tip = str(chain.get("base_link")), str(chain.get("tip_link"))
            if {base, tip} <= self._links and base not in self._above(tip):
                yield f"'{tip}' does not hang on '{base}': no chain"
        for state in self._srdf.iterfind("group_state"):
            yield from self.outside(state)
        for pair in self._srdf.iterfind("disable_collisions"):
            if pair.get("link1") == pair.get("link2"):
                yield f"'{pair.get('link1')}' is paired with itself"

    def _mentioned(self) -> Iterator[tuple[str, str]]:
        """Kinds and names of everything that the SRDF refers to."""
        for path, attribute, kind in _REFERENCES:
            for element in self._srdf.iterfind(path):
                yield kind, str(element.get(attribute))

    def _above(self, link: str) -> Iterator[str]:
        while link in self._parents:
            link = self._parents[link]
            yield link

    def outside(self, state: ElementTree.Element) -> Iterator[str]:
        """The joints of a state that their limits do not allow, one sentence each."""
        for element in state.iterfind("joint"):
            name, value = str(element.get("name")), float(str(element.get("value")))
            joint = self._joints.get(name)
            limit = None if joint is None else joint.find("limit")
            if limit is None:
                continue
            low, high = (float(str(limit.get(end))) for end in ("lower", "upper"))
            if not low <= value <= high:
                yield f"state '{state.get('name')}': {name} at {value} is outside [{low}, {high}]"


_REFERENCES = (
    ("group/link", "name", "link"),
    ("group/joint", "name", "joint"),
    ("group/group", "name", "group"),
    ("group/chain", "base_link", "link"),
    ("group/chain", "tip_link", "link"),
    ("group_state", "group", "group"),
    ("group_state/joint", "name", "joint"),
    ("end_effector", "parent_link", "link"),
    ("end_effector", "group", "group"),
    ("passive_joint", "name", "joint"),
    ("virtual_joint", "child_link", "link"),
    ("disable_collisions", "link1", "link"),
    ("disable_collisions", "link2", "link"),
)
"""Where an SRDF names something of the URDF or of its own: path, attribute, kind."""


def _named(joint: ElementTree.Element, end: str) -> str:
    found = joint.find(end)
    return "" if found is None else str(found.get("link"))
