"""The names of pyorbbecsdk that `orbbec.py` uses, served by `EmulatedCamera`s.

A test holds every name and every method here against the real SDK's.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from functools import partial
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

from mvista_cameras.emulator.camera import QUEUE, EmulatedCamera
from mvista_cameras.emulator.scene import COLOR_FROM_DEPTH
from mvista_cameras.records import Stream, StreamProfile, SyncConfig
from mvista_core.records import MM_PER_M, lens_fault
from mvista_core.timing import NS_PER_S

OBSensorType = Enum("OBSensorType", ["COLOR_SENSOR", "DEPTH_SENSOR"])
OBStreamType = Enum("OBStreamType", ["COLOR_STREAM"])
OBFormat = Enum("OBFormat", ["RGB", "BGR", "MJPG", "YUYV", "Y16"])
OBMultiDeviceSyncMode = Enum("OBMultiDeviceSyncMode", ["STANDALONE", "PRIMARY", "SECONDARY"])
OBFrameAggregateOutputMode = Enum(
    "OBFrameAggregateOutputMode", ["ANY_SITUATION", "FULL_FRAME_REQUIRE"]
)
OBCameraDistortionModel = Enum("OBCameraDistortionModel", ["NONE", "BROWN_CONRADY_K6"])
TRANSFER_PADDING = 3
_STREAMS: dict[Enum, Stream] = {
    OBSensorType.COLOR_SENSOR: Stream.COLOR,
    OBSensorType.DEPTH_SENSOR: Stream.DEPTH,
}


class OBError(Exception):
    """What the SDK raises."""


class EmulatedSdk:
    """Stands where the module stands: `OrbbecDevice(EmulatedSdk([camera]), serial)`."""

    def __init__(self, cameras: Sequence[EmulatedCamera]) -> None:
        self.cameras = list(cameras)
        self.Context = partial(Context, self.cameras)
        self.Pipeline, self.Config, self.OBError = Pipeline, Config, OBError
        self.OBSensorType, self.OBStreamType, self.OBFormat = OBSensorType, OBStreamType, OBFormat
        # No align filter: the settings refuse `registration: sdk` with this backend.
        self.OBMultiDeviceSyncMode = OBMultiDeviceSyncMode
        self.OBFrameAggregateOutputMode = OBFrameAggregateOutputMode


class Context:
    """Cameras that are plugged in."""

    def __init__(self, cameras: list[EmulatedCamera]) -> None:
        self._cameras = cameras

    def query_devices(self) -> DeviceList:
        return DeviceList([camera for camera in self._cameras if camera.connected])


class DeviceList:
    """A snapshot, as in the SDK."""

    def __init__(self, cameras: list[EmulatedCamera]) -> None:
        self._cameras = cameras

    def get_count(self) -> int:
        return len(self._cameras)

    def get_device_serial_number_by_index(self, index: int) -> str:
        return self._cameras[index].serial

    def get_device_connection_type_by_index(self, index: int) -> str:
        return self._cameras[index].connection

    def get_device_by_serial_number(self, serial: str) -> Device:
        for camera in self._cameras:
            if camera.serial == serial:
                return Device(camera)
        raise OBError(f"Device not found by serial number: {serial}")


class DeviceInfo:
    """What a device says of itself."""

    def __init__(self, camera: EmulatedCamera) -> None:
        self._camera = camera

    def get_name(self) -> str:
        return "Orbbec Femto Bolt (emulated)"

    def get_serial_number(self) -> str:
        return self._camera.serial

    def get_firmware_version(self) -> str:
        return "1.1.2"

    def get_connection_type(self) -> str:
        return self._camera.connection


class Device:
    """An opened camera."""

    def __init__(self, camera: EmulatedCamera) -> None:
        self.camera = camera

    def get_device_info(self) -> DeviceInfo:
        return DeviceInfo(self.camera)

    def is_global_timestamp_supported(self) -> bool:
        return True

    def enable_global_timestamp(self, enable: bool) -> None:
        self._check()

    def get_multi_device_sync_config(self) -> SimpleNamespace:
        self._check()
        sync = self.camera.sync
        return SimpleNamespace(
            mode=OBMultiDeviceSyncMode[sync.role.upper()],
            depth_delay_us=sync.depth_delay_us,
            color_delay_us=sync.color_delay_us,
            trigger_to_image_delay_us=0,
            trigger_out_enable=sync.trigger_out,
            trigger_out_delay_us=0,
            frames_per_trigger=1,
        )

    def set_multi_device_sync_config(self, config: SimpleNamespace) -> None:
        self._check()
        self.camera.take_sync(
            SyncConfig(
                config.mode.name.lower(),
                config.depth_delay_us,
                config.color_delay_us,
                config.trigger_out_enable,
            )
        )

    def _check(self) -> None:
        if not self.camera.connected:
            raise OBError("Device is deactivated/disconnected!")


class VideoStreamProfile:
    """One profile of one sensor, with its calibration."""

    def __init__(self, camera: EmulatedCamera, stream: Stream, profile: StreamProfile) -> None:
        self.stream, self.profile = stream, profile
        self.intrinsics = camera.intrinsics(profile, stream)

    def is_video_stream_profile(self) -> bool:
        return True

    def as_video_stream_profile(self) -> VideoStreamProfile:
        return self

    def get_width(self) -> int:
        return self.profile.width_px

    def get_height(self) -> int:
        return self.profile.height_px

    def get_fps(self) -> int:
        return self.profile.rate_hz

    def get_format(self) -> Enum:
        return OBFormat[self.profile.pixel_format]

    def get_intrinsic(self) -> SimpleNamespace:
        lens = self.intrinsics
        return SimpleNamespace(fx=lens.fx_px, fy=lens.fy_px, cx=lens.cx_px, cy=lens.cy_px)

    def get_distortion(self) -> SimpleNamespace:
        names = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
        values = (*self.intrinsics.distortion, *(0.0,) * 8)[:8]
        model = OBCameraDistortionModel.BROWN_CONRADY_K6
        return SimpleNamespace(model=model, **dict(zip(names, values, strict=True)))

    def get_extrinsic_to(self, other: VideoStreamProfile) -> SimpleNamespace:
        assert (self.stream, other.stream) == (Stream.DEPTH, Stream.COLOR)
        rotation = COLOR_FROM_DEPTH[:3, :3].astype(np.float32)
        return SimpleNamespace(
            rot=rotation, transform=(COLOR_FROM_DEPTH[:3, 3] * MM_PER_M).astype(np.float32)
        )


class StreamProfileList:
    """Profiles of one sensor."""

    def __init__(self, profiles: list[VideoStreamProfile]) -> None:
        self._profiles = profiles

    def get_count(self) -> int:
        return len(self._profiles)

    def get_stream_profile_by_index(self, index: int) -> VideoStreamProfile:
        return self._profiles[index]


class Config:
    """Streams to start."""

    def __init__(self) -> None:
        self.profiles: list[VideoStreamProfile] = []

    def enable_stream(self, profile: VideoStreamProfile) -> None:
        self.profiles.append(profile)

    def set_frame_aggregate_output_mode(self, mode: Enum) -> None:
        # Whole frame sets are for the align filter, which is not emulated.
        assert mode is OBFrameAggregateOutputMode.ANY_SITUATION


class Pipeline:
    """Hands images over as they arrive: colour and depth of one capture need not come together."""

    def __init__(self, device: Device) -> None:
        self._camera = device.camera
        self._profiles: list[VideoStreamProfile] = []
        self._next: dict[Stream, int] = {}

    def get_stream_profile_list(self, sensor: Enum) -> StreamProfileList:
        stream, camera = _STREAMS[sensor], self._camera
        return StreamProfileList(
            [VideoStreamProfile(camera, stream, profile) for profile in camera.profiles(stream)]
        )

    def start(self, config: Config) -> None:
        if not self._camera.connected:
            raise OBError("Device is deactivated/disconnected!")
        self._camera.starts += 1
        self._profiles = list(config.profiles)
        for profile in self._profiles:
            # A lens of zeros has no rays to draw by; the driver has to find that out by itself.
            if not lens_fault(profile.intrinsics):
                self._frame(profile.stream, 0)  # drawn now, not when the first image is due
        now_ns = self._camera.clock.monotonic_ns()
        for profile in self._profiles:
            if not (profile.stream is Stream.DEPTH and self._camera.without_depth):
                self._next[profile.stream] = self._camera.index_after(now_ns, profile.get_fps())

    def stop(self) -> None:
        self._next.clear()

    def wait_for_frames(self, timeout_ms: int) -> FrameSet | None:
        """Sleeps until an image arrives; None after the time-out, also when unplugged."""
        camera, clock = self._camera, self._camera.clock
        rate_hz = self._profiles[0].get_fps()
        deadline_ns = clock.monotonic_ns() + timeout_ms * NS_PER_S // 1000
        if not camera.connected:
            clock.sleep_until(deadline_ns)
            return None
        oldest = camera.index_after(clock.monotonic_ns(), rate_hz) - QUEUE
        self._next = {stream: max(index, oldest) for stream, index in self._next.items()}
        due = {s: camera.arrived_ns(i, rate_hz, s) for s, i in self._next.items()}
        clock.sleep_until(min((*due.values(), deadline_ns)))
        now_ns = clock.monotonic_ns()
        arrived = [stream for stream, due_ns in due.items() if due_ns <= now_ns]
        if not arrived:
            return None
        frames = {stream: self._frame(stream, self._next[stream]) for stream in arrived}
        for stream in arrived:
            self._next[stream] += 1
        return FrameSet(frames)

    def _frame(self, stream: Stream, index: int) -> Frame:
        profile = next(p for p in self._profiles if p.stream is stream)
        camera, lens = self._camera, profile.intrinsics
        captured_ns = camera.captured_ns(index, profile.get_fps(), stream)
        size: tuple[int, ...] = (lens.height_px, lens.width_px)
        if stream is Stream.DEPTH:
            pixels = camera.depth_mm(lens, index)
            if camera.depth_size is not None:
                size = camera.depth_size[::-1]
                pixels = np.zeros(size, np.uint16)
            data = pixels.reshape(-1).view(np.uint8)
            data = data[: data.size // 2] if camera.cut_depth else data
        elif profile.get_format() is OBFormat.MJPG:
            # A USB camera hands out the buffer of the transfer: zeros may follow the picture.
            jpeg = camera.jpeg(lens, index, captured_ns) + bytes(TRANSFER_PADDING)
            data = np.frombuffer(jpeg, dtype=np.uint8)
        else:
            data = camera.picture(lens, index).reshape(-1)
        return Frame(
            data, size, profile, camera.device_us(captured_ns), camera.global_us(captured_ns)
        )


class FrameSet:
    """What arrived together."""

    def __init__(self, frames: dict[Stream, Frame]) -> None:
        self._frames = frames

    def get_color_frame(self) -> Frame | None:
        return self._frames.get(Stream.COLOR)

    def get_depth_frame(self) -> Frame | None:
        return self._frames.get(Stream.DEPTH)


class Frame:
    """One image with its stamps."""

    def __init__(
        self,
        data: NDArray[np.uint8],
        size: tuple[int, ...],
        profile: VideoStreamProfile,
        device_us: int,
        global_us: int,
    ) -> None:
        self._data, self._size, self._profile = data, size, profile
        self._device_us, self._global_us = device_us, global_us

    def get_data(self) -> NDArray[np.uint8]:
        return self._data

    def get_width(self) -> int:
        return self._size[1]

    def get_height(self) -> int:
        return self._size[0]

    def get_format(self) -> Enum:
        return self._profile.get_format()

    def get_timestamp_us(self) -> int:
        return self._device_us

    def get_global_timestamp_us(self) -> int:
        return self._global_us

    def as_depth_frame(self) -> Frame:
        return self

    def get_depth_scale(self) -> float:
        return 1.0
