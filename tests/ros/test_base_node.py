"""The house node as a real process: it serves, tells its health, and leaves cleanly."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from std_srvs.srv import Trigger

from mvista_core.timing import SystemClock, seconds_to_ns
from mvista_ros import qos
from mvista_ros.actions import call_service
from tests.ros.typing_aliases import Spin, Start

pytestmark = pytest.mark.ros

PROBE = Path(__file__).with_name("probe_node.py")
WAIT_S = 20.0


@pytest.fixture
def probe(domain_id: int) -> Iterator[Start]:
    """Start the probe process with arguments; it is ended with the test whatever happens."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(PROBE), *arguments]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_process_with_zero_and_no_traceback(probe: Start, number: int) -> None:
    process = probe()
    assert process.stdout is not None
    assert process.stdout.readline().startswith("serving")
    process.send_signal(number)
    out, err = process.communicate(timeout=WAIT_S)
    assert (process.returncode, out.strip(), err) == (0, "stopped", "")


def test_signals_that_interrupt_each_other_end_the_process_all_the_same(probe: Start) -> None:
    """A launch that is given up tells twice and more: the second may come within the first."""
    process = probe()
    assert process.stdout is not None
    assert process.stdout.readline().startswith("serving")
    clock = SystemClock()
    give_up_ns = clock.monotonic_ns() + seconds_to_ns(WAIT_S)
    while process.poll() is None and clock.monotonic_ns() < give_up_ns:
        for number in (signal.SIGTERM, signal.SIGINT) * 10:
            process.send_signal(number)
    assert process.poll() is not None, "the process still runs"


def test_a_bad_parameter_is_one_line_and_exit_two(probe: Start) -> None:
    process = probe("--ros-args", "-p", "rate_hz:=99.0")
    out, err = process.communicate(timeout=WAIT_S)
    assert (process.returncode, out) == (2, "")
    assert len(err.strip().splitlines()) == 1
    assert "rate_hz" in err and "from 1.0 to 60.0" in err


def test_health_is_told_and_a_failing_callback_ends_the_node(probe: Start, spinning: Spin) -> None:
    process = probe("--ros-args", "-r", "__ns:=/piper")
    node = spinning(Node("listener"))
    heard = threading.Event()

    def listen(message: DiagnosticArray) -> None:
        if message.status[0].name == "/piper/probe":
            heard.set()

    node.create_subscription(DiagnosticArray, "/diagnostics", listen, qos.STATUS)
    assert heard.wait(WAIT_S)
    client = node.create_client(Trigger, "/piper/fail")
    assert client.wait_for_service(WAIT_S)
    client.call_async(Trigger.Request())
    out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 1
    assert "asked to fail" in err and "stopped" in out


def test_a_service_that_is_not_there_is_named(spinning: Spin) -> None:
    node = spinning(Node("caller"))
    client = node.create_client(Trigger, "nobody")
    with pytest.raises(Exception, match=r"no service '/nobody' within 0\.1 s"):
        call_service(client, Trigger.Request(), SystemClock(), timeout_s=0.1)
