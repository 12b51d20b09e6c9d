"""The planner on another machine than the arm: two network namespaces, real discovery over UDP."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.planning.test_planning_node import ROOT, RUN
from tests.world.tiny import write_checkpoint

pytestmark = [pytest.mark.system, pytest.mark.beside, pytest.mark.slow, pytest.mark.timeout(300)]

OWN_SHM = 'mount -t tmpfs tmpfs /dev/shm && exec "$@"'
"""Two machines share no memory: what crosses goes over the wire."""
ENVIRONMENT = {
    **os.environ,
    "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET",
    "FASTDDS_DEFAULT_PROFILES_FILE": str(ROOT / "config/dds/fastdds.xml"),
}


def ip(*words: str) -> None:
    """`ip ...`; skips where this user may not."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"ip {' '.join(words)}: {done.stderr.strip()} (network namespaces need root)")


@pytest.fixture
def machines() -> Iterator[tuple[str, str]]:
    """Two namespaces joined by one cable."""
    if shutil.which("ip") is None:
        pytest.skip("no `ip` here (apt-get install iproute2)")
    names = tuple(f"mvista{os.getpid()}{end}" for end in "ab")
    try:
        for name in names:
            ip("netns", "add", name)
        ends = [f"v{os.getpid()}{end}" for end in "ab"]
        ip(
            *("link", "add", ends[0], "netns", names[0]),
            *("type", "veth", "peer", "name", ends[1], "netns", names[1]),
        )
        for k, (name, end) in enumerate(zip(names, ends, strict=True)):
            ip("-n", name, "address", "add", f"10.77.0.{k + 1}/24", "dev", end)
            for device in ("lo", end):
                ip("-n", name, "link", "set", device, "up")
            ip("-n", name, "route", "add", "224.0.0.0/4", "dev", end)
        yield names[0], names[1]
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def start(machine: str, *command: str) -> subprocess.Popen[str]:
    within = ["ip", "netns", "exec", machine, "sh", "-c", OWN_SHM, "sh"]
    return subprocess.Popen(
        [*within, sys.executable, *command],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_future_is_imagined_on_the_other_machine(
    machines: tuple[str, str], tmp_path: Path
) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    parameters = ("--ros-args", "-p", f"checkpoint:={checkpoint}", "-p", "device:=cpu")
    planner = start(machines[0], "-c", RUN, *parameters)
    operator = start(machines[1], "-m", "tests.planning.far_client")
    try:
        said, complaints = operator.communicate(timeout=180.0)
        assert operator.returncode == 0, complaints
        found = json.loads(said)
        assert (found["code"], found["words"]) == (0, "")
        assert found["heard"] == found["id"] != ""
        assert found["cameras"] == ["cam1", "cam2"]
        assert found["formats"] == "png"
        assert 0 < found["sent_bytes"] < found["raw_bytes"]
    finally:
        operator.kill()
        planner.terminate()
        planner.communicate(timeout=30.0)
    assert planner.returncode == 0
