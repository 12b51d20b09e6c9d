"""The robot: cameras, arm drivers, rig, planning, executor, task; `hardware:=emulated` needs none.

ros2 launch mvista_bringup real_robot.launch.py can_serial:=... rig:=... rviz:=true
ros2 launch mvista_bringup real_robot.launch.py hardware:=emulated instruction:="open the drawer"
"""

from launch import LaunchDescription
from mvista_bringup.graph.robot import REAL_ROBOT, REAL_ROBOT_OPTIONS
from mvista_bringup.launching import launch_description


def generate_launch_description() -> LaunchDescription:
    """The nodes and arguments of mvista_bringup/graph/robot.py."""
    return launch_description(REAL_ROBOT, REAL_ROBOT_OPTIONS, __file__)
