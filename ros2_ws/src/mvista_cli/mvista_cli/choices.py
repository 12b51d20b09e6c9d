"""What options may be, where the library that says so takes long to import; a test holds them."""

from __future__ import annotations

METHODS = ("ours", "one_pose", "one_pose_icp", "bundle", "bundle_icp")
"""Of calibrating: `mvista_calibration.pipeline`."""
GRIPPER, TABLE = "gripper", "table"
"""Who may hold the board of a simulated session."""
FIRST_SEED = 1_000_000
"""Of training episodes: far from the held-out seeds."""
