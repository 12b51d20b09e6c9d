"""The planner alone, on a machine with a card; the robot's launch has `planner:=elsewhere`.

ros2 launch mvista_bringup planner.launch.py checkpoint:=wan22 rig:=my_cell
ros2 launch mvista_bringup planner.launch.py checkpoint:=wan22 offload:=blocks    # a small card
"""

from launch import LaunchDescription
from mvista_bringup.graph.planner import PLANNER, PLANNER_OPTIONS
from mvista_bringup.launching import launch_description


def generate_launch_description() -> LaunchDescription:
    """The nodes and arguments of mvista_bringup/graph/planner.py."""
    return launch_description(PLANNER, PLANNER_OPTIONS, __file__)
