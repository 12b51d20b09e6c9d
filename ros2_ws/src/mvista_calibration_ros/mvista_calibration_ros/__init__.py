"""Calibration as ROS actions: collect, solve, verify."""
