"""Who listens to the set-points on an emulated bus, with the kernel's own stamps, for a bench."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import can
import numpy as np

from mvista_core.records import Float64
from mvista_core.timing import NS_PER_S
from mvista_piper.emulator.loopback import LoopbackBus
from mvista_piper.protocol import END_POSE, JOINT_FEEDBACK, JOINTS, MOTOR_FAST, MOTOR_SLOW
from mvista_piper.said import decode_set_point

FEEDBACK = frozenset({*range(0x2A0, 0x2B0), *END_POSE, *JOINT_FEEDBACK, *MOTOR_FAST, *MOTOR_SLOW})
_LOOK_S = 0.05


@dataclass
class SpiedSetPoints:
    """Whole set-points of one bus: when their 0x157 was on it (wall, ns), and six joints (rad)."""

    stamps_ns: list[int] = field(default_factory=list)
    joints_rad: list[tuple[float, ...]] = field(default_factory=list)

    @property
    def table(self) -> Float64:
        """The joints [N, 6]."""
        return np.array(self.joints_rad, dtype=np.float64).reshape(-1, 6)


@contextmanager
def spying(channel: str, port: int) -> Iterator[SpiedSetPoints]:
    """Collect until the block is left. The kernel stamps a datagram when it reaches the socket
    (SO_TIMESTAMPNS), so how busy this process is does not matter."""
    found, ended = SpiedSetPoints(), threading.Event()
    with LoopbackBus(channel, port, skipped=FEEDBACK) as bus:
        thread = threading.Thread(target=_spy, args=(bus, found, ended), name="spy", daemon=True)
        thread.start()
        try:
            yield found
        finally:
            ended.set()
            thread.join()


def _spy(bus: LoopbackBus, found: SpiedSetPoints, ended: threading.Event) -> None:
    newest: dict[int, tuple[float, ...]] = {}
    while not ended.is_set():
        try:
            message = bus.recv(_LOOK_S)
        except can.CanError:
            ended.wait(_LOOK_S)
            continue
        if message is None or message.arbitration_id not in JOINTS:
            continue
        newest[message.arbitration_id] = decode_set_point(
            message.arbitration_id, bytes(message.data)
        )
        if message.arbitration_id == JOINTS[-1] and len(newest) == len(JOINTS):
            # Joints before the stamp: the other thread may read in between.
            found.joints_rad.append(tuple(v for can_id in JOINTS for v in newest[can_id]))
            found.stamps_ns.append(round(message.timestamp * NS_PER_S))
