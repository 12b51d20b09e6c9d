"""The tap of a camera's process: its captures, undecoded, for other processes of this user.

    with Tap(tap_path("cam0"), "cam0") as tap:                          # the camera's process
        tap.offer(capture)
    with TapReader(tap_path("cam0"), decode_jpeg) as reader:            # any other
        capture = reader.next(timeout_s=0.5)

The camera never waits: each reader has a bounded queue and a thread of its own. A slow one loses
the oldest of what waits, and sees by the sequence how many.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from mvista_core.capture import Capture, JpegDecoder
from mvista_core.errors import CameraSilentError, TapError
from mvista_core.ports import Clock
from mvista_core.registration import StreamCalibration
from mvista_core.tap_place import claim, listen_at, make_private
from mvista_core.tap_wire import (
    PREFIX,
    FrameKind,
    Greeting,
    Prefix,
    check_head,
    pack,
    pack_capture,
    pack_greeting,
    parse_capture,
    parse_greeting,
    parse_prefix,
)
from mvista_core.timing import SystemClock, ns_to_seconds, seconds_to_ns

QUEUE = 30
"""Captures that wait for one reader: two seconds at 15 Hz, 28 MB where all of it is used."""
MOST_READERS = 8
JOIN_S = 2.0
RETRY_S = 0.1
"""Between two tries to reach a camera that is not there."""


class Tap:
    """Serves the captures of one camera at `path` until `close`.

    Raises:
        TapError: another process serves this camera here, or there is no place for a socket.
    """

    def __init__(self, path: Path, camera: str, queue: int = QUEUE) -> None:
        self.path = path
        self._camera, self._queue = camera, queue
        self._session = secrets.token_hex(8)
        self._lock = threading.Lock()
        self._served: list[_Served] = []
        self._lost_before = self._foreign = 0
        make_private(path.parent)
        self._claim = claim(path)
        try:
            self._listener = listen_at(path)
        except TapError:
            os.close(self._claim)
            raise
        self._ended = threading.Event()
        self._accepting = threading.Thread(target=self._accept, name="tap", daemon=True)
        self._accepting.start()

    def offer(self, capture: Capture) -> None:
        """Hand a capture to every reader, whatever they do; takes microseconds.

        Raises:
            TapError: it has no JPEG: the camera gives none, its readers must use its topics.
        """
        if not capture.jpeg:
            raise TapError(f"{capture.camera} gives no JPEG; use its topics")
        with self._lock:
            for served in self._served:
                served.offer(capture)

    @property
    def readers(self) -> int:
        """How many read now."""
        with self._lock:
            return len(self._served)

    @property
    def lost(self) -> int:
        """Captures that slow readers lost, of all the readers there were."""
        with self._lock:
            return self._lost_before + sum(served.lost for served in self._served)

    @property
    def foreign(self) -> int:
        """Clients that were sent away because they wrote: a reader only reads."""
        return self._foreign

    def close(self) -> None:
        """Let go of the readers and of the place."""
        if self._ended.is_set():
            return
        self._ended.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(JOIN_S)
        self._listener.close()
        with self._lock:
            served = list(self._served)
        for each in served:
            each.close()
        self.path.unlink(missing_ok=True)
        os.close(self._claim)

    def __enter__(self) -> Tap:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                # Closed; or this process has no file left, which may pass.
                self._ended.wait(RETRY_S)
                continue
            with self._lock:
                room = len(self._served) < MOST_READERS
                if room:
                    self._serve(connection)
            if not room:
                _refuse(connection, f"{self._camera} has {MOST_READERS} readers: end one of them")

    def _serve(self, connection: socket.socket) -> None:
        served = _Served(connection, self._greeting, self._queue, self._gone)
        self._served.append(served)

    def _greeting(self, calibration: StreamCalibration) -> bytes:
        return pack_greeting(Greeting(self._camera, self._session, calibration))

    def _gone(self, served: _Served, wrote: bool) -> None:
        with self._lock:
            self._served.remove(served)
            self._lost_before += served.lost
            self._foreign += wrote


class _Served:
    """One reader, as the camera's process sees it."""

    def __init__(
        self,
        connection: socket.socket,
        greeting: Callable[[StreamCalibration], bytes],
        queue: int,
        gone: Callable[[_Served, bool], None],
    ) -> None:
        self._connection, self._greeting, self._gone = connection, greeting, gone
        self._waiting: deque[Capture] = deque(maxlen=queue)
        self._more = threading.Condition()
        self._closed = False
        self.lost = 0
        self._sending = threading.Thread(target=self._send, name="tap reader", daemon=True)
        self._sending.start()

    def offer(self, capture: Capture) -> None:
        """The oldest goes where there is no room."""
        with self._more:
            self.lost += len(self._waiting) == self._waiting.maxlen
            self._waiting.append(capture)
            self._more.notify()

    def close(self) -> None:
        """End it, also while it waits for a reader that does not read."""
        with self._more:
            self._closed = True
            self._more.notify()
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._sending.join(JOIN_S)

    def _send(self) -> None:
        known: StreamCalibration | None = None
        wrote = False
        try:
            while (capture := self._next()) is not None and not (wrote := self._wrote()):
                if capture.calibration is not known:
                    known = capture.calibration
                    self._connection.sendall(self._greeting(known))
                for part in pack_capture(capture):
                    self._connection.sendall(part)
        except OSError:
            pass  # the reader is gone
        finally:
            self._connection.close()
            self._gone(self, wrote)

    def _next(self) -> Capture | None:
        with self._more:
            self._more.wait_for(lambda: self._waiting or self._closed)
            return None if self._closed else self._waiting.popleft()

    def _wrote(self) -> bool:
        try:
            return bool(self._connection.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK))
        except BlockingIOError:
            return False


