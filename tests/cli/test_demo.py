"""The demo's small parts: which scene is meant, how progress is told, what is refused early."""

from __future__ import annotations

import io

import pytest

from mvista_cli import cli
from mvista_cli.demo.scene import assignment_of
from mvista_cli.operator.progress import StageProgress
from mvista_core.errors import InstructionError
from mvista_core.timing import ManualClock
from mvista_eval import facts


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("task", "instruction", "expected"),
    [
        ("touch_cube", "", ("touch_cube", "touch the red cube")),
        ("touch_cube", "Touch the  blue cube.", ("touch_cube", "touch the blue cube")),
        ("touch the green cube", "", ("touch_cube", "touch the green cube")),
        ("open_drawer", "", ("open_drawer", "open the drawer")),
        ("put the orange in the bowl", "", ("put_orange", "put the orange in the bowl")),
    ],
)
def test_a_task_may_be_named_or_said(
    task: str, instruction: str, expected: tuple[str, str]
) -> None:
    found = assignment_of(task, instruction)
    assert (found.task, found.instruction) == expected


@pytest.mark.parametrize(("task", "words"), [("dance", ""), ("touch_cube", "open the drawer")])
def test_words_that_no_task_has_are_refused_with_the_templates(task: str, words: str) -> None:
    with pytest.raises(
        InstructionError, match="touch the {red|green|blue|yellow} cube".replace("|", r"\|")
    ):
        assignment_of(task, words)


def test_the_command_refuses_unknown_words_before_anything_starts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["demo", "--instruction", "dance"]) == 2
    assert "touch the {red|green|blue|yellow} cube" in capsys.readouterr().err


def told(stream: io.StringIO) -> str:
    clock = ManualClock()
    show = StageProgress(stream, clock)
    for stage, fraction in (("imagine", 0.0), ("imagine", 0.5), ("infer", 0.0)):
        show.update(stage, fraction)
        clock.advance(1.0)
    show.done("failed")
    show.done()
    return stream.getvalue()


def test_plain_lines_where_there_is_no_terminal() -> None:
    assert told(io.StringIO()).splitlines() == [
        "imagine ...",
        "imagine    done, 2.0 s",
        "infer ...",
        "infer      failed, 1.0 s",
    ]


def test_one_moving_line_on_a_terminal() -> None:
    text = told(Terminal())
    assert text.count("\n") == 2, "one line is left behind per stage"
    assert "━" * 14 + " " * 14 in text


def test_the_facts_name_the_machine_but_not_its_owner() -> None:
    assert {fact.name for fact in facts.machine()} == {"system", "processor", "cores", "bf16"}
    assert "python" in {fact.name for fact in facts.versions()}
