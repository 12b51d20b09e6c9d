"""`mvista bench capture`: cameras across processes; counted by stamp, timed, and what it costs."""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mvista_bringup.graph.spec import DDS_PROFILE, NodeSpec
from mvista_bringup.options import SHARE
from mvista_bringup.paths import output_dir, share_root
from mvista_bringup.supervisor import Supervisor
from mvista_core.errors import ConfigError, UnavailableError
from mvista_core.ports import Clock
from mvista_core.timing import NS_PER_S, SystemClock, seconds_to_ns
from mvista_eval.capture.counts import TopicFigures, compare, cpu_seconds, read_arrivals, read_sent
from mvista_eval.figures import Figure, Quantiles, finish
from mvista_ros.observation import CameraTopics

READY_S = 60.0
SETTLE_S = 1.0
POLL_S = 0.5
STARTED_WITHOUT_S = 20.0
"""With default settings some topics may never deliver: measured all the same after so long."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cameras", type=int, default=4, help="camera processes (1 to 16)")
    parser.add_argument("--size", default="1280x720", help="width x height of colour and depth")
    parser.add_argument("--fps", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument(
        "--dds", choices=("project", "default"), default="project",
        help="config/dds/fastdds.xml, or what the middleware does by itself",
    )  # fmt: skip
    parser.add_argument(
        "--backend", choices=("synthetic", "emulated"), default="synthetic",
        help="synthetic: traffic only; emulated: with the emulated SDK, pairing and registration",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, help="write the figures here")


def run(args: argparse.Namespace) -> int:
    width_px, height_px = _size(args.size)
    cameras = tuple(f"cam{index}" for index in range(args.cameras))
    if not 1 <= len(cameras) <= 16 or args.fps < 1 or args.seconds <= 0:
        raise ConfigError("allowed: 1 to 16 cameras, at least 1 fps, more than 0 seconds")
    run_dir = output_dir("bench", "capture")
    graph = _graph(cameras, (width_px, height_px), args.fps, args.backend, run_dir)
    profile = DDS_PROFILE if args.dds == "project" else ""
    clock = SystemClock()
    values = {SHARE: str(share_root())}
    with Supervisor(graph, values, run_dir, clock=clock, dds_profile=profile) as supervisor:
        _wait_ready(supervisor, args.dds)
        window_ns, cpu_s = _measure(supervisor, args.seconds, clock)
    topics, latencies_ms = _figures(cameras, run_dir, window_ns, NS_PER_S // args.fps)
    return _finish(args, graph, topics, latencies_ms, cpu_s, window_ns)


def _size(text: str) -> tuple[int, int]:
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
        NodeSpec(
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
                ("sent_log", str(run_dir / f"{camera}.csv")),
            ),
        )
        for index, camera in enumerate(cameras)
    ]
    receiver = NodeSpec(
        "mvista_eval",
        "capture_receiver_node",
        "receiver",
        parameters=(("cameras", " ".join(cameras)), ("log", str(run_dir / "arrivals.npz"))),
    )
    return (*nodes, receiver)


def _wait_ready(supervisor: Supervisor, dds: str) -> None:
    try:
        supervisor.wait_ready(READY_S if dds == "project" else STARTED_WITHOUT_S)
    except UnavailableError as error:
        supervisor.check()
        if dds == "project":
            raise
        sys.stderr.write(f"measured although not all is there: {error}\n")


def _measure(
    supervisor: Supervisor, seconds: float, clock: Clock
) -> tuple[tuple[int, int], list[float]]:
    """The window (wall time of stamps) and the processor seconds of each process in it."""
    _sleep(clock, SETTLE_S)
    before_s = [cpu_seconds(pid) for pid in supervisor.pids]
    first_ns = clock.now_ns()
    until_ns = clock.monotonic_ns() + seconds_to_ns(seconds)
    while clock.monotonic_ns() < until_ns:
        supervisor.check()
        clock.sleep_until(min(until_ns, clock.monotonic_ns() + seconds_to_ns(POLL_S)))
    last_ns = clock.now_ns()
    used_s = [
        cpu_seconds(pid) - before for pid, before in zip(supervisor.pids, before_s, strict=True)
    ]
    _sleep(clock, SETTLE_S)  # what was sent last may still arrive
    return (first_ns, last_ns), used_s


def _sleep(clock: Clock, seconds: float) -> None:
    clock.sleep_until(clock.monotonic_ns() + seconds_to_ns(seconds))


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


def _finish(
    args: argparse.Namespace,
    graph: tuple[NodeSpec, ...],
    topics: list[TopicFigures],
    latencies_ms: np.ndarray,
    cpu_s: list[float],
    window_ns: tuple[int, int],
) -> int:
    seconds = (window_ns[1] - window_ns[0]) / NS_PER_S
    sent, lost = sum(t.sent for t in topics), sum(t.lost for t in topics)
    due = round(args.cameras * 2 * args.fps * seconds)
    for topic in topics:
        sys.stdout.write(
            f"{topic.topic:24s} sent {topic.sent:5d} received {topic.received:5d} lost "
            f"{topic.lost:4d} late {topic.late:3d}  latency (ms) {topic.latency_ms}\n"
        )
    for spec, used_s in zip(graph, cpu_s, strict=True):
        share = 100 * used_s / seconds
        sys.stdout.write(f"{spec.full_name:24s} {used_s:6.1f} CPU s, {share:.0f} % of a core\n")
    total = sum(cpu_s)
    sys.stdout.write(
        f"all processes            {total:6.1f} CPU s, {100 * total / seconds:.0f} % of a core\n"
        f"all images: sent {sent} of {due} due, lost {lost}, late {sum(t.late for t in topics)}, "
        f"latency (ms) {Quantiles.of(latencies_ms)}\n"
    )
    document: dict[str, Any] = {
        "dds": args.dds,
        "backend": args.backend,
        "size": args.size,
        "fps": args.fps,
        "seconds": seconds,
        "due": due,
        "topics": [asdict(topic) for topic in topics],
        "latency_ms": asdict(Quantiles.of(latencies_ms)),
        "cpu_seconds": {s.full_name: used for s, used in zip(graph, cpu_s, strict=True)},
    }
    figures = [
        Figure("images lost", float(lost), 0.0),
        Figure("images due and not sent (%)", 100.0 * max(due - sent, 0) / due, 1.0),
    ]
    title = (
        f"capture: {args.cameras} cameras, {args.size} at {args.fps} Hz, {args.dds} DDS settings"
    )
    return finish(title, document, figures, args.json)
