"""What several system tests start from."""

from __future__ import annotations

import os

import pytest

from mvista_bringup import paths
from tests.fakes.random_checkpoint import write_random_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """As a folder relative to models/checkpoints, which is how a run names it."""
    shipped = paths.checkpoint_dir("tiny")
    if (shipped / "manifest.json").is_file():
        return "tiny"
    folder = write_random_checkpoint(tmp_path_factory.mktemp("checkpoint"))
    return os.path.relpath(folder, shipped.parent)
