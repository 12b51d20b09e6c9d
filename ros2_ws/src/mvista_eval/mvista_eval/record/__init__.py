"""The recorder under load, killed, and held against the truth of emulated cameras."""

RIG = "emulated_cell"
ARMS = ("left", "right")
