"""Two setups of one tree, `make demo` beside `make setup` among them, work one after the other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import setup_workspace

WAIT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from setup_workspace import wait_for_other_setups
wait_for_other_setups(Path(sys.argv[2]))
print("its turn", flush=True)
"""


def test_the_second_says_that_it_waits_and_goes_on_when_the_first_ends(tmp_path: Path) -> None:
    script = tmp_path / "setup_workspace.py"
    script.touch()
    first = setup_workspace.wait_for_other_setups(script)
    tools = str(Path(setup_workspace.__file__).parent)
    second = subprocess.Popen(
        [sys.executable, "-c", WAIT, tools, str(script)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert second.stdout is not None
        assert "waiting" in second.stdout.readline() and second.poll() is None
        os.close(first)
        said, _ = second.communicate(timeout=30)
        assert said == "its turn\n" and second.returncode == 0
    finally:
        second.kill()


def test_one_alone_waits_for_nobody(tmp_path: Path) -> None:
    script = tmp_path / "setup_workspace.py"
    script.touch()
    os.close(setup_workspace.wait_for_other_setups(script))
    os.close(setup_workspace.wait_for_other_setups(script))
