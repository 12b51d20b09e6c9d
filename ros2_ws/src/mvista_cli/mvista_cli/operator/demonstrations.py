"""Demonstrations without an arm or a person: a simulated hand leads the simulated arm, recorded.

The hand, the coupling, the cell and the writer of episodes are those of the graph; only time is the
cell's own, so that an episode is a function of (task, seed), and takes as long as it takes. What is
recorded is what `mvista record` would have: 15 images a second of each camera of the rig, joints,
set-points and the leader at 200 Hz.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mvista_core.arm import load_arm
from mvista_core.errors import ConfigError, LeaderLostError, MvistaError
from mvista_core.records import MM_PER_M, JointCommand, JointState
from mvista_core.registration import StreamCalibration
from mvista_core.rig import load_rig
from mvista_core.timing import NS_PER_S, seconds_to_ns
from mvista_recorder import schemas
from mvista_recorder.camera_feed import CameraFeed, StaticFrames
from mvista_recorder.episode_writer import EpisodeHead, EpisodeWriter
from mvista_recorder.layout import JOINT_STATE, Topic, is_finished
from mvista_recorder.manifest import load_manifest
from mvista_recorder.many import in_parallel
from mvista_sim.cell import CONTROL_HZ, SimCell, SimClock
from mvista_sim.demonstrator import HandManner, SimulatedLeader, demonstration
from mvista_sim.experts import MotionStyle, hand_of
from mvista_teleop.coupling import Coupling, CouplingPhase
from mvista_teleop.mapping import GripperMapping, Mapping
from mvista_teleop.settings import CouplingSettings

ARM_NAME = "piper"
IMAGES_HZ = 15.0
AFTER_S = 1.0
"""Recorded when the hand rests again."""
PATIENCE_S = 20.0
BEGAN_NS, APART_S, SEEDS = 1_767_225_600 * NS_PER_S, 120, 100_000
"""The cell's wall clock at seed 0; a seed is two minutes, and after so many it begins anew."""


@dataclass(frozen=True)
class DemonstrationJob:
    """`episodes` scenes of a task from `first_seed` on; `rig` and `arm` are files."""

    task: str
    episodes: int
    out: Path
    rig: Path
    arm: Path
    first_seed: int

    def __post_init__(self) -> None:
        if self.episodes < 1:
            raise ConfigError(f"{self.episodes} episodes; allowed: at least 1")


@dataclass(frozen=True)
class Demonstrated:
    """What came of one seed: "success", "failure", or "" where none was recorded, and in words."""

    seed: int
    label: str
    words: str


def demonstrate(job: DemonstrationJob, workers: int) -> Iterator[Demonstrated]:
    """Record what is not there yet, one after the other; a demonstration that fails is kept as one.

    The same job gives the same bytes.

    Raises:
        ConfigError, RigError: arm, rig or task; the folder holds demonstrations of others.
    """
    seeds = range(job.first_seed, job.first_seed + job.episodes)
    for _, found in in_parallel(_demonstrate, [(job, seed) for seed in seeds], workers):
        yield found


def _demonstrate(task: tuple[DemonstrationJob, int]) -> Demonstrated:
    job, seed = task
    for there in sorted(job.out.glob(f"*-{seed:08x}*")) if job.out.is_dir() else ():
        if is_finished(there):
            return _made_before(job, seed, there)
        shutil.rmtree(there)
    desk = _Desk(job, seed)
    try:
        return desk.demonstrate()
    except MvistaError as error:
        return Demonstrated(seed, "", f"seed {seed}: [{error.code}] {error}")
    finally:
        desk.close()


def _made_before(job: DemonstrationJob, seed: int, folder: Path) -> Demonstrated:
    manifest = load_manifest(folder)
    rig_hash = hashlib.sha256(job.rig.read_bytes()).hexdigest()
    if (manifest.config.get("task"), manifest.rig_hash) != (job.task, rig_hash):
        raise ConfigError(
            f"{folder} is of another task or rig ({manifest.config.get('task')}, "
            f"{manifest.rig_hash[:12]}); choose another folder with --out"
        )
    return Demonstrated(seed, manifest.label, f"{folder.name}: made before")


