"""The tap: what goes in comes out, nobody makes the camera wait, foreign bytes are refused."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mvista_core.capture import Capture
from mvista_core.errors import CameraSilentError, TapError
from mvista_core.geometry import pose_from
from mvista_core.records import Intrinsics
from mvista_core.registration import StreamCalibration
from mvista_core.tap import MOST_READERS, Tap, TapReader
from mvista_core.tap_wire import CAPTURE, PREFIX, Greeting, pack_capture, pack_greeting, tap_path
from mvista_core.timing import SystemClock
from mvista_ros.convert.jpeg import decode_jpeg, encode_jpeg

COLOR = Intrinsics(64, 36, 40.1, 40.2, 31.5, 17.5, (0.08, -0.11, 1e-5, -5e-5, 0.05))
DEPTH = Intrinsics(32, 28, 25.0, 25.0, 15.5, 13.5)
POSE = pose_from(np.eye(3), np.array([-0.03, 1e-7, 0.0]))
CALIBRATION = StreamCalibration(COLOR, DEPTH, POSE)
RNG = np.random.default_rng(3)
JPEG = encode_jpeg(RNG.integers(0, 255, (36, 64, 3), np.uint8))
SOON_S = 5.0


def capture(sequence: int, calibration: StreamCalibration = CALIBRATION, pad: int = 0) -> Capture:
    depth_mm = np.full((28, 32), sequence % 60_000, np.uint16)
    stamp_ns = 10**18 + sequence
    jpeg = JPEG + bytes(pad)
    return Capture(
        "cam0", sequence, stamp_ns, stamp_ns - 3, jpeg, depth_mm, calibration, decode_jpeg, 9
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tap_path("cam0", {"XDG_RUNTIME_DIR": str(tmp_path), "ROS_DOMAIN_ID": "7"})


@pytest.fixture
def tap(path: Path) -> Iterator[Tap]:
    with Tap(path, "cam0") as served:
        yield served


@pytest.fixture
def reader(tap: Tap) -> Iterator[TapReader]:
    with TapReader(tap.path, decode_jpeg) as reading:
        joined(tap, reading)
        yield reading


def until(condition: Callable[[], bool]) -> None:
    clock = SystemClock()
    for _ in range(500):
        if condition():
            return
        clock.sleep_until(clock.monotonic_ns() + 10_000_000)
    raise AssertionError("it did not come to pass within 5 s")


def joined(tap: Tap, reading: TapReader) -> None:
    """A reader that was there before the next capture gets it."""
    before = tap.readers
    assert reading.next(0.0) is None
    until(lambda: tap.readers == before + 1)


def stuck(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.connect(os.fspath(path))
    return client


def taken(reading: TapReader) -> Capture:
    found = reading.next(SOON_S)
    assert found is not None
    return found


def test_a_capture_comes_out_as_it_went_in(tap: Tap, reader: TapReader) -> None:
    sent = capture(41)
    tap.offer(sent)
    got = taken(reader)
    assert (got.camera, got.sequence) == ("cam0", 41)
    assert (got.stamp_ns, got.depth_stamp_ns, got.clock_residual_ns) == (
        10**18 + 41,
        10**18 + 38,
        9,
    )
    assert got.jpeg == sent.jpeg
    np.testing.assert_array_equal(got.native_depth_mm, sent.native_depth_mm)
    assert got.calibration.same_as(CALIBRATION)
    np.testing.assert_array_equal(got.pixels(), sent.pixels())
    np.testing.assert_array_equal(got.registered_depth_mm(), sent.registered_depth_mm())


def test_a_calibration_is_sent_once_and_again_when_it_changes(tap: Tap, reader: TapReader) -> None:
    other = StreamCalibration(COLOR, DEPTH, np.eye(4))
    for sequence, calibration in enumerate((CALIBRATION, CALIBRATION, other, other)):
        tap.offer(capture(sequence, calibration))
    got = [taken(reader).calibration for _ in range(4)]
    assert got[0] is got[1] and got[2] is got[3]
    assert got[0].same_as(CALIBRATION) and got[2].same_as(other)


def test_one_that_does_not_read_costs_the_others_and_the_camera_nothing(
    tap: Tap, reader: TapReader
) -> None:
    """Half a MB a capture: the sockets' buffers and the queue are full long before the last."""
    with stuck(tap.path):
        until(lambda: tap.readers == 2)
        for sequence in range(60):
            tap.offer(capture(sequence, pad=1 << 19))
            assert taken(reader).sequence == sequence
        assert reader.lost == 0
        assert tap.lost >= 60 - 30 - 2


