"""Trajectory execution: check -> splice -> interpolate -> limit -> stream.

The core is free of ROS; `executor_node` is its only ROS file.
"""
