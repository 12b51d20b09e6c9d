"""Calibration beside cameras (and an arm) that already run: actions to collect, solve and verify.

ros2 launch mvista_bringup calibrate.launch.py
ros2 action send_goal --feedback /calibration/collect \
    mvista_interfaces/action/CollectCalibration "{session: monday}"
"""

from launch import LaunchDescription
from mvista_bringup.graph.calibrate import CALIBRATE, CALIBRATE_OPTIONS
from mvista_bringup.launching import launch_description


def generate_launch_description() -> LaunchDescription:
    """The nodes and arguments of mvista_bringup/graph/calibrate.py."""
    return launch_description(CALIBRATE, CALIBRATE_OPTIONS, __file__)
