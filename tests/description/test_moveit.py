"""The MoveIt folder against URDF, arm file and action, by parsing: no MoveIt runs here."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from mvista_core.arm import ArmModel, load_arm
from mvista_core.errors import ConfigError
from mvista_description.moveit import arm_srdf, moveit_file, problems
from mvista_description.urdf import cell_urdf
from tests.description.test_urdf import COMPILER

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
ARM_FILE = ROOT / "config" / "arms" / "piper.yaml"
ARMS = ("piper", "left")
POSES = 150
NEAR_M = 0.02
"""Pairs that are said never to touch keep this distance in every pose that is drawn."""


@pytest.fixture(scope="module")
def arm() -> ArmModel:
    return load_arm(ARM_FILE)


def document(name: str) -> Any:
    return yaml.safe_load(moveit_file(name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ARMS)
def test_all_that_the_srdf_names_is_in_the_urdf(name: str) -> None:
    assert problems(arm_srdf(ARM_FILE, name), cell_urdf(ARM_FILE, {"arm": name})) == ()


def test_an_arm_of_another_name_is_noticed() -> None:
    found = problems(arm_srdf(ARM_FILE, "left"), cell_urdf(ARM_FILE, {"arm": "right"}))
    assert any("no link 'left_base'" in problem for problem in found)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name="mvista_cell"', 'name="piper"', "describes 'piper'"),
        ('<joint name="gripper"/>', '<joint name="joint7"/>', "no joint 'joint7'"),
        ('<group name="gripper"/>', '<group name="hand"/>', "no group 'hand'"),
        ('tip_link="piper_tip"', 'tip_link="piper_tool"', "no link 'piper_tool'"),
        ('base_link="piper_base" tip_link="piper_tip"',
         'base_link="piper_palm" tip_link="piper_tip"', "no chain"),
        ('<joint name="joint2" value="1.2"/>', '<joint name="joint2" value="-0.1"/>', "outside"),
        ('link1="piper_link3" link2="piper_link4"',
         'link1="piper_link3" link2="piper_link3"', "paired with itself"),
    ],
)  # fmt: skip
def test_what_moveit_would_not_take_is_named(old: str, new: str, said: str) -> None:
    srdf = arm_srdf(ARM_FILE)
    assert old in srdf
    found = problems(srdf.replace(old, new, 1), cell_urdf(ARM_FILE))
    assert any(said in problem for problem in found), found


def test_the_group_arm_is_the_six_motors_and_its_states_are_the_arm_files(arm: ArmModel) -> None:
    robot = ElementTree.fromstring(arm_srdf(ARM_FILE))
    states = {
        (state.get("group"), state.get("name")): {
            str(j.get("name")): float(str(j.get("value"))) for j in state.iterfind("joint")
        }
        for state in robot.iterfind("group_state")
    }
    home = dict(zip(arm.joint_names, arm.home.tolist(), strict=True))
    motors = arm.joint_names[:6]
    assert states["arm", "zero"] == dict.fromkeys(motors, 0.0)
    assert states["arm", "home"] == {name: home[name] for name in motors}
    assert states["arm_and_gripper", "home"] == home
    assert states["gripper", "open"] == {"gripper": arm.upper[6]}
    assert states["gripper", "closed"] == {"gripper": arm.lower[6]}
    assert [j.get("name") for j in robot.iterfind("passive_joint")] == [
        "finger_left", "finger_right"
    ]  # fmt: skip


def test_joint_limits_are_the_arm_files(arm: ArmModel) -> None:
    limits = document("joint_limits.yaml")
    assert tuple(limits["joint_limits"]) == arm.joint_names
    assert 0.0 < limits["default_velocity_scaling_factor"] <= 1.0
    for index, name in enumerate(arm.joint_names):
        assert limits["joint_limits"][name] == {
            "has_velocity_limits": True, "max_velocity": arm.max_velocity[index],
            "has_acceleration_limits": True, "max_acceleration": arm.max_acceleration[index],
            "has_jerk_limits": True, "max_jerk": arm.max_jerk[index],
        }  # fmt: skip


def test_the_controller_is_our_action_with_its_joints(arm: ArmModel) -> None:
    """`piper` + `follow_joint_trajectory` is the executor's action in the arm's namespace."""
    manager = document("moveit_controllers.yaml")["moveit_simple_controller_manager"]
    assert manager["controller_names"] == [arm.name]
    controller = manager[arm.name]
    assert (controller["type"], controller["action_ns"]) == (
        "FollowJointTrajectory", "follow_joint_trajectory"
    )  # fmt: skip
    assert tuple(controller["joints"]) == arm.joint_names


def test_every_solver_is_for_a_group_that_is_a_chain() -> None:
    robot = ElementTree.fromstring(arm_srdf(ARM_FILE))
    chains = {g.get("name") for g in robot.iterfind("group") if g.find("chain") is not None}
    assert set(document("kinematics.yaml")) == chains


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="ompl_planning.yaml"):
        moveit_file("ompl_planning.yaml")


# ---- pairs that are not checked for collisions ------------------------------------------------


class Shapes:
    """The URDF's collision shapes: which links come within a distance of each other."""

    def __init__(self, arm: ArmModel) -> None:
        world = (
            '<link name="world_"/><joint name="at_" type="fixed"><parent link="world_"/>'
            '<child link="piper_base"/></joint>'
        )
        options = '<option><flag filterparent="disable"/></option></mujoco>'
        compiler = COMPILER.replace('discardvisual="false"', 'discardvisual="true"')
        compiler = compiler.replace("</mujoco>", options)
        text = cell_urdf(ARM_FILE).replace("</robot>", f"{world}{compiler}</robot>")
        self._model = mujoco.MjModel.from_xml_string(text)
        self._model.geom_contype[:] = self._model.geom_conaffinity[:] = 1
        self._data = mujoco.MjData(self._model)
        names = (*arm.joint_names, "finger_left", "finger_right")
        self._places = [self._model.joint(name).qposadr[0] for name in names]

    def near(self, pose: NDArray[np.float64], within_m: float) -> set[frozenset[str]]:
        """Pairs of links nearer than that in a pose [7] of the arm's joints."""
        self._model.geom_margin[:] = within_m / 2.0  # of a pair they are summed
        self._data.qpos[self._places] = [*pose, pose[6] / 2.0, pose[6] / 2.0]
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_comPos(self._model, self._data)
        mujoco.mj_collision(self._model, self._data)
        found = set()
        for contact in self._data.contact[: self._data.ncon]:
            bodies = (self._model.geom_bodyid[geom] for geom in contact.geom)
            found.add(frozenset(self._model.body(body).name for body in bodies))
        return {pair for pair in found if len(pair) == 2}


