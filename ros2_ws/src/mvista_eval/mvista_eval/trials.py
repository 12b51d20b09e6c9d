"""One runner for all that is measured by repetition, and one cache of what it found.

A study's rows are kept as they come, so that a run that was killed goes on. A kept row counts only
where it was made for the same trial with the same settings, by the same code and libraries on the
same processor, and is unaltered: each line carries the sum of all that. Anything else in the file
is done again.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Generic, TypeVar

from tqdm import tqdm

from mvista_bringup.paths import output_dir
from mvista_core.errors import ConfigError, WeightsError
from mvista_core.machine import describe
from mvista_eval.on_ray import on_ray
from mvista_eval.revision import code_revision

J = TypeVar("J")
R = TypeVar("R")

ROWS = "rows.jsonl"
LIBRARIES = (
    "diffusers", "mujoco", "numpy", "opencv-contrib-python-headless", "scipy", "torch",
    "transformers",
)  # fmt: skip


@dataclass(frozen=True)
class Study(Generic[J, R]):
    """What is repeated: `trial` makes the rows of one job, both frozen dataclasses.

    `trial` is a function of its module, so that other processes find it; `settings` are all that
    rows depend on beside the job, the code and the machine. With `one_thread` every trial runs in a
    process that computes on one thread: two workers with two each would wait for one another.
    """

    name: str
    trial: Callable[[J], list[R]]
    row: type[R]
    settings: Mapping[str, str]
    one_thread: bool = False


@dataclass(frozen=True)
class Repeating:
    """Who carries a study out: `workers` processes of this machine or, with `ray`, of the Ray
    cluster at that address ("local": one of this machine's own). `fresh` forgets earlier rows."""

    workers: int = 1
    fresh: bool = False
    ray: str = ""


ALONE = Repeating()


def run_study(study: Study[J, R], jobs: Sequence[J], how: Repeating = ALONE) -> list[R]:
    """The rows of all jobs, in their order.

    Raises:
        ConfigError: fewer than one worker; no Ray, or none at that address, or one whose machines
            have other code. Whatever a trial raises.
    """
    if how.workers < 1:
        raise ConfigError(f"{how.workers} workers; allowed: at least 1")
    kept = KeptRows(output_dir("bench", study.name) / ROWS, study, how.ray)
    if how.fresh:
        kept.forget()
    done = kept.read()
    keys = [kept.key(job) for job in jobs]
    missing = {key: job for key, job in zip(keys, jobs, strict=True) if key not in done}
    if len(missing) < len(jobs):
        known = len(jobs) - len(missing)
        sys.stderr.write(f"{study.name}: {known} of {len(jobs)} kept from earlier runs: {kept}\n")
    shown = tqdm(_carried_out(study, missing, how), study.name, len(missing), file=sys.stderr)
    for key, rows in shown:
        done[key] = rows
        kept.add(key, missing[key], rows)
    return [row for key in keys for row in done[key]]


def _carried_out(
    study: Study[J, R], jobs: Mapping[str, J], how: Repeating
) -> Iterator[tuple[str, list[R]]]:
    if not jobs:
        return
    asked = [(study.trial, key, job) for key, job in jobs.items()]
    if how.ray:
        yield from on_ray(_carry_out, asked, how.ray, how.workers, code_revision())
        return
    if how.workers == 1 and not study.one_thread:
        yield from ((key, study.trial(job)) for key, job in jobs.items())
        return
    if study.one_thread:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    # GL contexts do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with context.Pool(min(how.workers, len(jobs))) as pool:
        yield from pool.imap_unordered(_carry_out, asked)


def _carry_out(asked: tuple[Callable[[J], list[R]], str, J]) -> tuple[str, list[R]]:
    trial, key, job = asked
    return key, trial(job)


class KeptRows(Generic[J, R]):
    """The file of one study's rows: a line for each job, with the key it was made for and a sum."""

    def __init__(self, file: Path, study: Study[J, R], ray: str = "") -> None:
        """`ray` is the cluster that makes them, whose machines may differ from this one."""
        self._file, self._study = file, study
        self._machine = f"Ray at {ray}" if ray else describe()

    def __str__(self) -> str:
        return str(self._file)

    def key(self, job: J) -> str:
        """What a row of this job depends on, as one sum."""
        whole = {
            "study": self._study.name,
            "settings": dict(self._study.settings),
            "code": code_revision(),
            "libraries": library_versions(),
            "machine": self._machine,
            "job": asdict(job),  # type: ignore[call-overload]
        }
        return _sum(json.dumps(whole, sort_keys=True, default=str))

    def read(self) -> dict[str, list[R]]:
        """Rows by key; what is no whole line of ours is passed over."""
        if not self._file.is_file():
            return {}
        found = {}
        for line in self._file.read_text(encoding="utf-8").splitlines():
            # A run that was killed leaves half a line; an older version, or a hand, other ones.
            with suppress(ValueError, TypeError, LookupError, AttributeError):
                kept = json.loads(line)
                if kept["sum"] == _sum(kept["key"] + json.dumps(kept["rows"], sort_keys=True)):
                    found[str(kept["key"])] = [self._row(values) for values in kept["rows"]]
        return found

    def add(self, key: str, job: J, rows: Sequence[R]) -> None:
        """Keep what one job gave."""
        values = [asdict(row) for row in rows]  # type: ignore[call-overload]
        # Once through JSON: the sum is of what will be read.
        values = json.loads(json.dumps(values))
        line = {
            "key": key,
            "job": asdict(job),  # type: ignore[call-overload]
            "rows": values,
            "sum": _sum(key + json.dumps(values, sort_keys=True)),
        }
        with self._file.open("a", encoding="utf-8") as file:
            file.write("\n" + json.dumps(line, default=str) + "\n")

    def forget(self) -> None:
        """Remove what earlier runs left."""
        self._file.unlink(missing_ok=True)

    def _row(self, values: Mapping[str, Any]) -> R:
        return self._study.row(**{name: _tuples(value) for name, value in values.items()})


def _tuples(value: Any) -> Any:
    """JSON has lists where records have tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _sum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def sum_of_files(*paths: Path) -> str:
    """One sum over the content of files: a setting such as a rig or an arm."""
    return _sum("".join(_sum(path.read_text(encoding="utf-8")) for path in paths))


def sum_of_bytes(path: Path) -> str:
    """One sum over a file that is no text, such as weights.

    Raises:
        WeightsError: it cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}") from None


@cache
def library_versions() -> dict[str, str]:
    """Of what computes results; those that are not installed are left out."""
    found = {}
    for name in LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
