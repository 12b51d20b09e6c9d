"""Calibration's simulated side: sessions with known truth, and the cell with a carried board."""

# MuJoCo picks its GL when it is first imported, and mvista_sim says which: it comes first.
import mvista_sim  # noqa: F401
