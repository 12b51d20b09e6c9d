"""What a camera costs by who reads it: nobody, its tap, its tap while another sticks, its topics.

Emulated cameras, noisy as real ones, run through all phases of one run. Reading the topics is what
was paid always while every image was decoded and registered, so the other phases are told as a
part of it.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import Image

from mvista_bringup.graph.spec import DDS_PROFILE
from mvista_bringup.options import SHARE
from mvista_bringup.paths import output_dir, share_root
from mvista_bringup.supervisor import Supervisor
from mvista_core.errors import ConfigError, ObservationError, TapError
from mvista_core.tap import TapReader
from mvista_core.tap_wire import tap_path
from mvista_core.timing import SystemClock
from mvista_eval.capture.bench import READY_S, SETTLE_S, camera_spec, size_px_of
from mvista_eval.figures import Figure, Measured
from mvista_eval.live import let_run
from mvista_eval.process_usage import usage_of
from mvista_eval.statistics import Quantiles
from mvista_ros import qos
from mvista_ros.convert.image_bytes import image_from_bytes
from mvista_ros.listening import Listening
from mvista_ros.observation import CameraTopics
from mvista_ros.spinning import spinning

NOBODY, TAP, STUCK, TOPICS = "nobody", "tap", "tap, another sticks", "topics"
LARGEST_PART = 50.0
"""Percent of the cost of read topics that a camera may take while none is read."""
WARM_CAPTURES = 30


@dataclass
class Arrivals:
    """What came in a phase, and how old it was."""

    ages_ms: list[float] = field(default_factory=list)
    lost: int = 0


@dataclass(frozen=True)
class ReadingCost:
    """One way of reading the cameras, and what it cost them.

    By capture: on a machine that is busy with other things a camera takes fewer of them.
    """

    readers: str
    captures: int
    cpu_ms_per_capture: float
    received: int
    lost: int
    age_ms: Quantiles | None


def measure_readers(count: int, size: str, fps: int, seconds: float) -> Measured:
    """The four phases, `seconds` each.

    Raises:
        ConfigError: a question that makes no sense. UnavailableError: a process ended.
    """
    if not 1 <= count <= 16 or fps < 1 or seconds <= 0:
        raise ConfigError("allowed: 1 to 16 cameras, at least 1 fps, more than 0 seconds")
    cameras = tuple(f"cam{index}" for index in range(count))
    graph = tuple(
        camera_spec(name, index, size_px_of(size), fps, "emulated", emulation="{noisy: true}")
        for index, name in enumerate(cameras)
    )
    values, run_dir = {SHARE: str(share_root())}, output_dir("bench", "capture_readers")
    with Supervisor(graph, values, run_dir, dds_profile=DDS_PROFILE) as supervisor:
        supervisor.wait_ready(READY_S)
        paths = [tap_path(name, domain=supervisor.domain_id) for name in cameras]
        with _taps(paths) as arrivals:
            let_run(
                supervisor,
                READY_S,
                SystemClock(),
                lambda: len(arrivals.ages_ms) >= WARM_CAPTURES * count,
            )
        ways: dict[str, Callable[[], AbstractContextManager[Arrivals]]] = {
            NOBODY: partial(_taps, ()),
            TAP: partial(_taps, paths),
            STUCK: partial(_taps, paths, sticking=paths),
            TOPICS: partial(_topics, cameras, supervisor.domain_id),
        }
        phases = [_phase(supervisor, paths, name, way, seconds) for name, way in ways.items()]
    return _told(phases, {"cameras": count, "size": size, "fps": fps, "seconds": seconds})


def _phase(
    supervisor: Supervisor,
    paths: Sequence[Path],
    name: str,
    way: Callable[[], AbstractContextManager[Arrivals]],
    seconds: float,
) -> ReadingCost:
    clock = SystemClock()
    with way() as arrivals:
        let_run(supervisor, SETTLE_S, clock)
        before, first, first_s = len(arrivals.ages_ms), _sequence(paths), _cpu_s(supervisor)
        let_run(supervisor, seconds, clock)
        used_s, captures = _cpu_s(supervisor) - first_s, _sequence(paths) - first
        ages_ms = arrivals.ages_ms[before:]
    # Readers have counted what they lost when they have ended.
    age_ms = Quantiles.of(np.array(ages_ms)) if ages_ms else None
    cpu_ms = 1e3 * used_s / max(captures, 1)
    return ReadingCost(name, captures, cpu_ms, len(ages_ms), arrivals.lost, age_ms)


def _sequence(paths: Sequence[Path]) -> int:
    """How many captures the cameras have taken, all together."""
    total = 0
    for path in paths:
        with TapReader(path, _never) as reader:
            total += next(reader.captures(READY_S)).sequence
    return total


def _cpu_s(supervisor: Supervisor) -> float:
    return sum(usage_of(pid).cpu_s for pid in supervisor.pids)


@contextmanager
def _taps(paths: Sequence[Path], sticking: Sequence[Path] = ()) -> Iterator[Arrivals]:
    """A reader of each tap, in a thread; and clients that connect and never read."""
    arrivals, ended = Arrivals(), threading.Event()
    readers = [TapReader(path, _never) for path in paths]
    threads = [threading.Thread(target=_read, args=(r, arrivals, ended)) for r in readers]
    with ExitStack() as stack:
        for path in sticking:
            client = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            client.connect(os.fspath(path))
        for thread in threads:
            thread.start()
        try:
            yield arrivals
        finally:
            ended.set()
            for thread in threads:
                thread.join()
            arrivals.lost += sum(reader.lost for reader in readers)


def _read(reader: TapReader, arrivals: Arrivals, ended: threading.Event) -> None:
    clock = SystemClock()
    with reader:
        while not ended.is_set():
            try:
                capture = reader.next(0.2)
            except TapError:
                arrivals.lost += 1
                return
            if capture is not None:
                arrivals.ages_ms.append((clock.now_ns() - capture.stamp_ns) / 1e6)


def _never(jpeg: bytes) -> Any:
    raise ObservationError(f"{len(jpeg)} bytes were to be decoded: a reader of the tap does not")


@contextmanager
def _topics(cameras: Sequence[str], domain_id: int) -> Iterator[Arrivals]:
    """A reader of every image, whole and undecoded."""
    arrivals, clock = Arrivals(), SystemClock()

    def take(data: bytes) -> None:
        arrivals.ages_ms.append((clock.now_ns() - image_from_bytes(data).stamp_ns) / 1e6)

    with spinning(partial(Node, "reader"), domain_id) as node:
        listening = Listening(node, clock)
        for names in map(CameraTopics.of, cameras):
            for topic in (names.color, names.depth):
                listening.listen(Image, f"/{topic}", take, qos.SENSOR_ALL_IN, raw=True)
        yield arrivals


def _told(phases: Sequence[ReadingCost], asked: dict[str, Any]) -> Measured:
    cost = {phase.readers: phase for phase in phases}
    full = cost[TOPICS].cpu_ms_per_capture
    parts = {name: 100 * phase.cpu_ms_per_capture / full for name, phase in cost.items()}
    alone, beside = cost[TAP].age_ms, cost[STUCK].age_ms
    later_ms = beside.p50 - alone.p50 if alone and beside else float("nan")
    lines = [
        f"{phase.readers:20s} {phase.cpu_ms_per_capture:5.1f} ms of the processor a capture, "
        f"{phase.cpu_ms_per_capture * asked['fps'] / 10:4.0f} % of a core for each camera, "
        f"{parts[phase.readers]:4.0f} % of what read topics cost; received {phase.received}, "
        f"lost {phase.lost}, age (ms) {phase.age_ms or '-'}"
        for phase in phases
    ]
    figures = [
        Figure("cost while nobody reads (% of topics read)", parts[NOBODY], LARGEST_PART),
        Figure("cost while the tap is read (% of topics read)", parts[TAP], LARGEST_PART),
        Figure("captures that tap readers lost", float(cost[TAP].lost + cost[STUCK].lost), 0.0),
        Figure("how much later captures come while another sticks (ms, median)", later_ms, 5.0),
    ]
    what = f"{asked['cameras']} cameras, {asked['size']} at {asked['fps']} Hz, by who reads them"
    document = {**asked, "phases": [asdict(phase) for phase in phases]}
    return Measured(f"capture: {what}", "\n".join(lines), document, figures)
