"""Images and camera infos.

Image data crosses as `array.array('B')`: rclpy copies it in one piece, where `bytes` or a list is
checked element by element (1-2 ms against 100 ms for a 1280x720 image).
Depth crosses as 16UC1 millimetres with 0 = invalid (REP-118); depths beyond 65.535 m become 0.
"""

from __future__ import annotations

import array
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image

from mvista_core.errors import ObservationError
from mvista_core.lens import ros_distortion
from mvista_core.records import MM_PER_M, CameraFrame, Float32, Intrinsics, UInt8, lens_fault
from mvista_ros.convert.image_bytes import DEPTH_ENCODINGS, Layout, check_layout, pixels_of
from mvista_ros.convert.stamps import header, stamp_to_ns

RGB_ENCODINGS = ("rgb8", "bgr8")
DISTORTION_MODELS = ("plumb_bob", "rational_polynomial", "")
MOST_COEFFICIENTS = 8
"""Of `mvista_core.lens` and of OpenCV's order; "equidistant" and others bend otherwise."""


def color_to_msg(color: UInt8, stamp_ns: int, frame_id: str) -> Image:
    """uint8 [H, W, 3] RGB to an rgb8 image."""
    return _image(np.ascontiguousarray(color, dtype=np.uint8), "rgb8", stamp_ns, frame_id)


def depth_to_msg(depth_m: Float32, stamp_ns: int, frame_id: str) -> Image:
    """float32 [H, W] metres (0, NaN or infinite = invalid) to a 16UC1 image in millimetres."""
    return _image(depth_to_mm(depth_m), "16UC1", stamp_ns, frame_id)


def depth_to_mm(depth_m: Float32) -> NDArray[np.uint16]:
    """Metres [...] to whole millimetres; what 16 bits cannot hold becomes 0, never wraps."""
    millimetres = np.rint(np.asarray(depth_m) * np.float32(MM_PER_M))
    representable = (millimetres > 0) & (millimetres <= 65535)
    return np.where(representable, millimetres, 0).astype("<u2")


def color_from_msg(message: Image) -> UInt8:
    """uint8 [H, W, 3] RGB of an rgb8 image, or of a bgr8 one turned round.

    Raises:
        ObservationError: another encoding, or fewer bytes than height times step.
    """
    return np.array(_pixels(message, RGB_ENCODINGS), dtype=np.uint8)


def depth_from_msg(message: Image) -> Float32:
    """float32 [H, W] metres, 0 = invalid, of a 16UC1 (or mono16) image in millimetres.

    Raises:
        ObservationError: another encoding, or fewer bytes than height times step.
    """
    return _pixels(message, DEPTH_ENCODINGS).astype(np.float32) / np.float32(MM_PER_M)


def check_color_msg(message: Image) -> None:
    """Refuse a colour image that `color_from_msg` cannot read, without looking at the pixels.

    Raises:
        ObservationError: see there.
    """
    check_layout(len(message.data), _layout(message), RGB_ENCODINGS)


def check_depth_msg(message: Image) -> None:
    """Refuse a depth image that `depth_from_msg` cannot read, without looking at the pixels.

    Raises:
        ObservationError: see there.
    """
    check_layout(len(message.data), _layout(message), DEPTH_ENCODINGS)


def camera_info_to_msg(intrinsics: Intrinsics, stamp_ns: int, frame_id: str) -> CameraInfo:
    """Intrinsics of a pinhole camera, rectified (no distortion) or not."""
    k = intrinsics.matrix
    projection = np.hstack([k, np.zeros((3, 1))])
    model, coefficients = ros_distortion(intrinsics.distortion)
    return CameraInfo(
        header=header(stamp_ns, frame_id),
        width=intrinsics.width_px,
        height=intrinsics.height_px,
        distortion_model=model,
        d=list(coefficients),
        k=k.ravel().tolist(),
        r=np.eye(3).ravel().tolist(),
        p=projection.ravel().tolist(),
    )


def intrinsics_from_msg(message: CameraInfo) -> Intrinsics:
    """Intrinsics of a camera info; all-zero distortion reads as none.

    Raises:
        ObservationError: no lens is like that (see `lens_fault`), the distortion is of a model
            that is not read here, or the image is a part or a reduction of the calibrated one.
    """
    k = np.asarray(message.k, dtype=np.float64).reshape(3, 3)
    distortion = tuple(float(d) for d in message.d)
    _check_model(message, distortion)
    lens = Intrinsics(
        int(message.width),
        int(message.height),
        float(k[0, 0]),
        float(k[1, 1]),
        float(k[0, 2]),
        float(k[1, 2]),
        distortion if any(distortion) else (),
    )
    if fault := lens_fault(lens):
        raise ObservationError(f"{message.header.frame_id}: camera info: {fault}")
    return lens


def _check_model(message: CameraInfo, distortion: tuple[float, ...]) -> None:
    model, frame = message.distortion_model, message.header.frame_id
    if any(distortion) and (model not in DISTORTION_MODELS or len(distortion) > MOST_COEFFICIENTS):
        raise ObservationError(
            f"{frame}: camera info: distortion model '{model}' with {len(distortion)} "
            f"coefficients; readable are {[m for m in DISTORTION_MODELS if m]} with up to "
            f"{MOST_COEFFICIENTS}"
        )
    roi = message.roi
    cut = roi.width and (roi.width, roi.height) != (message.width, message.height)
    if cut or max(message.binning_x, message.binning_y) > 1:
        raise ObservationError(
            f"{frame}: camera info: the image is binned or cut out of a larger one (binning "
            f"{message.binning_x}x{message.binning_y}, roi {roi.width}x{roi.height}); readable is "
            "the whole image"
        )


def frame_from_msgs(camera: str, color: Image, depth: Image, intrinsics: Intrinsics) -> CameraFrame:
    """A frame from a registered colour and depth pair; stamped with the colour's capture time.

    Raises:
        ObservationError: an encoding or a size that does not fit the intrinsics.
    """
    return CameraFrame(
        color_from_msg(color),
        depth_from_msg(depth),
        intrinsics,
        stamp_to_ns(color.header.stamp),
        camera,
    )


def _image(pixels: NDArray[Any], encoding: str, stamp_ns: int, frame_id: str) -> Image:
    return Image(
        header=header(stamp_ns, frame_id),
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=pixels.strides[0],
        data=array.array("B", pixels.tobytes()),
    )


def _pixels(message: Image, encodings: Collection[str]) -> NDArray[Any]:
    return pixels_of(message.data, _layout(message), encodings)


def _layout(message: Image) -> Layout:
    return Layout(
        message.header.frame_id,
        message.encoding,
        message.height,
        message.width,
        message.step,
        bool(message.is_bigendian),
    )
