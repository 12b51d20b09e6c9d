"""The AgileX Piper over CAN: a driver behind the `Arm` port, and the arm emulated at the wire.

`piper_node` is the only ROS file.
"""
