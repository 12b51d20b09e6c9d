"""`mvista run` against a task server in this process: what it says, asks, returns and cancels."""

from __future__ import annotations

import dataclasses
import io
import os
import signal
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from mvista_interfaces.action import RunTask
from mvista_interfaces.msg import StageReport
from rclpy.node import Node
from std_srvs.srv import SetBool

from mvista_bringup.supervisor import free_domain_id
from mvista_cli import cli
from mvista_core.errors import CancelledError, InstructionError
from mvista_core.ports import Progress
from mvista_core.records import AS_NEEDED
from mvista_core.rig import load_rig, save_rig
from mvista_core.timing import SystemClock, seconds_to_ns
from mvista_planning.confirmation import Confirmation
from mvista_ros.actions import WorkServer
from mvista_ros.convert import options_from_goal
from mvista_ros.spinning import spinning

pytestmark = pytest.mark.ros

WAIT = ["--wait", "20"]
CLOCK = SystemClock()
STAGES = [StageReport(name="imagine", duration_s=0.25)]
RIG = load_rig(Path(__file__).parents[2] / "config/rigs/sim_cell.yaml")


class Server:
    """A task node without a world model: it knows one instruction, asks, and keeps what it did."""

    def __init__(self, node: Node) -> None:
        self.confirmation = Confirmation(CLOCK, 30.0)
        self.seen: list[RunTask.Goal] = []
        self.working = threading.Event()
        node.create_service(SetBool, "confirm", self._confirm)
        self.actions = WorkServer(node, RunTask, "run_task", self._work)

    def _work(self, request: RunTask.Goal, progress: Progress) -> RunTask.Result:
        self.seen.append(request)
        if request.instruction == "dance":
            raise InstructionError.unknown("dance", ["open the drawer"])
        progress("imagine", 0.5)
        self.working.set()
        while request.instruction == "wait":
            if not progress("infer", 0.1):
                raise CancelledError("cancelled at stage infer")
            CLOCK.sleep_until(CLOCK.monotonic_ns() + seconds_to_ns(0.02))
        if request.confirm:
            self.confirmation.ask(progress)
        return RunTask.Result(plan_id="p1", imagined=3, stages=STAGES)

    def _confirm(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        response.success, response.message = self.confirmation.answer(request.data)
        return response


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        # A domain that no graph on this machine is on.
        patch.setenv("ROS_DOMAIN_ID", str(free_domain_id()))
        with spinning(partial(Node, "task"), threads=4) as node:
            found = Server(node)
            yield found
            found.actions.stop()


@pytest.fixture
def server(running: Server) -> Server:
    running.seen.clear()
    running.working.clear()
    return running


class Terminal(io.StringIO):
    """Somebody sits at it."""

    def isatty(self) -> bool:
        return True


def test_a_task_is_sent_and_told_of(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--confirm", "false", "--seed", "4", "--source", "cam2", "--targets", "cam0", "cam1"]
    assert cli.main(["run", "open the drawer", *words, *WAIT]) == 0
    (goal,) = server.seen
    assert (goal.instruction, goal.seed, goal.confirm) == ("open the drawer", 4, False)
    assert goal.best_of == AS_NEEDED
    assert (goal.source_camera, list(goal.target_cameras)) == ("cam2", ["cam0", "cam1"])
    assert '"open the drawer" was carried out: imagine 0.2 s; plan p1 of the likeliest of 3' in (
        capsys.readouterr().out
    )


def test_views_by_pose_and_the_best_of_several_reach_the_goal(
    server: Server, tmp_path: Path
) -> None:
    guest = dataclasses.replace(RIG.camera("cam0"), name="guest")
    save_rig(dataclasses.replace(RIG, cameras=(guest,)), tmp_path / "guests.yaml")
    words = ["--confirm", "false", "--cameras", str(tmp_path / "guests.yaml"), "--best-of", "3"]
    assert cli.main(["run", "open the drawer", *words, "--mode", "2", *WAIT]) == 0
    (goal,) = server.seen
    (found,) = options_from_goal(goal).cameras
    assert (found.name, found.intrinsics) == ("guest", guest.intrinsics)
    assert (goal.best_of, goal.view_mode, goal.allow_out_of_range) == (3, 2, False)


def test_a_refusal_is_one_line_and_exit_code_2(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", "dance", *WAIT]) == 2
    assert 'mvista: unknown instruction "dance"' in capsys.readouterr().err


@pytest.mark.parametrize(("typed", "code"), [("y\n", 0), ("n\n", 2), ("\n", 2)])
def test_the_operator_at_the_terminal_is_asked(
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    typed: str,
    code: int,
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    assert cli.main(["run", "open the drawer", *WAIT]) == code
    assert "may the arm move?" in capsys.readouterr().out


def test_without_a_terminal_it_says_whom_to_call_and_waits(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())

    def agree() -> None:
        while not server.confirmation.answer(True)[0]:
            CLOCK.sleep_until(CLOCK.monotonic_ns() + seconds_to_ns(0.05))

    somebody = threading.Thread(target=agree, daemon=True)
    somebody.start()
    assert cli.main(["run", "open the drawer", *WAIT]) == 0
    somebody.join(5.0)
    assert "ros2 service call /confirm" in capsys.readouterr().out


@pytest.mark.parametrize("namespace", ["cell_a", "/lab/cell_a"])
def test_in_a_namespace_it_names_the_service_of_that_cell(
    namespace: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a leading stroke or without: the same cell, and never another one's arm."""
    monkeypatch.setenv("ROS_DOMAIN_ID", str(free_domain_id()))
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with spinning(partial(Node, "task", namespace=namespace.strip("/")), threads=4) as node:
        server = Server(node)

        def agree() -> None:
            while not server.confirmation.answer(True)[0]:
                CLOCK.sleep_until(CLOCK.monotonic_ns() + seconds_to_ns(0.05))

        somebody = threading.Thread(target=agree, daemon=True)
        somebody.start()
        assert cli.main(["run", "open the drawer", "--namespace", namespace, *WAIT]) == 0
        somebody.join(5.0)
        server.actions.stop()
    called = f"ros2 service call /{namespace.strip('/')}/confirm std_srvs/srv/SetBool"
    assert f'{called} "{{data: true}}"' in capsys.readouterr().out


def test_control_c_cancels_the_task(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt() -> None:
        server.working.wait(20.0)
        os.kill(os.getpid(), signal.SIGINT)

    somebody = threading.Thread(target=interrupt, daemon=True)
    somebody.start()
    assert cli.main(["run", "wait", "--confirm", "false", *WAIT]) == 2
    somebody.join(5.0)
    assert "cancelled at stage infer" in capsys.readouterr().err


def test_no_robot_is_a_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = 1 + int(os.environ["ROS_DOMAIN_ID"]) % 101
    monkeypatch.setenv("ROS_DOMAIN_ID", str(elsewhere))
    assert cli.main(["run", "open the drawer", "--wait", "0.2"]) == 2
    assert "no action server" in capsys.readouterr().err
