"""The URDF against piper_sdk's forward kinematics, the arm file and the rig file.

MuJoCo's own URDF compiler reads it: nothing of the stack is between the text and the poses.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import mujoco
import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from piper_sdk.kinematics.piper_fk import C_PiperForwardKinematics

from mvista_core.arm import load_arm
from mvista_core.errors import ConfigError
from mvista_core.rig import load_rig
from mvista_description.urdf import cell_urdf, xacro_file

ROOT = Path(__file__).parents[2]
ARM_FILE = ROOT / "config" / "arms" / "piper.yaml"
RIG_FILE = ROOT / "config" / "rigs" / "sim_cell.yaml"
JOINTS = tuple(f"joint{i + 1}" for i in range(6))
POSES = 1000
WITHIN_M = 1e-4
COMPILER = (
    '<mujoco><compiler fusestatic="false" discardvisual="false" boundmass="0.01" '
    'boundinertia="1e-5"/></mujoco>'
)
"""Bodies without inertia are no fault of a kinematic model; fixed links keep their names."""


class Cell:
    """A URDF as MuJoCo understands it."""

    def __init__(self, urdf: str) -> None:
        # The root link is the world to MuJoCo and loses its name: give it a parent.
        root = next(iter(_roots(urdf)))
        world = (
            f'<link name="world_"/><joint name="at_" type="fixed"><parent link="world_"/>'
            f'<child link="{root}"/></joint>'
        )
        text = urdf.replace("</robot>", f"{world}{COMPILER}</robot>")
        self._model = mujoco.MjModel.from_xml_string(text)
        self._data = mujoco.MjData(self._model)

    def pose(self, link: str, joints: dict[str, float]) -> NDArray[np.float64]:
        """world_from_link, 4x4, with these joints set and all others at zero."""
        self._data.qpos[:] = 0.0
        for name, value in joints.items():
            self._data.qpos[self._model.joint(name).qposadr[0]] = value
        mujoco.mj_kinematics(self._model, self._data)
        body, pose = self._data.body(link), np.eye(4)
        pose[:3, :3], pose[:3, 3] = body.xmat.reshape(3, 3), body.xpos
        return pose

    def limits(self, joint: str) -> tuple[float, float]:
        low, high = self._model.joint(joint).range
        return float(low), float(high)


def _roots(urdf: str) -> set[str]:
    robot = ElementTree.fromstring(urdf)
    children = {str(e.get("link")) for e in robot.iterfind("joint/child")}
    return {str(e.get("name")) for e in robot.iterfind("link")} - children


@pytest.fixture(scope="module")
def piper() -> Cell:
    return Cell(cell_urdf(ARM_FILE, {"rig_file": str(RIG_FILE)}))


def _arm_file(folder: Path, old_dh: bool) -> Path:
    """The arm file, with joints 2 and 3 as before firmware S-V1.6-3 or as they are."""
    document = yaml.safe_load(ARM_FILE.read_text(encoding="utf-8"))
    if old_dh:
        document["modified_dh"][1]["theta_offset_deg"] = -174.22
        document["modified_dh"][2]["theta_offset_deg"] = -100.78
    path = folder / "arm.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return path


@pytest.mark.parametrize("old_dh", [False, True], ids=["S-V1.6-3 and later", "before"])
def test_every_link_is_where_piper_sdk_says(tmp_path: Path, old_dh: bool) -> None:
    cell = Cell(cell_urdf(_arm_file(tmp_path, old_dh)))
    sdk = C_PiperForwardKinematics(dh_is_offset=0 if old_dh else 1)
    arm = load_arm(ARM_FILE)
    rng = np.random.default_rng(6)
    worst_m = 0.0
    for angles in rng.uniform(arm.lower[:6], arm.upper[:6], (POSES, 6)):
        joints = dict(zip(JOINTS, angles.tolist(), strict=True))
        expected = np.array(sdk.CalFK(angles.tolist()))[:, :3] / 1000.0
        for number, place_m in enumerate(expected, start=1):
            found = cell.pose(f"piper_link{number}", joints)[:3, 3]
            worst_m = max(worst_m, float(np.abs(found - place_m).max()))
    assert worst_m < WITHIN_M, f"{worst_m * 1000:.4f} mm"


def test_the_flange_is_turned_as_piper_sdk_says(piper: Cell) -> None:
    sdk, arm = C_PiperForwardKinematics(dh_is_offset=1), load_arm(ARM_FILE)
    for angles in np.random.default_rng(7).uniform(arm.lower[:6], arm.upper[:6], (100, 6)):
        roll, pitch, yaw = np.deg2rad(sdk.CalFK(angles.tolist())[5][3:])
        turn = _about(2, yaw) @ _about(1, pitch) @ _about(0, roll)
        found = piper.pose("piper_link6", dict(zip(JOINTS, angles.tolist(), strict=True)))
        assert np.allclose(found[:3, :3], turn, atol=1e-5)


def _about(axis: int, angle_rad: float) -> NDArray[np.float64]:
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    rows = [[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]]
    return np.roll(np.array(rows), (axis, axis), (0, 1))


def test_tip_and_limits_are_the_arm_files(piper: Cell) -> None:
    arm = load_arm(ARM_FILE)
    joints = dict(zip(JOINTS, arm.home[:6].tolist(), strict=True))
    assert np.allclose(piper.pose("piper_tip", joints), arm.base_from_tip(arm.home), atol=1e-6)
    for name, low, high in zip(arm.joint_names, arm.lower, arm.upper, strict=True):
        assert piper.limits(name) == pytest.approx((low, high))


def test_the_fingers_share_the_opening(piper: Cell) -> None:
    robot = ElementTree.fromstring(cell_urdf(ARM_FILE))
    mimics = {
        e.get("name"): e.find("mimic")
        for e in robot.iterfind("joint")
        if e.find("mimic") is not None
    }
    assert {
        name: (m.get("joint"), m.get("multiplier")) for name, m in mimics.items() if m is not None
    } == {
        "finger_left": ("gripper", "0.5"),
        "finger_right": ("gripper", "0.5"),
    }


def test_the_cameras_are_where_the_rig_says(piper: Cell) -> None:
    for camera in load_rig(RIG_FILE).cameras:
        found = piper.pose(f"{camera.name}_body", {})
        assert np.allclose(found, camera.base_from_camera, atol=1e-6), camera.name


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_camera_whose_x_axis_is_vertical_keeps_its_pose(tmp_path: Path, sign: float) -> None:
    """Pitch +-90 degrees, where roll and yaw are not unique."""
    document = yaml.safe_load(RIG_FILE.read_text(encoding="utf-8"))
    pose = [[0.0, -1.0, 0.0, 0.1], [0.0, 0.0, -sign, 0.2], [sign, 0.0, 0.0, 0.3]]
    pose.append([0.0, 0.0, 0.0, 1.0])
    document["cameras"]["cam0"]["base_from_camera"] = pose
    path = tmp_path / "rig.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    assert np.linalg.det(np.array(pose)) == pytest.approx(1.0)
    cell = Cell(cell_urdf(ARM_FILE, {"rig_file": str(path)}))
    assert np.allclose(cell.pose("cam0_body", {}), pose, atol=1e-6)


def test_two_arms_are_named_apart_and_move_apart() -> None:
    chosen = {"arm": "left", "second_arm": "right", "second_xyz": "0.1 -0.6 0.02"}
    cell = Cell(cell_urdf(ARM_FILE, {**chosen, "second_rpy": "0 0 0.5", "rig_file": str(RIG_FILE)}))
    arm = load_arm(ARM_FILE)
    left = {f"left_{n}": v for n, v in zip(JOINTS, arm.home[:6].tolist(), strict=True)}
    base = np.eye(4)
    base[:3, :3], base[:3, 3] = _about(2, 0.5), [0.1, -0.6, 0.02]
    assert np.allclose(cell.pose("left_tip", left), arm.base_from_tip(arm.home), atol=1e-6)
    still = base @ arm.base_from_tip(np.zeros(7))
    assert np.allclose(cell.pose("right_tip", left), still, atol=1e-6)


def test_an_arm_can_stand_on_something() -> None:
    cell = Cell(cell_urdf(ARM_FILE, {"arm": "right", "parent": "piper_base", "xyz": "0 -0.6 0"}))
    assert np.allclose(cell.pose("right_base", {})[:3, 3], [0.0, -0.6, 0.0])
    assert cell.limits("joint1")[1] > 2.6, "its joint_states are its own: no prefix"


def test_there_is_one_root_and_no_optical_frame() -> None:
    urdf = cell_urdf(ARM_FILE, {"rig_file": str(RIG_FILE)})
    assert _roots(urdf) == {"piper_base"} == {load_rig(RIG_FILE).base_frame}
    assert "optical_frame" not in urdf.split("<robot")[1]


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ConfigError, match=r"/nowhere/arm\.yaml"):
        cell_urdf("/nowhere/arm.yaml")
    with pytest.raises(ConfigError, match="tank"):
        xacro_file("tank.urdf.xacro")
