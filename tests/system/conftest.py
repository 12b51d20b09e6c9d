"""What several system tests start from."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from mvista_bringup import paths
from tests.fakes.random_checkpoint import write_random_checkpoint
from tests.system.kept import FAILED, Kept


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fixtures are told whether their test failed."""
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """As a folder relative to models/checkpoints, which is how a run names it."""
    shipped = paths.checkpoint_dir()
    if (shipped / "manifest.json").is_file():
        return shipped.name
    folder = write_random_checkpoint(tmp_path_factory.mktemp("checkpoint"))
    return os.path.relpath(folder, shipped.parent)


@pytest.fixture(scope="module")
def kept(
    start: Callable[[Path], AbstractContextManager[Any]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Kept[Any]]:
    """What the file's own fixture `start` starts, once for all its tests."""
    kept = Kept(start, tmp_path_factory)
    yield kept
    kept.drop()


@pytest.fixture
def graph(kept: Kept[Any], request: pytest.FixtureRequest) -> Iterator[Any]:
    """What runs for the tests of a file, new after a failure."""
    with kept.lent(request.node) as running:
        yield running