def unchecked(reason: str) -> set[frozenset[str]]:
    robot = ElementTree.fromstring(arm_srdf(ARM_FILE))
    return {
        frozenset((str(pair.get("link1")), str(pair.get("link2"))))
        for pair in robot.iterfind("disable_collisions")
        if pair.get("reason") == reason
    }


def test_pairs_are_left_out_for_the_reason_that_is_given(arm: ArmModel) -> None:
    """`Adjacent`: joined by one joint. `Default`: they touch. `Never`: they keep their distance."""
    robot = ElementTree.fromstring(cell_urdf(ARM_FILE))
    joined = {
        frozenset(str(joint.find(end).get("link")) for end in ("parent", "child"))  # type: ignore[union-attr]
        for joint in robot.iterfind("joint")
    }
    assert unchecked("Adjacent") <= joined
    shapes, rng = Shapes(arm), np.random.default_rng(11)
    poses = rng.uniform(arm.lower, arm.upper, (POSES, 7))
    near = [shapes.near(pose, NEAR_M) for pose in poses]
    assert not unchecked("Never") & set().union(*near)
    fingers = frozenset(("piper_finger_left", "piper_finger_right"))
    always = set.intersection(*near)
    assert unchecked("Default") - {fingers} <= always
    assert fingers in shapes.near(arm.lower, NEAR_M)
    assert always <= unchecked("Default") | joined, "MoveIt would find no pose free"


def test_arms_at_zero_and_at_home_are_free(arm: ArmModel) -> None:
    """What MoveIt would check is apart where every plan begins."""
    left_out = unchecked("Adjacent") | unchecked("Default") | unchecked("Never")
    shapes = Shapes(arm)
    for pose, opening in itertools.product((np.zeros(7), arm.home), (arm.lower[6], arm.upper[6])):
        assert not shapes.near(np.append(pose[:6], opening), 0.0) - left_out
