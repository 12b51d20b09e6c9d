"""Leader, follower and cameras, to be recorded; `hardware:=emulated` or `sim` needs none.

ros2 launch mvista_bringup teleop_record.launch.py can_serial:=... leader_can_serial:=... rig:=...
ros2 launch mvista_bringup teleop_record.launch.py hardware:=sim task:=open_drawer
mvista record "open the drawer" --rig ...                # in a terminal beside it
"""

from launch import LaunchDescription
from mvista_bringup.graph.teleop_record import TELEOP_RECORD, TELEOP_RECORD_OPTIONS
from mvista_bringup.launching import launch_description


def generate_launch_description() -> LaunchDescription:
    """The nodes and arguments of mvista_bringup/graph/teleop_record.py."""
    return launch_description(TELEOP_RECORD, TELEOP_RECORD_OPTIONS, __file__)
