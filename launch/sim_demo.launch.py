"""The simulated cell and everything that imagines, infers and acts on it.

ros2 launch mvista_bringup sim_demo.launch.py task:=open_drawer seed:=3
"""

from launch import LaunchDescription
from mvista_bringup.graph.sim import SIM_DEMO, SIM_DEMO_OPTIONS
from mvista_bringup.launching import launch_description


def generate_launch_description() -> LaunchDescription:
    """The nodes and arguments of mvista_bringup/graph/sim.py."""
    return launch_description(SIM_DEMO, SIM_DEMO_OPTIONS, __file__)
