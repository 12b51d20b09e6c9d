"""`mvista doctor`: read-only checks of a machine, each failure with the line that fixes it."""

PURPOSES = ("sim", "robot", "record")
