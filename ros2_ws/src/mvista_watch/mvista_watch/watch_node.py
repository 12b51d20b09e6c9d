"""The topics of one cell on the page; they are subscribed only while somebody looks.

While nobody does, this process is not even in the ROS graph. It hears by taking what waits in the
middleware, the newest of each topic, a few times a second: no callback runs, nothing is spun. It
writes nothing and asks nobody: no publisher (but rclpy's own /parameter_events), service or client.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from action_msgs.msg import GoalStatus, GoalStatusArray
from diagnostic_msgs.msg import DiagnosticArray
from mvista_interfaces.action import RunTask
from mvista_interfaces.msg import ImaginedRollout
from rclpy.context import Context
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image, PointCloud2
from sensor_msgs.msg import JointState as JointStateMsg
from trajectory_msgs.msg import JointTrajectory

from mvista_core.arm import ArmModel
from mvista_core.ports import Clock
from mvista_core.records import RigCalibration, Rollout
from mvista_core.timing import ns_to_seconds, seconds_to_ns
from mvista_ros import qos
from mvista_ros.convert import (
    cloud_from_msg,
    depth_to_mm,
    joint_state_from_msg,
    rollout_from_msg,
    stamp_to_ns,
)
from mvista_ros.convert.image_bytes import color_from_bytes, depth_from_bytes
from mvista_ros.listening import Listening, Queue, message_from_bytes
from mvista_ros.observation import CameraTopics
from mvista_ros.showing import NodeWords, ShownPlan
from mvista_watch.clouds import Cloud, LiveCloud
from mvista_watch.cost import Cost
from mvista_watch.page import Page
from mvista_watch.views import Sheet, View
from mvista_watch.words import End, TaskState

R = TypeVar("R")

NAME = "watch"
JOINTS_S, VIEWS_S, CLOUD_S, WORDS_S = 0.1, 0.2, 0.5, 1.0
"""How often each kind is looked at."""
TINT, TINT_SHARE = (150, 70, 230), 0.45
"""Imagined points are drawn towards violet, or nobody could tell them from those seen."""
_ENDS = {
    GoalStatus.STATUS_SUCCEEDED: End.DONE,
    GoalStatus.STATUS_ABORTED: End.FAILED,
    GoalStatus.STATUS_CANCELED: End.CANCELLED,
}


@dataclass(frozen=True)
class Cell:
    """Which cell is shown: its namespace (no slash before or after), its arm's, its two files."""

    namespace: str
    arm_name: str
    arm: ArmModel
    rig: RigCalibration


class Ears:
    """Every topic that is shown, heard by one node from now until that node is destroyed."""

    def __init__(self, node: Node, cell: Cell, clock: Clock) -> None:
        listening = Listening(node, clock)

        def queue(kind: Any, topic: str, profile: QoSProfile, made: Callable[[Any], R]) -> Queue[R]:
            def read(data: bytes) -> R:
                return made(message_from_bytes(data, kind))

            return listening.queue(kind, topic, read, profile)

        topics = {name: CameraTopics.of(name) for name in cell.rig.names}
        newest = qos.SENSOR_NEWEST_IN
        self.color = {
            name: listening.queue(Image, found.color, color_from_bytes, newest)
            for name, found in topics.items()
        }
        self.depth = {
            name: listening.queue(Image, found.depth, depth_from_bytes, newest)
            for name, found in topics.items()
        }
        joints = f"{cell.arm_name}/joint_states"
        plan = partial(ShownPlan.of, arm=cell.arm)
        self.joints = queue(JointStateMsg, joints, newest, joint_state_from_msg)
        self.rollout = queue(ImaginedRollout, "imagined/rollout", qos.STATIC, rollout_from_msg)
        self.points = queue(PointCloud2, "imagined/points", qos.STATIC, _imagined_points)
        self.plan = queue(JointTrajectory, "inferred/trajectory", qos.STATIC, plan)
        self.health = queue(DiagnosticArray, "/diagnostics", qos.STATUS, lambda said: said.status)
        self.feedback = queue(
            RunTask.Impl.FeedbackMessage,
            "run_task/_action/feedback",
            qos.STATUS,
            lambda said: (str(said.feedback.stage), float(said.feedback.progress)),
        )
        self.ends = queue(GoalStatusArray, "run_task/_action/status", qos.STATIC, _newest_end)


def _imagined_points(message: PointCloud2) -> tuple[Cloud, int]:
    """The cloud, and its stamp: the time that it foretells."""
    points_m, color = cloud_from_msg(message)
    return Cloud(points_m, color).tinted(TINT, TINT_SHARE), stamp_to_ns(message.header.stamp)


def _newest_end(message: GoalStatusArray) -> End:
    """What became of the newest goal."""
    goals = sorted(message.status_list, key=lambda goal: stamp_to_ns(goal.goal_info.stamp))
    return _ENDS.get(goals[-1].status, End.RUNNING) if goals else End.NONE


