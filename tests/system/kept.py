"""A graph that the tests of a file share, started anew for the next try after one that failed.

A machine that stands still for a moment leaves a fault that an operator would have to clear: on the
same graph no other try could do better.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Generic, TypeVar

import pytest

Graph = TypeVar("Graph")

FAILED = pytest.StashKey[bool]()
"""Of a test's item: whether its last call failed (set by conftest.py)."""
TOLD_CHARACTERS = 1500
"""Of the end of each log."""


class Kept(Generic[Graph]):
    """Starts what `start(folder)` gives when it is first asked for, and again after `drop`."""

    def __init__(
        self,
        start: Callable[[Path], AbstractContextManager[Graph]],
        folders: pytest.TempPathFactory,
    ) -> None:
        self._start, self._folders = start, folders
        self._running: tuple[AbstractContextManager[Graph], Graph, Path] | None = None

    @contextmanager
    def lent(self, item: pytest.Item) -> Iterator[Graph]:
        """The graph for one test; when that fails its processes' last words are printed."""
        _, graph, folder = running = self._running or self._started()
        self._running = running
        yield graph
        if item.stash.get(FAILED, False):
            _print_logs(folder)
            self.drop()

    def _started(self) -> tuple[AbstractContextManager[Graph], Graph, Path]:
        folder = self._folders.mktemp("run")
        context = self._start(folder)
        try:
            return context, context.__enter__(), folder
        except BaseException:
            _print_logs(folder)
            raise

    def drop(self) -> None:
        """Stop it, if it runs."""
        running, self._running = self._running, None
        if running is not None:
            running[0].__exit__(None, None, None)


def _print_logs(folder: Path) -> None:
    for log in sorted(folder.rglob("*.log")):
        said = log.read_text(errors="replace").strip()[-TOLD_CHARACTERS:]
        print(f"--- {log.name}\n{said or '(nothing)'}")
