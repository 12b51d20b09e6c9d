"""What several system tests start from."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

from mvista_bringup import paths
from tests.fakes.random_checkpoint import write_random_checkpoint
from tests.system.kept import FAILED


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
    shipped = paths.checkpoint_dir("tiny")
    if (shipped / "manifest.json").is_file():
        return "tiny"
    folder = write_random_checkpoint(tmp_path_factory.mktemp("checkpoint"))
    return os.path.relpath(folder, shipped.parent)
