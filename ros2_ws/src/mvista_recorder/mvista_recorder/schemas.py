"""ROS messages without ROS: definitions, serialised bytes and the stamp that leads them.

Standard types come from the type store of `rosbags`; others from the `.msg` files that their
package has installed.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.typesys import Stores, TypesysError, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from mvista_core.errors import ConfigError, EpisodeError
from mvista_core.lens import ros_distortion
from mvista_core.records import Intrinsics, JointState
from mvista_core.timing import NS_PER_S
from mvista_recorder.layout import CAMERA_INFO, COMPRESSED_IMAGE, JOINT_STATE, TF

# builtin_interfaces/Time: int32 s and uint32 ns, little-endian.
_STAMP = struct.Struct("<iI")
_STAMP_AT = 4
"""A header leads its message, after four bytes that name the encoding (plain CDR)."""


@cache
def typestore() -> Typestore:
    """The types this process knows; `register` adds to them."""
    return get_typestore(Stores.ROS2_KILTED)


def register(kind: str) -> None:
    """Make a type known, with those it is made of.

    Raises:
        ConfigError: it is no standard type, and no installed package defines it.
    """
    store, wanted = typestore(), [kind]
    while wanted:
        name = wanted.pop()
        if name in store.types:
            continue
        try:
            found = get_types_from_msg(_definition_file(name).read_text(encoding="utf-8"), name)
        except (OSError, TypesysError) as error:
            raise ConfigError(f"message type {name} cannot be read: {error}") from None
        missing = [part for part in _parts(found[name]) if part not in store.types]
        if missing:
            wanted += [name, *missing]
            continue
        store.register(found)


def learn(kind: str, text: str) -> None:
    """Make a type known from the definition that an episode carries, where it is not yet.

    Raises:
        EpisodeError: the text defines no such type.
    """
    store = typestore()
    if kind in store.types:
        return
    try:
        found = get_types_from_msg(text, kind)
        store.register({name: what for name, what in found.items() if name not in store.types})
    except Exception as error:
        # The parser leaves broken text in many ways.
        raise EpisodeError(f"the definition of {kind[:80]} cannot be read: {error!r}") from None


def _definition_file(kind: str) -> Path:
    # Only who records types of their own needs ROS's index of packages.
    from ament_index_python import get_package_share_directory
    from ament_index_python.packages import PackageNotFoundError

    package, _, name = kind.partition("/msg/")
    try:
        return Path(get_package_share_directory(package)) / "msg" / f"{name}.msg"
    except (PackageNotFoundError, ValueError):
        raise ConfigError(
            f"message type '{kind}' is not known: no installed package is called '{package}'"
        ) from None


def _parts(definition: Any) -> list[str]:
    """Names of the types that a definition's fields are of."""
    return [word for _, field in definition[1] for word in _names(field)]


def _names(field: Any) -> list[str]:
    kind, what = field
    if kind.name == "NAME":
        return [what]
    return [] if kind.name == "BASE" else _names(what[0])


def definition(kind: str) -> bytes:
    """The text of a type in `ros2msg` form, those it is made of included."""
    register(kind)
    text, _ = typestore().generate_msgdef(kind, ros_version=2)
    return text.encode()


def type_hash(kind: str) -> str:
    """ROS's own hash of a type (RIHS01)."""
    return str(typestore().hash_rihs01(kind))


def has_header(kind: str) -> bool:
    """Whether messages of a type begin with a stamp."""
    register(kind)
    fields = typestore().fielddefs[kind][1]
    return bool(fields) and _names(fields[0][1]) == ["std_msgs/msg/Header"]


def stamp_ns(data: bytes) -> int:
    """The stamp of a serialised message whose type `has_header`.

    Raises:
        EpisodeError: fewer bytes than a stamp takes.
    """
    try:
        seconds, nanoseconds = _STAMP.unpack_from(data, _STAMP_AT)
    except struct.error:
        raise EpisodeError(f"{len(data)} bytes are no message with a header") from None
    return int(seconds) * NS_PER_S + int(nanoseconds)


def restamped(data: bytes, to_ns: int) -> bytes:
    """The same message with another stamp."""
    changed = bytearray(data)
    _STAMP.pack_into(changed, _STAMP_AT, *divmod(to_ns, NS_PER_S))
    return bytes(changed)


def read(data: bytes, kind: str) -> Any:
    """A serialised message as an object with ROS's field names.

    Raises:
        EpisodeError: the bytes are not a message of that type.
    """
    register(kind)
    try:
        return typestore().deserialize_cdr(data, kind)
    except Exception as error:
        # Torn bytes leave the library in many ways: struct.error, AssertionError, MemoryError, ...
        raise EpisodeError(f"{len(data)} bytes are no {kind} ({type(error).__name__})") from None


