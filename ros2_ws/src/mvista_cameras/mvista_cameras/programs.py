"""The programs of this package; each imports what it runs only when it is called."""

from __future__ import annotations

from mvista_core.process import executable

camera_node = executable("mvista_cameras.camera_node")
