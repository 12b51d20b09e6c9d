"""The checkpoints of the repository are whole, and their cards are theirs."""

from __future__ import annotations

from pathlib import Path

import pytest

from mvista_core import weights
from mvista_world.checkpoint import load_checkpoint
from mvista_world.compute import choose

SHIPPED = Path(__file__).parents[2] / "models/checkpoints"
FOLDERS = sorted(path.parent for path in SHIPPED.glob("*/manifest.json"))
MOST_MB = 64


def test_the_weights_of_all_of_them_stay_small() -> None:
    names = {folder.name for folder in FOLDERS}
    assert names >= {"tiny", "tiny_views"}
    held = sum(path.stat().st_size for path in SHIPPED.glob("*/*.safetensors"))
    assert held < MOST_MB * 2**20


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_shipped_checkpoint_is_the_one_that_its_card_tells_of(folder: Path) -> None:
    sha = weights.verify(folder)
    assert sha in (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert load_checkpoint(folder, choose("fp32")).sha256 == sha
