"""The programs of this package; each imports what it runs only when it is called."""

from __future__ import annotations

from mvista_core.process import executable

leader_node = executable("mvista_piper.leader_node")
piper_node = executable("mvista_piper.piper_node")
piper_emulator = executable("mvista_piper.emulator_main")
