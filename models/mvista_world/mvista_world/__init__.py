"""The world model of MVISTA-4D and all that is learned. ROS-free: NumPy and records in and out.

The stages (encode, denoise, decode, infer, refine) never import each other; `planner` alone
composes them.
"""
