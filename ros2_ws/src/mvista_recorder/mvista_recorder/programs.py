"""The program of this package; it imports what it runs only when it is called."""

from __future__ import annotations

from mvista_core.process import executable

recorder_node = executable("mvista_recorder.recorder_node")
