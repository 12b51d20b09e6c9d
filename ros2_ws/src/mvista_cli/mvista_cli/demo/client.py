"""The demo's own node: sends the task, and records what the cameras and the arm did meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

from mvista_interfaces.action import RunTask
from mvista_interfaces.msg import ImaginedRollout
from mvista_interfaces.srv import EvaluateTask
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from trajectory_msgs.msg import JointTrajectory

from mvista_bringup.paths import config_file
from mvista_cli.demo.record import JointSeries
from mvista_cli.demo.recording import RunRecording
from mvista_core.ports import Clock
from mvista_core.records import AS_NEEDED, CameraFrame, Provenance, RigCalibration, Rollout
from mvista_core.rig import load_rig
from mvista_ros import qos
from mvista_ros.actions import GoalClient, call_action, call_service
from mvista_ros.convert import error_from_outcome, stamp_to_ns, trajectory_from_msg
from mvista_ros.convert.rollouts import rollout_from_msg
from mvista_ros.listening import Listening
from mvista_ros.observation import ObservationSource
from mvista_ros.spinning import take_down

ARM = "piper"
RECORDED_FROM = (("infer", 1.0), ("gate", 0.0), ("gate", 1.0), ("execute", 0.0))
"""(stage, progress) as the task tells it: the first of these heard begins the recording, in the
moment between the plan and the first set-point."""
OBSERVE_TIMEOUT_S = 10.0
BENCH_INSTRUCTION = "touch the red cube"


class DemoClient:
    """A node on the run's domain, spun by a thread of its own; use as a context manager."""

    def __init__(self, rig: RigCalibration, clock: Clock, domain_id: int) -> None:
        self._clock = clock
        self._context = Context()
        self._context.init(domain_id=domain_id)
        self._node = Node("demo_client", context=self._context)
        joint_topic = f"{ARM}/joint_states"
        self._eyes = ObservationSource(self._node, rig, clock, joint_topic)
        self._recording = RunRecording(self._node, clock, rig.names, joint_topic)
        self._executed: JointTrajectory | None = None
        self._rollout: ImaginedRollout | None = None
        hearing = Listening(self._node, clock)
        hearing.listen(JointTrajectory, f"{ARM}/executed", self._on_executed, qos.STATIC)
        hearing.listen(ImaginedRollout, "imagined/rollout", self._on_rollout, qos.STATIC)
        self._run_task = GoalClient(self._node, RunTask, "run_task")
        self._evaluate = self._node.create_client(EvaluateTask, "sim/evaluate_task")
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._executor.spin, name="demo client")

    def __enter__(self) -> DemoClient:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._executor.shutdown(2.0)
        self._thread.join(2.0)
        take_down(self._node)
        self._context.try_shutdown()

    def observe(self) -> tuple[CameraFrame, ...]:
        """What every camera sees now.

        Raises:
            CameraSilentError, StaleFeedbackError, ObservationError: see `ObservationBuffer.wait`.
        """
        return self._eyes.observe(self._clock.now_ns(), timeout_s=OBSERVE_TIMEOUT_S).frames

    def run_task(
        self,
        instruction: str,
        seed: int,
        on_stage: Callable[[str, float], None],
        keep_going: Callable[[], bool],
        best_of: int = AS_NEEDED,
    ) -> RunTask.Result:
        """Send the task and wait; cancelled (the arm stops smoothly) when not to be kept going."""

        def hear(feedback: RunTask.Feedback) -> None:
            on_stage(feedback.stage, feedback.progress)
            if (feedback.stage, feedback.progress) in RECORDED_FROM:
                self._recording.start()

        goal = RunTask.Goal(instruction=instruction, seed=seed, best_of=best_of)
        try:
            _, result = call_action(self._run_task, goal, self._clock, hear, keep_going)
        finally:
            self._recording.stop()
        return result

    def carry_out(
        self, on_stage: Callable[[str, float], None], keep_going: Callable[[], bool]
    ) -> str:
        """A task of one rollout, from words to motion: why it was not carried out ("": it was)."""
        result = self.run_task(BENCH_INSTRUCTION, 0, on_stage, keep_going, best_of=1)
        return str(error_from_outcome(result.outcome) or "")

    def evaluate(self, instruction: str) -> tuple[bool, str]:
        """(success, detail) of the simulator's state."""
        request = EvaluateTask.Request(instruction=instruction)
        answer = call_service(self._evaluate, request, self._clock)
        return bool(answer.success), str(answer.detail)

    def rollout(self, seed: int) -> Rollout | None:
        """The newest imagined rollout."""
        return None if self._rollout is None else rollout_from_msg(self._rollout, seed)

    def sent(self) -> tuple[JointSeries, int] | None:
        """The set-points of the last execution, and the first one's stamp in nanoseconds."""
        message = self._executed
        if message is None or not message.points:
            return None
        sent = trajectory_from_msg(message, Provenance("", "", 0))
        series = JointSeries(sent.joint_names, sent.times_s, sent.positions)
        return series, stamp_to_ns(message.header.stamp)

    @property
    def recording(self) -> RunRecording:
        """What was heard while the plan was carried out."""
        return self._recording

    def _on_executed(self, message: JointTrajectory) -> None:
        self._executed = message

    def _on_rollout(self, message: ImaginedRollout) -> None:
        self._rollout = message


def planning_client(domain_id: int, clock: Clock) -> DemoClient:
    """The client of the shipped simulated cell, as the graph's bench drives it."""
    return DemoClient(load_rig(config_file("rigs", "sim_cell.yaml")), clock, domain_id)
