"""What the page says in words, as HTML: the task's stages, the nodes, the cost.

What nodes say comes from other processes: all of it is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from html import escape

STAGES = ("imagine", "infer", "gate", "confirm", "execute")
"""As `run_task` names them; `confirm` is there only where an operator is asked."""
_AT_STAGE = re.compile(r"at stage (\w+)")

GREEN, BLUE, AMBER, RED, GREY = "#2b9a5b", "#2f6fde", "#c98a12", "#d13b3b", "#8a919e"
_LEVELS = {b"\x00": GREEN, b"\x01": AMBER, b"\x02": RED}
_SMALL = "font-size:12px;line-height:1.45"


class End(Enum):
    """What became of the newest task."""

    NONE = "no task yet"
    RUNNING = "running"
    DONE = "carried out"
    FAILED = "refused or failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class TaskState:
    """Where the newest task is. Each `heard...` is the state after one more thing was heard."""

    end: End = End.NONE
    stage: str = ""
    fraction: float = 0.0

    def heard_feedback(self, stage: str, fraction: float) -> TaskState:
        """Its action's feedback; after the end, what was said before it comes too late."""
        if self.end not in (End.NONE, End.RUNNING):
            return self
        return TaskState(End.RUNNING, stage, min(max(fraction, 0.0), 1.0))

    def heard_end(self, end: End) -> TaskState:
        """Its action's status. A new task has not reached any stage."""
        if end is End.RUNNING and self.end is not End.RUNNING:
            return TaskState(End.RUNNING)
        return TaskState(end, self.stage, self.fraction)

    def heard_health(self, message: str) -> TaskState:
        """The task node's word on /diagnostics: feedback is not repeated to who comes late."""
        found = _AT_STAGE.search(message)
        if found is None or found[1] == self.stage or self.end is not End.RUNNING:
            return self
        return TaskState(End.RUNNING, found[1])


def task_html(task: TaskState, instruction: str) -> str:
    """The stages in a row, with what is asked for above them."""
    asked = f"“{escape(instruction)}”" if instruction else "nothing imagined yet"
    color = {End.DONE: GREEN, End.RUNNING: BLUE, End.FAILED: RED}.get(task.end, GREY)
    words = task.end.value
    if task.end is End.RUNNING and task.stage:
        words = f"{task.stage} {task.fraction:.0%}"
    pills = "".join(_pill(name, task) for name in STAGES)
    return (
        '<div style="padding:2px 10px 8px">'
        f'<div style="font-size:16px;font-weight:600;margin-bottom:2px">{asked}</div>'
        f'<div id="task-state" style="{_SMALL};color:{color};font-weight:600">{escape(words)}</div>'
        f'<div style="display:flex;gap:4px;margin-top:8px">{pills}</div></div>'
    )


def _pill(name: str, task: TaskState) -> str:
    reached = STAGES.index(task.stage) if task.stage in STAGES else -1
    place = STAGES.index(name)
    filled, color = 0.0, GREY
    if task.end is End.DONE or place < reached:
        filled, color = 1.0, GREEN
    elif place == reached:
        color = {End.RUNNING: BLUE, End.FAILED: RED}.get(task.end, GREY)
        filled = task.fraction if task.end is End.RUNNING else 1.0
    if name == "confirm" and place != reached:
        filled, color = 0.0, GREY  # nobody says whether it was asked
    weight = 600 if place == reached else 400
    return (
        f'<div style="flex:1;font-size:11px;text-align:center;font-weight:{weight}">'
        '<div style="height:6px;border-radius:3px;background:#8a919e44;overflow:hidden">'
        f'<div style="height:6px;width:{filled:.0%};background:{color}"></div></div>{name}</div>'
    )


def nodes_html(nodes: Sequence[tuple[str, bytes, str]]) -> str:
    """(name, level as DiagnosticStatus, message) of each node: a line with a coloured dot."""
    if not nodes:
        return f'<div style="padding:2px 10px;{_SMALL};color:{GREY}">no node has been heard</div>'
    lines = "".join(
        f'<tr><td style="color:{_LEVELS.get(level, RED)};padding:1px 6px 1px 0">●</td>'
        f'<td style="padding:1px 8px 1px 0;white-space:nowrap"><b>{escape(name)}</b></td>'
        f'<td style="word-break:break-word">{escape(message)}</td></tr>'
        for name, level, message in nodes
    )
    return (
        f'<div style="padding:2px 10px 8px;{_SMALL}">'
        f'<table id="nodes" style="border-collapse:collapse">{lines}</table></div>'
    )


def footer_html(where: str, cores: float | None) -> str:
    """Which cell this is, and what showing it costs (cores of the machine, None while unknown)."""
    cost = "" if cores is None else f"Showing this takes {cores:.0%} of one core. "
    return (
        f'<div style="padding:4px 10px 8px;font-size:11px;color:{GREY}">{escape(where)}. {cost}'
        "This page only looks: nothing on it can move the arm.</div>"
    )


def heading_html(text: str, detail: str = "") -> str:
    """A heading in a column of pictures."""
    return (
        '<div style="padding:4px 10px 0;font-size:13px;font-weight:600">'
        f'{escape(text)} <span style="font-weight:400;color:{GREY}">{escape(detail)}</span></div>'
    )
