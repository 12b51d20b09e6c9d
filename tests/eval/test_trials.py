"""The runner of trials and its cache: what counts as done, and what is done again."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from mvista_core.errors import ConfigError
from mvista_eval import trials
from mvista_eval.revision import code_revision
from mvista_eval.trials import ROWS, Repeating, Study, run_study, sum_of_files

CARRIED_OUT: list[int] = []


@dataclass(frozen=True)
class Job:
    seed: int


@dataclass(frozen=True)
class Row:
    seed: int
    square: float
    words: tuple[str, ...] = ()
    values: tuple[tuple[str, float], ...] = ()


def squared(job: Job) -> list[Row]:
    CARRIED_OUT.append(job.seed)
    return [Row(job.seed, job.seed**2, ("as", "it is"), (("half", job.seed / 2),))]


STUDY = Study("squares", squared, Row, {"arm": "as shipped"})
JOBS = [Job(3), Job(1), Job(2)]


@pytest.fixture(autouse=True)
def rows_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MVISTA_OUTPUT", str(tmp_path))
    CARRIED_OUT.clear()
    return tmp_path / "bench" / "squares" / ROWS


def test_rows_come_in_the_order_of_the_jobs_and_are_made_once() -> None:
    first = run_study(STUDY, JOBS)
    assert [row.seed for row in first] == CARRIED_OUT == [3, 1, 2]
    assert run_study(STUDY, [*JOBS, Job(5)])[:3] == first, "whole, tuples and all"
    assert CARRIED_OUT == [3, 1, 2, 5]
    run_study(STUDY, JOBS, Repeating(fresh=True))
    assert CARRIED_OUT == [3, 1, 2, 5, 3, 1, 2]


def test_a_run_that_was_killed_goes_on(rows_file: Path) -> None:
    run_study(STUDY, JOBS)
    rows_file.write_text(rows_file.read_text()[:-40])
    CARRIED_OUT.clear()
    assert [row.square for row in run_study(STUDY, JOBS)] == [9, 1, 4]
    assert CARRIED_OUT == [2], "the last line was cut off"


INVENTED = {"seed": 3, "square": 10.0, "words": [], "values": []}


@pytest.mark.parametrize(
    "line",
    [
        json.dumps([INVENTED]),
        json.dumps({"job": {"seed": 3}, "rows": [INVENTED]}),
        json.dumps({"key": "k", "job": {"seed": 3}, "rows": [INVENTED], "sum": "s"}),
        "[]",
        "null",
    ],
)
def test_invented_rows_do_not_pass_for_results(rows_file: Path, line: str) -> None:
    rows_file.parent.mkdir(parents=True)
    rows_file.write_text(line + "\n")
    assert [row.square for row in run_study(STUDY, JOBS)] == [9, 1, 4]
    assert CARRIED_OUT == [3, 1, 2]


def test_an_altered_row_is_made_again(rows_file: Path) -> None:
    run_study(STUDY, JOBS)
    rows_file.write_text(rows_file.read_text().replace('"square": 9', '"square": 8'))
    CARRIED_OUT.clear()
    assert [row.square for row in run_study(STUDY, JOBS)] == [9, 1, 4]
    assert CARRIED_OUT == [3]


def test_rows_of_other_settings_count_for_nothing() -> None:
    run_study(STUDY, JOBS)
    run_study(replace(STUDY, settings={"arm": "bent"}), JOBS)
    assert CARRIED_OUT == [3, 1, 2] * 2


@pytest.mark.parametrize("what", ["code_revision", "library_versions", "describe"])
def test_rows_of_other_code_libraries_or_processor_count_for_nothing(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_study(STUDY, JOBS)
    monkeypatch.setattr(trials, what, lambda: "another")
    run_study(STUDY, JOBS)
    assert CARRIED_OUT == [3, 1, 2] * 2


def test_the_code_revision_is_of_every_room_but_the_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_room(name: str, text: str) -> str:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "__init__.py").write_text(text)
        code_revision.cache_clear()
        return code_revision()

    monkeypatch.syspath_prepend(str(tmp_path))
    before = with_room("mvista_annex", "A = 1\n")
    assert with_room("mvista_annex", "A = 1\n") == before
    assert with_room("mvista_annex", "A = 2\n") != before
    code_revision.cache_clear()


def test_a_setting_of_files_is_their_content(tmp_path: Path) -> None:
    file = tmp_path / "arm.yaml"
    file.write_text("a: 1")
    before = sum_of_files(file)
    file.write_text("a: 2")
    assert sum_of_files(file) != before


def test_no_worker_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        run_study(STUDY, JOBS, Repeating(workers=0))
