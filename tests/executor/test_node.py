"""The node as a user meets it: a real process, a real action client, a small arm on the topics."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from control_msgs.action import FollowJointTrajectory
from mvista_interfaces.msg import SetPointReport as Report

from mvista_core.arm import ArmModel
from mvista_core.errors import TrajectoryError
from mvista_core.records import ActionTrajectory
from mvista_core.timing import ns_to_seconds
from mvista_ros.convert import stamp_to_ns
from tests.executor.process import (
    CLOCK,
    ArmOnTopics,
    arm_on_topics,
    executor_process,
    until,
    wait,
)
from tests.executor.rig import assert_within_limits_between_stalls, smooth_points, trajectory_of

pytestmark = pytest.mark.system


@pytest.fixture
def cell(arm: ArmModel, tmp_path: Path) -> Iterator[tuple[ArmOnTopics, subprocess.Popen[bytes]]]:
    with executor_process(tmp_path / "executor.log") as process, arm_on_topics(arm) as node:
        assert node.client.wait_for_server(20.0), "the executor node did not come up"
        yield node, process


def test_goals_refusals_cancel_silence_and_shutdown(
    arm: ArmModel, cell: tuple[ArmOnTopics, subprocess.Popen[bytes]]
) -> None:
    node, process = cell
    assert until(lambda: bool(node.told))
    _a_refused_goal_sends_nothing(node, arm)
    _a_goal_is_carried_out_and_held(node, arm)
    _a_newer_goal_takes_over(node, arm)
    _a_plan_is_named_from_its_first_set_point_to_its_end(node, arm)
    _a_plan_that_cannot_be_is_refused_with_its_number(node, arm)
    _a_cancel_holds(node, arm)
    _silence_holds(node, arm)
    _an_interrupt_stops_smoothly_and_ends_the_process(node, arm, process)


def _of(whole: ActionTrajectory, *joints: int) -> ActionTrajectory:
    """These joints' columns of it."""
    names = tuple(whole.joint_names[joint] for joint in joints)
    return ActionTrajectory(names, whole.positions[:, joints], whole.times_s, whole.provenance)


def test_goals_that_name_some_joints_leave_the_others_where_they_are(
    arm: ArmModel, cell: tuple[ArmOnTopics, subprocess.Popen[bytes]]
) -> None:
    """As MoveIt's of the groups `arm` and `gripper` do; also one that takes over a whole one."""
    node, _ = cell
    opening = arm.home + 0.05 * np.linspace(0.1, 1.0, 20)[:, None] * np.eye(7)[6]
    answer = wait(node.send(_of(trajectory_of(arm, opening), 6)).get_result_async())
    assert answer.status == GoalStatus.STATUS_SUCCEEDED, answer.result.error_string
    assert all((sent[:6] == arm.home[:6]).all() for _, sent, _ in node.commands)
    held = node.commands[-1][1]
    assert np.allclose(held, opening[-1], atol=1e-12)
    count = len(node.commands)
    answer = wait(node.send(_of(_long(arm, held), 5, 0, 1, 2, 3, 4)).get_result_async())
    assert answer.status == GoalStatus.STATUS_SUCCEEDED, answer.result.error_string
    assert all(sent[6] == held[6] for _, sent, _ in node.commands[count:])
    assert np.allclose(node.commands[-1][1][:6], _long(arm, held).positions[-1, :6])

    refused = _refusal(node, _of(_long(arm, held), 3, 4, 5))
    assert refused.error_code == FollowJointTrajectory.Result.INVALID_JOINTS
    assert refused.error_string.startswith("[50.4]")

    here = node.commands[-1][1]
    whole = node.send(_long(arm, here))
    assert until(lambda: _speed(node) > 0.2)
    closing = here - here[6] * np.linspace(0.1, 1.0, 20)[:, None] * np.eye(7)[6]
    answer = wait(node.send(_of(trajectory_of(arm, closing), 6)).get_result_async())
    assert answer.status == GoalStatus.STATUS_SUCCEEDED, answer.result.error_string
    assert wait(whole.get_result_async()).result.error_string.startswith("[64]")
    assert node.commands[-1][1][6] == 0.0
    between = (here[:6] < node.commands[-1][1][:6]) == (np.array([1, 0, 0, 1, 0, 1]) > 0)
    assert between.all(), "the arm comes to rest on its way"


