"""One Femto Bolt as a source of captures: opens, checks, pairs, stamps, reopens."""

from __future__ import annotations

from dataclasses import dataclass

from mvista_cameras.apart import apart_words, check_tolerance
from mvista_cameras.connection import Connection, Phase, Step
from mvista_cameras.damage import DamagedImages
from mvista_cameras.link import check_link
from mvista_cameras.ports import CaptureDevice, DeviceOpener
from mvista_cameras.profiles import ProfileChoice, choose_profiles
from mvista_cameras.records import (
    Condition,
    Damaged,
    DeviceIdentity,
    RawImage,
    SourceReport,
    Stream,
    SyncConfig,
)
from mvista_cameras.settings import CameraSettings
from mvista_cameras.stamps import NS_PER_US, Reading, StampMap
from mvista_cameras.sync import check_read_back
from mvista_core.capture import Capture
from mvista_core.errors import CameraError
from mvista_core.ports import Clock
from mvista_core.registration import StreamCalibration
from mvista_core.timing import NS_PER_S, read_clocks, seconds_to_ns
from mvista_ros.convert.jpeg import decode_jpeg
from mvista_ros.pairing import Pair, StampPairing

SYNC_TRIES = 3
CLOCK_SET_NS = NS_PER_S // 2
WAITING_IMAGES, NO_WAIT_S = 32, 0.005
"""More than an SDK's queue holds, and less than the time to the next image."""
STREAMS = (Stream.COLOR.value, Stream.DEPTH.value)
READ_S = 0.1
"""A read waits no longer, so that silence is noticed and a stop is heard."""


@dataclass(frozen=True)
class _Checked:
    """A device that is open and what was asked for of it is offered."""

    device: CaptureDevice
    identity: DeviceIdentity
    choice: ProfileChoice


@dataclass(frozen=True)
class _Open(_Checked):
    """One that streams."""

    sync: SyncConfig
    calibration: StreamCalibration


@dataclass(frozen=True)
class _Stamped:
    """An image; of a colour one also its capture time on the wall clock, how far the camera's clock
    strays, and its number among all that came."""

    image: RawImage
    stamp_ns: int | None = None
    residual_ns: int = 0
    number: int = 0


@dataclass
class _Counts:
    heard: int = 0
    colors: int = 0
    pairs: int = 0
    shots: int = 0


