"""Calibration of simulated sessions against their truth."""

PARTS = ("extrinsics", "base", "gate", "rendered", "time")
