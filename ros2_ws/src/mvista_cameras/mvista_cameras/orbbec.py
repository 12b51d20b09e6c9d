"""The Orbbec SDK, and nothing else: every name of pyorbbecsdk that the stack uses is in this file.

What is chosen, checked and computed lies in the modules beside it. The SDK comes in as a module,
so that `mvista_cameras.emulator` can take its place.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvista_cameras.records import (
    Damaged,
    DeviceIdentity,
    RawImage,
    Stream,
    StreamProfile,
    SyncConfig,
)
from mvista_core.errors import CameraError, ObservationError
from mvista_core.geometry import pose_from
from mvista_core.jpeg import jpeg_size
from mvista_core.records import MM_PER_M, Intrinsics, lens_fault
from mvista_core.registration import StreamCalibration

DEEPEST_MM = np.iinfo(np.uint16).max

Sdk = Any
"""The module `pyorbbecsdk`, or one with the same names."""

LENS_MODELS = ("NONE", "BROWN_CONRADY", "BROWN_CONRADY_K6", "MODIFIED_BROWN_CONRADY")
"""The last differs from the others by the product of tangential and radial terms: under 0.01 px
for this camera. Others are not what `lens.py` computes and are refused."""


ROTATION_TOLERANCE = 1e-3
UNREADABLE = (
    "read wrongly or never written: switch the camera's 12 V supply off and on; if that does not "
    "help, update its firmware or have it calibrated"
)


def load_sdk() -> Sdk:
    """The real SDK, told to write no log files.

    Raises:
        CameraError: it is not installed or does not load.
    """
    try:
        sdk = importlib.import_module("pyorbbecsdk")
    except ImportError as error:
        raise CameraError(
            f"the Orbbec SDK does not load ({error}); `pip install --no-deps pyorbbecsdk2`"
        ) from None
    sdk.Context.set_logger_level(sdk.OBLogLevel.ERROR)
    sdk.Context.set_logger_to_file(sdk.OBLogLevel.NONE, "")
    return sdk


def serials(sdk: Sdk) -> tuple[tuple[str, str], ...]:
    """(serial number, connection) of every camera on this machine."""
    try:
        devices = sdk.Context().query_devices()
        return tuple(
            (
                devices.get_device_serial_number_by_index(index),
                devices.get_device_connection_type_by_index(index),
            )
            for index in range(devices.get_count())
        )
    except sdk.OBError as error:
        raise CameraError(f"cameras cannot be listed: {error}") from None


class OrbbecDevice:
    """One Femto Bolt as a `CaptureDevice`. `registered_by_sdk` aligns depth inside the SDK."""

    def __init__(self, sdk: Sdk, serial: str, registered_by_sdk: bool = False) -> None:
        self._sdk = sdk
        self._pipeline: Any = None
        self._started = False
        self._align = sdk.AlignFilter(sdk.OBStreamType.COLOR_STREAM) if registered_by_sdk else None
        self._convert: Any = None
        with _Told(sdk, f"camera {serial or '(any)'} cannot be opened"):
            self._context = sdk.Context()
            devices = self._context.query_devices()
            found = [
                devices.get_device_serial_number_by_index(index)
                for index in range(devices.get_count())
            ]
            if not found or (serial and serial not in found):
                raise CameraError(
                    f"no camera {serial or 'at all'}; connected are {found or 'none'}: check the "
                    "cable, the 12 V supply, the udev rules and `serial` in config/cameras.yaml"
                )
            if not serial and len(found) > 1:
                raise CameraError(
                    f"{len(found)} cameras are connected ({found}): say which by `serial`"
                )
            self._device = devices.get_device_by_serial_number(serial or found[0])
            self._pipeline = sdk.Pipeline(self._device)
            # Off by default for a Bolt (OrbbecSDKConfig.xml); such stamps teach the latency.
            if self._device.is_global_timestamp_supported():
                self._device.enable_global_timestamp(True)

    def identity(self) -> DeviceIdentity:
        """What the device says of itself."""
        with _Told(self._sdk, "the device does not say what it is"):
            info = self._device.get_device_info()
            return DeviceIdentity(
                info.get_name(),
                info.get_serial_number(),
                info.get_firmware_version(),
                info.get_connection_type(),
            )

    def color_profiles(self) -> Sequence[StreamProfile]:
        """Every profile of the colour sensor on this link."""
        return [_profile(p) for p in self._offers(self._sdk.OBSensorType.COLOR_SENSOR)]

    def depth_profiles(self) -> Sequence[StreamProfile]:
        """Every profile of the depth sensor on this link."""
        return [_profile(p) for p in self._offers(self._sdk.OBSensorType.DEPTH_SENSOR)]

    def write_sync(self, config: SyncConfig) -> None:
        """Set role and delays; only `read_sync` tells whether they were taken."""
        with _Told(self._sdk, f"sync settings {config} were refused"):
            wanted = self._device.get_multi_device_sync_config()
            wanted.mode = getattr(self._sdk.OBMultiDeviceSyncMode, config.role.upper())
            wanted.depth_delay_us = config.depth_delay_us
            wanted.color_delay_us = config.color_delay_us
            wanted.trigger_to_image_delay_us = 0
            wanted.trigger_out_enable = config.trigger_out
            wanted.trigger_out_delay_us = 0
            wanted.frames_per_trigger = 1
            self._device.set_multi_device_sync_config(wanted)

    def read_sync(self) -> SyncConfig:
        """Role and delays as the device has them."""
        with _Told(self._sdk, "the sync settings cannot be read"):
            read = self._device.get_multi_device_sync_config()
            return SyncConfig(
                read.mode.name.lower(),
                int(read.depth_delay_us),
                int(read.color_delay_us),
                bool(read.trigger_out_enable),
            )

    def start(self, color: StreamProfile, depth: StreamProfile) -> StreamCalibration:
        """Start both streams; calibration of exactly these two profiles."""
        sensors = self._sdk.OBSensorType
        with _Told(self._sdk, f"colour {color} with depth {depth} does not start"):
            chosen_color = self._find(sensors.COLOR_SENSOR, color)
            chosen_depth = self._find(sensors.DEPTH_SENSOR, depth)
            config = self._sdk.Config()
            config.enable_stream(chosen_color)
            config.enable_stream(chosen_depth)
            # Images come as they are and are paired by their own stamps, not by the SDK.
            mode = self._sdk.OBFrameAggregateOutputMode
            config.set_frame_aggregate_output_mode(
                mode.FULL_FRAME_REQUIRE if self._align else mode.ANY_SITUATION
            )
            # The align filter works within one frame set, so in that case the SDK has to pair.
            if self._align:
                self._pipeline.enable_frame_sync()
            self._pipeline.start(config)
            self._started = True
            extrinsic = chosen_depth.get_extrinsic_to(chosen_color)
        # Points of the depth camera's frame into the colour camera's, the offset in millimetres.
        rotation = np.asarray(extrinsic.rot, dtype=np.float64).reshape(3, 3)
        offset_m = np.asarray(extrinsic.transform, dtype=np.float64).reshape(3) / MM_PER_M
        turned = np.abs(rotation @ rotation.T - np.eye(3)).max()
        # Asked this way round NaN is refused, too: it is below nothing.
        if not (turned < ROTATION_TOLERANCE and np.isfinite(offset_m).all()):
            raise CameraError(
                f"the factory places depth to colour by {rotation.tolist()}, {offset_m.tolist()} "
                f"m: no rotation and offset; {UNREADABLE}"
            )
        return StreamCalibration(
            _intrinsics(chosen_color), _intrinsics(chosen_depth), pose_from(rotation, offset_m)
        )

    def stop(self) -> None:
        """Stop both streams; the device stays open, and `start` begins them anew."""
        with _Told(self._sdk, "the streams do not stop"):
            self._started = False
            self._pipeline.stop()

    def wait(self, timeout_s: float) -> Sequence[RawImage | Damaged]:
        """Images of the next frame set; empty after `timeout_s` without one."""
        with _Told(self._sdk, "the device is gone"):
            frames = self._pipeline.wait_for_frames(max(round(timeout_s * 1000), 1))
            if frames is None:
                return ()
            if self._align is not None:
                aligned = self._align.process(frames)
                frames = aligned.as_frame_set() if aligned is not None else frames
            found = (
                (Stream.COLOR, frames.get_color_frame()),
                (Stream.DEPTH, frames.get_depth_frame()),
            )
            return [self._image(stream, frame) for stream, frame in found if frame is not None]

    def close(self) -> None:
        """Stop the streams; a device that is gone cannot object."""
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None and self._started:
            try:
                pipeline.stop()
            except self._sdk.OBError:
                return

    def _offers(self, sensor: Any) -> list[Any]:
        with _Told(self._sdk, "the stream profiles cannot be read"):
            offers = self._pipeline.get_stream_profile_list(sensor)
            every = (
                offers.get_stream_profile_by_index(index) for index in range(offers.get_count())
            )
            return [p.as_video_stream_profile() for p in every if p.is_video_stream_profile()]

    def _find(self, sensor: Any, wanted: StreamProfile) -> Any:
        for offer in self._offers(sensor):
            if _profile(offer) == wanted:
                return offer
        raise CameraError(f"profile {wanted} is no longer offered")

    def _image(self, stream: Stream, frame: Any) -> RawImage | Damaged:
        try:
            taken = int(frame.get_timestamp_us()), int(frame.get_global_timestamp_us())
            if stream is Stream.COLOR and frame.get_format() == self._sdk.OBFormat.MJPG:
                jpeg = _jpeg(frame)
                return RawImage(stream, *jpeg_size(jpeg), *taken, jpeg=jpeg)
            pixels = self._depth_mm(frame) if stream is Stream.DEPTH else self._rgb(frame)
            height_px, width_px = pixels.shape[:2]
            return RawImage(stream, width_px, height_px, *taken, pixels)
        except (
            self._sdk.OBError,
            ObservationError,
            ValueError,
            TypeError,
            AttributeError,
            RuntimeError,
        ) as error:
            # A frame's own bytes say nothing about the device: the next one may be whole.
            return Damaged(stream, str(error))

    def _rgb(self, frame: Any) -> NDArray[np.uint8]:
        formats, kind = self._sdk.OBFormat, frame.get_format()
        if kind == formats.YUYV:
            if self._convert is None:
                self._convert = self._sdk.FormatConvertFilter()
                self._convert.set_format_convert_format(self._sdk.OBConvertFormat.YUYV_TO_RGB888)
            converted = self._convert.process(frame)
            if converted is None:
                raise ValueError("a YUYV image cannot be converted: damaged in transfer")
            frame = converted.as_video_frame()
        shape = (frame.get_height(), frame.get_width(), 3)
        pixels = np.array(frame.get_data(), dtype=np.uint8).reshape(shape)
        return np.ascontiguousarray(pixels[..., ::-1]) if kind == formats.BGR else pixels

    @staticmethod
    def _depth_mm(frame: Any) -> NDArray[np.uint16]:
        shape = (frame.get_height(), frame.get_width())
        # The SDK hands out bytes; a size that does not fit raises, and the image counts as damaged.
        raw = np.array(frame.get_data(), dtype=np.uint8).view("<u2").reshape(shape)
        scale_mm = float(frame.as_depth_frame().get_depth_scale())
        if scale_mm == 1.0:
            return raw
        if not 0 < scale_mm < np.inf:
            raise ValueError(f"its depth unit is {scale_mm} mm")
        depth_mm = np.rint(raw * np.float32(scale_mm))
        # What a coarser unit lifts beyond uint16 is invalid; the cast alone would wrap it to near.
        return np.where(depth_mm <= DEEPEST_MM, depth_mm, 0).astype(np.uint16)


class _Told:
    """Turns the SDK's error into a `CameraError` that says what was being done."""

    def __init__(self, sdk: Sdk, what: str) -> None:
        self._error, self._what = sdk.OBError, what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, self._error):
            raise CameraError(f"{self._what}: {error}") from None


