"""Calibration of simulated sessions against their truth."""
