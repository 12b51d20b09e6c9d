"""Cameras across processes; counted by stamp, timed, and what it costs."""

from __future__ import annotations

import re
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mvista_bringup.graph.spec import DDS_PROFILE, NodeSpec
from mvista_bringup.options import SHARE
from mvista_bringup.paths import output_dir, share_root
from mvista_bringup.supervisor import Supervisor
from mvista_core.errors import ConfigError, UnavailableError
from mvista_core.ports import Clock
from mvista_core.timing import NS_PER_S, SystemClock
from mvista_eval.capture import BACKENDS, DDS
from mvista_eval.capture.counts import TopicFigures, compare, read_arrivals, read_sent
from mvista_eval.figures import Figure, Measured
from mvista_eval.live import let_run
from mvista_eval.process_usage import usage_of
from mvista_eval.statistics import Quantiles
from mvista_ros.observation import CameraTopics

READY_S = 60.0
SETTLE_S = 1.0
STARTED_WITHOUT_S = 20.0
"""With default settings some topics may never deliver: measured all the same after so long."""


@dataclass(frozen=True)
class CaptureRequest:
    """So many cameras of a size (width x height) and rate, for so long.

    `dds`: "project" (config/dds/fastdds.xml) or "default"; `backend`: "synthetic" (traffic only) or
    "emulated" (with the emulated SDK, pairing and registration).
    """

    cameras: int
    size: str
    fps: int
    seconds: float
    dds: str = DDS[0]
    backend: str = BACKENDS[0]


