"""The Piper's kinematics against the maker's reference, and the refusals of arm files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mvista_core.arm import ArmModel, load_arm
from mvista_core.errors import ConfigError
from mvista_core.geometry import is_pose

pytestmark = pytest.mark.slow

PIPER = Path(__file__).parents[2] / "config" / "arms" / "piper.yaml"


@pytest.fixture(scope="module")
def piper() -> ArmModel:
    return load_arm(PIPER)


def test_zero_pose_is_the_makers(piper: ArmModel) -> None:
    flange = piper.base_from_flange(np.zeros(6))
    np.testing.assert_allclose(flange[:3, 3] * 1000, [56.128, 0.0, 213.266], atol=5e-4)
    pitch_rad = np.arctan2(-flange[2, 0], np.hypot(flange[0, 0], flange[1, 0]))
    assert np.rad2deg(pitch_rad) == pytest.approx(85.0, abs=1e-6)


def test_home_reaches_over_the_table(piper: ArmModel) -> None:
    tip = piper.base_from_tip(piper.home)[:3, 3]
    np.testing.assert_allclose(tip, [0.30, 0.0, 0.23], atol=0.02)


@given(st.lists(st.floats(0.0, 1.0), min_size=7, max_size=7))
def test_every_reachable_pose_is_rigid_and_within_the_links(fractions: list[float]) -> None:
    arm = load_arm(PIPER)
    positions = arm.lower + np.array(fractions) * (arm.upper - arm.lower)
    flange, tip = arm.base_from_flange(positions), arm.base_from_tip(positions)
    assert is_pose(flange)
    reach_m = sum(abs(row.a_m) + abs(row.d_m) for row in arm.dh)
    assert np.linalg.norm(flange[:3, 3]) <= reach_m
    offset_m = np.linalg.norm(tip[:3, 3] - flange[:3, 3])
    assert offset_m == pytest.approx(arm.flange_from_tip_m)


@given(st.lists(st.floats(0.0, 1.0), min_size=14, max_size=14))
def test_the_tip_is_one_point_however_it_is_asked_for(fractions: list[float]) -> None:
    arm = load_arm(PIPER)
    share = np.array(fractions).reshape(2, 7)
    poses = arm.lower + share * (arm.upper - arm.lower)
    for pose, tip_m in zip(poses, arm.tip_positions(poses), strict=True):
        np.testing.assert_allclose(tip_m, arm.base_from_tip(pose)[:3, 3], atol=1e-12)
        np.testing.assert_allclose(tip_m, arm.tip_position(pose), atol=1e-12)


def test_every_position_limit_is_the_makers_narrowest_and_says_so(piper: ArmModel) -> None:
    """Inside every source that counts, and no rounding (0.001 rad) more than inside."""
    document = yaml.safe_load(PIPER.read_text(encoding="utf-8"))
    sources = document["position_limits"]
    counting = [source for source in sources if source["counts"]]
    assert len({source["source"] for source in sources}) == len(sources) and counting
    for name, lower, upper in zip(piper.joint_names, piper.lower, piper.upper, strict=True):
        said = np.array([source[name] for source in counting if name in source])
        narrowest = said[:, 0].max(), said[:, 1].min()
        assert narrowest[0] <= lower <= narrowest[0] + 1e-3, name
        assert narrowest[1] - 1e-3 <= upper <= narrowest[1], name


def test_wrist_joints_have_the_makers_whole_range(piper: ArmModel) -> None:
    wrist = [piper.joint_names.index(name) for name in ("joint5", "joint6")]
    np.testing.assert_allclose(piper.upper[wrist], [1.22, 2.094])
    np.testing.assert_allclose(piper.lower[wrist], [-1.22, -2.094])


@given(st.floats(-2.0, 2.0))
def test_the_first_joint_turns_everything_about_the_base_axis(angle_rad: float) -> None:
    arm = load_arm(PIPER)
    positions = arm.home.copy()
    positions[0] = angle_rad
    turned, home = arm.base_from_tip(positions)[:3, 3], arm.base_from_tip(arm.home)[:3, 3]
    assert turned[2] == pytest.approx(home[2])
    assert np.hypot(*turned[:2]) == pytest.approx(np.hypot(*home[:2]))


def test_a_missing_file_names_itself(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no file .*absent.yaml"):
        load_arm(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lower": 4.0}, "lower < upper"),
        ({"max_velocity": 0.0}, "positive velocity"),
        ({"home": 9.0}, "outside the joint limits"),
        ({"upper": "far"}, "joints.joint2.upper is .far., not a number"),
    ],
)
def test_bad_limits_are_refused(
    tmp_path: Path, change: dict[str, float | str], message: str
) -> None:
    document = yaml.safe_load(PIPER.read_text(encoding="utf-8"))
    document["joints"]["joint2"].update(change)
    path = tmp_path / "arm.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load_arm(path)


def test_text_that_is_no_mapping_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "arm.yaml"
    path.write_text("- just\n- a list\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="is a list of 2, not a mapping"):
        load_arm(path)
