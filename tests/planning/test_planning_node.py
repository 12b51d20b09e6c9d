"""The planning process refuses weights that are missing or altered, by name, before it serves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mvista_core import weights

pytestmark = [pytest.mark.system, pytest.mark.beside, pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
RUN = "from mvista_planning.planning_node import main; main()"


def start(checkpoint: Path, **parameters: str) -> subprocess.CompletedProcess[str]:
    told = {"checkpoint": checkpoint, **parameters}
    chosen = [word for name, value in told.items() for word in ("-p", f"{name}:={value}")]
    return subprocess.run(
        [sys.executable, "-c", RUN, "--ros-args", *chosen],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def test_altered_weights_are_named_with_the_sha256_they_should_have(tmp_path: Path) -> None:
    file = tmp_path / "generator.safetensors"
    file.write_bytes(b"what was trained")
    weights.write_manifest(tmp_path, [file.name])
    expected = weights.sha256_of(file)
    file.write_bytes(b"what was trai")
    ended = start(tmp_path)
    assert ended.returncode == 2
    assert str(file) in ended.stderr and expected in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_offload_without_a_card_is_refused_before_a_weight_is_read(tmp_path: Path) -> None:
    ended = start(tmp_path, device="cpu", offload="blocks")
    assert ended.returncode == 2
    assert "device 'cpu' computes there already: take offload 'none'" in ended.stderr
    assert "Traceback" not in ended.stderr
