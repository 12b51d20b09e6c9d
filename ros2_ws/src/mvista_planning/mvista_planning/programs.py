"""The programs of this package; each imports what it runs only when it is called."""

from __future__ import annotations

from mvista_core.process import executable

planning_node = executable("mvista_planning.planning_node")
task_node = executable("mvista_planning.task_node")
