"""A MuJoCo cell: a Piper, four RGB-D cameras, a table and three tasks, behind the stack's ports."""

from __future__ import annotations

import os

# MuJoCo picks its GL when it is first imported; a cell draws without a display unless told else.
os.environ.setdefault("MUJOCO_GL", "egl")
