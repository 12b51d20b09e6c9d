"""What is told of the set-points beside the stream: `set_point_report` and `executed`."""

from __future__ import annotations

from mvista_interfaces.msg import SetPointReport
from trajectory_msgs.msg import JointTrajectory

from mvista_core.records import ActionTrajectory, Provenance
from mvista_executor.gaps import Gap
from mvista_executor.motion import Why
from mvista_executor.report import ExecutionReport, Recording, Tick
from mvista_ros.convert import ns_to_stamp, outcome_from_error, outcome_ok, trajectory_to_msg

REASONS = {why: int(getattr(SetPointReport, why.name)) for why in Why}


def report_to_msg(
    tick: Tick, plan_id: str, recording: Recording, gap: Gap | None = None
) -> SetPointReport:
    """How the set-point of this tick differs from what was asked; `recording` is of its motion.

    With `gap`, the report is of the set-point that came late.
    """
    assert tick.command is not None
    plan = recording.plan
    message = SetPointReport(
        plan_id=plan_id,
        reasons=[REASONS[why] for why in tick.why],
        status=tick.status.value,
        outcome=outcome_ok() if tick.error is None else outcome_from_error(tick.error),
        asked_s=float(plan.asked_s),
        planned_s=float(plan.duration_s),
        time_factor=float(plan.stretch),
        approach_s=float(plan.approach_s),
        lead_s=float(plan.lead_s),
        off_points_rad=float(plan.off_points_rad),
        pauses=recording.pauses,
        gap_s=0.0 if gap is None else gap.seconds,
    )
    message.header.stamp = ns_to_stamp(tick.command.stamp_ns if gap is None else gap.stamp_ns)
    return message


def executed_to_msg(report: ExecutionReport) -> JointTrajectory:
    """Every set-point that was sent, stamped with the first one's time."""
    sent = ActionTrajectory(report.joint_names, report.sent, report.times_s, Provenance("", "", 0))
    return trajectory_to_msg(sent, report.commands[0].stamp_ns if report.commands else 0)
