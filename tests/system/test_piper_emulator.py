"""The emulator as a process: it says that it is ready, takes orders, and ends when asked to."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time

import pytest

from mvista_piper import protocol
from mvista_piper.emulator.loopback import LoopbackBus

pytestmark = pytest.mark.system

PATIENCE_S = 30.0
COMMAND = [sys.executable, "-m", "mvista_piper.emulator_main"]


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_obeys_and_ends(ending: signal.Signals) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    with subprocess.Popen(
        [*COMMAND, "--port", port], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            with LoopbackBus(port=int(port)) as bus:
                _await_status(bus, protocol.ArmCondition.NORMAL)
                told = subprocess.run(
                    [*COMMAND, "--port", port, "--tell", "collision=1"], timeout=60
                )
                assert told.returncode == 0
                _await_status(bus, protocol.ArmCondition.COLLISION)
            process.send_signal(ending)
            said = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
        assert (process.returncode, said) == (0, ("", ""))


def _await_status(bus: LoopbackBus, condition: protocol.ArmCondition) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s:
        message = bus.recv(0.1)
        if message is None or message.arbitration_id != protocol.STATUS:
            continue
        if protocol.ArmStatus.unpack(bytes(message.data)).condition == condition:
            return
    raise AssertionError(f"no status {condition.name}")
