"""The body of an emulated Femto Bolt: what it offers, when its images come, how it misbehaves."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from mvista_cameras.emulator.scene import (
    COLOR_FROM_DEPTH,
    FEMTO_BOLT_COLOR,
    FEMTO_BOLT_DEPTH,
    Scene,
    grained,
    moving_pictures,
    trembling,
)
from mvista_cameras.emulator.truth import with_truth
from mvista_cameras.records import Stream, StreamProfile, SyncConfig
from mvista_core.ports import Clock
from mvista_core.records import Intrinsics, UInt8, UInt16
from mvista_core.timing import NS_PER_S, read_clocks
from mvista_ros.convert.jpeg import encode_jpeg

PICTURES = 6
JPEG_QUALITY = 85
"""200 kB at 1280x720: the middle of what a Bolt sends."""
QUEUE = 10
"""Images that wait for a slow reader; older ones are lost, as in the SDK."""
GLOBAL_REFIT_NS = 10 * NS_PER_S
"""How long the SDK's clock fit takes to follow a step of the host's clock."""

_COLOR_SIZES = ((1280, 720), (1920, 1080), (3840, 2160))
_RATES = (5, 15, 25, 30)
_USB2_SIZES = ((640, 360), (1280, 720))


@dataclass
class EmulatedCamera:
    """One camera on the emulated bus. Change its attributes to make it misbehave.

    `drift_ppm` how fast its clock runs against the host's; `stepped_us` added to its clock;
    `rate_error` how much faster than its profile says it takes pictures, whatever its clock does:
    0.001 to 0.005 on units that were measured (OrbbecSDK issue 49);
    `noisy`: a picture with grain, 150 to 250 kB of JPEG at 1280x720, and a depth image that
    trembles and has holes; `global_stamps` False: the SDK estimates no captures;
    `ignores_sync` takes settings and does not do them; `connected` False: unplugged;
    `without_depth` streams colour only, as a host without OpenGL does;
    `cut_depth`: half of each depth image; `depth_size`: depth of another (width, height);
    `undecodable`: colour cut short; `hollow`: colour whose picture is missing, which only decoding
    shows; `without_lens`: intrinsics of zero;
    `color_delay_ns`, `depth_delay_ns`, `jitter_ns`: from capture to arrival.
    """

    serial: str
    clock: Clock
    connection: str = "USB3.2"
    drift_ppm: float = 40.0
    stepped_us: int = 0
    rate_error: float = 0.0
    noisy: bool = False
    global_stamps: bool = True
    connected: bool = True
    ignores_sync: bool = False
    without_depth: bool = False
    cut_depth: bool = False
    depth_size: tuple[int, int] | None = None
    undecodable: bool = False
    hollow: bool = False
    without_lens: bool = False
    color_formats: tuple[str, ...] = ("MJPG", "RGB")
    color_delay_ns: int = 28_000_000
    depth_delay_ns: int = 45_000_000
    jitter_ns: int = 4_000_000
    depth_after_color_us: int = 1200
    rates: tuple[int, ...] = _RATES
    sync: SyncConfig = field(default_factory=SyncConfig)

    def __post_init__(self) -> None:
        self._power_on_ns = self.clock.monotonic_ns() - 3600 * NS_PER_S
        self._wall_offset_ns = self._wall_ahead_ns()
        self._refit_ns = self.clock.monotonic_ns()
        self._scene = Scene(tint=1 + sum(self.serial.encode()) % 16)
        self._pictures: dict[Intrinsics, list[UInt8]] = {}
        self._jpegs: dict[Intrinsics, list[bytes]] = {}
        self._depths: dict[Intrinsics, list[UInt16]] = {}
        self.starts = 0

    def _wall_ahead_ns(self) -> int:
        monotonic_ns, wall_ns = read_clocks(self.clock)
        return wall_ns - monotonic_ns

    def take_sync(self, config: SyncConfig) -> None:
        """The setting arrives; whether it takes is another matter."""
        if not self.ignores_sync:
            self.sync = config

    def profiles(self, stream: Stream) -> list[StreamProfile]:
        """What the sensors offer on this link."""
        slow = self.connection.startswith("USB2")
        if stream is Stream.DEPTH:
            sizes = ((640, 576), (320, 288)) if not slow else ((320, 288),)
            return [StreamProfile(*size, rate, "Y16") for size in sizes for rate in self.rates]
        return [
            StreamProfile(*size, rate, kind)
            for size in (_USB2_SIZES if slow else _COLOR_SIZES)
            for rate in self.rates
            for kind in self.color_formats
            if not (slow and rate > 15)
        ]

    def intrinsics(self, profile: StreamProfile, stream: Stream) -> Intrinsics:
        """The factory calibration at the profile's size."""
        if self.without_lens and stream is Stream.COLOR:
            return Intrinsics(profile.width_px, profile.height_px, 0.0, 0.0, 0.0, 0.0)
        full = FEMTO_BOLT_DEPTH if stream is Stream.DEPTH else FEMTO_BOLT_COLOR
        return scaled_to(full, profile.width_px, profile.height_px)

    def device_us(self, monotonic_ns: int) -> int:
        """The device's own clock."""
        elapsed_us = (monotonic_ns - self._power_on_ns) / 1000 * (1 + self.drift_ppm * 1e-6)
        return round(elapsed_us) + self.stepped_us

    def global_us(self, captured_ns: int) -> int:
        """The SDK's estimate of a capture on the wall clock: refitted now and then only."""
        if not self.global_stamps:
            return 0
        now_ns = self.clock.monotonic_ns()
        if now_ns - self._refit_ns > GLOBAL_REFIT_NS:
            self._wall_offset_ns, self._refit_ns = self._wall_ahead_ns(), now_ns
        return (captured_ns + self._wall_offset_ns) // 1000

    def captured_ns(self, index: int, rate_hz: int, stream: Stream) -> int:
        """Host monotonic time of capture `index`."""
        period_ns = NS_PER_S / rate_hz / (1 + self.rate_error)
        after_us = self.depth_after_color_us if stream is Stream.DEPTH else 0
        return self._power_on_ns + round(index * period_ns) + after_us * 1000

    def index_after(self, monotonic_ns: int, rate_hz: int) -> int:
        """The first capture after an instant."""
        elapsed_s = (monotonic_ns - self._power_on_ns) / NS_PER_S
        return int(elapsed_s * rate_hz * (1 + self.rate_error)) + 1

    def arrived_ns(self, index: int, rate_hz: int, stream: Stream) -> int:
        """When capture `index` is handed to the host: delayed, and not always alike."""
        delay_ns = self.depth_delay_ns if stream is Stream.DEPTH else self.color_delay_ns
        # Repeatable scatter, mostly small: the golden ratio's multiples, squared.
        scatter = ((index * 0.6180339887) % 1.0) ** 2
        return self.captured_ns(index, rate_hz, stream) + delay_ns + round(scatter * self.jitter_ns)

    def picture(self, intrinsics: Intrinsics, index: int) -> UInt8:
        """What the colour camera sees in capture `index`."""
        if intrinsics not in self._pictures:
            picture = self._scene.color(intrinsics)
            if self.noisy:
                picture = grained(picture)
            self._pictures[intrinsics] = moving_pictures(picture, PICTURES)
        return self._pictures[intrinsics][index % PICTURES]

    def jpeg(self, intrinsics: Intrinsics, index: int, captured_ns: int) -> bytes:
        """The picture as it crosses the cable; it says when it was taken (host monotonic time)."""
        if intrinsics not in self._jpegs:
            pictures = (self.picture(intrinsics, each) for each in range(PICTURES))
            self._jpegs[intrinsics] = [encode_jpeg(each, JPEG_QUALITY) for each in pictures]
        # By the wall clock as it stands now, steps included: that is what a stamp has to say.
        wall_ns = captured_ns + self._wall_ahead_ns()
        whole = with_truth(self._jpegs[intrinsics][index % PICTURES], wall_ns)
        if self.hollow:
            return _without_picture(intrinsics)
        return whole[: len(whole) // 2] if self.undecodable else whole

    def depth_mm(self, intrinsics: Intrinsics, index: int) -> UInt16:
        """What the depth camera sees in capture `index`, whole millimetres."""
        if intrinsics not in self._depths:
            depth_m = self._scene.depth_m(intrinsics, COLOR_FROM_DEPTH)
            depth_mm = np.rint(depth_m * 1000).astype(np.uint16)
            self._depths[intrinsics] = trembling(depth_mm, PICTURES) if self.noisy else [depth_mm]
        depths = self._depths[intrinsics]
        return depths[index % len(depths)]


def _without_picture(lens: Intrinsics) -> bytes:
    """Markers of a JPEG of this size, and nothing between them."""
    size = lens.height_px.to_bytes(2, "big") + lens.width_px.to_bytes(2, "big")
    return b"\xff\xd8\xff\xc0\x00\x0b\x08" + size + b"\x01\x00\x00\x00\xff\xd9"


def scaled_to(full: Intrinsics, width_px: int, height_px: int) -> Intrinsics:
    """Intrinsics at another size of the same view (pixel centres at integers)."""
    across, down = width_px / full.width_px, height_px / full.height_px
    return replace(
        full,
        width_px=width_px,
        height_px=height_px,
        fx_px=full.fx_px * across,
        fy_px=full.fy_px * down,
        cx_px=(full.cx_px + 0.5) * across - 0.5,
        cy_px=(full.cy_px + 0.5) * down - 0.5,
    )
