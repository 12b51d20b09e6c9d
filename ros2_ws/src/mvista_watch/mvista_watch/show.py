"""What is heard, brought onto the page: each kind as often as an eye wants it."""

from __future__ import annotations

from collections.abc import Callable

from mvista_core.ports import Clock
from mvista_core.records import Rollout
from mvista_core.timing import ns_to_seconds, seconds_to_ns
from mvista_ros.convert import depth_to_mm
from mvista_ros.showing import NodeWords, ShownPlan
from mvista_watch.cell_topics_node import Cell, CellTopics
from mvista_watch.clouds import Cloud, LiveCloud
from mvista_watch.page import Page
from mvista_watch.views import Sheet, View
from mvista_watch.words import TaskState

JOINTS_S, VIEWS_S, CLOUD_S, WORDS_S = 0.1, 0.2, 0.5, 1.0
"""How often each kind is looked at."""


class Show:
    """Brings what is heard onto the page. Lives as long as somebody looks."""

    def __init__(self, topics: CellTopics, page: Page, cell: Cell, clock: Clock) -> None:
        self._topics, self._page, self._cell, self._clock = topics, page, cell, clock
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
        if heard := self._topics.joints.take():
            state = heard[-1]
            self._page.show_arm(dict(zip(state.names, state.positions.tolist(), strict=True)))
        now_ns = self._clock.monotonic_ns()
        for plan in self._topics.plan.take():
            self._plan, self._plan_ns = plan, now_ns
            self._page.show_path(self._cell.arm.tip_positions(plan.positions))
        if self._plan is not None:
            at = self._plan.at(ns_to_seconds(now_ns - self._plan_ns))
            self._page.show_planned(dict(zip(names, at.tolist(), strict=True)))
        self._show_task()

    def _show_task(self) -> None:
        for end in self._topics.ends.take():
            self._task = self._task.heard_end(end)
        for stage, fraction in self._topics.feedback.take():
            self._task = self._task.heard_feedback(stage, fraction)
        self._page.show_task(self._task, self._instruction)

    def _show_views(self) -> None:
        for name in self._cell.rig.names:
            color, depth = self._topics.color[name].take(), self._topics.depth[name].take()
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
        for rollout in self._topics.rollout.take():
            self._rollout, self._instruction = rollout, rollout.instruction
        if heard := self._topics.points.take():
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
        for statuses in self._topics.health.take():
            self._nodes.hear([status for status in statuses if status.name.startswith(own)])
        words = self._nodes.all()
        for word in words:
            if word.name == f"{own}task":
                self._task = self._task.heard_health(word.message)
        self._page.show_nodes([(word.name, word.level, word.message) for word in words])
