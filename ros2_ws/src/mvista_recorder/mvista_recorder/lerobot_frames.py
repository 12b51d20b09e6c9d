"""Which frames an exported episode has: images that belong together, the joints and the action.

A frame is a set of images, the first camera's and the nearest of every other one. Its state is
measured, between the samples around the first camera's capture; its action is what was in force at
that moment. A frame that lacks any of it is left out and counted: nothing is invented.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mvista_core.errors import ConfigError, EpisodeError
from mvista_core.records import Float64, JointState
from mvista_core.timing import NS_PER_S
from mvista_recorder.episode_reader import EpisodeReader
from mvista_recorder.layout import CameraChannels
from mvista_recorder.manifest import load_manifest
from mvista_recorder.recorded_cameras import EpisodeCamera
from mvista_recorder.sync import (
    MS,
    Stamps,
    SyncBounds,
    camera_sets,
    enclosed,
    interpolated,
)

COMMAND, LEADER, JOINTS = "command", "leader", "joints"
ACTIONS = (COMMAND, LEADER, JOINTS)
"""What the action is: the set-point that the arm was sent; the leader's pose, where both arms share
a bus and nothing is sent; or the pose that is measured one frame later."""
COMMAND_HOLDS_MS = 100.0
"""An arm's driver follows a set-point for so long; then it holds, and there is no action."""

UNLIKE = 0.1
"""Share by which an episode's rate may differ from the others'."""


@dataclass(frozen=True)
class FrameRules:
    """How frames are made: their rate, what an action is, and what lies too far apart."""

    rate_hz: int
    action: str = COMMAND
    bounds: SyncBounds = field(default_factory=SyncBounds)

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise ConfigError(f"action is '{self.action}'; allowed: {list(ACTIONS)}")


@dataclass(frozen=True)
class Frames:
    """N frames of V cameras: capture stamps [N, V], states and actions [N, J] (rad; gripper m)."""

    stamps_ns: Stamps
    states: Float64
    actions: Float64
    left_out: int

    def __len__(self) -> int:
        return len(self.stamps_ns)


def frame_rate_hz(folders: Sequence[Path]) -> int:
    """The whole number of frames a second that these episodes have, by their first camera.

    Raises:
        EpisodeError: one is far from it.
    """
    rates = {}
    for folder in folders:
        manifest = load_manifest(folder)
        name = CameraChannels.of(manifest.cameras[0]).color.name if manifest.cameras else ""
        stream = manifest.streams.get(name)
        rates[folder.name] = 0.0 if stream is None else stream.rate_hz
    # The median: an episode that lost images does not lower the rate of the others.
    typical = round(float(np.median(list(rates.values()))))
    # A rate that lost images lowered is still that rate; frames without them are left out later.
    unlike = [name for name, rate in rates.items() if abs(rate - typical) > UNLIKE * typical]
    if unlike or not typical:
        first = unlike[0] if unlike else next(iter(rates))
        raise EpisodeError(
            f"{first}: its first camera took {rates[first]:.1f} images a second, most took "
            f"{typical}; an export has one rate: convert those of one at a time"
        )
    return typical


def joint_labels(reader: EpisodeReader) -> tuple[str, ...]:
    """What each number of a state is called: the joint, behind its arm where there are several."""
    arms, joints = reader.manifest.arms, reader.arm().joint_names
    if len(arms) == 1:
        return joints
    return tuple(f"{arm}/{joint}" for arm in arms for joint in joints)


def frames_of(
    reader: EpisodeReader, cameras: Mapping[str, EpisodeCamera], rules: FrameRules
) -> Frames:
    """The frames of one episode, in their order.

    Raises:
        EpisodeError: it is torn, has no arm, or no messages of the kind that actions are made of.
    """
    names = reader.arm().joint_names
    if not reader.manifest.arms:
        raise EpisodeError(f"{reader.folder.name} has no arm")
    chosen = camera_sets({name: camera.color_ns for name, camera in cameras.items()})
    stamps = np.stack(
        [camera.color_ns[chosen[:, v]] for v, camera in enumerate(cameras.values())], axis=1
    )
    at_ns = stamps[:, 0]
    good = stamps.max(axis=1) - stamps.min(axis=1) <= rules.bounds.cameras_ms * MS
    for v, camera in enumerate(cameras.values()):
        good &= camera.depths_for(stamps[:, v])[1]
    parts = [_arm(reader, arm, names, at_ns, rules) for arm in reader.manifest.arms]
    for _, _, there in parts:
        good &= there
    states = np.concatenate([part[0] for part in parts], axis=1)
    actions = np.concatenate([part[1] for part in parts], axis=1)
    return Frames(stamps[good], states[good], actions[good], int((~good).sum()))


Found = tuple[Float64, Float64, NDArray[np.bool_]]


def _arm(
    reader: EpisodeReader, arm: str, names: tuple[str, ...], at_ns: Stamps, rules: FrameRules
) -> Found:
    """State and action [N, J] of one arm, and where both are there [N]."""
    measured = _ordered(reader.joints(f"/{arm}/joint_states"), names)
    samples = np.array([state.stamp_ns for state in measured], np.int64)
    most_ms = rules.bounds.joints_ms
    there = enclosed(samples, at_ns, most_ms)
    states = _between(measured, at_ns, there, most_ms)
    if rules.action == JOINTS:
        later_ns = at_ns + NS_PER_S // rules.rate_hz
        after = enclosed(samples, later_ns, most_ms)
        return states, _between(measured, later_ns, after, most_ms), there & after
    said = _ordered(_said(reader, arm, rules.action), names)
    stamps = np.array([state.stamp_ns for state in said], np.int64)
    # `right`: a set-point of that very moment is in force.
    last = np.searchsorted(stamps, at_ns, side="right") - 1
    acted = last >= 0
    if rules.action == COMMAND:
        # A leader at rest sends nothing and means what it said last; a driver waits for no one.
        acted &= at_ns - stamps[np.maximum(last, 0)] <= COMMAND_HOLDS_MS * MS
    positions = np.stack([state.positions for state in said])
    return states, positions[np.maximum(last, 0)], there & acted


def _said(reader: EpisodeReader, arm: str, action: str) -> tuple[JointState, ...]:
    if action == LEADER and len(reader.manifest.arms) > 1:
        raise EpisodeError(
            f"{reader.folder.name} has {len(reader.manifest.arms)} arms and one leader; "
            f"actions of several arms are '{COMMAND}' or '{JOINTS}'"
        )
    topic = f"/{arm}/joint_command" if action == COMMAND else "/leader/joint_states"
    try:
        return reader.joints(topic)
    except EpisodeError as error:
        others = [other for other in ACTIONS if other != action]
        raise EpisodeError(f"{error}; actions can also be one of {others} (--action)") from None


def _ordered(states: Sequence[JointState], names: tuple[str, ...]) -> list[JointState]:
    """Rising by stamp, the joints in the order of the arm's file, no velocities."""
    still = np.zeros(len(names))
    told = [JointState(names, state.ordered(names), still, state.stamp_ns) for state in states]
    return sorted(told, key=lambda state: state.stamp_ns)


def _between(
    states: Sequence[JointState], at_ns: Stamps, there: NDArray[np.bool_], most_ms: float
) -> Float64:
    """Positions [N, J]; zeros where they are not there."""
    found = np.zeros((len(at_ns), len(states[0].names)))
    if there.any():
        found[there] = interpolated(states, at_ns[there], most_ms)
    return found
