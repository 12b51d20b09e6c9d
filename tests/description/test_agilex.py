"""SRDFs in the style of AgileX's, in our names: they fit our URDF, and mean what they meant.

The texts are this test's own; only names and structure are those of the maker's files.
"""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from functools import cache
from pathlib import Path

import pytest
import yaml

from mvista_core.arm import load_arm
from mvista_core.errors import ConfigError
from mvista_description.agilex import load_aliases, main, srdf_in_our_names, yaml_in_our_names
from mvista_description.moveit import problems
from mvista_description.urdf import cell_urdf

ARM_FILE = Path(__file__).parents[2] / "config" / "arms" / "piper.yaml"
PIPER_ROS = """<?xml version="1.0"?>
<robot name="piper">
  <group name="arm"><chain base_link="base_link" tip_link="link6"/></group>
  <group name="gripper"><chain base_link="gripper_base" tip_link="link7"/></group>
  <group_state name="bent" group="arm">
    <joint name="joint2" value="1.0"/><joint name="joint3" value="-1.0"/>
  </group_state>
  <group_state name="open" group="gripper">
    <joint name="joint7" value="0.03"/><joint name="joint8" value="-0.03"/>
  </group_state>
  <disable_collisions link1="base_link" link2="link1" reason="Adjacent"/>
  <disable_collisions link1="gripper_base" link2="link7" reason="Adjacent"/>
  <disable_collisions link1="link7" link2="link8" reason="Default"/>
</robot>"""
AGX_ARM = """<robot name="agx_arm">
  <group name="arm"><chain base_link="base_link" tip_link="tcp_link"/></group>
  <group name="gripper">
    <link name="gripper_base"/><link name="gripper_link1"/><link name="gripper_link2"/>
    <joint name="gripper"/>
  </group>
  <passive_joint name="gripper_joint1"/>
  <passive_joint name="gripper_joint2"/>
  <end_effector name="gripper_eef" parent_link="tcp_link" group="gripper" parent_group="arm"/>
  <group_state name="half" group="gripper"><joint name="gripper" value="0.05"/></group_state>
  <disable_collisions link1="flange_link" link2="link6" reason="Adjacent"/>
  <disable_collisions link1="gripper_base" link2="flange_link" reason="Adjacent"/>
  <disable_collisions link1="gripper_base" link2="link6" reason="Never"/>
  <disable_collisions link1="gripper_link1" link2="gripper_link2" reason="Adjacent"/>
</robot>"""
THEIRS = {"piper_ros": PIPER_ROS, "agx_arm": AGX_ARM}


@cache
def ours(dialect: str, arm: str = "piper") -> ElementTree.Element:
    return ElementTree.fromstring(srdf_in_our_names(THEIRS[dialect], load_aliases(dialect, arm)))


def states(robot: ElementTree.Element) -> dict[str, dict[str, float]]:
    return {
        str(state.get("name")): {
            str(joint.get("name")): float(str(joint.get("value"))) for joint in state
        }
        for state in robot.iterfind("group_state")
    }


@pytest.mark.parametrize("arm", ["piper", "left"])
@pytest.mark.parametrize("dialect", THEIRS)
def test_theirs_fits_our_urdf(dialect: str, arm: str) -> None:
    text = ElementTree.tostring(ours(dialect, arm), encoding="unicode")
    assert problems(text, cell_urdf(ARM_FILE, {"arm": arm})) == ()


@pytest.mark.parametrize("dialect", THEIRS)
def test_every_name_of_ours_in_the_table_is_in_our_urdf(dialect: str) -> None:
    aliases = load_aliases(dialect)
    robot = ElementTree.fromstring(cell_urdf(ARM_FILE))
    links = {link.get("name") for link in robot.iterfind("link")}
    joints = {joint.get("name") for joint in robot.iterfind("joint")}
    assert {*aliases.links.values(), *aliases.tips.values()} <= links
    assert {joint for joint in aliases.joints.values() if joint} <= joints
    motors = {name: name for name in load_arm(ARM_FILE).joint_names[:6]}
    assert motors.items() <= aliases.joints.items()


