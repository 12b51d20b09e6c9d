"""Where ROS meets the stack: message conversion, QoS profiles, parameters, the base node.

The only package, beside files named `*node.py` and mvista_bringup, that imports rclpy.
"""
