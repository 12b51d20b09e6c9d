"""The recorder without ROS: streams come in, the operator's words come in, episodes come out.

Streams hand over serialised messages from any thread and never wait: they lie in a queue of bounded
size until the writing thread has them on disk. What has no room is dropped, counted and told.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from mvista_core.arm import load_arm
from mvista_core.errors import (
    BusyError,
    DiskSpaceError,
    InstructionError,
    MvistaError,
    RecordingError,
    StreamError,
)
from mvista_core.ports import Clock
from mvista_core.rig import load_rig
from mvista_core.timing import ns_to_seconds, seconds_to_ns
from mvista_recorder.episode_writer import EpisodeHead, EpisodeWriter
from mvista_recorder.heard import HeardMessage, HeardQueue
from mvista_recorder.layout import Topic, episode_folders, is_finished
from mvista_recorder.manifest import LABELS, UNLABELLED, load_manifest
from mvista_recorder.recorder_records import (
    GIB,
    RecorderSettings,
    RecorderState,
    count_labels,
    free_bytes,
)
from mvista_recorder.scan import LATEST_NS
from mvista_recorder.streams import StreamPlan, StreamTrouble, StreamWatch
from mvista_recorder.teleop_watch import TELEOP_STATE, TeleopWatch

POLL_S = 0.05
"""Between two turns of the writing thread."""
LOOK_EVERY_S = 0.25
"""How often it looks at streams and disk."""
JOIN_S = 10.0
MOST_EVENTS = 1000


class Recorder:
    """Operator's words come one at a time from any thread; `hear` from any thread at any time."""

    def __init__(
        self, settings: RecorderSettings, plans: Sequence[StreamPlan], clock: Clock
    ) -> None:
        self.settings, self._clock = settings, clock
        self._watches = {plan.topic.name: StreamWatch(plan) for plan in plans}
        self._latched: dict[str, tuple[Topic, bytes]] = {}
        self._turn = threading.RLock()
        """Of the operator's words."""
        self._disk = threading.RLock()
        """Of the episode's file. Taken after `_turn` where both are."""
        self._queue = HeardQueue(settings.queue_mib << 20)
        self._writer: EpisodeWriter | None = None
        self._began_ns = 0
        self._instruction, self._practice = "", False
        self._said = "ready"
        self._silent: set[str] = set()
        self._teleop = TeleopWatch()
        self._events = 0
        self._last_id = ""
        self._kept = count_labels(settings.root)
        self._looked_ns = 0
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._write, name="episode writer", daemon=True)
        self._thread.start()

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
        log_ns: int = 0,
    ) -> None:
        """One message. `lost`: so many before it never came; `picture`: its JPEG.

        `residual_ns`: how far the clock of its stamp strays from the line it is stamped by.
        `log_ns`: when it was received; 0 is now.
        """
        watch = self._watches.get(topic.name)
        if watch is None:
            watch = self._watches.setdefault(topic.name, StreamWatch(StreamPlan(topic)))
        watch.hear(self._clock.monotonic_ns(), capture_ns, size_px)
        if topic.latched:
            self._latched[topic.name] = topic, data
        if self._writer is None:
            return
        if not 0 <= capture_ns < LATEST_NS:
            # No file can hold such a stamp: the message is malformed.
            return watch.drop(lost + 1)
        if topic.type == TELEOP_STATE and (words := self._teleop.change(data)):
            self._remark(words)
        heard_ns, camera = log_ns or self._clock.now_ns(), watch.plan.camera
        message = HeardMessage(
            topic, heard_ns, capture_ns, data, sequence, camera, picture, residual_ns
        )
        lost += not self._queue.put(message)
        if lost:
            watch.drop(lost)

    def drop(self, topic: Topic) -> None:
        """One message of a stream could not be taken."""
        if (watch := self._watches.get(topic.name)) is not None:
            watch.drop(1)

    def blame(self, topic: Topic, words: str) -> None:
        """Why a stream must not be recorded as its lens is; "" nothing."""
        if (watch := self._watches.get(topic.name)) is not None:
            watch.blame(words)

    def start(self, instruction: str, practice: bool = False) -> str:
        """Begin an episode; returns its id. Whatever is refused, nothing has been written.

        Raises:
            BusyError: one is being recorded. InstructionError: empty. RigError, ConfigError: rig
            or arm file. StreamError: a stream is missing, slow, stale, of another size or lens.
            DiskSpaceError, RecordingError: the disk.
        """
        with self._turn:
            if self._writer is not None:
                raise BusyError(f"episode {self._writer.id} is being recorded; end it first")
            words = " ".join(instruction.split())
            if not words:
                raise InstructionError("the instruction is empty: say what is demonstrated")
            rig, arm = self._files()
            self._refuse_streams()
            self._refuse_disk()
            head = EpisodeHead(
                secrets.token_hex(4),
                words,
                self.settings.cameras,
                self.settings.arms,
                rig,
                arm,
                practice,
                {**self.settings.config, "streams": self._plans()},
                self.settings.bounds,
            )
            writer = EpisodeWriter(self.settings.root, head, self._clock)
            self._begin(writer)
            self._instruction, self._practice = words, practice
            self._tell(f"recording {writer.id}: {words}")
            return writer.id

    def end(self, label: str = UNLABELLED, because: str = "") -> str:
        """End the episode that is recorded; returns its id.

        Raises:
            RecordingError: none is, or no such label, or the disk failed (it stays `.partial`).
        """
        if label not in (UNLABELLED, *LABELS):
            raise RecordingError(f"label '{label}'; allowed: {[UNLABELLED, *LABELS]}")
        with self._turn:
            writer = self._taken()
            try:
                folder = writer.finish(label, because)
            except MvistaError as error:
                self._tell(f"[{error.code}] {writer.id} could not be finished: {error}")
                raise
            self._kept[label] = self._kept.get(label, 0) + 1
            self._last_id = writer.id
            why = f", because {because}" if because else ""
            self._tell(f"{folder.name}: {writer.tally.count} messages, {label}{why}")
            return writer.id

    def discard(self) -> str:
        """Remove the episode that is recorded; returns its id.

        Raises:
            RecordingError: none is.
        """
        with self._turn:
            writer = self._taken()
            writer.discard()
            self._tell(f"{writer.id} discarded")
            return writer.id

    def redo(self) -> str:
        """Discard, and begin another with the same instruction; returns the new one's id.

        Raises:
            RecordingError: none is recorded; and see `start`.
        """
        with self._turn:
            self.discard()
            return self.start(self._instruction, self._practice)

    def label(self, label: str, episode: str = "") -> str:
        """Say of a finished episode how it went; "" is the newest. Returns its id.

        Raises:
            RecordingError: no such episode, no such label, or it has one.
        """
        with self._turn:
            wanted, root = episode or self._last_id, self.settings.root
            there = episode_folders(root) if wanted and root.is_dir() else ()
            found = [f for f in there if is_finished(f) and f.name.endswith(f"-{wanted}")]
            if not found:
                raise RecordingError(f"no finished episode '{wanted}' in {root}")
            load_manifest(found[-1]).labelled(label).save(found[-1])
            self._kept = count_labels(self.settings.root)
            self._tell(f"{wanted} is a {label}")
            return wanted

    def state(self) -> RecorderState:
        """As it is now."""
        now_ns, writer = self._clock.monotonic_ns(), self._writer
        cameras = [w for w in list(self._watches.values()) if w.plan.camera]
        reference = cameras[0].captured() if cameras else ()
        return RecorderState(
            writer.id if writer is not None else "",
            self._instruction if writer is not None else "",
            writer is not None and self._practice,
            ns_to_seconds(now_ns - self._began_ns) if writer is not None else 0.0,
            tuple(watch.state(now_ns, reference) for watch in list(self._watches.values())),
            free_bytes(self.settings.root) / GIB,
            dict(self._kept),
            self._said,
        )

    def close(self, because: str = "the recorder was ended") -> None:
        """End what is being recorded, unlabelled, and stop."""
        with self._turn:
            if self._writer is not None:
                # What cannot be finished is told, and left for `repair`.
                with suppress(MvistaError):
                    self.end(UNLABELLED, because)
        self._closed.set()
        self._thread.join(JOIN_S)

    def _begin(self, writer: EpisodeWriter) -> None:
        try:
            for watch in list(self._watches.values()):
                if watch.plan.rate_hz:
                    writer.open(watch.plan.topic)
            now_ns = self._clock.now_ns()
            for topic, data in list(self._latched.values()):
                writer.open(topic)
                writer.add(topic.name, now_ns, now_ns, data)
        except MvistaError:
            writer.discard()
            raise
        self._queue.clear()
        self._silent, self._events = set(), 0
        for watch in list(self._watches.values()):
            watch.begin()
        self._began_ns = self._clock.monotonic_ns()
        self._writer = writer

    def _taken(self) -> EpisodeWriter:
        """The episode that is recorded, with all that waits for it; no longer recorded."""
        if self._writer is None:
            raise RecordingError("no episode is being recorded; start one first")
        with self._disk:
            writer, self._writer = self._writer, None
            try:
                self._drain(writer)
            except MvistaError as error:
                writer.note(f"[{error.code}] {error}")
            for name, watch in list(self._watches.items()):
                watch.end()
                if dropped := watch.state(0).dropped:
                    writer.tally.open(name, watch.plan.topic.type)
                    writer.tally.drop(name, dropped)
        return writer

    def _write(self) -> None:
        while not self._closed.wait(POLL_S):
            writer = self._writer
            if writer is not None and (because := self._written(writer)) is not None:
                self._end_by_itself(writer, because)

    def _written(self, writer: EpisodeWriter) -> MvistaError | None:
        """Write what waits for an episode; why it must end, if it must."""
        with self._disk:
            if self._writer is not writer:
                return None
            try:
                self._drain(writer)
                writer.tick()
                return writer.full or self._look(writer)
            except MvistaError as error:
                return error
            except Exception as error:
                # A fault of this program must end the episode with a reason, not its thread.
                return RecordingError(f"the writer failed: {error!r}")

    def _look(self, writer: EpisodeWriter) -> MvistaError | None:
        now_ns = self._clock.monotonic_ns()
        if now_ns - self._looked_ns < seconds_to_ns(LOOK_EVERY_S):
            return None
        self._looked_ns = now_ns
        return self._watch_streams(writer, now_ns) or self._too_full()

    def _end_by_itself(self, writer: EpisodeWriter, because: MvistaError) -> None:
        with self._turn:
            # The operator may have been quicker: what is recorded now has not this reason to end.
            if self._writer is not writer:
                return
            with suppress(MvistaError):
                self.end(UNLABELLED, f"[{because.code}] {because}")

    def _drain(self, writer: EpisodeWriter) -> None:
        """Write what waits now. Streams that come faster than they are written keep the disk's lock
        from nobody, and the file from being synced."""
        for _ in range(len(self._queue)):
            item = self._queue.take()
            writer.open(item.topic)
            writer.add(item.topic.name, item.log_ns, item.capture_ns, item.data, item.sequence)
            if item.picture:
                writer.show(item.camera, item.picture)
            if item.residual_ns is not None:
                writer.tally.residual(item.topic.name, item.residual_ns)

    def _watch_streams(self, writer: EpisodeWriter, now_ns: int) -> StreamError | None:
        """Tell once of each stream that stops, and of its return; a reason to end: another size."""
        for state in [watch.state(now_ns) for watch in list(self._watches.values())]:
            if state.trouble is StreamTrouble.SIZE:
                return StreamError(f"{state.topic} {state.words}")
            if state.absent == (state.topic in self._silent) or self._events >= MOST_EVENTS:
                continue
            (self._silent.add if state.absent else self._silent.discard)(state.topic)
            self._remark(f"{state.topic} {state.words if state.absent else 'is back'}", writer)
        return None

    def _remark(self, words: str, writer: EpisodeWriter | None = None) -> None:
        """Tell the operator, and whoever looks at the episode, with the time."""
        writer = writer or self._writer
        if writer is not None and self._events < MOST_EVENTS:
            self._events += 1
            at_s = ns_to_seconds(self._clock.monotonic_ns() - self._began_ns)
            writer.note(f"{at_s:.2f} s: {words}")
        self._tell(words)

    def _files(self) -> tuple[bytes, bytes]:
        """Texts of the rig and the arm file, both checked."""
        load_rig(self.settings.rig)
        load_arm(self.settings.arm)
        return self.settings.rig.read_bytes(), self.settings.arm.read_bytes()

    def _refuse_streams(self) -> None:
        if troubles := self.state().troubles:
            raise StreamError(
                f"nothing is recorded while a stream is not in order: {'; '.join(troubles)}"
            )

    def _refuse_disk(self) -> None:
        if (full := self._too_full()) is not None:
            raise full

    def _too_full(self) -> DiskSpaceError | None:
        free_gib = free_bytes(self.settings.root) / GIB
        if free_gib >= self.settings.least_free_gib:
            return None
        return DiskSpaceError(
            f"{self.settings.root} has {free_gib:.2f} GiB free; {self.settings.least_free_gib:g} "
            "are left to others (least_free_gib)"
        )

    def _plans(self) -> list[dict[str, Any]]:
        return [asdict(watch.plan) for watch in list(self._watches.values())]

    def _tell(self, words: str) -> None:
        self._said = words