def measure(asked: CaptureRequest) -> Measured:
    """Cameras in processes of their own, and a reader in another.

    Raises:
        ConfigError: a question that makes no sense. UnavailableError: a process ended.
    """
    size_px = size_px_of(asked.size)
    cameras = tuple(f"cam{index}" for index in range(asked.cameras))
    if not 1 <= len(cameras) <= 16 or asked.fps < 1 or asked.seconds <= 0:
        raise ConfigError("allowed: 1 to 16 cameras, at least 1 fps, more than 0 seconds")
    run_dir = output_dir("bench", "capture")
    graph = _graph(cameras, size_px, asked.fps, asked.backend, run_dir)
    profile = DDS_PROFILE if asked.dds == "project" else ""
    clock = SystemClock()
    values = {SHARE: str(share_root())}
    with Supervisor(graph, values, run_dir, clock=clock, dds_profile=profile) as supervisor:
        _wait_ready(supervisor, asked.dds)
        window_ns, cpu_s = _watch(supervisor, asked.seconds, clock)
    topics, latencies_ms = _figures(cameras, run_dir, window_ns, NS_PER_S // asked.fps)
    used_s = {spec.full_name: used for spec, used in zip(graph, cpu_s, strict=True)}
    return _measured(asked, topics, latencies_ms, used_s, window_ns)


def size_px_of(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if not found:
        raise ConfigError(f"--size is '{text}'; allowed is width x height, such as 1280x720")
    return int(found.group(1)), int(found.group(2))


def _graph(
    cameras: tuple[str, ...], size_px: tuple[int, int], fps: int, backend: str, run_dir: Path
) -> tuple[NodeSpec, ...]:
    for log in run_dir.glob("*.csv"):
        log.unlink()
    nodes = [
        camera_spec(camera, index, size_px, fps, backend, sent_log=str(run_dir / f"{camera}.csv"))
        for index, camera in enumerate(cameras)
    ]
    receiver = NodeSpec(
        "mvista_eval",
        "capture_receiver_node",
        "receiver",
        parameters=(("cameras", " ".join(cameras)), ("log", str(run_dir / "arrivals.npz"))),
    )
    return (*nodes, receiver)


def camera_spec(
    camera: str, index: int, size_px: tuple[int, int], fps: int, backend: str, **more: str
) -> NodeSpec:
    """A camera's process."""
    return NodeSpec(
        "mvista_cameras",
        "camera_node",
        "camera",
        namespace=f"/{camera}",
        parameter_file="config/cameras.yaml",
        parameters=(
            ("backend", backend),
            ("index", index),
            ("width_px", size_px[0]),
            ("height_px", size_px[1]),
            ("rate_hz", fps),
            *more.items(),
        ),
    )


def _wait_ready(supervisor: Supervisor, dds: str) -> None:
    try:
        supervisor.wait_ready(READY_S if dds == "project" else STARTED_WITHOUT_S)
    except UnavailableError as error:
        supervisor.check()
        if dds == "project":
            raise
        sys.stderr.write(f"measured although not all is there: {error}\n")


def _watch(
    supervisor: Supervisor, seconds: float, clock: Clock
) -> tuple[tuple[int, int], list[float]]:
    """The window (wall time of stamps) and the processor seconds of each process in it."""
    let_run(supervisor, SETTLE_S, clock)
    before_s = [usage_of(pid).cpu_s for pid in supervisor.pids]
    first_ns = clock.now_ns()
    let_run(supervisor, seconds, clock)
    last_ns = clock.now_ns()
    after_s = [usage_of(pid).cpu_s for pid in supervisor.pids]
    let_run(supervisor, SETTLE_S, clock)  # what was sent last may still arrive
    used_s = [after - before for after, before in zip(after_s, before_s, strict=True)]
    return (first_ns, last_ns), used_s


def _figures(
    cameras: tuple[str, ...], run_dir: Path, window_ns: tuple[int, int], period_ns: int
) -> tuple[list[TopicFigures], np.ndarray]:
    arrivals = read_arrivals(run_dir / "arrivals.npz")
    topics, latencies = [], []
    for camera in cameras:
        sent = read_sent(run_dir / f"{camera}.csv")
        names = CameraTopics.of(camera)
        for topic in (names.color, names.depth):
            figures, latency_ms = compare(topic, sent, arrivals[topic], window_ns, period_ns)
            topics.append(figures)
            latencies.append(latency_ms)
    return topics, np.concatenate(latencies)


def _measured(
    asked: CaptureRequest,
    topics: list[TopicFigures],
    latencies_ms: np.ndarray,
    used_s: dict[str, float],
    window_ns: tuple[int, int],
) -> Measured:
    seconds = (window_ns[1] - window_ns[0]) / NS_PER_S
    sent, lost = sum(t.sent for t in topics), sum(t.lost for t in topics)
    due = round(asked.cameras * 2 * asked.fps * seconds)
    document: dict[str, Any] = {
        "dds": asked.dds,
        "backend": asked.backend,
        "size": asked.size,
        "fps": asked.fps,
        "seconds": seconds,
        "due": due,
        "topics": [asdict(topic) for topic in topics],
        "latency_ms": asdict(Quantiles.of(latencies_ms)),
        "cpu_seconds": used_s,
    }
    figures = [
        Figure("images lost", float(lost), 0.0),
        Figure("images due and not sent (%)", 100.0 * max(due - sent, 0) / due, 1.0),
    ]
    lines = [
        *map(_topic_line, topics),
        *(_cost_line(name, used, seconds) for name, used in used_s.items()),
        _cost_line("all processes", sum(used_s.values()), seconds),
        f"all images: sent {sent} of {due} due, lost {lost}, late {sum(t.late for t in topics)}, "
        f"latency (ms) {Quantiles.of(latencies_ms)}",
    ]
    what = f"{asked.cameras} cameras, {asked.size} at {asked.fps} Hz"
    return Measured(
        f"capture: {what}, {asked.dds} DDS settings", "\n".join(lines), document, figures
    )


def _topic_line(topic: TopicFigures) -> str:
    return (
        f"{topic.topic:24s} sent {topic.sent:5d} received {topic.received:5d} lost "
        f"{topic.lost:4d} late {topic.late:3d}  latency (ms) {topic.latency_ms}"
    )


def _cost_line(name: str, used_s: float, seconds: float) -> str:
    return f"{name:24s} {used_s:6.1f} CPU s, {100 * used_s / seconds:.0f} % of a core"
