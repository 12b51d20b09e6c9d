"""Camera against joints where clocks, frame rates and delays are wrong, held against the truth.

Emulated Bolts say in each JPEG when it was taken; joint 2 of the arms says when it was sampled.
Both go through capture, tap and recorder; what an episode then says of one instant is told two
ways: by capture stamps, joints interpolated, and by the joint state that arrived nearest to it.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mvista_bringup.options import SHARE
from mvista_bringup.paths import output_dir, share_root
from mvista_bringup.supervisor import Supervisor
from mvista_cameras.emulator.truth import true_capture_ns
from mvista_core.errors import ConfigError
from mvista_core.records import Float64
from mvista_core.timing import NS_PER_S, SystemClock
from mvista_eval.figures import Figure, Measured
from mvista_eval.live import let_run
from mvista_eval.record import ARMS
from mvista_eval.record.graph import READY_S, RecordDesk, arm_traffic, bolt, recorder
from mvista_eval.record.load import EASY
from mvista_eval.statistics import Quantiles
from mvista_recorder import schemas
from mvista_recorder.episode_reader import EpisodeReader
from mvista_recorder.layout import CameraChannels, episode_folders
from mvista_recorder.sync import Stamps, nearest
from mvista_ros.spinning import spinning

RATE_ERROR, DRIFT_PPM, DELAY_NS, JITTER_NS = 0.0047, 200.0, 30_000_000, 20_000_000
ALLOWED_MS, SETTLE_S = 5.0, 15.0
SDK, OWN = "by the SDK's stamps", "by our own fit"
CASES = {
    f"clock {sign * DRIFT_PPM:+g} ppm, {stamps}": (sign * DRIFT_PPM, stamps == SDK)
    for sign in (1, -1)
    for stamps in (SDK, OWN)
}


@dataclass(frozen=True)
class Pairing:
    """Camera against joints of one camera's images, absolute, in ms."""

    case: str
    images: int
    by_stamp_ms: Quantiles
    by_arrival_ms: Quantiles


def measure_clocks(seconds: float) -> Measured:
    """Four cameras with wrong clocks, recorded for so long once they have settled.

    Raises:
        ConfigError: no time. UnavailableError: a process ended, or nothing could be recorded.
    """
    if not seconds > 0:
        raise ConfigError(f"--seconds is {seconds:g}; allowed: more than 0")
    clock, run_dir = SystemClock(), output_dir("bench", "record_clocks")
    root, names = run_dir / "episodes", tuple(f"cam{k}" for k in range(len(CASES)))
    graph = (
        *(bolt(names[k], k, _emulation(*case)) for k, case in enumerate(CASES.values())),
        arm_traffic(),
        recorder(root, names, least_share=EASY),
    )
    before = set(episode_folders(root)) if root.is_dir() else set()
    with (
        Supervisor(graph, {SHARE: str(share_root())}, run_dir, clock=clock) as supervisor,
        spinning(RecordDesk, supervisor.domain_id) as desk,
    ):
        supervisor.wait_ready(READY_S)
        let_run(supervisor, SETTLE_S, clock)
        desk.start(supervisor)
        let_run(supervisor, seconds, clock)
        desk.end()
    (folder,) = set(episode_folders(root)) - before
    reader = EpisodeReader(folder)
    found = [errors(reader, name, case) for name, case in zip(names, CASES, strict=True)]
    sync = dict(reader.manifest.sync)
    shutil.rmtree(folder)
    return _told(seconds, found, sync)


def _emulation(drift_ppm: float, global_stamps: bool) -> str:
    said = f"rate_error: {RATE_ERROR}, drift_ppm: {drift_ppm}, jitter_ns: {JITTER_NS}"
    delays = f"color_delay_ns: {DELAY_NS}, depth_delay_ns: {DELAY_NS}"
    return f"{{{said}, {delays}, global_stamps: {str(global_stamps).lower()}}}"


def errors(reader: EpisodeReader, camera: str, case: str) -> Pairing:
    """What one camera's images say of the arm, against when they were really taken.

    Raises:
        EpisodeError: torn. ObservationError: no emulated camera took them.
    """
    joints = f"/{ARMS[0]}/joint_states"
    color = CameraChannels.of(camera).color.name
    images: list[tuple[int, int, int]] = []
    arm: list[tuple[int, int, float]] = []
    for message in reader.messages({joints, color}):
        if message.topic == color:
            jpeg = bytes(schemas.picture_from_bytes(message.data).data)
            images.append((message.capture_ns, message.log_ns, true_capture_ns(jpeg)))
        else:
            told_s = float(schemas.joints_from_bytes(message.data).positions[1])
            arm.append((message.capture_ns, message.log_ns, told_s))
    arm.sort()
    shown = np.array(images, dtype=np.int64)
    times = np.array([row[:2] for row in arm], dtype=np.int64)
    at_s = np.array([row[2] for row in arm])
    inside = (shown[:, 0] > times[0, 0]) & (shown[:, 0] < times[-1, 0])
    shown = shown[inside]
    # Seconds of the arm's own clock, which its joint tells, at the true instant of each picture.
    true_s = at_s[0] + (shown[:, 2] - times[0, 0]) / NS_PER_S
    by_stamp = np.interp(
        (shown[:, 0] - times[0, 0]) / NS_PER_S, (times[:, 0] - times[0, 0]) / NS_PER_S, at_s
    )
    by_arrival = at_s[_arrived_nearest(times[:, 1], shown[:, 1])]
    return Pairing(case, len(shown), _ms(by_stamp - true_s), _ms(by_arrival - true_s))


def _arrived_nearest(joints_ns: Stamps, images_ns: Stamps) -> Stamps:
    order = np.argsort(joints_ns, kind="stable")
    return order[nearest(joints_ns[order], images_ns)]


def _ms(error_s: Float64) -> Quantiles:
    return Quantiles.of(np.abs(error_s) * 1e3)


def _told(seconds: float, found: list[Pairing], sync: dict[str, Any]) -> Measured:
    lines = [
        f"{one.case}: {one.images} images, error (ms) by capture stamp {one.by_stamp_ms}; by "
        f"arrival {one.by_arrival_ms}"
        for one in found
    ]
    figures = [
        Figure(f"{one.case}: largest camera-joint error (ms)", one.by_stamp_ms.largest, ALLOWED_MS)
        for one in found
    ]
    document = {
        "seconds": seconds,
        "rate_error": RATE_ERROR,
        "delay_ms": DELAY_NS / 1e6,
        "jitter_ms": JITTER_NS / 1e6,
        "cameras": [asdict(one) for one in found],
        "sync": sync,
    }
    what = f"frame rate +{RATE_ERROR:.2%}, clocks {DRIFT_PPM:g} ppm off"
    return Measured(f"record: {what}, {seconds:g} s", "\n".join(lines), document, figures)
