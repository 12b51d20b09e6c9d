"""What the emulated arm can be told to do wrong, at run time, by name and number.

The same names work on the record (`faults.collision = 3`), on the command line
(`--fault collision=3`) and across processes (`--tell collision=3`, see `control`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

from mvista_core.errors import ConfigError
from mvista_piper.protocol import MOTORS


def _fault(default: float | int | bool, highest: float, text: str) -> Any:
    return field(default=default, metadata={"highest": highest, "text": text})


@dataclass
class Faults:
    """Zero (False) means that a fault is off. Motors and joints are numbered from 1."""

    drop_share: float = _fault(0.0, 1.0, "Share of all frames lost on the wire, both ways")
    drop_seed: int = _fault(0, 65535, "Seed of the frames that are lost")
    silent: bool = _fault(False, 1, "The arm sends nothing; it still hears")
    bus_off: bool = _fault(False, 1, "The host's controller is off the bus: nothing passes")
    unplugged: bool = _fault(False, 1, "The host's adapter is out of its socket: ENETDOWN")
    refuse_sends: bool = _fault(False, 1, "The host's transmit queue is full: ENOBUFS")
    sends_per_s: int = _fault(0, 65535, "The host's adapter takes this many frames a second")
    hot_motor: int = _fault(0, MOTORS, "This motor is too hot: bits 1 and 3, the arm holds")
    collision: int = _fault(0, MOTORS, "This joint collided: status 7 until cleared, the arm holds")
    frozen_joint: int = _fault(0, MOTORS, "This joint's feedback repeats its last value")
    lost_joint: int = _fault(0, MOTORS, "The frames with this joint's feedback no longer come")
    wild_joint: int = _fault(0, MOTORS + 1, "This joint (7: the gripper) says `wild_value`")
    wild_value: float = _fault(34.9, 1000, "rad, m for the gripper; the motor's own stays true")
    wild_frames: int = _fault(0, 65535, "... in so many frames, then no longer; 0: in all")
    short_joint: int = _fault(0, MOTORS + 1, "The frames with this joint have 4 bytes")
    wide_joint: int = _fault(0, MOTORS + 1, "The frames with this joint have a 29-bit id")
    wild_status: int = _fault(0, 65535, "So many 0x2A1 say modes that do not exist")
    wild_motor: int = _fault(0, MOTORS, "The 0x261-266 of this motor say 300 C")
    not_enabling: int = _fault(0, MOTORS, "This motor does not enable, or loses its enabling")
    old_dh: bool = _fault(False, 1, "Firmware S-V1.5-8: joint zeros 2 degrees off")
    leader: bool = _fault(False, 1, "The arm is a leader, as after 0x470 = 0xFA; off: a follower")

    def set(self, name: str, value: float) -> None:
        """Switch one fault by name.

        Raises:
            ConfigError: no such fault, or a value that it does not take.
        """
        known = {entry.name: entry for entry in fields(self)}
        if name not in known:
            raise ConfigError(f"no fault '{name}'; there are: {', '.join(known)}")
        highest = known[name].metadata["highest"]
        # Annotations are text here (PEP 563): a field's kind is known by its name.
        kind = {"bool": bool, "int": int}.get(str(known[name].type), float)
        if not 0 <= value <= highest or (kind is not float and value != int(value)):
            raise ConfigError(f"{name} is {value}; allowed: 0 to {highest}, {kind.__name__}")
        setattr(self, name, kind(value))

    def clear(self) -> None:
        """Switch everything off."""
        # In place, since the arm and its controller hold this very record.
        calm = replace(Faults(), drop_seed=self.drop_seed)
        for entry in fields(self):
            setattr(self, entry.name, getattr(calm, entry.name))


FAULT_NAMES = tuple(entry.name for entry in fields(Faults))