class _Desk:
    """One scene, its arm, and the hand that leads it."""

    def __init__(self, job: DemonstrationJob, seed: int) -> None:
        self._job, self._seed = job, seed
        self._arm = load_arm(job.arm)
        start_ns = BEGAN_NS + seed % SEEDS * APART_S * NS_PER_S
        self._cell = SimCell(self._arm, load_rig(job.rig), start_ns=start_ns)
        self._words = self._cell.reset(job.task, seed)
        self._leader = SimulatedLeader(self._arm.joint_names, self._cell.state().positions)
        plain = Mapping(self._arm, [1.0] * 6, [1.0] * 6, [0.0] * 6, GripperMapping())
        self._coupling = Coupling(self._arm, plain, CouplingSettings(), self._cell.now_ns())
        self._notes: _Notes | None = None

    def demonstrate(self) -> Demonstrated:
        """From taking the leader in hand to the label."""
        rng = hand_of(self._seed)
        actions = self._cell.expert(style=MotionStyle.drawn(rng))
        manner = HandManner.drawn(rng, float(actions.times_s[-1]))
        start = self._cell.state().positions
        self._engage()
        self._notes = _Notes(self._job, self._seed, self._cell, self._words)
        try:
            rows = demonstration(actions, start, manner, self._arm, rng)
            self._leader.perform(rows, self._cell.now_ns())
            while self._leader.moving:
                self._tick()
            self._pass(AFTER_S)
            label = "success" if self._cell.evaluate().success else "failure"
            folder = self._notes.writer.finish(label)
        except MvistaError:
            self._notes.writer.discard()
            raise
        seconds = len(rows) / CONTROL_HZ
        return Demonstrated(self._seed, label, f"{folder.name}: {label}, {seconds:.1f} s of hand")

    def close(self) -> None:
        """Let go of the cell."""
        self._cell.close()

    def _engage(self) -> None:
        """The leader is moved where the arm is, and coupled to it."""
        self._leader.approach(self._cell.state().positions, self._cell.now_ns())
        self._tick()
        self._coupling.engage(self._cell.now_ns())
        end_ns = self._cell.now_ns() + seconds_to_ns(PATIENCE_S)
        while self._coupling.phase is not CouplingPhase.FOLLOWING or self._leader.moving:
            self._tick()
            if self._cell.now_ns() > end_ns:
                raise LeaderLostError(
                    f"not following after {PATIENCE_S:g} s: {self._coupling.reason}"
                )

    def _pass(self, seconds: float) -> None:
        for _ in range(round(seconds * CONTROL_HZ)):
            self._tick()

    def _tick(self) -> None:
        """A period of the arm: hear both, send, let time pass."""
        now_ns, state = self._cell.now_ns(), self._cell.state()
        pose = self._leader.step(now_ns, now_ns)
        self._coupling.hear_leader(None, now_ns)
        if pose is not None:
            self._coupling.lead(pose.positions, pose.velocities, now_ns)
        self._coupling.measure(state.positions, state.velocities, now_ns)
        moving, command = self._coupling.step(now_ns), None
        if moving is not None:
            names = self._arm.joint_names
            command = JointCommand(names, moving.positions, moving.velocities, now_ns)
            self._cell.send(command)
        if self._notes is not None:
            self._notes.take(state, command, pose)
        self._cell.advance(1.0 / CONTROL_HZ)


class _Notes:
    """Writes down what the cell shows and what its arms say, as the recorder does."""

    def __init__(self, job: DemonstrationJob, seed: int, cell: SimCell, words: str) -> None:
        rig, self._cell, clock = cell.rig, cell, SimClock(cell)
        head = EpisodeHead(
            f"{seed:08x}",
            words,
            rig.names,
            (ARM_NAME,),
            job.rig.read_bytes(),
            job.arm.read_bytes(),
            config={"task": job.task, "seed": seed, "leader": "simulated"},
        )
        self.writer = EpisodeWriter(job.out, head, clock)
        self._known: set[str] = set()
        frames = StaticFrames(rig, self, clock)
        self._feeds = {camera.name: CameraFeed(camera, self, frames) for camera in rig.cameras}
        for camera in rig.cameras:
            self._feeds[camera.name].calibrate(StreamCalibration.aligned(camera.intrinsics))
        self._began_ns, self._images = cell.now_ns(), 0

    def take(
        self, state: JointState, command: JointCommand | None, leader: JointState | None
    ) -> None:
        """One period: what was measured, sent and led, and images where they are due."""
        now_ns = self._cell.now_ns()
        said = {f"{ARM_NAME}/joint_states": state, "leader/joint_states": leader}
        if command is not None:
            said[f"{ARM_NAME}/joint_command"] = JointState(
                command.names, command.positions, command.velocities, now_ns
            )
        for name, what in said.items():
            if what is not None:
                self.hear(Topic(f"/{name}", JOINT_STATE), now_ns, schemas.joints_to_bytes(what))
        if now_ns >= self._began_ns + self._images * NS_PER_S / IMAGES_HZ:
            self._images += 1
            for name, feed in self._feeds.items():
                frame = self._cell.latest(name)
                feed.color_pixels(frame.color, now_ns)
                feed.depth(np.round(frame.depth_m * MM_PER_M).astype(np.uint16), now_ns)
            self.writer.tick()

    def hear(
        self,
        topic: Topic,
        capture_ns: int,
        data: bytes,
        sequence: int = 0,
        lost: int = 0,
        size_px: tuple[int, int] | None = None,
        picture: bytes = b"",
        residual_ns: int | None = None,
    ) -> None:
        """One message; nothing is lost here, and it is heard when it is sent."""
        if topic.name not in self._known:
            self._known.add(topic.name)
            self.writer.open(topic)
        self.writer.add(topic.name, capture_ns, capture_ns, data, sequence)
        if picture:
            self.writer.show(topic.name.split("/")[1], picture)

    def drop(self, topic: Topic) -> None:
        """Never: see `hear`."""

    def blame(self, topic: Topic, words: str) -> None:
        """The cell's lenses are the rig's."""
