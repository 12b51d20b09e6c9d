"""A program dies with its launch, and answers a signal at once, from its first moment on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mvista_core import process

WAIT_S = 20.0
SLOW_IMPORT = "import sys, time\nprint('importing', flush=True)\ntime.sleep(600)\n"
STAYS = "import time\ndef main():\n    print('running', flush=True)\n    time.sleep(600)\n"
PROGRAM = "from mvista_core.process import executable; executable('{}')()"
# Starts the program as `ros2 launch` does, tells of it, and is killed.
LAUNCH = """
import os, subprocess, sys, time
os.environ["MVISTA_LAUNCHER"] = str(os.getpid())
child = subprocess.Popen({start}, stdout=subprocess.PIPE, text=True)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "slow_import.py").write_text(SLOW_IMPORT, encoding="utf-8")
    (tmp_path / "stays.py").write_text(STAYS, encoding="utf-8")
    (tmp_path / "lacks.py").write_text("import no_such_library\n", encoding="utf-8")
    return {**os.environ, "PYTHONPATH": str(tmp_path)}


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("module", ["slow_import", "stays"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_program_dies_with_its_launch(
    module: str, number: int, environment: dict[str, str]
) -> None:
    """Also while it still imports, and however the launch dies."""
    start = [sys.executable, "-c", PROGRAM.format(module)]
    launch = subprocess.Popen(
        [sys.executable, "-c", LAUNCH.format(start=start)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert launch.stdout is not None
    pid = int(launch.stdout.readline())
    assert _alive(pid)
    launch.send_signal(number)
    launch.wait(WAIT_S)
    deadline_s = time.monotonic() + WAIT_S
    while _alive(pid) and time.monotonic() < deadline_s:
        time.sleep(0.02)
    assert not _alive(pid)


def test_a_program_whose_launch_is_gone_does_not_begin(environment: dict[str, str]) -> None:
    """The launch died before the kernel could be asked: nothing else would tell of it."""
    gone = subprocess.Popen(["true"])
    gone.wait(WAIT_S)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format("stays")],
        env={**environment, process.LAUNCHER: str(gone.pid)},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )
    assert done.returncode != 0 and f"process {gone.pid}" in done.stderr
    assert done.stdout == ""


def test_a_program_that_nobody_launched_stays(environment: dict[str, str]) -> None:
    """Started by hand, it outlives the shell as any program does."""
    alone = {name: value for name, value in environment.items() if name != process.LAUNCHER}
    program = [sys.executable, "-c", PROGRAM.format("stays")]
    with subprocess.Popen(program, env=alone, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "running\n"
        running.terminate()
        assert running.wait(WAIT_S) == -signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_imports_ends_it_without_a_word(
    number: int, environment: dict[str, str]
) -> None:
    program = [sys.executable, "-c", PROGRAM.format("slow_import")]
    running = subprocess.Popen(
        program, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert running.stdout is not None and running.stdout.readline() == "importing\n"
    running.send_signal(number)
    _, said = running.communicate(timeout=WAIT_S)
    assert (running.returncode, said) == (0, "")


def test_what_cannot_be_imported_is_one_line(environment: dict[str, str]) -> None:
    program = [sys.executable, "-c", PROGRAM.format("lacks")]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=WAIT_S)
    assert done.returncode == process.BAD_INPUT_EXIT_CODE
    (line,) = done.stderr.splitlines()
    assert "lacks cannot be imported: No module named 'no_such_library'" in line


def test_the_launch_may_be_a_grandparent() -> None:
    """A debugger or a terminal stands between: an ancestor that lives is no reason to end."""
    assert os.getppid() in set(process._ancestors())
    assert len(list(process._ancestors())) > 1
