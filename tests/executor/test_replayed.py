"""`mvista replay --on-arm` as an operator types it: an episode's motion through the executor."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mvista_core.arm import ArmModel
from mvista_core.records import Float64, JointState
from tests.executor.process import DOMAIN, arm_on_topics, executor_process
from tests.executor.rig import smooth_points
from tests.recorder.filmed import filmed

pytestmark = pytest.mark.system

RATE_HZ = 200


def episode(root: Path, arm: ArmModel, offset: Float64) -> Path:
    """Two seconds of slow waves from home, and back by the same way."""
    way = smooth_points(arm, 3, 48, 0.2) - arm.home
    places = np.concatenate([way, way[::-1]])
    at = np.linspace(0, len(places) - 1, 4 * RATE_HZ)
    states = []
    for k, share in enumerate(at):
        row = np.array([np.interp(share, np.arange(len(places)), column) for column in places.T])
        positions = np.clip(arm.home + offset + row, arm.lower, arm.upper)
        stamp_ns = 10**18 + k * (10**9 // RATE_HZ)
        states.append(JointState(arm.joint_names, positions, np.zeros(7), stamp_ns))
    return filmed(root, joints={"/piper/joint_states": states})


def replay(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    words = ["replay", str(folder), "--on-arm", "piper", "--domain", str(DOMAIN), *more]
    return subprocess.run(
        [sys.executable, "-m", "mvista_cli.cli", *words],
        capture_output=True,
        text=True,
        timeout=120,
        env=dict(os.environ),
    )


def test_a_motion_is_carried_out_by_the_executor_or_refused_by_it(
    arm: ArmModel, tmp_path: Path
) -> None:
    here = episode(tmp_path / "here", arm, np.zeros(7))
    away = np.array([1.2, 0, 0, 0, 0, 0, 0])
    far = episode(tmp_path / "far", arm, away)
    with executor_process(tmp_path / "executor.log"), arm_on_topics(arm) as node:
        assert node.client.wait_for_server(20.0)
        done = replay(here, "--speed", "2")
        assert done.returncode == 0, done.stderr
        assert "carried out by piper" in done.stdout
        sent = np.array([positions for _, positions, _ in node.commands])
        assert np.ptp(sent, axis=0).max() > 0.1 and np.allclose(sent[-1], arm.home, atol=0.02)
        count = len({tuple(row) for row in sent})
        refused = replay(far)
        assert refused.returncode == 2 and "[50." in refused.stderr and "apart" in refused.stderr
        assert len({tuple(positions) for _, positions, _ in node.commands}) == count
