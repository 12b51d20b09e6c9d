"""AgileX's SRDF and MoveIt files in our names: `moveit/agilex_names.yaml` says which is which.

    agilex_names piper.srdf --dialect piper_ros --arm-file $PWD/config/arms/piper.yaml > ours.srdf

A rewritten SRDF is held against our URDF before it is given out; named states that our limits
do not allow are left out and said. A xacro is to be expanded first.
"""

from __future__ import annotations

import argparse
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mvista_core.documents import Document, read_document
from mvista_core.errors import ConfigError
from mvista_description.moveit import moveit_file, problems, without_states_outside
from mvista_description.urdf import cell_urdf

NAMES = "agilex_names.yaml"
ROBOT = "mvista_cell"
"""The name of our URDF's robot, which an SRDF repeats."""
_LINK_ATTRIBUTES = ("base_link", "tip_link", "parent_link", "child_link", "link", "link1", "link2")
_SCALED = ("max_position", "min_position", "max_velocity", "max_acceleration", "max_jerk")


@dataclass(frozen=True)
class Aliases:
    """Our names by theirs, for one arm.

    `joints` holds None for a joint that has no state of its own here; `times` what their value is
    multiplied by to be ours; `tips` where a chain ends, if not at the link that has the shape.
    """

    links: Mapping[str, str]
    joints: Mapping[str, str | None]
    times: Mapping[str, float]
    tips: Mapping[str, str]

    def link(self, name: str) -> str:
        """Ours for a link of theirs.

        Raises:
            ConfigError: none is known.
        """
        return str(_known(self.links, name, "link"))

    def joint(self, name: str) -> str | None:
        """Ours for a joint of theirs; None: it only follows another one.

        Raises:
            ConfigError: none is known.
        """
        found = _known(self.joints, name, "joint")
        return None if found is None else str(found)


def load_aliases(dialect: str, arm: str = "piper") -> Aliases:
    """The names of one of AgileX's descriptions, against those of our arm `arm`.

    Raises:
        ConfigError: no such dialect.
    """
    dialects = read_document(moveit_file(NAMES), ConfigError, f"see {NAMES}").entries()
    if dialect not in dialects:
        raise ConfigError(f"no dialect '{dialect}' in {NAMES}; there are {sorted(dialects)}")
    found = dialects[dialect]

    def links(key: str) -> dict[str, str]:
        return {name: f"{arm}_{ours.text()}" for name, ours in found[key].entries().items()}

    joints = {name: _text_or_none(ours) for name, ours in found["joints"].entries().items()}
    times = {name: factor.number() for name, factor in found["times"].entries().items()}
    return Aliases(links("links"), joints, times, links("tips"))


def srdf_in_our_names(text: str, aliases: Aliases) -> str:
    """An SRDF of theirs as ours: links, joints, the values of states. Groups keep their names.

    Raises:
        ConfigError: it is no XML, or has a name that the table does not know.
    """
    try:
        robot = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ConfigError(f"no SRDF: {error}; expand a xacro first") from None
    robot.set("name", ROBOT)
    pairs: set[frozenset[str]] = set()
    for parent in list(robot.iter()):
        for element in list(parent):
            if not _renamed(element, aliases) or not _first_of_its_kind(element, pairs):
                parent.remove(element)
    ElementTree.indent(robot)
    return ElementTree.tostring(robot, encoding="unicode") + "\n"


def yaml_in_our_names(text: str, aliases: Aliases) -> str:
    """A YAML file of theirs (joint limits, initial positions) with our joints and their values.

    Raises:
        ConfigError: it is no YAML.
    """
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"no YAML: {error}") from None
    return yaml.safe_dump(_yaml_renamed(document, aliases), sort_keys=False)


def _renamed(element: ElementTree.Element, aliases: Aliases) -> bool:
    """Give an element our names; False where it has none here."""
    for attribute in _LINK_ATTRIBUTES:
        name = element.get(attribute)
        if name is not None:
            tip = aliases.tips.get(name) if attribute == "tip_link" else None
            element.set(attribute, tip or aliases.link(name))
    if element.tag == "link":
        element.set("name", aliases.link(str(element.get("name"))))
    if element.tag in ("joint", "passive_joint"):
        name = str(element.get("name"))
        ours = aliases.joint(name)
        if ours is None:
            return False
        element.set("name", ours)
        if element.get("value") is not None:
            value = float(str(element.get("value"))) * aliases.times.get(name, 1.0)
            element.set("value", f"{value:.12g}")
    return True


def _first_of_its_kind(element: ElementTree.Element, pairs: set[frozenset[str]]) -> bool:
    """Two of their links may be one of ours: no pair of it with itself, and none twice."""
    if element.tag != "disable_collisions":
        return True
    pair = frozenset(str(element.get(end)) for end in ("link1", "link2"))
    if len(pair) == 1 or pair in pairs:
        return False
    pairs.add(pair)
    return True


def _yaml_renamed(value: Any, aliases: Aliases) -> Any:
    if isinstance(value, list):
        renamed = [_yaml_renamed(item, aliases) for item in value]
        return [item for item in renamed if item is not None]
    if isinstance(value, dict):
        return {
            new: _scaled(_yaml_renamed(item, aliases), aliases.times.get(key, 1.0))
            for key, item in value.items()
            if (new := aliases.joints.get(key, key)) is not None
        }
    return aliases.joints.get(value, value) if isinstance(value, str) else value


def _scaled(value: Any, factor: float) -> Any:
    """A joint's number, or the numbers of its limits, in our measure."""
    if isinstance(value, dict):
        return {k: _scaled(v, factor) if k in _SCALED else v for k, v in value.items()}
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return value * factor if number and factor != 1.0 else value


def _known(table: Mapping[str, str | None], name: str, kind: str) -> str | None:
    if name not in table:
        raise ConfigError(f"no {kind} '{name}' in {NAMES}; this dialect has {sorted(table)}")
    return table[name]


def _text_or_none(value: Document) -> str | None:
    return None if value.value is None else value.text()


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0; 2 with one line on standard error for what cannot be rewritten."""
    parser = argparse.ArgumentParser(prog="agilex_names", description=__doc__)
    parser.add_argument("file", type=Path, help="an SRDF, or a YAML file that names joints")
    parser.add_argument("--dialect", default="agx_arm", help="agx_arm or piper_ros; %(default)s")
    parser.add_argument("--arm", default="piper", help="our name of the arm; %(default)s")
    parser.add_argument("--arm-file", type=Path, help="needed for an SRDF: it is held against it")
    arguments = parser.parse_args(argv)
    try:
        print(_rewritten(arguments), end="")
    except (ConfigError, OSError) as error:
        print(f"agilex_names: {error}", file=sys.stderr)
        return 2
    return 0


def _rewritten(arguments: argparse.Namespace) -> str:
    aliases = load_aliases(arguments.dialect, arguments.arm)
    text = arguments.file.read_text(encoding="utf-8")
    if arguments.file.suffix in (".yaml", ".yml"):
        return yaml_in_our_names(text, aliases)
    if arguments.arm_file is None:
        raise ConfigError("an SRDF is held against the URDF of an arm file: give --arm-file")
    urdf = cell_urdf(arguments.arm_file, {"arm": arguments.arm})
    srdf, left_out = without_states_outside(srdf_in_our_names(text, aliases), urdf)
    for state in left_out:
        print(f"agilex_names: left out: {state}", file=sys.stderr)
    found = problems(srdf, urdf)
    if found:
        raise ConfigError(f"{arguments.file} does not fit our URDF: {'; '.join(found)}")
    return srdf
