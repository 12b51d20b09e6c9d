"""The programs of this package; each imports what it runs only when it is called."""

from __future__ import annotations

from mvista_core.process import executable

cell_display_node = executable("mvista_bringup.cell_display_node")
rig_publisher_node = executable("mvista_bringup.rig_publisher_node")
