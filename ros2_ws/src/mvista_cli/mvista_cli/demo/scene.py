"""Which scene and which words a run is about, from what the user typed."""

from __future__ import annotations

from dataclasses import dataclass

from mvista_core import instructions
from mvista_sim.tasks import TEMPLATES, check_instruction, task_of


@dataclass(frozen=True)
class Assignment:
    """A scene's task and the instruction given to the robot."""

    task: str
    instruction: str


def assignment_of(task: str, instruction: str = "") -> Assignment:
    """`task` is a task's name or itself an instruction; `instruction` overrides the words.

    Raises:
        InstructionError: no task has these words; the message lists the templates.
    """
    if task not in TEMPLATES:
        return Assignment(task_of(task), instructions.normalise(instruction or task))
    # A template's first sentence: "touch the red cube".
    words = instruction or instructions.expand(TEMPLATES[task])[0]
    return Assignment(task, check_instruction(task, words))