def _jpeg(frame: Any) -> bytes:
    # The transfer's buffer may be longer than the picture; no JPEG ends with a zero.
    return np.asarray(frame.get_data(), dtype=np.uint8).tobytes().rstrip(b"\0")


def _profile(profile: Any) -> StreamProfile:
    return StreamProfile(
        int(profile.get_width()),
        int(profile.get_height()),
        int(profile.get_fps()),
        profile.get_format().name,
    )


def _intrinsics(profile: Any) -> Intrinsics:
    lens, d = profile.get_intrinsic(), profile.get_distortion()
    if d.model.name not in LENS_MODELS:
        raise CameraError(f"lens model {d.model.name}; readable are {', '.join(LENS_MODELS)}")
    # OpenCV's order, k1 k2 p1 p2 k3 [k4 k5 k6]; older Orbbec drivers filled it with k1 to k5.
    radial = (d.k4, d.k5, d.k6) if any((d.k4, d.k5, d.k6)) else ()
    distortion = (d.k1, d.k2, d.p1, d.p2, d.k3, *radial)
    found = Intrinsics(
        int(profile.get_width()),
        int(profile.get_height()),
        float(lens.fx),
        float(lens.fy),
        float(lens.cx),
        float(lens.cy),
        tuple(float(k) for k in distortion) if any(distortion) else (),
    )
    if fault := lens_fault(found):
        raise CameraError(f"the factory calibration of {_profile(profile)}: {fault}; {UNREADABLE}")
    return found
