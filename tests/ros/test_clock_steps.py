"""The wall clock of a real process is set back and forward: periods go on, stamps follow."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter

from mvista_core.errors import ConfigError
from mvista_core.timing import SystemClock
from mvista_ros import qos
from mvista_ros.base_node import DIAGNOSTICS_PERIOD_S, HouseNode
from mvista_ros.convert import stamp_to_ns
from tests.fakes.step_clock import SteppedClock
from tests.ros.typing_aliases import Spin

pytestmark = pytest.mark.ros

PROBE = Path(__file__).with_name("probe_node.py")
CLOCK = SystemClock()
NS = 10**9


@pytest.fixture
def wall(tmp_path: Path) -> Iterator[SteppedClock]:
    with SteppedClock(tmp_path) as clock:
        yield clock


def test_diagnostics_keep_their_period_when_the_wall_clock_steps(
    wall: SteppedClock, spinning: Spin
) -> None:
    node = spinning(Node("listener"))
    heard: list[tuple[int, int]] = []

    def listen(message: DiagnosticArray) -> None:
        heard.append((CLOCK.monotonic_ns(), CLOCK.now_ns() - stamp_to_ns(message.header.stamp)))

    node.create_subscription(DiagnosticArray, "/diagnostics", listen, qos.STATUS)
    command = [sys.executable, str(PROBE), "--ros-args", "-r", "__ns:=/stepped"]
    process = subprocess.Popen(command, env=wall.environment(os.environ))
    try:
        _wait(lambda: bool(heard), 20.0)
        for step_s in (-30.0, 3600.0):
            wall.step(step_s)
            asked_ns, before = CLOCK.monotonic_ns(), len(heard)
            _wait(partial(_has, heard, before + 3), 10.0)
            late_s = (heard[before + 2][0] - asked_ns) / NS
            assert late_s < 3 * DIAGNOSTICS_PERIOD_S + 2.0
            assert heard[-1][1] / NS == pytest.approx(-wall.offset_s, abs=2.0)
    finally:
        process.terminate()
        process.wait(20.0)


def _has(heard: list[tuple[int, int]], count: int) -> bool:
    return len(heard) >= count


def _wait(until: Callable[[], bool], seconds: float) -> None:
    deadline_ns = CLOCK.monotonic_ns() + round(seconds * NS)
    while not until():
        assert CLOCK.monotonic_ns() < deadline_ns, f"nothing within {seconds} s"
        CLOCK.sleep_until(CLOCK.monotonic_ns() + 20_000_000)


@pytest.fixture
def context(domain_id: int) -> Iterator[rclpy.Context]:
    context = rclpy.Context()
    context.init(domain_id=domain_id)
    yield context
    context.try_shutdown()


def test_every_timer_of_a_house_node_is_steady(context: rclpy.Context) -> None:
    node = HouseNode("timed", context=context, use_global_arguments=False)
    node.create_timer(1.0, lambda: None)
    kinds = [timer.clock.clock_type for timer in node.timers]
    node.destroy_node()
    assert kinds == [ClockType.STEADY_TIME] * 2


def test_simulated_time_is_refused_whole(context: rclpy.Context) -> None:
    arguments = ["--ros-args", "-p", "use_sim_time:=true"]
    with pytest.raises(ConfigError, match="/simulated: use_sim_time is true; allowed: false"):
        HouseNode("simulated", context=context, cli_args=arguments, use_global_arguments=False)


def test_simulated_time_is_refused_at_run_time_too(context: rclpy.Context) -> None:
    node = HouseNode("running", context=context, use_global_arguments=False)
    answer = node.set_parameters([Parameter("use_sim_time", value=True)])[0]
    assert not answer.successful and answer.reason.startswith("[10] use_sim_time")
    assert node.set_parameters([Parameter("use_sim_time", value=False)])[0].successful
    assert not [info for info in node.subscriptions if info.topic_name == "/clock"]
    node.destroy_node()


def test_a_process_asked_for_simulated_time_says_why_not() -> None:
    command = [sys.executable, str(PROBE), "--ros-args", "-p", "use_sim_time:=true"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("ConfigError (10): /probe: use_sim_time is true")
    assert len(done.stderr.strip().splitlines()) == 1
