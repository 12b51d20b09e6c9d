"""The world model of MVISTA-4D and all that is learned. ROS-free: NumPy and records in and out.

The stages (encode, layout, denoise, decode, latent_optimisation, refine) never import each other;
`planner` alone composes them.
"""
