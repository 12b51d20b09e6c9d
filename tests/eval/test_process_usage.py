"""What processes take: real ones, measured while they do what they are told."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mvista_eval.process_usage import Usage, usage_of, usage_of_session

# Sixty MB, two threads and a child in the same session; then work until told to end.
PROGRAM = """
import subprocess, sys, threading
held = b"x" * 60_000_000
wait = threading.Thread(target=threading.Event().wait, daemon=True)
wait.start()
child = subprocess.Popen([sys.executable, "-c", "print(flush=True); import sys; sys.stdin.read()"],
                         stdin=subprocess.PIPE)
total = 0
while total < 5_000_000: total += 1
print("worked", flush=True)
sys.stdin.read()
"""


def test_a_process_and_what_it_started_are_added_up() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    ) as process:
        assert process.stdout is not None
        while "worked" not in process.stdout.readline():
            pass
        alone, session = usage_of(process.pid), usage_of_session(process.pid)
        process.kill()
    assert alone.cpu_s > 0.1 and alone.threads == 2 and 60 < alone.memory_mb < 300
    assert session.threads == 3 and session.memory_mb > alone.memory_mb + 1
    assert session.cpu_s >= alone.cpu_s


def test_a_process_that_ended_takes_nothing() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""], start_new_session=True)
    ended.wait()
    assert usage_of(ended.pid) == usage_of_session(ended.pid) == Usage()


def test_names_with_brackets_and_spaces_do_not_confuse(tmp_path: Path) -> None:
    folder = tmp_path / "7"
    folder.mkdir()
    fields = ["S", "1", "7", "7", *["0"] * 7, "150", "50", *["0"] * 4, "3", *["0"] * 30]
    (folder / "stat").write_text(f"7 (odd) name (1) {' '.join(fields)}", encoding="utf-8")
    (folder / "status").write_text("Name:\todd) name (1\nVmRSS:\t 1000 kB\n", encoding="utf-8")
    found = usage_of(7, tmp_path)
    assert found == usage_of_session(7, tmp_path)
    assert (found.cpu_s, found.threads, found.memory_mb) == pytest.approx((2.0, 3, 1.024))


def test_processor_time_is_that_of_the_clock() -> None:
    before, cpu_before_s = usage_of(os.getpid()).cpu_s, time.process_time()
    while time.process_time() < cpu_before_s + 0.3:
        pass
    assert usage_of(os.getpid()).cpu_s - before == pytest.approx(0.3, abs=0.05)