@dataclass(frozen=True)
class Picture:
    """A compressed image: its `format` and its bytes."""

    stamp_ns: int
    frame_id: str
    format: str
    data: memoryview


def picture_to_bytes(format: str, data: bytes, stamp_ns: int, frame_id: str) -> bytes:
    """A serialised `sensor_msgs/CompressedImage`."""
    make = typestore().types[COMPRESSED_IMAGE]
    pixels = np.frombuffer(data, dtype=np.uint8)
    return _written(make(_header(stamp_ns, frame_id), format, pixels), COMPRESSED_IMAGE)


def picture_from_bytes(data: bytes) -> Picture:
    """What `picture_to_bytes` wrote.

    Raises:
        EpisodeError: no compressed image.
    """
    found = read(data, COMPRESSED_IMAGE)
    return Picture(
        stamp_ns(data), found.header.frame_id, found.format, memoryview(found.data).cast("B")
    )


def lens_to_bytes(lens: Intrinsics, stamp_ns: int, frame_id: str) -> bytes:
    """A serialised `sensor_msgs/CameraInfo`, unrectified (R = 1, P = K)."""
    make, roi = (
        typestore().types[CAMERA_INFO],
        typestore().types["sensor_msgs/msg/RegionOfInterest"],
    )
    matrix = lens.matrix
    model, coefficients = ros_distortion(lens.distortion)
    projection = np.zeros((3, 4))
    projection[:, :3] = matrix
    return _written(
        make(
            _header(stamp_ns, frame_id),
            lens.height_px,
            lens.width_px,
            model,
            np.array(coefficients),
            matrix.ravel(),
            np.eye(3).ravel(),
            projection.ravel(),
            0,
            0,
            roi(0, 0, 0, 0, False),
        ),
        CAMERA_INFO,
    )


def lens_from_bytes(data: bytes) -> Intrinsics:
    """The lens of a serialised `CameraInfo`.

    Raises:
        EpisodeError: no camera info.
    """
    found = read(data, CAMERA_INFO)
    # By their number, not by the model's name: Orbbec's driver calls eight a plumb_bob.
    distortion = tuple(float(value) for value in found.d)
    return Intrinsics(
        int(found.width),
        int(found.height),
        float(found.k[0]),
        float(found.k[4]),
        float(found.k[2]),
        float(found.k[5]),
        distortion if any(distortion) else (),
    )


def joints_from_bytes(data: bytes) -> JointState:
    """A serialised `JointState` as the stack's record; velocities are 0 where none were told.

    Raises:
        EpisodeError: no joint state, or one whose names and positions do not match.
    """
    found = read(data, JOINT_STATE)
    positions = np.array(found.position, dtype=np.float64)
    velocities = np.array(found.velocity, dtype=np.float64)
    if len(positions) != len(found.name) or len(velocities) not in (0, len(positions)):
        raise EpisodeError(f"{len(found.name)} joints with {len(positions)} positions")
    return JointState(
        tuple(found.name),
        positions,
        velocities if len(velocities) else np.zeros_like(positions),
        stamp_ns(data),
    )


def joints_to_bytes(state: JointState) -> bytes:
    """A serialised `JointState`, without efforts."""
    make = typestore().types[JOINT_STATE]
    told = (list(state.names), state.positions.copy(), state.velocities.copy(), np.zeros(0))
    return _written(make(_header(state.stamp_ns, ""), *told), JOINT_STATE)


def transforms_to_bytes(transforms: dict[tuple[str, str], Any], stamp_ns: int) -> bytes:
    """A serialised `tf2_msgs/TFMessage`: (parent, child) -> `parent_from_child` [4, 4]."""
    from mvista_core.geometry import quaternion_xyzw

    types = typestore().types
    stamped, transform = (
        types["geometry_msgs/msg/TransformStamped"],
        types["geometry_msgs/msg/Transform"],
    )
    vector, quaternion = types["geometry_msgs/msg/Vector3"], types["geometry_msgs/msg/Quaternion"]
    listed = [
        stamped(
            _header(stamp_ns, parent),
            child,
            transform(
                vector(*map(float, pose[:3, 3])),
                quaternion(*map(float, quaternion_xyzw(pose[:3, :3]))),
            ),
        )
        for (parent, child), pose in transforms.items()
    ]
    return _written(types[TF](listed), TF)


def _header(stamp_ns: int, frame_id: str) -> Any:
    types = typestore().types
    time = types["builtin_interfaces/msg/Time"](*divmod(int(stamp_ns), NS_PER_S))
    return types["std_msgs/msg/Header"](time, frame_id)


def _written(message: Any, kind: str) -> bytes:
    return bytes(typestore().serialize_cdr(message, kind))
