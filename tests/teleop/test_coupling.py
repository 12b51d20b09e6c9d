"""The operator's side of the coupling: when it lets the follower move, and what it says if not."""

from __future__ import annotations

import numpy as np
import pytest

from mvista_core.errors import (
    ArmNotReadyError,
    BusyError,
    FarApartError,
    LeaderError,
    LeaderLostError,
    StaleFeedbackError,
)
from mvista_teleop.coupling import ENGAGED, CouplingPhase
from tests.teleop.operator import ARM, JOINTS, REVERSED, Desk, assert_never_a_jump, plain_mapping


def moving(joint: int, speed: float) -> np.ndarray:
    speeds = np.zeros(JOINTS)
    speeds[joint] = speed
    return speeds


def test_a_leader_that_never_moved_has_no_pose() -> None:
    desk = Desk()
    desk.leader_sends = False
    desk.run(0.1)
    assert desk.phase() is CouplingPhase.WAITING and "move the leader a little" in str(
        desk.coupling.reason
    )
    assert not desk.engage() and isinstance(desk.refused[0], LeaderError)
    desk.leader_sends = True
    desk.run(0.05)
    assert desk.phase() is CouplingPhase.ALIGNED and not desk.sent


def test_arms_too_far_apart_are_refused_with_a_table() -> None:
    desk = Desk()
    desk.leader = ARM.home + np.array([0.0, 0.0, 0.0, 0.9, 0.0, -0.3, 0.05])
    desk.run(0.05)
    assert desk.phase() is CouplingPhase.WAITING
    assert not desk.engage() and isinstance(desk.refused[0], FarApartError)
    said = str(desk.refused[0])
    assert "joint4 +0.90 (too far)" in said and "joint6 -0.30," in said and "0.8" in said
    assert not desk.sent


def test_the_way_to_the_leader_is_slow_then_it_is_followed() -> None:
    desk = Desk()
    desk.leader = ARM.home + np.array([0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.04])
    desk.run(0.05)
    assert desk.engage() and desk.phase() is CouplingPhase.RAMPING
    began_ns = desk.now_ns
    while desk.phase() is CouplingPhase.RAMPING:
        desk.tick()
    assert desk.phase() is CouplingPhase.FOLLOWING
    took_s = (desk.now_ns - began_ns) * 1e-9
    sent = np.array([positions for _, positions in desk.sent])
    times = np.array([at for at, _ in desk.sent]) * 1e-9
    speeds = np.abs(np.diff(sent, axis=0) / np.diff(times)[:, None])
    assert speeds[:, :6].max() <= 0.5 + 1e-6 and speeds[:, 6].max() <= 0.05 + 1e-6
    assert 0.9 < took_s < 1.6, "0.48 rad at 0.5 rad/s"
    np.testing.assert_allclose(sent[0], ARM.home, atol=1e-3)
    desk.speeds = moving(0, 1.0)
    desk.run(0.6)
    assert desk.follower[0] == pytest.approx(desk.leader[0], abs=2e-3)
    assert_never_a_jump(desk)


def test_a_leader_beyond_the_limits_saturates_and_is_told() -> None:
    desk = Desk()
    desk.follow()
    desk.speeds = moving(4, 0.8)  # joint5 ends at 1.22, home is 1.0
    desk.run(0.6)
    assert desk.phase() is CouplingPhase.FOLLOWING and desk.coupling.saturated == ("joint5",)
    assert desk.follower[4] == pytest.approx(ARM.upper[4], abs=1e-6)
    desk.speeds = moving(4, -0.8)
    desk.run(0.6)
    assert not desk.coupling.saturated and desk.phase() is CouplingPhase.FOLLOWING
    desk.speeds = np.zeros(JOINTS)
    desk.run(0.6)
    assert desk.follower[4] == pytest.approx(desk.leader[4], abs=3e-3)
    assert_never_a_jump(desk)


def test_pause_holds_and_resume_ramps_to_where_the_leader_is_by_then() -> None:
    desk = Desk()
    desk.follow()
    desk.speeds = moving(0, 1.0)
    desk.run(0.3)
    assert desk.pause()
    desk.run(0.5)
    held = desk.follower
    desk.run(0.1)
    np.testing.assert_array_equal(desk.follower, held)
    assert desk.sent[-1][0] == desk.now_ns, "the held pose is repeated"
    assert desk.resume() and desk.phase() is CouplingPhase.RAMPING
    desk.speeds = np.zeros(JOINTS)
    desk.run(2.5)
    assert desk.phase() is CouplingPhase.FOLLOWING
    np.testing.assert_allclose(desk.follower, desk.leader, atol=1e-3)
    assert_never_a_jump(desk)


def test_resuming_far_from_the_leader_is_refused() -> None:
    desk = Desk()
    desk.follow()
    assert desk.pause()
    desk.leader = ARM.home + np.array([1.0, 0, 0, 0, 0, 0, 0])
    desk.run(0.1)
    assert not desk.resume() and isinstance(desk.refused[-1], FarApartError)
    assert desk.phase() is CouplingPhase.PAUSED


