"""The export in LeRobot itself, which needs a Python of its own, with lerobot[dataset]==0.6.1:

MVISTA_LEROBOT_PYTHON=/path/to/python3.12 make test ARGS="-k lerobot_opens"
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mvista_core.registration import Registration
from tests.recorder.test_lerobot import COUNT, SMALL, action_at, made
from tests.recorder.test_training_shards import CAMERAS, Images, positions_at

PYTHON = os.environ.get("MVISTA_LEROBOT_PYTHON", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not PYTHON, reason="MVISTA_LEROBOT_PYTHON names no Python 3.12 that has lerobot"
    ),
]
__all__ = ["made"]


def opened(out: Path, *episodes: int) -> dict[str, Any]:
    command = [PYTHON, str(Path(__file__).with_name("lerobot_reader.py")), str(out)]
    # Nothing is asked of a hub, and no cache of another export is believed.
    alone = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(out.parent / "cache"), "PYTHONPATH": ""}
    done = subprocess.run(
        [*command, *map(str, episodes)],
        env={**os.environ, **alone},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_lerobot_gives_back_what_was_recorded(made: tuple[Path, Path, list[Images]]) -> None:
    _, out, images = made
    told = opened(out)
    assert (told["fps"], told["frames"], told["episodes"]) == (5, 3 * COUNT, 3)
    assert told["bounds"] == [[k * COUNT, (k + 1) * COUNT] for k in range(3)]
    assert told["labelled_success"] == [0, 2]
    assert told["depth_keys"] == [f"observation.images.{name}_depth" for name in CAMERAS]
    tasks = ("open the drawer", "touch the cube", "touch it")
    for k, row in enumerate(told["rows"]):
        episode = k // COUNT
        assert (row["episode_index"], row["frame_index"]) == (episode, k % COUNT)
        assert row["task"] == tasks[episode]
        stamps = row["observation.capture_ns"]
        for name, stamp in zip(CAMERAS, stamps, strict=True):
            wanted = Registration(SMALL).register(images[episode][name, stamp][1])
            depth = row[f"observation.images.{name}_depth"]
            assert depth["exact"] and depth["shape"] == [36, 64]
            assert depth["depth_sha256"] == hashlib.sha256(wanted.tobytes()).hexdigest()
            assert row[f"observation.images.{name}"]["shape"] == [3, 36, 64]
        np.testing.assert_allclose(row["observation.state"], positions_at(stamps[0]), atol=1e-6)
        assert row["action"] == action_at(stamps[0]).tolist()


def test_lerobot_opens_one_episode_alone(made: tuple[Path, Path, list[Images]]) -> None:
    told = opened(made[1], 2)
    assert (told["frames"], told["episodes"]) == (COUNT, 1)
    assert {row["episode_index"] for row in told["rows"]} == {2}
    assert {row["task"] for row in told["rows"]} == {"touch it"}
