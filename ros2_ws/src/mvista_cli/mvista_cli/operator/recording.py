"""The recorder in the foreground: its node, and its face on this terminal."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mvista_cli.operator.watching import join_domain
from mvista_core import instructions
from mvista_core.errors import InstructionError


@dataclass(frozen=True)
class RecordRequest:
    """What is demonstrated, where to, and what must come of cameras and arms before it begins."""

    instruction: str
    out: Path
    rig_file: Path
    arm_file: Path
    arms: tuple[str, ...]
    cameras: tuple[str, ...]
    camera_rate_hz: float
    joint_rate_hz: float
    least_free_gib: float
    namespace: str
    domain: int | None


def record(asked: RecordRequest) -> int:
    """Until the operator quits, or the process is told to end.

    Raises:
        MvistaError: the instruction is empty, or the recorder cannot be built as asked.
    """
    if not instructions.normalise(asked.instruction):
        raise InstructionError("the instruction is empty: say what is demonstrated")
    join_domain(asked.domain)
    # Imported here so that a refused call does not wait for them.
    from rclpy.parameter import Parameter

    from mvista_recorder.face import serve
    from mvista_recorder.recorder_node import RecorderNode
    from mvista_recorder.terminal import Terminal
    from mvista_ros.spinning import spinning

    values = {
        "root": str(asked.out),
        "rig_file": str(asked.rig_file),
        "arm_file": str(asked.arm_file),
        "arms": list(asked.arms),
        "cameras": list(asked.cameras),
        "camera_rate_hz": asked.camera_rate_hz,
        "joint_rate_hz": asked.joint_rate_hz,
        "least_free_gib": asked.least_free_gib,
    }
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    build = partial(RecorderNode, namespace=asked.namespace or None, parameter_overrides=overrides)
    with spinning(build) as node:
        terminal = Terminal()
        try:
            with terminal:
                serve(node.recorder, asked.instruction, terminal)
        finally:
            node.stop()
        if terminal.lost:
            _say_no_more()
        print(node.recorder.state().said, flush=True)
    return 0


def _say_no_more() -> None:
    """There is no terminal to say it to; a write would end this program with an error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for fd in (1, 2):
        os.dup2(nowhere, fd)
