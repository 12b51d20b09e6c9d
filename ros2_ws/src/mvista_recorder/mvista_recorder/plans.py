"""From the node's parameters to what the recorder wants, and from its state to the node's words."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mvista_core.errors import ConfigError, MvistaError
from mvista_core.records import CameraCalibration, RigCalibration
from mvista_recorder.layout import JOINT_STATE, CameraChannels, Topic
from mvista_recorder.recorder_records import RecorderSettings, RecorderState
from mvista_recorder.settings import EpisodeRecorderParameters
from mvista_recorder.streams import StreamPlan
from mvista_ros.convert import outcome_from_error, outcome_ok


def recorder_settings(
    asked: EpisodeRecorderParameters, cameras: tuple[str, ...], arms: Sequence[str]
) -> RecorderSettings:
    """`arms` are full names of their namespaces."""
    return RecorderSettings(
        Path(asked.root),
        cameras,
        tuple(arm.lstrip("/") for arm in arms),
        Path(asked.rig_file),
        Path(asked.arm_file),
        asked.least_free_gib,
        asked.queue_mib,
        config=asdict(asked),
    )


def stream_plans(
    asked: EpisodeRecorderParameters,
    rig: RigCalibration,
    cameras: Iterable[str],
    arms: Iterable[str],
) -> list[StreamPlan]:
    """The streams without which nothing is recorded."""
    plans = []
    for camera in map(rig.camera, cameras):
        topics, rate_hz = CameraChannels.of(camera.name), asked.camera_rate_hz
        plans.append(StreamPlan(topics.color, rate_hz, camera.name, _sizes(camera)))
        # Without sizes: a rig states colour's lenses, and native depth has its own.
        plans.append(StreamPlan(topics.depth, rate_hz, camera.name))
    joints = [Topic(f"{arm}/joint_states", JOINT_STATE) for arm in arms]
    return plans + [StreamPlan(topic, asked.joint_rate_hz) for topic in joints]


def arm_topics(arms: Iterable[str]) -> list[str]:
    """What else is recorded of each arm, where it is there."""
    return [f"{arm}/{name}" for arm in arms for name in ("joint_command", "status")]


def message_class(kind: str) -> Any:
    """The class of a message type, "sensor_msgs/msg/JointState".

    Raises:
        ConfigError: its package is not installed here.
    """
    package, _, name = kind.partition("/msg/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"messages of type {kind} are not installed here: {error}") from None


def told(state: RecorderState, said: Sequence[str]) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    """Grade ("OK", "WARN", "ERROR"), words and numbers; `said` are the taps' troubles."""
    saying = f"recording {state.episode}" if state.episode else "ready"
    troubles = [*state.troubles, *said]
    # The same trouble spoils an episode that runs, and only puts off one that has not begun.
    grade = "OK" if not troubles else "ERROR" if state.episode else "WARN"
    values = [("free GiB", f"{state.free_gib:.1f}"), ("said", state.said)]
    for stream in state.streams:
        values.append((f"{stream.topic} count", str(stream.count)))
        values.append((f"{stream.topic} dropped", str(stream.dropped)))
    return grade, "; ".join((saying, *troubles)), tuple(values)


def answered(response: Any, act: Callable[[], str]) -> Any:
    """A service's response: the episode that `act` names, or the refusal's number and words."""
    try:
        response.episode = act()
        response.outcome = outcome_ok()
    except MvistaError as error:
        response.outcome = outcome_from_error(error)
    return response


def _sizes(camera: CameraCalibration) -> tuple[tuple[int, int], ...]:
    lenses = (camera.intrinsics, *camera.other_intrinsics)
    return tuple((lens.width_px, lens.height_px) for lens in lenses)
