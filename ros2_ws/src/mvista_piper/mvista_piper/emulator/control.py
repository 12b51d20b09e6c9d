"""Telling a running emulator what to do, by frames that no arm uses.

29-bit ids, while the Piper has 11-bit ids only. 0x1F500000: the emulator says how the hosts'
adapters behave; 0x1F500001: an order to it; 0x1F500002: its answer. An order is `name=value`: a
fault of `Faults`; `joint1`..`joint6` (rad) and `gripper` (m), put there at once; `hand1`..`hand6`
(rad) and `hand_gripper` (m), a leader's joint led there; `hand_play`, a leader's hand begins its
motion from the start (0: it rests); `clear`, all faults off. On the wire: byte 0 the order's
number, byte 1 of the answer 1 for "done", bytes 4 to 7 the value as a float32.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from mvista_core.errors import ConfigError
from mvista_piper.emulator.arm import EmulatedPiper
from mvista_piper.emulator.faults import FAULT_NAMES
from mvista_piper.protocol import MOTORS

ADAPTER_ID, ORDER_ID, ANSWER_ID = 0x1F500000, 0x1F500001, 0x1F500002
PRIVATE_IDS = frozenset({ADAPTER_ID, ORDER_ID, ANSWER_ID})

_PLACES = (*(f"joint{i + 1}" for i in range(MOTORS)), "gripper")
_HANDS = (*(f"hand{i + 1}" for i in range(MOTORS)), "hand_gripper")
_PLAY = "hand_play"
ORDER_NAMES = (*FAULT_NAMES, *_PLACES, *_HANDS, _PLAY, "clear")
_FRAME = struct.Struct(">BBxxf")


@dataclass(frozen=True)
class Order:
    """One order to an emulator."""

    name: str
    value: float

    def __post_init__(self) -> None:
        if self.name not in ORDER_NAMES:
            raise ConfigError(f"no order '{self.name}'; there are: {', '.join(ORDER_NAMES)}")
        if not math.isfinite(self.value):
            raise ConfigError(f"{self.name} is {self.value}; a finite number is needed")

    @classmethod
    def parse(cls, text: str) -> Order:
        """`collision=3` or `clear`.

        Raises:
            ConfigError: no such order, or no number.
        """
        name, _, number = text.partition("=")
        try:
            value = float(number) if number else 0.0
        except ValueError:
            raise ConfigError(f"'{text}': the value must be a number, as in collision=3") from None
        if not number and name != "clear":
            raise ConfigError(f"'{text}' has no value; say {name}=1, or {name}=0 for off")
        return cls(name, value)

    def pack(self, done: bool = False) -> bytes:
        # Its place in ORDER_NAMES: both ends must run the same version.
        return _FRAME.pack(ORDER_NAMES.index(self.name), int(done), self.value)

    @classmethod
    def unpack(cls, data: bytes) -> tuple[Order, bool]:
        """The order and the answer's "done".

        Raises:
            ConfigError: no such order.
        """
        number, done, value = _FRAME.unpack(data)
        if number >= len(ORDER_NAMES):
            raise ConfigError(f"order {number}; there are {len(ORDER_NAMES)}")
        return cls(ORDER_NAMES[number], value), bool(done)

    def apply(self, arm: EmulatedPiper) -> None:
        """Do it.

        Raises:
            ConfigError: a value that the fault does not take.
        """
        if self.name == "clear":
            arm.faults.clear()
        elif self.name in _PLACES:
            arm.controller.place(_PLACES.index(self.name), self.value)
        elif self.name in _HANDS:
            arm.controller.guide(_HANDS.index(self.name), self.value)
        elif self.name == _PLAY:
            arm.controller.play(bool(self.value))
        else:
            # float32 on the wire: a share of 0.05 comes as 0.05000000075.
            arm.faults.set(self.name, round(self.value, 6))
