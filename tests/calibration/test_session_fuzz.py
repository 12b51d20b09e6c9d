"""Damaged session folders and rig files: read, or refused with a number, never more."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mvista_calibration.pipeline import calibrate
from mvista_calibration.session.reader import load_session
from mvista_core.errors import MvistaError, RigError
from mvista_core.rig import load_rig
from tests.calibration.sessions import small_session

pytestmark = pytest.mark.slow

ROUNDS = 100
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 3, 10**40, 2**63, 1.5, float("nan"), float("inf"), "", "wide", "1e-3",
    "../up", [], [1, 2], [[1.0] * 4] * 4, [[1], [2, 3]], {}, {"cam0": 1}, {1: 2}, "cam0\n",
)  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = small_session(tmp_path_factory.mktemp("fuzz") / "s", cameras=1, shots=5)
    for file in sorted(folder.glob("shots/*/shot.yaml")):
        document = yaml.safe_load(file.read_text())
        pose = [[1.0, 0, 0, 0.1], [0, 1.0, 0, 0], [0, 0, 1.0, 0.2], [0, 0, 0, 1.0]]
        file.write_text(yaml.safe_dump({**document, "base_from_gripper": pose}))
    load_session(folder)
    return folder


def node(rng: random.Random, document: Any) -> None:
    """Put another value somewhere into a document, or take a key away."""
    here = document
    while True:
        keys = list(here) if isinstance(here, dict) else list(range(len(here)))
        if not keys:
            return
        key = rng.choice(keys)
        below = here[key]
        if isinstance(below, dict | list) and below and rng.random() < 0.7:
            here = below
            continue
        if rng.random() < 0.2:
            del here[key]
        else:
            here[key] = rng.choice(VALUES)
        return


def in_yaml(rng: random.Random, folder: Path) -> None:
    file = rng.choice(sorted(folder.rglob("*.yaml")))
    document = yaml.safe_load(file.read_text())
    for _ in range(rng.randint(1, 2)):
        node(rng, document)
    file.write_text(yaml.safe_dump(document))


def in_bytes(rng: random.Random, folder: Path) -> None:
    file = rng.choice(sorted(path for path in folder.rglob("*") if path.is_file()))
    data = bytearray(file.read_bytes())
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    file.write_bytes(bytes(data))


def cut(rng: random.Random, folder: Path) -> None:
    file = rng.choice(sorted(path for path in folder.rglob("*") if path.is_file()))
    data = file.read_bytes()
    file.write_bytes(data[: rng.randrange(len(data))])


def lost(rng: random.Random, folder: Path) -> None:
    path = rng.choice(sorted(folder.rglob("*")))
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def swapped(rng: random.Random, folder: Path) -> None:
    one, other = rng.sample(sorted(path for path in folder.rglob("*") if path.is_file()), 2)
    other.write_bytes(one.read_bytes())


DAMAGES: tuple[Callable[[random.Random, Path], None], ...] = (
    in_yaml, in_yaml, in_yaml, in_bytes, cut, lost, swapped,
)  # fmt: skip


@pytest.mark.timeout(120)
def test_no_damage_leaves_more_than_a_refusal(whole: Path, tmp_path: Path) -> None:
    rng, refused = random.Random(10), 0
    for k in range(ROUNDS):
        folder = Path(shutil.copytree(whole, tmp_path / f"s{k}"))
        damage = rng.choice(DAMAGES)
        damage(rng, folder)
        try:
            calibrate(load_session(folder))
        except MvistaError as error:
            refused += 1
            assert error.code > 1 and len(str(error)) > 20, (k, damage.__name__)
        except Exception as error:
            raise AssertionError(f"round {k}, {damage.__name__}: {error!r}") from error
        shutil.rmtree(folder)
    # Most damages are seen, and some (a serial, a byte of a note) rightly are not.
    assert ROUNDS / 3 < refused < ROUNDS


@pytest.mark.timeout(60)
def test_no_damaged_rig_file_leaves_more_than_a_refusal(tmp_path: Path) -> None:
    good = (Path(__file__).parents[2] / "config/rigs/sim_cell.yaml").read_text()
    rng, refused = random.Random(11), 0
    for k in range(200):
        file = tmp_path / "rig.yaml"
        document = yaml.safe_load(good)
        node(rng, document)
        text = yaml.safe_dump(document)
        if rng.random() < 0.2:
            text = text[: rng.randrange(len(text))]
        file.write_text(text)
        try:
            load_rig(file, allow_failed=True)
        except RigError:
            refused += 1
        except Exception as error:
            raise AssertionError(f"round {k}: {error!r}\n{text[:300]}") from error
    assert refused > 60