def test_a_finger_that_goes_halfway_is_an_opening_of_both() -> None:
    assert states(ours("piper_ros")) == {
        "bent": {"joint2": 1.0, "joint3": -1.0},
        "open": {"gripper": 0.06},
    }
    assert states(ours("agx_arm")) == {"half": {"gripper": 0.05}}


def test_their_gripper_group_holds_the_joint_that_our_driver_knows() -> None:
    """Their chain ends at a finger; ours at the link that the joint `gripper` moves."""
    (chain,) = ours("piper_ros").iterfind("group[@name='gripper']/chain")
    assert (chain.get("base_link"), chain.get("tip_link")) == ("piper_palm", "piper_opening")


def test_two_of_their_links_that_are_one_of_ours_are_no_pair() -> None:
    pairs = [
        {pair.get("link1"), pair.get("link2")}
        for pair in ours("agx_arm").iterfind("disable_collisions")
    ]
    assert pairs == [
        {"piper_palm", "piper_link6"}, {"piper_finger_left", "piper_finger_right"}
    ]  # fmt: skip


def test_their_joint_limits_are_in_our_measure() -> None:
    theirs = """
    default_velocity_scaling_factor: 0.1
    joint_limits:
      joint6: {has_velocity_limits: true, max_velocity: 3.0, max_acceleration: 0}
      joint7: {has_velocity_limits: true, max_velocity: 1.0, max_acceleration: 0}
    """
    assert yaml.safe_load(yaml_in_our_names(theirs, load_aliases("piper_ros"))) == {
        "default_velocity_scaling_factor": 0.1,
        "joint_limits": {
            "joint6": {"has_velocity_limits": True, "max_velocity": 3.0, "max_acceleration": 0},
            "gripper": {"has_velocity_limits": True, "max_velocity": 2.0, "max_acceleration": 0},
        },
    }
    positions = "initial_positions: {joint1: 0.5, joint7: 0.01, joint8: -0.01}"
    assert yaml.safe_load(yaml_in_our_names(positions, load_aliases("piper_ros"))) == {
        "initial_positions": {"joint1": 0.5, "gripper": 0.02}
    }
    joints = "joints: [joint1, joint7, joint8]"
    assert yaml.safe_load(yaml_in_our_names(joints, load_aliases("piper_ros"))) == {
        "joints": ["joint1", "gripper"]
    }


@pytest.mark.parametrize(
    ("text", "dialect", "said"),
    [
        (AGX_ARM, "piper_ros", "no joint 'gripper_joint1'.*joint8"),
        (PIPER_ROS, "agx_arm", "no link 'link7'"),
        ("<robot name='x'><passive_joint name='thumb'/></robot>", "agx_arm", "no joint 'thumb'"),
        ("joints: [a]", "agx_arm", "no SRDF.*xacro"),
        (AGX_ARM, "aubo", "no dialect 'aubo'.*agx_arm.*piper_ros"),
    ],
)
def test_what_cannot_be_rewritten_is_refused(text: str, dialect: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        srdf_in_our_names(text, load_aliases(dialect))


def test_the_program_writes_what_fits_and_refuses_what_does_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = tmp_path / "piper.srdf"
    theirs.write_text(PIPER_ROS, encoding="utf-8")
    arguments = [str(theirs), "--dialect", "piper_ros", "--arm-file", str(ARM_FILE)]
    done = subprocess.run(
        [sys.executable, "-c", "from mvista_description.programs import *; exit(agilex_names())",
         *arguments],
        capture_output=True, text=True, timeout=100.0,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert problems(done.stdout, cell_urdf(ARM_FILE)) == ()

    theirs.write_text(PIPER_ROS.replace('value="0.03"', 'value="0.05"'), encoding="utf-8")
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert list(states(ElementTree.fromstring(said.out))) == ["bent"]
    assert "left out: state 'open': gripper at 0.1 is outside" in said.err

    theirs.write_text(PIPER_ROS.replace('group="arm"', 'group="legs"'), encoding="utf-8")
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == "" and "no group 'legs'" in said.err
