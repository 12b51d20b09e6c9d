"""RViz on a running robot or demo: cell measured and planned, clouds, images, what is wrong.

ros2 launch mvista_bringup monitor.launch.py robot_monitor:=true
ros2 launch mvista_bringup monitor.launch.py model:=true      # beside sim_demo.launch.py
"""

from launch import LaunchDescription
from mvista_bringup.graph.monitor import MONITOR, MONITOR_OPTIONS
from mvista_bringup.launching import launch_description


def generate_launch_description() -> LaunchDescription:
    """The nodes and arguments of mvista_bringup/graph/monitor.py."""
    return launch_description(MONITOR, MONITOR_OPTIONS, __file__)
