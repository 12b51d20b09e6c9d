"""Episodes of captures and joint states that a test has made or taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mvista_core.capture import Capture
from mvista_core.records import JointState
from mvista_core.timing import ManualClock
from mvista_recorder import schemas
from mvista_recorder.camera_feed import FRAMES
from mvista_recorder.episode_writer import EpisodeWriter
from mvista_recorder.layout import (
    COLOR_FORMAT,
    DEPTH_FORMAT,
    JOINT_STATE,
    CameraChannels,
    Topic,
)
from mvista_ros.convert.depth_png import depth_to_transport
from mvista_ros.convert.jpeg import encode_jpeg
from mvista_ros.convert.stamps import depth_optical_frame, optical_frame
from tests.recorder.made import head


def joint_bytes(state: JointState) -> bytes:
    """As a driver sends it."""
    types = schemas.typestore().types
    time = types["builtin_interfaces/msg/Time"](*divmod(state.stamp_ns, 10**9))
    said = types["std_msgs/msg/Header"](time, "")
    message = types[JOINT_STATE](
        said, list(state.names), state.positions, state.velocities, state.positions[:0]
    )
    return bytes(schemas.typestore().serialize_cdr(message, JOINT_STATE))


def filmed(
    root: Path, shots: Sequence[Capture] = (), joints: Mapping[str, Sequence[JointState]] = {}
) -> Path:
    """A finished episode of all of them; `joints` by topic."""
    cameras = tuple(dict.fromkeys(shot.camera for shot in shots))
    told: list[tuple[int, Topic, bytes]] = []
    poses = {}
    for shot in shots:
        name, stamp_ns, topics = shot.camera, shot.stamp_ns, CameraChannels.of(shot.camera)
        color, depth = optical_frame(name), depth_optical_frame(name)
        poses[color, depth] = shot.calibration.color_from_depth
        jpeg = shot.jpeg or encode_jpeg(shot.pixels(), 95)
        coded, lens = depth_to_transport(shot.native_depth_mm), shot.calibration
        for topic, data in (
            (topics.color, schemas.picture_to_bytes(COLOR_FORMAT, jpeg, stamp_ns, color)),
            (topics.color_info, schemas.lens_to_bytes(lens.color, stamp_ns, color)),
            (topics.depth, schemas.picture_to_bytes(DEPTH_FORMAT, coded, stamp_ns, depth)),
            (topics.depth_info, schemas.lens_to_bytes(lens.depth, stamp_ns, depth)),
        ):
            told.append((stamp_ns, topic, data))
    for name, states in joints.items():
        told += [(s.stamp_ns, Topic(name, JOINT_STATE), joint_bytes(s)) for s in states]
    told.sort(key=lambda each: each[0])
    clock = ManualClock(told[0][0])
    arms = tuple(dict.fromkeys(name.strip("/").rpartition("/")[0] for name in joints))
    writer = EpisodeWriter(root, head(cameras=cameras, arms=arms), clock, reserve_bytes=0)
    if poses:
        writer.open(FRAMES)
        first_ns = clock.now_ns()
        writer.add(FRAMES.name, first_ns, first_ns, schemas.transforms_to_bytes(poses, first_ns))
    for stamp_ns, topic, data in told:
        clock.sleep_until(stamp_ns)
        writer.open(topic)
        writer.add(topic.name, stamp_ns, stamp_ns, data)
        writer.tick()
    return writer.finish()
