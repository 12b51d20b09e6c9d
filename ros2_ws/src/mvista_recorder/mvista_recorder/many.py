"""The same for many episodes, on several processes, told one by one in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

from mvista_core.errors import ConfigError, EpisodeError, MvistaError
from mvista_recorder.layout import EPISODE, PARTIAL, episode_folders
from mvista_recorder.repair import faults, repair

A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True)
class Converted:
    """What came of one episode: how many windows or frames were kept and left out, and why."""

    episode: str
    kept: int
    dropped: int
    words: str


def holds_episodes(folder: Path) -> bool:
    """Whether it is an episode, or has some in it."""
    return (folder / EPISODE).is_file() or any(folder.glob(f"*/{EPISODE}"))


def episodes_of(folder: Path) -> tuple[Path, ...]:
    """The folder itself where it is an episode, else all episodes in it.

    Raises:
        EpisodeError: there is none.
    """
    if (folder / EPISODE).is_file():
        return (folder,)
    if not (found := episode_folders(folder)):
        raise EpisodeError(f"no episode in {folder}; `mvista record` writes some")
    return found


def in_parallel(work: Callable[[A], B], jobs: Sequence[A], workers: int) -> Iterator[tuple[A, B]]:
    """Each job with what came of it; without other processes where one is enough.

    Raises:
        ConfigError: fewer than one worker.
    """
    if workers < 1:
        raise ConfigError(f"{workers} workers; allowed: at least 1")
    count = min(workers, len(jobs))
    if count <= 1:
        yield from ((job, work(job)) for job in jobs)
        return
    # A fork would copy locks that other threads of the caller hold at that moment.
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        yield from zip(jobs, pool.map(work, jobs), strict=True)


def repaired(job: tuple[Path, Path]) -> tuple[bool, str]:
    """Repair one episode into a folder: whether all is well now, and a line about it.

    One that is whole, and one that was repaired before, is left as it is.
    """
    folder, out = job
    done = out / folder.name.removesuffix(PARTIAL)
    try:
        if not faults(folder):
            return True, f"{folder.name} is whole"
        if (done / EPISODE).is_file() and not faults(done):
            return True, f"{folder.name} was repaired before: {done}"
        return True, f"{folder.name} -> {repair(folder, out)}"
    except MvistaError as error:
        return False, f"[{error.code}] {error}"