def test_a_slow_reader_counts_what_it_lost(tap: Tap, reader: TapReader) -> None:
    for sequence in range(100):
        tap.offer(capture(sequence, pad=1 << 19))
    got = [taken(reader).sequence]
    while got[-1] < 99:
        got.append(taken(reader).sequence)
    assert got == sorted(got)
    assert reader.received + reader.lost == 100 - got[0]
    # What was lost before its first capture a reader cannot count.
    assert reader.lost + got[0] == tap.lost > 0 and reader.received == len(got)


def test_readers_that_die_are_forgotten(tap: Tap, reader: TapReader) -> None:
    clients = [stuck(tap.path) for _ in range(3)]
    until(lambda: tap.readers == 4)
    for client in clients:
        client.close()
    tap.offer(capture(0))
    until(lambda: tap.readers == 1)
    assert taken(reader).sequence == 0 and tap.foreign == 0


def test_a_client_that_writes_is_sent_away(tap: Tap, reader: TapReader) -> None:
    with stuck(tap.path) as client:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n" * 100)
        until(lambda: tap.readers == 2)
        tap.offer(capture(0))
        until(lambda: tap.readers == 1)
        client.settimeout(SOON_S)
        with suppress(ConnectionResetError):  # what it wrote was never read
            assert client.recv(4096) == b""
    assert taken(reader).sequence == 0 and tap.foreign == 1


def test_one_reader_too_many_is_told_so(tap: Tap) -> None:
    clients = [stuck(tap.path) for _ in range(MOST_READERS)]
    until(lambda: tap.readers == MOST_READERS)
    with TapReader(tap.path, decode_jpeg) as late:
        with pytest.raises(TapError, match=rf"cam0 has {MOST_READERS} readers"):
            late.next(SOON_S)
        for client in clients:
            client.close()
        tap.offer(capture(0))
        until(lambda: tap.readers == 0)
        joined(tap, late)


def test_the_second_process_of_one_camera_is_refused_and_the_first_goes_on(
    tap: Tap, reader: TapReader
) -> None:
    with pytest.raises(TapError, match=rf"another process \({os.getpid()}\)"):
        Tap(tap.path, "cam0")
    tap.offer(capture(1))
    assert taken(reader).sequence == 1


def test_a_socket_that_was_left_behind_is_replaced_and_other_files_are_not(path: Path) -> None:
    path.parent.parent.mkdir(mode=0o700)
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(os.fspath(path))
    assert path.exists()
    Tap(path, "cam0").close()
    assert not path.exists()
    path.write_text("mine")
    with pytest.raises(TapError, match="is there and no socket"):
        Tap(path, "cam0")
    assert path.read_text() == "mine"


def test_the_folder_is_for_this_user_only(path: Path, tmp_path: Path) -> None:
    Tap(path, "cam0").close()
    assert [p.stat().st_mode & 0o777 for p in (tmp_path / "mvista", path.parent)] == [0o700, 0o700]
    path.parent.chmod(0o755)
    with pytest.raises(TapError, match="drwxr-xr-x.*chmod 700"):
        Tap(path, "cam0")


@pytest.mark.parametrize(
    ("camera", "domain", "words"),
    [("../cam0", "0", "no camera's name"), ("", "0", "no camera's name"), ("cam0", "x", "is 'x'")],
)
def test_a_place_that_cannot_be_is_refused(camera: str, domain: str, words: str) -> None:
    with pytest.raises(TapError, match=words):
        tap_path(camera, {"ROS_DOMAIN_ID": domain})


