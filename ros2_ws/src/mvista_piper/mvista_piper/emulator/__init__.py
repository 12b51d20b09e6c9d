"""The Piper emulated at the wire: the CAN frames of the arm, its motion, and its misbehaviour."""

from mvista_piper.emulator.arm import EmulatedPiper
from mvista_piper.emulator.faults import FAULT_NAMES, Faults
from mvista_piper.emulator.settings import EmulatorSettings

__all__ = ["FAULT_NAMES", "EmulatedPiper", "EmulatorSettings", "Faults"]