class FemtoBolt:
    """A `CaptureSource`. `open_device` is called anew for each connection.

    `next` never raises for what a device does: the fault is in `report`, and it tries again.
    """

    def __init__(
        self,
        camera: str,
        settings: CameraSettings,
        clock: Clock,
        open_device: DeviceOpener,
    ) -> None:
        self.camera = camera
        self._settings, self._clock, self._device_opener = settings, clock, open_device
        self._connection = Connection(settings.times, clock.monotonic_ns(), STREAMS)
        self._stamps = StampMap(settings.latency_s)
        self._pairing = self._new_pairing()
        # Kept by the thread that pairs: `report` may not walk through what that thread adds to.
        self._apart_ns: int | None = None
        self._checked: _Checked | None = None
        self._open: _Open | None = None
        self._wanted = True
        self._calibration: StreamCalibration | None = None
        self._paired_ns = -1
        self._counts = _Counts()
        self._spoilt = DamagedImages()

    def next(self, timeout_s: float) -> Capture | None:
        """The next capture; None when there was none in time, or while the camera is not there."""
        now_ns = self._clock.monotonic_ns()
        step = self._connection.next(now_ns, self._wanted)
        if step is Step.WAIT:
            wait_s = min(timeout_s, self._connection.wait_s(now_ns))
            self._clock.sleep_until(now_ns + seconds_to_ns(wait_s))
            return None
        try:
            if step is Step.LOOK:
                self._look()
            elif step is Step.OPEN:
                self._open_device()
            elif step is Step.START:
                self._start()
            elif step is Step.STOP:
                self._stop()
            elif step is Step.CLOSE:
                return self._last_look(now_ns)
            else:
                self._take(min(timeout_s, READ_S))
                return self._paired()
        except CameraError as error:
            self.close()
            self._connection.failed(f"[{error.code}] {error}", self._clock.monotonic_ns())
        return None

    def skip(self, reason: str) -> None:
        """The newest capture's colour could not be decoded: counted among the damaged images."""
        self._spoilt.skip(reason, self._clock.monotonic_ns())

    def stream(self, wanted: bool) -> None:
        """Whether it shall stream; without, it is open and checked, its lasers are off."""
        self._wanted = wanted

    def report(self) -> SourceReport:
        """The connection in a sentence; link, profile, sync as read back, clocks, losses."""
        connection, open_, now_ns = self._connection, self._open, self._clock.monotonic_ns()
        unusable = self._unusable(now_ns)
        streaming = connection.phase is Phase.STREAMING and not unusable
        failed = bool(unusable or connection.reason) and not streaming
        condition = Condition.OK if streaming else Condition.FAILED if failed else Condition.WAITING
        if connection.phase is Phase.READY:
            condition = Condition.READY
        message = (unusable or connection.reason) if failed else connection.phase.value
        stamps, counts = self._stamps, self._counts
        values = [
            ("connection losses", str(connection.losses)),
            ("starts since it streamed steadily", str(connection.starts)),
            ("damaged images", self._spoilt.words()),
            ("shots", str(counts.shots)),
            ("colour images without depth", str(max(counts.colors - counts.pairs - 1, 0))),
            ("camera clock steps", str(stamps.device_steps)),
            ("host clock steps", f"{stamps.wall_steps} (last {stamps.last_wall_step_s:+.3f} s)"),
            ("clock drift (ppm)", f"{stamps.drift_ppm:.1f}"),
            ("clock residual (ms)", f"{stamps.residual_ns / 1e6:.1f}"),
            ("capture to arrival (ms)", f"{stamps.latency_s * 1000:.1f}"),
        ]
        warning = self._spoilt.warning(now_ns) if streaming else ""
        return SourceReport(
            condition, message, (*_described(open_ or self._checked), *values), warning
        )

    def close(self) -> None:
        """Let go of the device."""
        checked, self._checked, self._open = self._checked, None, None
        if checked is not None:
            checked.device.close()

    def _open_device(self) -> None:
        device = self._device_opener()
        try:
            self._checked = checked = self._check(device)
        except CameraError:
            device.close()
            raise
        if self._wanted:
            self._start()
        else:
            self._synchronise(device, checked.identity.serial)
            self._connection.ready(self._clock.monotonic_ns())

    def _start(self) -> None:
        assert self._checked is not None
        self._open = self._started(self._checked)
        self._adopt(self._open.calibration)
        self._stamps.restart()
        self._pairing, self._paired_ns = self._new_pairing(), -1
        self._spoilt.since_pair = 0
        self._connection.opened(self._clock.monotonic_ns())

    def _stop(self) -> None:
        open_, self._open = self._open, None
        if open_ is not None:
            open_.device.stop()
        self._connection.ready(self._clock.monotonic_ns())

    def _look(self) -> None:
        """Left alone after starts in vain, only switching it off and on helps; or not wanted."""
        now_ns = self._clock.monotonic_ns()
        if self._device_opener.connected():
            self._connection.still_there(now_ns)
        else:
            self.close()
            self._connection.vanished(now_ns)

    def _check(self, device: CaptureDevice) -> _Checked:
        settings, identity = self._settings, device.identity()
        check_link(identity.connection, identity.serial)
        choice = choose_profiles(
            device.color_profiles(), device.depth_profiles(), settings.color, settings.depth
        )
        check_tolerance(settings.pairing_tolerance_s, choice)
        return _Checked(device, identity, choice)

    def _started(self, checked: _Checked) -> _Open:
        device, choice, serial = checked.device, checked.choice, checked.identity.serial
        self._synchronise(device, serial)
        self._connection.started()
        calibration = device.start(choice.color, choice.depth)
        # Starting the streams is known to reset what was set before.
        sync = device.read_sync()
        check_read_back(self._settings.sync, sync, serial)
        return _Open(device, checked.identity, choice, sync, calibration)

    def _synchronise(self, device: CaptureDevice, serial: str) -> None:
        wanted = self._settings.sync
        for left in reversed(range(SYNC_TRIES)):
            device.write_sync(wanted)
            try:
                return check_read_back(wanted, device.read_sync(), serial)
            except CameraError:
                if not left:
                    raise

    def _last_look(self, now_ns: int) -> Capture | None:
        """Silence may be this process's own: what waits is taken before the camera is given up."""
        silence = self._connection.silence(now_ns)
        for _ in range(WAITING_IMAGES):
            if not self._take(NO_WAIT_S):
                break
            capture = self._paired()
            if self._connection.next(self._clock.monotonic_ns()) is Step.READ:
                return capture
        raise CameraError(silence)

    def _take(self, timeout_s: float) -> bool:
        """Whether the device had images; they wait to be paired."""
        assert self._open is not None
        images = self._open.device.wait(timeout_s)
        for image in images:
            now_ns = self._clock.monotonic_ns()
            self._connection.heard(image.stream.value, now_ns)
            self._counts.heard += image.stream is Stream.COLOR
            found = self._judged(image, self._open)
            if isinstance(found, Damaged):
                self._spoilt.add(found, now_ns)
            else:
                self._add(found)
        if images:
            self._apart_ns = self._pairing.apart_ns
        return bool(images)

    def _judged(self, image: RawImage | Damaged, open_: _Open) -> RawImage | Damaged:
        """The image, if it is of the size that was asked for and calibrated."""
        if isinstance(image, Damaged):
            return image
        # Orbbec's align filter gives depth in the colour image's size.
        own_depth = image.stream is Stream.DEPTH and self._settings.registration == "own"
        lens = open_.calibration.depth if own_depth else open_.calibration.color
        if (image.width_px, image.height_px) == (lens.width_px, lens.height_px):
            return image
        return Damaged(
            image.stream,
            f"an image of {image.width_px}x{image.height_px}, asked for and calibrated are "
            f"{lens.width_px}x{lens.height_px}",
        )

    def _unusable(self, now_ns: int) -> str:
        """Why images come and none is usable, in words; "" where that is no trouble."""
        streaming = self._connection.phase is Phase.STREAMING
        if streaming and (fault := self._stamps.fault):
            return (
                f"[{CameraError.code}] {fault}: its stamps cannot be trusted and its images are "
                "withheld. Is this machine's clock being slewed (chronyc tracking)? Else switch "
                "the camera's 12 V supply off and on"
            )
        seconds = self._connection.unusable_s(now_ns)
        seconds = seconds or self._spoilt.undecodable_s(now_ns, self._settings.silence_s)
        if not seconds:
            return ""
        words = f"[{CameraError.code}] images come, but no usable pair for {seconds:.1f} s: "
        if self._spoilt.since_pair:
            return words + (
                f"{self._spoilt.since_pair} were damaged, the newest {self._spoilt.newest}: check "
                "cable, hub and 12 V supply; if it stays, start this camera's node anew"
            )
        apart_ns, tolerance_s = self._apart_ns, self._settings.pairing_tolerance_s
        if apart_ns is not None and apart_ns <= seconds_to_ns(tolerance_s):
            return ""
        return words + apart_words(apart_ns, tolerance_s, self._rate_hz())

    def _rate_hz(self) -> int:
        open_ = self._open
        return open_.choice.color.rate_hz if open_ is not None else self._settings.rate_hz

    def _paired(self) -> Capture | None:
        """The newest pair, if it is new, one to be kept, and truly stamped."""
        open_ = self._open
        assert open_ is not None
        pair = self._pairing.newer_than(self._paired_ns)
        if pair is None:
            return None
        self._paired_ns = pair.stamp_ns
        self._connection.image(self._clock.monotonic_ns())
        self._counts.pairs += 1
        self._spoilt.paired()
        # By the image's number, not the pair's: what was lost leaves a gap in the sequence.
        sequence, thinned_out = divmod(pair.color.number, open_.choice.keep_every)
        if thinned_out or pair.color.stamp_ns is None:
            return None
        return self._capture(pair, sequence, pair.color.stamp_ns)

    def _add(self, image: RawImage) -> None:
        # Paired on the device's clock, not by arrival: arrivals of one capture lie 40-60 ms apart.
        device_ns = image.device_us * NS_PER_US
        newest_ns = self._pairing.newest_color_ns
        if newest_ns is not None and abs(device_ns - newest_ns) > CLOCK_SET_NS:
            # The device's clock was set: what waits has stamps of the old one.
            self._pairing, self._paired_ns = self._new_pairing(), -1
        if image.stream is Stream.DEPTH:
            self._pairing.add_depth(device_ns, _Stamped(image))
            return
        reading = Reading(image.device_us, *read_clocks(self._clock), image.global_us)
        self._counts.colors += 1
        stamps, number = self._stamps, self._counts.heard
        stamp_ns: int | None = stamps.stamp(reading)
        if stamps.fault or not stamps.settled:
            stamp_ns = None
        self._pairing.add_color(device_ns, _Stamped(image, stamp_ns, stamps.residual_ns, number))

    def _capture(self, pair: Pair[_Stamped], sequence: int, stamp_ns: int) -> Capture:
        color, depth = pair.color.image, pair.depth.image
        assert self._calibration is not None and depth.pixels is not None
        after_ns = (depth.device_us - color.device_us) * NS_PER_US
        self._counts.shots += 1
        self._spoilt.next_capture()
        pixels = color.pixels
        return Capture(
            self.camera,
            sequence,
            stamp_ns,
            stamp_ns + after_ns,
            color.jpeg,
            depth.pixels,
            self._calibration,
            decode_jpeg if pixels is None else lambda _: pixels,
            pair.color.residual_ns,
        )

    def _adopt(self, calibration: StreamCalibration) -> None:
        if self._settings.registration == "sdk":
            calibration = StreamCalibration.aligned(calibration.color)
        known = self._calibration
        self._calibration = known if known and calibration.same_as(known) else calibration
        if not calibration.is_aligned:
            # Made now: the first who reads depth would have the camera wait for it.
            self._calibration.registration  # noqa: B018

    def _new_pairing(self) -> StampPairing[_Stamped]:
        return StampPairing(seconds_to_ns(self._settings.pairing_tolerance_s))


def _described(checked: _Checked | None) -> tuple[tuple[str, str], ...]:
    if checked is None:
        return ()
    identity = checked.identity
    found = (
        ("camera", f"{identity.model} {identity.serial}, firmware {identity.firmware}"),
        ("link", identity.connection),
        ("colour profile", str(checked.choice.color)),
        ("depth profile", str(checked.choice.depth)),
    )
    if not isinstance(checked, _Open):
        return found
    sync = checked.sync
    return (*found, ("sync read back", f"{sync.role}, depth delay {sync.depth_delay_us} us"))
