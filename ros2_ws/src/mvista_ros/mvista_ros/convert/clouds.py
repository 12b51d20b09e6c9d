"""Coloured point clouds."""

from __future__ import annotations

import array

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2, PointField

from mvista_core.errors import ObservationError
from mvista_core.records import Float32, UInt8
from mvista_ros.convert.stamps import header

_POINT = np.dtype([("xyz", "<f4", 3), ("rgb", "<u4")])


def cloud_to_msg(
    points_m: NDArray[np.floating], color: UInt8, stamp_ns: int, frame_id: str
) -> PointCloud2:
    """Points [N, 3] (m, in `frame_id`) and colours uint8 [N, 3] RGB, packed as RViz reads them."""
    count = len(points_m)
    packed = np.empty(count, dtype=_POINT)
    packed["xyz"] = points_m
    red, green, blue = np.asarray(color, dtype=np.uint32).T
    packed["rgb"] = red << 16 | green << 8 | blue
    fields = [
        PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1)
        for i, name in enumerate(("x", "y", "z", "rgb"))
    ]
    return PointCloud2(
        header=header(stamp_ns, frame_id),
        height=1,
        width=count,
        fields=fields,
        is_bigendian=False,
        point_step=_POINT.itemsize,
        row_step=_POINT.itemsize * count,
        data=array.array("B", packed.tobytes()),
        is_dense=True,
    )


def cloud_from_msg(message: PointCloud2) -> tuple[Float32, UInt8]:
    """Points float32 [N, 3] and colours uint8 [N, 3] of a cloud packed as `cloud_to_msg` does.

    Raises:
        ObservationError: another layout.
    """
    layout = [(f.name, f.offset, f.datatype) for f in message.fields]
    expected = [(name, 4 * i, PointField.FLOAT32) for i, name in enumerate(("x", "y", "z", "rgb"))]
    if layout != expected or message.point_step != _POINT.itemsize or message.is_bigendian:
        raise ObservationError(f"cloud fields are {layout}, readable are {expected}")
    packed = np.frombuffer(message.data, dtype=_POINT)
    shifts = np.array([16, 8, 0], dtype=np.uint32)
    color = (packed["rgb"][:, None] >> shifts & np.uint32(255)).astype(np.uint8)
    return np.array(packed["xyz"], dtype=np.float32), color
