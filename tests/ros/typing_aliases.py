"""Types of the fixtures in conftest.py."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from rclpy.node import Node

Spin = Callable[[Node], Node]
Start = Callable[..., "subprocess.Popen[str]"]
Write = Callable[..., Path]