def _long(arm: ArmModel, start: np.ndarray) -> ActionTrajectory:
    way = 0.4 * (1 - np.cos(np.arange(1, 61) / 60 * np.pi))[:, None]
    return trajectory_of(arm, start + way * np.array([1, 0, 0, 1, 0, 1, 0]))


def _speed(node: ArmOnTopics) -> float:
    return float(np.abs(node.commands[-1][2]).max())


def _refusal(node: ArmOnTopics, trajectory: ActionTrajectory) -> FollowJointTrajectory.Result:
    answer = wait(node.send(trajectory).get_result_async())
    assert answer.status == GoalStatus.STATUS_ABORTED, answer.result.error_string
    return answer.result


def _a_refused_goal_sends_nothing(node: ArmOnTopics, arm: ArmModel) -> None:
    points = smooth_points(arm, 1, count=20)
    beyond, nan = points.copy(), points.copy()
    beyond[10:, 4] = 1.5
    nan[3, 3] = np.nan
    result = _refusal(node, trajectory_of(arm, beyond))
    assert result.error_code == FollowJointTrajectory.Result.INVALID_GOAL
    assert result.error_string.startswith("[50.6]")
    assert _refusal(node, trajectory_of(arm, nan)).error_string.startswith("[50.1]")
    good = trajectory_of(arm, points)
    names = ("elbow", *arm.joint_names[1:])
    stranger = ActionTrajectory(names, good.positions, good.times_s, good.provenance)
    result = _refusal(node, stranger)
    assert result.error_code == FollowJointTrajectory.Result.INVALID_JOINTS
    assert result.error_string.startswith("[50.2]")
    assert node.commands == []


def _a_goal_is_carried_out_and_held(node: ArmOnTopics, arm: ArmModel) -> None:
    points = smooth_points(arm, 1, count=20)
    handle = node.send(trajectory_of(arm, points))
    assert handle.accepted
    answer = wait(handle.get_result_async())
    assert answer.status == GoalStatus.STATUS_SUCCEEDED, answer.result.error_string
    assert answer.result.error_code == FollowJointTrajectory.Result.SUCCESSFUL
    assert np.allclose(node.commands[-1][1], points[-1])
    assert until(lambda: len(node.executed) == 1)
    sent = np.array([point.positions for point in node.executed[0].points])
    times_s = [
        p.time_from_start.sec + 1e-9 * p.time_from_start.nanosec for p in node.executed[0].points
    ]
    assert_within_limits_between_stalls(arm, np.array(times_s), sent, 0.05)
    assert np.allclose(sent[0], arm.home) and np.allclose(sent[-1], points[-1])
    count = len(node.commands)
    assert until(lambda: len(node.commands) > count + 50, 5.0), "the hold is not being sent"
    assert np.allclose(node.commands[-1][1], points[-1])


def _a_newer_goal_takes_over(node: ArmOnTopics, arm: ArmModel) -> None:
    first = node.send(_long(arm, node.positions.copy()))
    assert until(lambda: _speed(node) > 0.2)
    count, here = len(node.commands), node.commands[-1][1]
    back = np.linspace(0.0, 1.0, 30)[:, None] ** 2 * (arm.home - here)
    second = node.send(trajectory_of(arm, here + back))
    answer = wait(first.get_result_async())
    assert answer.status == GoalStatus.STATUS_ABORTED
    assert answer.result.error_string.startswith("[64]")
    answer = wait(second.get_result_async())
    assert answer.status == GoalStatus.STATUS_SUCCEEDED, answer.result.error_string
    assert np.allclose(node.commands[-1][1], arm.home)
    steps = np.diff(np.array([positions for _, positions, _ in node.commands[count:]]), axis=0)
    assert np.abs(steps[:, :6]).max() < 0.1, "a set-point stepped"
    assert until(lambda: bool({Report.SPLICE, Report.STOP} & node.reasons))
    assert {Report.EXACT, Report.HOLD} & node.reasons


