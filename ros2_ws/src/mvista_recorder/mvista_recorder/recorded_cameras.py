"""Images of an episode as the stack's frames: decoded, depth registered, at the full size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mvista_core.capture import Capture
from mvista_core.errors import EpisodeError
from mvista_core.geometry import pose_from, rotation_from_quaternion
from mvista_core.records import Float64, Intrinsics
from mvista_core.registration import StreamCalibration
from mvista_recorder import schemas
from mvista_recorder.episode_reader import EpisodeReader
from mvista_recorder.layout import TF_STATIC, CameraChannels
from mvista_recorder.sync import Stamps, nearest
from mvista_ros.convert.depth_png import depth_from_transport
from mvista_ros.convert.jpeg import decode_jpeg
from mvista_ros.convert.stamps import depth_optical_frame, optical_frame

PAIRED_WITHIN_NS = 20_000_000
"""Colour and depth of one capture are stamped closer together than this."""


@dataclass
class EpisodeCamera:
    """How one camera's images are to be read, and when they were captured, rising."""

    name: str
    calibration: StreamCalibration
    color_ns: Stamps
    depth_ns: Stamps

    def depth_for(self, color_ns: int) -> int:
        """Stamp of the depth image of the same capture.

        Raises:
            EpisodeError: there is none.
        """
        stamps, there = self.depths_for(np.array([color_ns], np.int64))
        if not there[0]:
            raise EpisodeError(f"{self.name}: the image of {color_ns} ns has no depth")
        return int(stamps[0])

    def depths_for(self, color_ns: Stamps) -> tuple[Stamps, NDArray[np.bool_]]:
        """Stamps [N] of the depth images nearest to these colour images, and which are theirs [N].

        A depth image is of one capture: where two colour images lie near it, it is the nearer's.
        """
        if not len(self.depth_ns):
            return np.zeros_like(color_ns), np.zeros(len(color_ns), np.bool_)
        found = self.depth_ns[nearest(self.depth_ns, color_ns)]
        # Back again: a colour image whose own depth was lost must not take its neighbour's.
        owner_ns = self.color_ns[nearest(self.color_ns, found)]
        near = np.abs(found - color_ns) <= PAIRED_WITHIN_NS
        return found, np.asarray(near & (owner_ns == color_ns))


@dataclass
class _Seen:
    color: list[int] = field(default_factory=list)
    depth: list[int] = field(default_factory=list)
    color_lens: Intrinsics | None = None
    depth_lens: Intrinsics | None = None


def recorded_cameras(reader: EpisodeReader, names: Sequence[str] = ()) -> dict[str, EpisodeCamera]:
    """The cameras of an episode, or those named; one pass over its file.

    Raises:
        EpisodeError: it is torn, or lacks a camera's images or how they are to be read.
    """
    wanted = tuple(names) or reader.manifest.cameras
    seen = {name: _Seen() for name in wanted}
    topics: dict[str, tuple[str, str]] = {}
    for name in wanted:
        channels = CameraChannels.of(name)
        for kind in ("color", "depth", "color_info", "depth_info"):
            topics[getattr(channels, kind).name] = name, kind
    frames: dict[tuple[str, str], Float64] = {}
    for message in reader.messages({*topics, TF_STATIC}):
        if message.topic == TF_STATIC:
            frames |= _transforms(message.data)
            continue
        name, kind = topics[message.topic]
        found = seen[name]
        if kind == "color":
            found.color.append(message.capture_ns)
        elif kind == "depth":
            found.depth.append(message.capture_ns)
        elif kind == "color_info" and found.color_lens is None:
            found.color_lens = schemas.lens_from_bytes(message.data)
        elif kind == "depth_info" and found.depth_lens is None:
            found.depth_lens = schemas.lens_from_bytes(message.data)
    return {name: _camera(reader, name, found, frames) for name, found in seen.items()}


def captures(
    reader: EpisodeReader,
    cameras: Mapping[str, EpisodeCamera],
    wanted: Mapping[str, frozenset[int]],
) -> Iterator[Capture]:
    """The captures of these colour stamps, as their depth comes; one pass over the file.

    A colour image without a depth of its own (`EpisodeCamera.depths_for`) is no capture.

    Raises:
        EpisodeError: the episode is torn, or an image cannot be read.
    """
    topics: dict[str, tuple[str, bool]] = {}
    pairs: dict[str, dict[int, int]] = {}
    for name, stamps in wanted.items():
        channels = CameraChannels.of(name)
        topics |= {channels.color.name: (name, True), channels.depth.name: (name, False)}
        color_ns = np.array(sorted(stamps), np.int64)
        depth_ns, there = cameras[name].depths_for(color_ns)
        pairs[name] = dict(zip(depth_ns[there].tolist(), color_ns[there].tolist(), strict=True))
    paired = {name: frozenset(found.values()) for name, found in pairs.items()}
    jpegs: dict[tuple[str, int], bytes] = {}
    depths: dict[tuple[str, int], bytes] = {}
    for message in reader.messages(topics):
        name, is_color = topics[message.topic]
        # Both by colour's stamp: depth has one of its own, which differs by a little.
        stamp = message.capture_ns if is_color else pairs[name].get(message.capture_ns)
        if stamp is None or stamp not in paired[name]:
            continue
        data = bytes(schemas.picture_from_bytes(message.data).data)
        (jpegs if is_color else depths)[name, stamp] = data
        # As soon as both are there: memory holds what lacks its other half, not the episode.
        if (name, stamp) in jpegs and (name, stamp) in depths:
            yield Capture(
                name,
                message.sequence,
                stamp,
                stamp,
                jpegs.pop((name, stamp)),
                depth_from_transport(depths.pop((name, stamp))),
                cameras[name].calibration,
                decode_jpeg,
            )


def _camera(
    reader: EpisodeReader, name: str, seen: _Seen, frames: Mapping[tuple[str, str], Float64]
) -> EpisodeCamera:
    color_from_depth = frames.get((optical_frame(name), depth_optical_frame(name)))
    if seen.color_lens is None or seen.depth_lens is None or color_from_depth is None:
        raise EpisodeError(
            f"{reader.folder.name}: nothing says how the images of {name} are to be read "
            f"(camera_info, {TF_STATIC})"
        )
    if not seen.color:
        raise EpisodeError(f"{reader.folder.name}: no image of {name}")
    calibration = StreamCalibration(seen.color_lens, seen.depth_lens, color_from_depth)
    stamps = (np.sort(np.array(found, np.int64)) for found in (seen.color, seen.depth))
    return EpisodeCamera(name, calibration, *stamps)


def _transforms(data: bytes) -> dict[tuple[str, str], Float64]:
    """(parent, child) -> `parent_from_child` [4, 4]."""
    found = {}
    for stamped in schemas.read(data, "tf2_msgs/msg/TFMessage").transforms:
        t, q = stamped.transform.translation, stamped.transform.rotation
        rotation = rotation_from_quaternion(np.array([q.x, q.y, q.z, q.w]))
        pose = pose_from(rotation, np.array([t.x, t.y, t.z]))
        found[stamped.header.frame_id, stamped.child_frame_id] = pose
    return found