class Show:
    """Brings what is heard onto the page. Lives as long as somebody looks."""

    def __init__(self, ears: Ears, page: Page, cell: Cell, clock: Clock) -> None:
        self._ears, self._page, self._cell, self._clock = ears, page, cell, clock
        self._sheet, self._fused = Sheet(cell.rig.names), LiveCloud(cell.rig)
        self._views = {name: View() for name in cell.rig.names}
        self._nodes = NodeWords(clock)
        self._task, self._instruction = TaskState(), ""
        self._plan: ShownPlan | None = None
        self._plan_ns = 0
        self._rollout: Rollout | None = None
        self._duties: tuple[tuple[float, Callable[[], None]], ...] = (
            (JOINTS_S, self._show_arm),
            (VIEWS_S, self._show_views),
            (CLOUD_S, self._show_clouds),
            (WORDS_S, self._show_nodes),
        )
        self._due_ns = [0] * len(self._duties)

    def step(self) -> int:
        """Do what is due; returns when the next thing is (steady clock)."""
        for place, (period_s, duty) in enumerate(self._duties):
            now_ns = self._clock.monotonic_ns()
            if now_ns >= self._due_ns[place]:
                duty()
                self._due_ns[place] = now_ns + seconds_to_ns(period_s)
        return min(self._due_ns)

    def _show_arm(self) -> None:
        names = self._cell.arm.joint_names
        if heard := self._ears.joints.take():
            state = heard[-1]
            self._page.show_arm(dict(zip(state.names, state.positions.tolist(), strict=True)))
        now_ns = self._clock.monotonic_ns()
        for plan in self._ears.plan.take():
            self._plan, self._plan_ns = plan, now_ns
            self._page.show_path(self._cell.arm.tip_positions(plan.positions))
        if self._plan is not None:
            at = self._plan.at(ns_to_seconds(now_ns - self._plan_ns))
            self._page.show_planned(dict(zip(names, at.tolist(), strict=True)))
        self._show_task()

    def _show_task(self) -> None:
        for end in self._ears.ends.take():
            self._task = self._task.heard_end(end)
        for stage, fraction in self._ears.feedback.take():
            self._task = self._task.heard_feedback(stage, fraction)
        self._page.show_task(self._task, self._instruction)

    def _show_views(self) -> None:
        for name in self._cell.rig.names:
            color, depth = self._ears.color[name].take(), self._ears.depth[name].take()
            last = self._views[name]
            self._views[name] = View(
                color[-1].pixels if color else last.color,
                depth[-1].pixels if depth else last.depth_mm,
            )
        self._page.show_seen(self._sheet.drawn(self._views))

    def _show_clouds(self) -> None:
        seen = [
            self._fused.of(name, view.color, view.depth_mm)
            for name, view in self._views.items()
            if view.color is not None and view.depth_mm is not None and view.color.ndim == 3
        ]
        self._page.show_cloud("seen", Cloud.joined(seen))
        for rollout in self._ears.rollout.take():
            self._rollout, self._instruction = rollout, rollout.instruction
        if heard := self._ears.points.take():
            cloud, stamp_ns = heard[-1]
            self._page.show_cloud("imagined", cloud)
            self._show_imagined(stamp_ns)

    def _show_imagined(self, stamp_ns: int) -> None:
        """The moment of the rollout that the cloud shows: its stamp is the time foretold."""
        rollout = self._rollout
        if rollout is None:
            return
        after_s = ns_to_seconds(stamp_ns - rollout.stamp_ns)
        moment = int(abs(rollout.times_s - after_s).argmin())
        views = {
            name: View(rollout.color[v, moment], depth_to_mm(rollout.depth_m[v, moment]))
            for v, name in enumerate(rollout.cameras)
        }
        detail = f"{float(rollout.times_s[moment]):+.1f} s of {float(rollout.times_s[-1]):.1f} s"
        self._page.show_imagined(Sheet(rollout.cameras).drawn(views), detail)

    def _show_nodes(self) -> None:
        own = f"/{self._cell.namespace}/" if self._cell.namespace else "/"
        for statuses in self._ears.health.take():
            self._nodes.hear([status for status in statuses if status.name.startswith(own)])
        words = self._nodes.all()
        for word in words:
            if word.name == f"{own}task":
                self._task = self._task.heard_health(word.message)
        self._page.show_nodes([(word.name, word.level, word.message) for word in words])


def watch(
    page: Page,
    cell: Cell,
    cost: Cost,
    clock: Clock,
    came_or_went: threading.Event,
    tell: Callable[[str], None],
) -> None:
    """Show the cell to whoever opens the page, until this is interrupted.

    `came_or_went` is set by the page's callback; `tell` gets a line when the last viewer left.
    """
    while True:
        came_or_went.wait()
        came_or_went.clear()
        if not page.viewers:
            continue
        cost.add(watched=False)
        with listening_node(cell) as node:
            show = Show(Ears(node, cell, clock), page, cell, clock)
            told_ns = clock.monotonic_ns()
            while page.viewers:
                until_ns = show.step()
                now_ns = clock.monotonic_ns()
                if now_ns - told_ns >= seconds_to_ns(5 * WORDS_S):
                    page.show_cost(cost.add(watched=True))
                    told_ns = now_ns
                clock.sleep_until(until_ns)
        cost.add(watched=True)
        tell(f"nobody looks any more; so far {cost}")


@contextmanager
def listening_node(cell: Cell) -> Iterator[Node]:
    """The node that hears: in a context of its own, and without what a node usually serves."""
    context = Context()
    context.init()
    try:
        node = Node(
            NAME,
            namespace=cell.namespace,
            context=context,
            use_global_arguments=False,
            enable_rosout=False,
            start_parameter_services=False,
            parameter_overrides=[Parameter("start_type_description_service", value=False)],
        )
        try:
            yield node
        finally:
            node.destroy_node()
    finally:
        context.try_shutdown()