def _a_plan_is_named_from_its_first_set_point_to_its_end(node: ArmOnTopics, arm: ArmModel) -> None:
    at_s = ns_to_seconds(CLOCK.now_ns())
    points = smooth_points(arm, 2, count=20)
    answer = wait(node.send_plan(trajectory_of(arm, points), "plan-7").get_result_async())
    assert answer.status == GoalStatus.STATUS_SUCCEEDED, answer.result.outcome.message
    assert answer.result.outcome.code == 0
    assert until(lambda: (node.reports[-1].plan_id, node.reports[-1].status) == ("plan-7", "done"))
    named = [bool(report.plan_id) for report in node.reports]
    told = node.reports[named.index(True) :]
    assert {report.plan_id for report in told} == {"plan-7"}
    # A gap is told when it is known, with the stamp of the set-point that came late.
    reports = [report for report in told if report.gap_s == 0.0]
    stamps_s = [stamp_to_ns(report.header.stamp) / 1e9 for report in reports]
    assert stamps_s[0] > at_s and stamps_s == sorted(stamps_s)
    assert reports[0].planned_s >= reports[0].asked_s > 1.0
    assert list(reports[-1].reasons) == [Report.HOLD]
    assert np.allclose(node.commands[-1][1], points[-1])
    home = node.send(trajectory_of(arm, points[::-1]))  # control_msgs' goals are nobody's plan
    assert wait(home.get_result_async()).status == GoalStatus.STATUS_SUCCEEDED
    assert until(lambda: node.reports[-1].status == "done" and not node.reports[-1].plan_id)


def _a_plan_that_cannot_be_is_refused_with_its_number(node: ArmOnTopics, arm: ArmModel) -> None:
    good = trajectory_of(arm, smooth_points(arm, 1, count=20))
    count, reports = len(node.commands), len(node.reports)
    still = node.commands[-1][1]
    for plan_id, age_s, reason in (
        ("old", 301.0, TrajectoryError.TOO_OLD),
        ("x" * 201, 0.0, TrajectoryError.TOO_LARGE),
    ):
        answer = wait(node.send_plan(good, plan_id, age_s).get_result_async())
        outcome = answer.result.outcome
        assert answer.status == GoalStatus.STATUS_ABORTED
        assert (outcome.code, outcome.reason) == (TrajectoryError.code, reason), outcome.message
    assert all((positions == still).all() for _, positions, _ in node.commands[count:])
    assert not [r for r in node.reports[reports:] if r.plan_id]


def _a_cancel_holds(node: ArmOnTopics, arm: ArmModel) -> None:
    handle = node.send(_long(arm, node.positions.copy()))
    assert until(lambda: _speed(node) > 0.2)
    wait(handle.cancel_goal_async())
    answer = wait(handle.get_result_async())
    assert answer.status == GoalStatus.STATUS_CANCELED, answer.result.error_string
    assert answer.result.error_string.startswith("[61]")
    assert until(lambda: _speed(node) == 0.0, 1.0)


def _silence_holds(node: ArmOnTopics, arm: ArmModel) -> None:
    handle = node.send(_long(arm, node.positions.copy()))
    assert until(lambda: _speed(node) > 0.2)
    node.silent = True
    answer = wait(handle.get_result_async())
    node.silent = False
    assert answer.status == GoalStatus.STATUS_ABORTED, answer.result.error_string
    assert answer.result.error_string.startswith("[32]")
    assert until(lambda: _speed(node) == 0.0, 1.0)


def _an_interrupt_stops_smoothly_and_ends_the_process(
    node: ArmOnTopics, arm: ArmModel, process: subprocess.Popen[bytes]
) -> None:
    handle = node.send(_long(arm, node.positions.copy()))
    assert handle.accepted
    assert until(lambda: _speed(node) > 0.2)
    process.send_signal(signal.SIGINT)
    assert process.wait(10.0) == 0
    assert until(lambda: _speed(node) == 0.0, 1.0)
