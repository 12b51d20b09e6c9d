"""Images across processes: lost, late, and what they cost."""

DDS = ("project", "default")
BACKENDS = ("synthetic", "emulated")
