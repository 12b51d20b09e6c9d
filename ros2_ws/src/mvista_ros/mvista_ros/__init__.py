"""Where ROS meets the stack: message conversion, QoS profiles, parameters, the base node.

The only package, beside files named `*node.py`, mvista_bringup, mvista_eval and mvista_cli, that
imports rclpy.
"""
