"""The programs of this package; each imports what it runs only when it is called."""

from __future__ import annotations

from mvista_core.process import executable

episode_replay_node = executable("mvista_recorder.episode_replay_node")
recorder_node = executable("mvista_recorder.recorder_node")
