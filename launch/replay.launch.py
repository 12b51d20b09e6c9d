"""An episode on the topics it was recorded from: images, joints, the cameras' places.

ros2 launch mvista_bringup replay.launch.py episode:=build/episodes/20261128T224431Z-4f1c09ab
"""

from launch import LaunchDescription
from mvista_bringup.graph.replay import REPLAY, REPLAY_OPTIONS
from mvista_bringup.launching import launch_description


def generate_launch_description() -> LaunchDescription:
    """The nodes and arguments of mvista_bringup/graph/replay.py."""
    return launch_description(REPLAY, REPLAY_OPTIONS, __file__)
