"""The supervisor with real processes: readiness, named failures, and nothing left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mvista_bringup import supervisor as supervising
from mvista_bringup.graph.sim import SIM_DEMO
from mvista_bringup.graph.spec import NodeSpec
from mvista_bringup.supervisor import Supervisor, free_domain_id
from mvista_core.errors import ConfigError, UnavailableError

pytestmark = pytest.mark.slow

READY_S = 40.0
WAIT_S = 20.0
RUNNER = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job inherits "ignored"
from pathlib import Path
from mvista_bringup.graph.sim import SIM_DEMO, SIM_DEMO_OPTIONS
from mvista_bringup.options import option_values
from mvista_bringup.paths import share_root
from mvista_bringup.supervisor import Supervisor
values = option_values(SIM_DEMO_OPTIONS, {}, str(share_root()))
with Supervisor(SIM_DEMO[1:2], values, Path(sys.argv[1])) as supervisor:
    print(*supervisor.pids, flush=True)
    time.sleep(600)
"""


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _wait_gone(pids: list[int]) -> bool:
    deadline_s = time.monotonic() + WAIT_S
    while any(_alive(pid) for pid in pids) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    return not any(_alive(pid) for pid in pids)


def test_nodes_get_ready_write_logs_and_end(
    rig_publisher: NodeSpec, values: dict[str, str], tmp_path: Path
) -> None:
    heard: list[str] = []
    domain_before = os.environ["ROS_DOMAIN_ID"]
    with Supervisor([rig_publisher], values, tmp_path) as supervisor:
        supervisor.wait_ready(READY_S, heard.append)
        supervisor.check()
        pids = list(supervisor.pids)
        assert all(_alive(pid) for pid in pids)
        assert os.environ["ROS_DOMAIN_ID"] == str(supervisor.domain_id)
    assert heard == ["/rig_publisher"]
    assert os.environ["ROS_DOMAIN_ID"] == domain_before
    assert not any(_alive(pid) for pid in pids)
    assert (tmp_path / "logs" / "rig_publisher.log").read_text() == ""


def test_a_process_that_ends_is_named_with_its_last_words_and_log(
    rig_publisher: NodeSpec, values: dict[str, str], tmp_path: Path
) -> None:
    spec = replace(rig_publisher, parameters=(*rig_publisher.parameters, ("rigg", 1)))
    with (
        Supervisor([spec], values, tmp_path) as supervisor,
        pytest.raises(UnavailableError) as caught,
    ):
        supervisor.wait_ready(READY_S)
    message = str(caught.value)
    assert "/rig_publisher (exit 2): ConfigError (10): /rig_publisher: unknown param" in message
    assert str(tmp_path / "logs" / "rig_publisher.log") in message


def test_a_silent_node_is_named(
    rig_publisher: NodeSpec, values: dict[str, str], tmp_path: Path
) -> None:
    with (
        Supervisor([rig_publisher], values, tmp_path) as supervisor,
        pytest.raises(UnavailableError, match=r"/rig_publisher.*within 0\.01 s"),
    ):
        supervisor.wait_ready(0.01)


def test_a_process_that_ignores_signals_is_killed_with_its_children(
    stubborn: NodeSpec, values: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = ((signal.SIGINT, 0.3), (signal.SIGTERM, 0.3), (signal.SIGKILL, 5.0))
    monkeypatch.setattr(supervising, "STOP_SIGNALS", short)
    log = tmp_path / "logs" / "stubborn.log"
    with Supervisor([stubborn], values, tmp_path) as supervisor:
        deadline_s = time.monotonic() + WAIT_S
        while "child" not in log.read_text() and time.monotonic() < deadline_s:
            time.sleep(0.05)
        pids = [*supervisor.pids, int(log.read_text().split()[1])]
        assert all(_alive(pid) for pid in pids)
    assert _wait_gone(pids)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_its_supervisor(number: int, tmp_path: Path) -> None:
    runner = subprocess.Popen(
        [sys.executable, "-c", RUNNER, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert runner.stdout is not None
        pids = [int(word) for word in runner.stdout.readline().split()]
        assert pids
        time.sleep(0.5)  # any moment: here, while the node imports
        runner.send_signal(number)
        runner.wait(WAIT_S)
        assert _wait_gone(pids)
    finally:
        runner.kill()


def test_an_error_inside_ends_the_processes(
    rig_publisher: NodeSpec, values: dict[str, str], tmp_path: Path
) -> None:
    pids: list[int] = []
    with pytest.raises(ZeroDivisionError), Supervisor([rig_publisher], values, tmp_path) as running:
        pids.extend(running.pids)
        raise ZeroDivisionError
    assert pids and not any(_alive(pid) for pid in pids)


def test_nothing_starts_when_one_row_is_wrong(values: dict[str, str], tmp_path: Path) -> None:
    for wrong, said in (
        ("seed", "whole number"),
        ("rig", "no rig file.*\n *mend: rig:=emulated_cell"),
    ):
        supervisor = Supervisor(SIM_DEMO[:1], {**values, wrong: "many"}, tmp_path)
        with pytest.raises(ConfigError, match=said):
            supervisor.start()
        assert supervisor.pids == ()


@pytest.mark.parametrize("port", [0, 10, 12, 72])
def test_a_domain_on_which_anybody_is_left_is_not_free(port: int) -> None:
    """Everybody's port of discovery (0), or that of one participant: the first may have gone."""
    domain_id = free_domain_id()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("", 7400 + 250 * domain_id + port))
        assert free_domain_id() != domain_id
    assert free_domain_id() == domain_id
