"""The motion of an arm in an episode, as a trajectory that an executor can be asked for. Pure."""

from __future__ import annotations

import numpy as np

from mvista_core.errors import EpisodeError
from mvista_core.records import ActionTrajectory, Provenance
from mvista_core.timing import NS_PER_S
from mvista_recorder.episode_reader import EpisodeReader
from mvista_recorder.layout import JOINT_STATE
from mvista_recorder.sync import interpolated

POINT_S = 0.02
"""Between points: at fifty a second a spline through them is the motion to a tenth of a mrad."""
# Below the 5,000 that an executor takes (`max_points`): a longer motion gets longer steps.
MOST_POINTS = 4900
LONGEST_GAP_MS = 100.0
"""Of joint samples; nothing is invented between two that lie farther apart."""


def motion_of(reader: EpisodeReader, arm: str = "", speed: float = 1.0) -> ActionTrajectory:
    """What an arm (a namespace; "": the only one) was told to do, or, where nobody recorded that,
    what it did; `speed` times as fast. The first point is due one step after the start.

    Raises:
        EpisodeError: torn, no such arm, or a gap in its joint samples.
    """
    name = _arm_of(reader, arm)
    streams, topic = reader.manifest.streams, f"/{name}/joint_command"
    if topic not in streams or streams[topic].count < 2:
        topic = f"/{name}/joint_states"
    if topic not in streams or streams[topic].type != JOINT_STATE:
        raise EpisodeError(f"{reader.folder.name} has no {topic}; it has {sorted(streams)}")
    states = sorted(reader.joints(topic), key=lambda state: state.stamp_ns)
    first_ns, last_ns = states[0].stamp_ns, states[-1].stamp_ns
    duration_s = (last_ns - first_ns) / NS_PER_S
    count = int(np.clip(round(duration_s / POINT_S), 1, MOST_POINTS)) + 1
    # A stamp has more digits than a float.
    after_ns = np.linspace(0, last_ns - first_ns, count).astype(np.int64)
    positions = interpolated(states, first_ns + after_ns, LONGEST_GAP_MS)
    # Later by a step: an executor refuses a point that is due at 0, where the arm stands already.
    times_s = after_ns / NS_PER_S / speed + POINT_S
    return ActionTrajectory(
        states[0].names, positions, times_s, Provenance(f"episode {reader.manifest.id}", "", 0)
    )


def _arm_of(reader: EpisodeReader, arm: str) -> str:
    arms = reader.manifest.arms
    if arm.strip("/") in arms:
        return arm.strip("/")
    if not arm and len(arms) == 1:
        return arms[0]
    raise EpisodeError(
        f"{reader.folder.name} has the arms {list(arms)}; name one of them (--arm), not '{arm}'"
    )