def test_a_path_too_long_for_a_socket_is_refused_before_it_is_cut(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    with pytest.raises(TapError, match="107 bytes"):
        tap_path("cam0", {"XDG_RUNTIME_DIR": str(deep)})


def test_a_reader_waits_for_its_camera_and_finds_it_again(path: Path) -> None:
    with TapReader(path, decode_jpeg) as reading:
        assert reading.next(0.0) is None and not reading.connected
        for run in range(2):
            with Tap(path, "cam0") as served:
                joined(served, reading)
                for sequence in range(run * 5, 3):
                    served.offer(capture(sequence))
                    assert taken(reading).sequence == sequence
                served.offer(capture(10))
                assert taken(reading).sequence == 10
            assert reading.next(0.0) is None
        # Sequences of two runs have nothing to do with each other.
        assert (reading.runs, reading.lost, reading.torn) == (2, 7, 0)


def test_silence_is_an_error_with_a_number(reader: TapReader) -> None:
    with pytest.raises(CameraSilentError, match="no capture for 0.05 s; .* is connected"):
        next(reader.captures(0.05))


# ---- what is not of a tap ----------------------------------------------------------------------

GREETING = pack_greeting(Greeting("cam0", "one", CALIBRATION))


def serving(path: Path, *parts: bytes) -> threading.Thread:
    """Somebody who listens at `path`, sends these bytes to the first that comes, and goes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(os.fspath(path))
    listener.listen()

    def serve() -> None:
        with listener, listener.accept()[0] as connection:
            try:
                connection.sendall(b"".join(parts))
            except BrokenPipeError:
                return

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def whole(sequence: int) -> bytes:
    return b"".join(pack_capture(capture(sequence)))


def altered(frame: bytes, at: int, form: str, value: int) -> bytes:
    changed = bytearray(frame)
    struct.pack_into(form, changed, at, value)
    return bytes(changed)


FOREIGN = [
    ((b"HTTP/1.1 200 OK\r\n\r\nhello world" * 4,), "foreign bytes"),
    ((altered(GREETING, 4, "<H", 9),), "speaks version 9"),
    ((altered(GREETING, 6, "<H", 77),), "kind 77"),
    ((altered(GREETING, 12, "<I", 2**31),), f"and {2**31} bytes"),
    ((altered(GREETING, 30, "<B", 7),), "checksum"),
    ((whole(1),), "before its calibration"),
    ((GREETING, whole(5), whole(5)), "5 came after 5"),
]


@pytest.mark.parametrize(("parts", "words"), FOREIGN, ids=[words for _, words in FOREIGN])
def test_foreign_bytes_are_refused_with_a_number(
    path: Path, parts: tuple[bytes, ...], words: str
) -> None:
    thread = serving(path, *parts)
    with TapReader(path, decode_jpeg) as reading:
        with pytest.raises(TapError, match=words) as caught:
            while True:
                assert reading.next(SOON_S) is not None
        assert caught.value.code == 41 and not reading.connected
    thread.join()


def test_a_capture_that_is_torn_is_none_and_is_counted(path: Path) -> None:
    thread = serving(path, GREETING, whole(1), whole(2)[:-1])
    with TapReader(path, decode_jpeg) as reading:
        assert taken(reading).sequence == 1
        assert reading.next(0.3) is None
        assert (reading.received, reading.torn) == (1, 1)
    thread.join()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, len(GREETING) + PREFIX.size + CAPTURE.size - 1), value=st.integers(0, 255))
def test_a_flipped_byte_is_seen_or_does_no_harm(path: Path, at: int, value: int) -> None:
    sent = altered(GREETING + whole(1), at, "<B", value)
    thread = serving(path, sent)
    with TapReader(path, decode_jpeg) as reading:
        try:
            got = reading.next(0.02)
        except TapError:
            got = None
        assert got is None or sent == GREETING + whole(1)
    thread.join()