def test_the_clutch_moves_the_leader_and_not_the_follower() -> None:
    desk = Desk()
    desk.follow()
    assert desk.clutch(True) and desk.phase() is CouplingPhase.PAUSED
    desk.run(0.2)
    held = desk.follower
    desk.leader = desk.leader + np.array([1.2, 0, 0, 0, 0, 0, 0])
    desk.run(0.1)
    assert not desk.resume() and isinstance(desk.refused[-1], BusyError)
    assert desk.clutch(False)
    desk.run(0.5)
    assert desk.phase() is CouplingPhase.FOLLOWING
    np.testing.assert_allclose(desk.follower, held, atol=1e-4)
    desk.speeds = moving(0, 0.5)
    desk.run(0.4)
    assert desk.follower[0] - held[0] == pytest.approx(0.2, abs=5e-3)
    assert_never_a_jump(desk)


def test_engaging_anew_forgets_the_clutch() -> None:
    desk = Desk()
    desk.follow()
    desk.clutch(True)
    desk.leader = desk.leader + np.array([0.4, 0, 0, 0, 0, 0, 0])
    desk.run(0.2)
    desk.clutch(False)
    desk.run(0.5)
    desk.pause()
    desk.run(0.2)
    assert desk.engage()
    desk.run(2.0)
    np.testing.assert_allclose(desk.follower, desk.leader, atol=1e-3)


@pytest.mark.parametrize("side", ["unplugged", "silent", "status", "follower", "fault", "strays"])
def test_a_side_that_is_lost_in_motion_is_a_stop_and_only_the_operator_goes_on(side: str) -> None:
    desk = Desk()
    desk.follow()
    desk.speeds = moving(0, 0.5)
    desk.run(0.3)
    if side == "unplugged":
        desk.unplug_leader()
    elif side == "silent":
        desk.leader_sends = False
    elif side == "status":
        desk.leader_answers = False
    elif side == "follower":
        desk.follower_answers = False
    elif side == "fault":
        desk.coupling.hear_follower(ArmNotReadyError("fault: collision"))
    began_ns = desk.now_ns
    for _ in range(200):
        if side == "strays":
            desk.follower = ARM.home
        desk.tick()
        if desk.phase() is CouplingPhase.LOST:
            break
    assert desk.phase() is CouplingPhase.LOST
    kinds = {"follower": StaleFeedbackError, "fault": ArmNotReadyError, "strays": ArmNotReadyError}
    assert isinstance(desk.coupling.reason, kinds.get(side, LeaderLostError))
    allowed_s = {"status": 0.51, "strays": 1.0, "unplugged": 0.01, "fault": 0.01}.get(side, 0.16)
    assert (desk.now_ns - began_ns) * 1e-9 <= allowed_s
    desk.run(0.4)
    count, at = len(desk.sent), desk.sent[-1][1]
    desk.leader_answers = desk.leader_sends = desk.follower_answers = True
    desk.coupling.hear_follower(None)
    desk.speeds = moving(0, -0.5)
    desk.run(0.3)
    assert desk.phase() is CouplingPhase.LOST and len(desk.sent) == count, "nothing moves by itself"
    desk.speeds = np.zeros(JOINTS)
    desk.follower = at
    desk.run(0.1)
    assert desk.engage() and desk.phase() in ENGAGED


def test_a_leader_at_rest_is_not_lost() -> None:
    """Ten minutes without a set-point, while it answers."""
    desk = Desk()
    desk.follow()
    desk.speeds = moving(0, 0.6)
    desk.run(0.3)
    for speed in np.linspace(0.6, 0.0, 60):  # a hand comes to rest
        desk.speeds = moving(0, float(speed))
        desk.tick()
    desk.leader_sends = False
    desk.run(600.0, elapsed_s=0.04)
    assert desk.phase() is CouplingPhase.FOLLOWING
    np.testing.assert_allclose(desk.follower, desk.leader, atol=1e-3)
    assert np.diff([at for at, _ in desk.sent]).max() <= 0.04e9 + 1, "the held pose is repeated"


def test_a_moving_follower_is_not_engaged() -> None:
    desk = Desk()
    desk.run(0.05)
    desk.coupling.measure(ARM.home, moving(1, 0.3), desk.now_ns)
    assert not desk.engage() and "must stand" in str(desk.refused[0])


def test_a_reversed_gripper_does_not_slam_at_the_start() -> None:
    desk = Desk(plain_mapping(REVERSED))
    desk.follow()
    assert desk.follower[6] == pytest.approx(0.07, abs=3e-3)
    assert_never_a_jump(desk)


@pytest.mark.parametrize("name", ["pause", "resume"])
def test_what_has_nothing_to_act_on_is_refused(name: str) -> None:
    desk = Desk()
    desk.run(0.05)
    assert not getattr(desk, name)() and isinstance(desk.refused[0], BusyError)
    assert not desk.clutch(True) and desk.phase() is CouplingPhase.ALIGNED