class TapReader:
    """Reads a camera's tap, and reaches for it again when the camera's process was started anew.

    `lost` counts captures missing from the sequence of one run of that process, those while this
    reader was away included; `runs` how many runs it has seen; `torn` how many ended within a
    frame. One thread at a time.
    """

    def __init__(self, path: Path, decode: JpegDecoder, clock: Clock | None = None) -> None:
        self.path = path
        self._decode, self._clock = decode, clock or SystemClock()
        self._stream: _Frames | None = None
        self._greeting: Greeting | None = None
        self._last: int | None = None
        self.received = self.lost = self.runs = self.torn = 0

    @property
    def connected(self) -> bool:
        """Whether the camera's process is there."""
        return self._stream is not None

    @property
    def calibration(self) -> StreamCalibration | None:
        """Of the newest capture; None before the first."""
        return self._greeting.calibration if self._greeting is not None else None

    def next(self, timeout_s: float) -> Capture | None:
        """The next capture, or None: none came in time, or the camera's process is not there.

        Raises:
            TapError: foreign bytes, another version, or this reader was refused. It has been
                disconnected; the next call tries anew.
        """
        until_ns = self._clock.monotonic_ns() + seconds_to_ns(timeout_s)
        while True:
            if self._stream is None and not self._reach():
                if (left_s := self._left_s(until_ns)) <= 0:
                    return None
                self._wait(min(left_s, RETRY_S))
                continue
            assert self._stream is not None
            try:
                frame = self._stream.read(lambda: self._left_s(until_ns))
                capture = None if frame is None else self._understood(*frame)
            except TapError as error:
                self._leave()
                raise TapError(f"{self.path}: {error}") from None
            except (EOFError, OSError):
                self.torn += self._stream.torn
                self._leave()
                self._wait(min(max(self._left_s(until_ns), 0.0), RETRY_S))
                continue
            if capture is not None or frame is None:
                return capture

    def captures(self, silence_s: float) -> Iterator[Capture]:
        """Captures as they come.

        Raises:
            CameraSilentError: none for so long. TapError: as `next`.
        """
        while True:
            capture = self.next(silence_s)
            if capture is None:
                state = "is connected" if self.connected else "cannot be reached"
                raise CameraSilentError(
                    f"{self.path}: no capture for {silence_s:g} s; the camera's process {state}"
                )
            yield capture

    def close(self) -> None:
        """Disconnect."""
        self._leave()

    def __enter__(self) -> TapReader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _reach(self) -> bool:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(os.fspath(self.path))
        except OSError:
            connection.close()
            return False
        self._stream = _Frames(connection)
        return True

    def _leave(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def _left_s(self, until_ns: int) -> float:
        return ns_to_seconds(until_ns - self._clock.monotonic_ns())

    def _wait(self, seconds: float) -> None:
        self._clock.sleep_until(self._clock.monotonic_ns() + seconds_to_ns(seconds))

    def _understood(self, kind: FrameKind, head: bytes, body: memoryview) -> Capture | None:
        """The capture in a frame; None for a calibration, which is kept."""
        if kind is FrameKind.REFUSAL:
            raise TapError(head.decode(errors="replace"))
        if kind is FrameKind.CALIBRATION:
            greeting = parse_greeting(head)
            if self._greeting is None or greeting.session != self._greeting.session:
                self.runs, self._last = self.runs + 1, None
            self._greeting = greeting
            return None
        if self._greeting is None:
            raise TapError("a capture came before its calibration")
        capture = parse_capture(head, body, self._greeting, self._decode)
        if self._last is not None:
            if capture.sequence <= self._last:
                raise TapError(f"capture {capture.sequence} came after {self._last}")
            self.lost += capture.sequence - self._last - 1
        self._last = capture.sequence
        self.received += 1
        return capture


class _Frames:
    """Whole frames of a connection; a time-out within one loses nothing."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._prefix: Prefix | None = None
        self._await(PREFIX.size)

    @property
    def torn(self) -> bool:
        """Whether it stands within a frame."""
        return self._prefix is not None or self._have > 0

    def read(self, left_s: Callable[[], float]) -> tuple[FrameKind, bytes, memoryview] | None:
        """(kind, head, body) of the next frame; None where it is not whole in the time left.

        Raises:
            TapError: foreign. EOFError, OSError: the other end is gone.
        """
        try:
            if self._prefix is None:
                self._fill(left_s)
                self._prefix = parse_prefix(bytes(self._data))
                self._await(self._prefix.head_bytes + self._prefix.body_bytes)
            self._fill(left_s)
        except TimeoutError:
            return None
        prefix, data = self._prefix, self._data
        self._prefix = None
        self._await(PREFIX.size)
        head = bytes(data[: prefix.head_bytes])
        check_head(prefix, head)
        return prefix.kind, head, memoryview(data)[prefix.head_bytes :]

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()

    def _await(self, size: int) -> None:
        self._data, self._have = bytearray(size), 0

    def _fill(self, left_s: Callable[[], float]) -> None:
        with memoryview(self._data) as view:
            while self._have < len(view):
                # What has come already is taken even when no time is left: 0 would not wait.
                self._connection.settimeout(max(left_s(), 1e-6))
                got = self._connection.recv_into(view[self._have :])
                if not got:
                    raise EOFError
                self._have += got


def _refuse(connection: socket.socket, words: str) -> None:
    with suppress(OSError), connection:
        connection.settimeout(0)
        connection.sendall(pack(FrameKind.REFUSAL, words.encode()))
