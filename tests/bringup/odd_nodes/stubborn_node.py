"""A process that ignores every polite request to end, and has a child of its own."""

from __future__ import annotations

import signal
import subprocess
import time


def main() -> None:
    """Say who is there, then stay."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    print(f"child {subprocess.Popen(['sleep', '600']).pid}", flush=True)
    time.sleep(600)
