"""The demo's own node: sends the task, and records what the cameras and the arm did meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Any

import numpy as np
from mvista_interfaces.action import RunTask
from mvista_interfaces.msg import ImaginedRollout
from mvista_interfaces.srv import EvaluateTask
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image
from sensor_msgs.msg import JointState as JointStateMsg
from trajectory_msgs.msg import JointTrajectory

from mvista_bringup.demo.record import JointSeries
from mvista_bringup.demo.timeline import nearest
from mvista_core.ports import Clock
from mvista_core.records import CameraFrame, Provenance, RigCalibration, Rollout
from mvista_core.timing import ns_to_seconds, seconds_to_ns
from mvista_ros import qos
from mvista_ros.actions import GoalClient, call_action, call_service
from mvista_ros.convert import (
    frame_from_msgs,
    intrinsics_from_msg,
    joint_state_from_msg,
    rollout_from_msg,
    stamp_to_ns,
    trajectory_from_msg,
)
from mvista_ros.listening import Listening
from mvista_ros.observation import CameraTopics, ObservationBuffer

ARM = "piper"
RECORDED_STAGES = ("gate", "execute")
OBSERVE_TIMEOUT_S = 10.0


class ImageLog:
    """Colour and depth messages of one camera by capture stamp, kept while recording."""

    def __init__(self) -> None:
        self._color: dict[int, Image] = {}
        self._depth: dict[int, Image] = {}
        self.info: CameraInfo | None = None

    def add_color(self, message: Image) -> None:
        self._color[stamp_to_ns(message.header.stamp)] = message

    def add_depth(self, message: Image) -> None:
        self._depth[stamp_to_ns(message.header.stamp)] = message

    def frame(self, camera: str, wanted_ns: int) -> CameraFrame | None:
        """The recorded frame nearest to an instant, None when none is near."""
        stamp_ns = nearest([s for s in self._color if s in self._depth], wanted_ns)
        if stamp_ns is None or self.info is None:
            return None
        intrinsics = intrinsics_from_msg(self.info)
        return frame_from_msgs(camera, self._color[stamp_ns], self._depth[stamp_ns], intrinsics)


class DemoClient:
    """A node on the run's domain, spun by a thread of its own; use as a context manager."""

    def __init__(self, rig: RigCalibration, clock: Clock, domain_id: int) -> None:
        self._clock = clock
        self._context = Context()
        self._context.init(domain_id=domain_id)
        self._node = Node("demo_client", context=self._context)
        self._listening = Listening(self._node, clock)
        self._buffer = ObservationBuffer(rig, clock, f"{ARM}/joint_states")
        self._logs = {name: ImageLog() for name in rig.names}
        self._states: list[JointStateMsg] = []
        self._executed: JointTrajectory | None = None
        self._rollout: ImaginedRollout | None = None
        self._recording = False
        self._subscribe(rig.names)
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
        self._node.destroy_node()
        self._context.try_shutdown()

    def observe(self) -> tuple[CameraFrame, ...]:
        """What every camera sees now.

        Raises:
            CameraSilentError, StaleFeedbackError, ObservationError: see `ObservationBuffer.wait`.
        """
        now_ns = self._clock.now_ns()
        return self._buffer.wait(now_ns, timeout_s=OBSERVE_TIMEOUT_S).frames

    def run_task(
        self,
        instruction: str,
        seed: int,
        on_stage: Callable[[str, float], None],
        keep_going: Callable[[], bool],
    ) -> RunTask.Result:
        """Send the task and wait; cancelled (the arm stops smoothly) when not to be kept going."""

        def hear(feedback: RunTask.Feedback) -> None:
            self._recording = feedback.stage in RECORDED_STAGES
            on_stage(feedback.stage, feedback.progress)

        goal = RunTask.Goal(instruction=instruction, seed=seed)
        _, result = call_action(self._run_task, goal, self._clock, hear, keep_going)
        self._recording = False
        return result

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

    def measured(self, start_ns: int) -> JointSeries | None:
        """The recorded joint states, on a clock that is zero at `start_ns`."""
        states = [joint_state_from_msg(message) for message in self._states]
        if not states:
            return None
        times_s = np.array([ns_to_seconds(state.stamp_ns - start_ns) for state in states])
        names = states[0].names
        return JointSeries(names, times_s, np.stack([state.ordered(names) for state in states]))

    def frames(
        self, cameras: Sequence[str], start_ns: int, times_s: Sequence[float]
    ) -> list[list[CameraFrame | None]]:
        """Recorded frames [V][T] nearest to `start_ns` plus each time."""
        return [
            [self._logs[name].frame(name, start_ns + seconds_to_ns(float(t))) for t in times_s]
            for name in cameras
        ]

    def _subscribe(self, cameras: Sequence[str]) -> None:
        for camera in cameras:
            topics = CameraTopics.of(camera)
            self._listen(Image, topics.color, partial(self._on_color, camera))
            self._listen(Image, topics.depth, partial(self._on_depth, camera))
            self._listen(CameraInfo, topics.info, partial(self._on_info, camera))
        self._listen(JointStateMsg, f"{ARM}/joint_states", self._on_joints)
        self._listen(JointTrajectory, f"{ARM}/executed", self._on_executed, qos.STATIC)
        self._listen(ImaginedRollout, "imagined/rollout", self._on_rollout, qos.STATIC)

    def _listen(
        self, kind: Any, topic: str, hear: Callable[[Any], None], profile: Any = qos.SENSOR_IN
    ) -> None:
        self._listening.listen(kind, topic, hear, profile)

    def _on_color(self, camera: str, message: Image) -> None:
        self._buffer.add_color(camera, message)
        if self._recording:
            self._logs[camera].add_color(message)

    def _on_depth(self, camera: str, message: Image) -> None:
        self._buffer.add_depth(camera, message)
        if self._recording:
            self._logs[camera].add_depth(message)

    def _on_info(self, camera: str, message: CameraInfo) -> None:
        self._buffer.add_info(camera, message)
        self._logs[camera].info = message

    def _on_joints(self, message: JointStateMsg) -> None:
        self._buffer.add_joints(joint_state_from_msg(message))
        if self._recording:
            self._states.append(message)

    def _on_executed(self, message: JointTrajectory) -> None:
        self._executed = message

    def _on_rollout(self, message: ImaginedRollout) -> None:
        self._rollout = message
