"""Four emulated Bolts and two arms into one recorder: lost, and what it costs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import Image

from mvista_bringup.graph.spec import started_rows
from mvista_bringup.options import SHARE
from mvista_bringup.paths import output_dir, share_root
from mvista_bringup.supervisor import Supervisor
from mvista_core.errors import ConfigError, StreamError
from mvista_core.timing import SystemClock
from mvista_eval.figures import Figure, Measured
from mvista_eval.graph import Moment
from mvista_eval.live import let_run
from mvista_eval.process_usage import usage_of_session
from mvista_eval.record.counts import Counted, counted
from mvista_eval.record.graph import READY_S, RecordDesk, arm_traffic, bolt, recorder
from mvista_eval.record.pickled import PickleCost, pickled
from mvista_recorder.episode_reader import EpisodeReader
from mvista_recorder.layout import EPISODE, episode_folders
from mvista_ros import qos
from mvista_ros.listening import Listening
from mvista_ros.spinning import spinning

CAMERAS, FPS = 4, 15
NOISY = "{noisy: true}"
RECORDER = "/recorder"
MOST_CORES, MOST_MB_S = 0.8, 30.0
EASY = 0.3
"""The bench begins also where the machine cannot keep the rates: what is missing it tells."""


def measure(seconds: float, previews: bool, keep: bool = False) -> Measured:
    """An episode of so long, and the same frames dumped as `.pkl`. `previews`: they are read too.

    Raises:
        ConfigError: no time. UnavailableError: a process ended, or nothing could be recorded.
    """
    if not seconds > 0:
        raise ConfigError(f"--seconds is {seconds:g}; allowed: more than 0")
    clock, run_dir = SystemClock(), output_dir("bench", "record")
    root = run_dir / "episodes"
    names = tuple(f"cam{index}" for index in range(CAMERAS))
    graph = (
        *(bolt(name, index, NOISY) for index, name in enumerate(names)),
        arm_traffic(),
        recorder(root, names, least_share=EASY),
    )
    values = {SHARE: str(share_root())}
    before = set(episode_folders(root)) if root.is_dir() else set()
    with (
        Supervisor(graph, values, run_dir, clock=clock) as supervisor,
        spinning(RecordDesk, supervisor.domain_id) as desk,
        _previews(names, supervisor.domain_id) if previews else _nothing(),
    ):
        supervisor.wait_ready(READY_S)
        rows = [row.full_name for row in started_rows(graph, values)]
        leaders = dict(zip(rows, supervisor.pids, strict=True))
        desk.start(supervisor)
        first = _moment(leaders, clock)
        let_run(supervisor, seconds, clock)
        cores = _moment(leaders, clock).cores_since(first)
        desk.end()
    (folder,) = set(episode_folders(root)) - before
    reader = EpisodeReader(folder)
    found = counted(reader)
    told = _measured(seconds, previews, reader, found, cores, pickled(reader, run_dir))
    if not keep:
        shutil.rmtree(folder)
    return told


def _moment(leaders: Mapping[str, int], clock: SystemClock) -> Moment:
    usages = {name: usage_of_session(pid) for name, pid in leaders.items()}
    return Moment(clock.monotonic_ns(), usages)


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _previews(cameras: tuple[str, ...], domain_id: int) -> Iterator[None]:
    """A reader of every small image, as the page of `mvista watch` is."""
    with spinning(partial(Node, "previews"), domain_id) as node:
        listening = Listening(node, SystemClock())
        for camera in cameras:
            for kind in ("color", "depth"):
                topic = f"/{camera}/{kind}/preview"
                listening.listen(Image, topic, lambda _: None, qos.SENSOR_IN, raw=True)
        yield


def _measured(
    seconds: float,
    previews: bool,
    reader: EpisodeReader,
    found: Mapping[str, Counted],
    cores: Mapping[str, float],
    dumped: PickleCost,
) -> Measured:
    images = {topic: c for topic, c in found.items() if "/depth/" in topic or "/color/" in topic}
    joints = {topic: c for topic, c in found.items() if topic not in images}
    if not images or not joints:
        raise StreamError(f"the episode holds {sorted(found)} only")
    size = (reader.folder / EPISODE).stat().st_size
    mb_s = size / 1e6 / max(c.span_s for c in images.values())
    dropped = sum(stream.dropped for stream in reader.manifest.streams.values())
    jpegs = [c for topic, c in images.items() if "/color/" in topic]
    jpeg_kb = sum(c.bytes for c in jpegs) / sum(c.count for c in jpegs) / 1e3
    rate = CAMERAS * FPS
    lines = _lines(found, cores, mb_s, jpeg_kb, dropped, dumped)
    counts = {
        "images": sum(c.count for c in images.values()),
        "images_lost": sum(c.lost for c in images.values()),
        "joints": sum(c.count for c in joints.values()),
        "joints_lost": sum(c.lost for c in joints.values()),
    }
    document: dict[str, Any] = {
        "seconds": seconds,
        "previews": previews,
        **counts,
        "streams": {topic: asdict(c) for topic, c in found.items()},
        "cores": dict(cores),
        "mb_a_second": mb_s,
        "jpeg_kb": jpeg_kb,
        "sync": dict(reader.manifest.sync),
        "pickle": {
            **asdict(dumped),
            "cores": dumped.cores(rate),
            "mb_a_second": dumped.mb_a_second(rate),
        },
    }
    slowest = min(c.rate_hz for c in images.values())
    figures = [
        Figure(f"images lost of {counts['images']}", float(counts["images_lost"]), 0.0),
        Figure(f"joint messages lost of {counts['joints']}", float(counts["joints_lost"]), 0.0),
        Figure("slowest stream of images, % below its rate", 100 * (1 - slowest / FPS), 1.0),
        Figure("recorder, cores", cores[RECORDER], MOST_CORES),
        Figure("recorder, MB/s", mb_s, MOST_MB_S),
    ]
    what = f"{CAMERAS} cameras and two arms, {seconds:g} s{', previews read' * previews}"
    return Measured(f"record: {what}", "\n".join(lines), document, figures)


def _lines(
    found: Mapping[str, Counted],
    cores: Mapping[str, float],
    mb_s: float,
    jpeg_kb: float,
    dropped: int,
    dumped: PickleCost,
) -> list[str]:
    rate = CAMERAS * FPS
    return [
        *(
            f"{topic:<42}{c.count:>8} at {c.rate_hz:6.2f} Hz, lost {c.lost}, repeated {c.repeated}"
            for topic, c in found.items()
        ),
        *(f"{name:<18}{share:>7.1%} of one core" for name, share in cores.items()),
        f"recorder: {cores[RECORDER]:.2f} cores, {mb_s:.1f} MB/s; a JPEG is {jpeg_kb:.0f} kB; it "
        f"says that {dropped} were dropped",
        f".pkl of {dumped.captures} of the same frames, decoded and registered: "
        f"{dumped.cores(rate):.2f} cores and {dumped.mb_a_second(rate):.0f} MB/s for {rate} "
        f"captures a second ({dumped.cpu_ms:.1f} ms each)",
    ]
