"""Ctrl-C on `mvista demo` while it works: nothing that it started goes on.

The weights are the committed checkpoint, or random ones of the same shape where it is absent.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mvista_bringup import paths
from mvista_bringup.graph.sim import SIM_DEMO, SIM_DEMO_OPTIONS
from mvista_bringup.graph.spec import started_rows
from mvista_bringup.options import option_values

pytestmark = [
    pytest.mark.system,
    pytest.mark.beside,
    pytest.mark.slow,
    pytest.mark.timeout(600),
]


def test_control_c_leaves_no_process(checkpoint: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mvista_cli.cli", "demo", "--checkpoint", checkpoint]
    demo = subprocess.Popen(
        [*command, "--out", str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert demo.stdout is not None
    try:
        for line in demo.stdout:
            if line.startswith(b"imagine"):
                break
        values = option_values(SIM_DEMO_OPTIONS, {}, str(paths.share_root()))
        assert len(children_of(demo.pid)) == len(started_rows(SIM_DEMO, values))
        demo.send_signal(signal.SIGINT)
        assert demo.wait(60.0) == 130
    finally:
        demo.kill()
    assert children_of(demo.pid) == []


def children_of(supervisor: int) -> list[str]:
    """Command lines of the nodes that one supervising process started and that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended meanwhile
        if b"mvista_bringup.child" in words and str(supervisor).encode() in words:
            found.append(b" ".join(words).decode(errors="replace"))
    return found
