"""What couples a leader and a follower: times, distances and speeds. One frozen record."""

from __future__ import annotations

from dataclasses import dataclass

from mvista_ros.parameters import parameter


@dataclass(frozen=True)
class CouplingSettings:
    """When a follower may be engaged, how it goes to its leader, and when a side counts as lost."""

    engage_within_rad: float = parameter(
        0.8, "Engaging and resuming are refused where a joint is farther from its leader", 0.01, 2.0
    )
    ramp_rad_s: float = parameter(
        0.5, "Speed of the way to the leader before it is followed", 0.05, 1.0
    )
    ramp_m_s: float = parameter(0.05, "The same for the gripper", 0.005, 0.2)
    reached_rad: float = parameter(0.02, "So near its leader a joint follows it", 0.001, 0.1)
    reached_m: float = parameter(0.002, "The same for the gripper", 0.0002, 0.01)
    held_within_rad: float = parameter(
        0.05, "To resume, the follower stands at most this far from where it holds", 0.005, 0.2
    )
    strays_rad: float = parameter(
        0.3, "A follower farther than this from its set-point does not follow: lost", 0.05, 1.0
    )
    moving_rad_s: float = parameter(
        0.15, "A leader that was faster than this when its set-points ended is lost", 0.02, 1.0
    )
    silent_s: float = parameter(0.1, "... after so long without one", 0.02, 0.5)
    status_stale_s: float = parameter(
        0.5, "No word of the leader's status for so long: lost", 0.2, 5.0
    )
    feedback_stale_s: float = parameter(
        0.15, "No joint state of the follower for so long: lost", 0.02, 1.0
    )
    settle_s: float = parameter(
        0.02, "A leader's set-point older than this is where it rests, without speed", 0.005, 0.1
    )
    longest_step_s: float = parameter(
        0.05,
        "After a longer pause between set-points the follower begins anew, from rest",
        0.01,
        0.1,
    )
