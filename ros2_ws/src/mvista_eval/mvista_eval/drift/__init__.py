"""The drift watch in the simulated cell: moved cameras, shifted zeros, and quiet."""

PARTS = ("moved", "zeros", "quiet")
