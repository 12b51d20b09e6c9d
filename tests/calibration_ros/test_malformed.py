"""Calibration and the drift watch as processes among senders of rubbish: they live, and say so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mvista_bringup.supervisor import free_domain_id
from mvista_core.timing import seconds_to_ns
from mvista_ros.observation import CameraTopics
from mvista_ros.spinning import spinning
from tests.fakes.noisy_cell import CLOCK, RIG, ROOT, NoisyCell

pytestmark = [pytest.mark.system, pytest.mark.beside, pytest.mark.slow, pytest.mark.timeout(180)]

FOLDERS = "-p sessions_folder:={0}/sessions -p rigs_folder:={0}/rigs"


@pytest.mark.parametrize(
    ("module", "name", "parameters"),
    [
        ("calibration_node", "/calibration", f"-p board_on_gripper:=true {FOLDERS}"),
        ("drift_node", "/drift", ""),
    ],
)
def test_what_cannot_be_read_is_dropped_and_told_by_topic(
    module: str, name: str, parameters: str, tmp_path: Path
) -> None:
    run, domain_id = f"from mvista_calibration_ros.{module} import main; main()", free_domain_id()
    command = [sys.executable, "-c", run, "--ros-args", *parameters.format(tmp_path).split()]
    if module == "calibration_node":
        command += ["-p", f"cameras:=[{', '.join(RIG.names)}]"]
    environment = {**os.environ, "ROS_DOMAIN_ID": str(domain_id)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    expected = {topic for camera in RIG.names for topic in (f"/{CameraTopics.of(camera).color}",)}
    if module == "calibration_node":
        expected |= {"/piper/joint_states"}
        expected |= {f"/{CameraTopics.of(camera).info}" for camera in RIG.names}
    try:
        with spinning(NoisyCell, domain_id) as cell:
            deadline_ns = CLOCK.monotonic_ns() + seconds_to_ns(60.0)
            while not cell.dropped(name) >= expected:
                assert process.poll() is None, "the node has ended"
                assert CLOCK.monotonic_ns() < deadline_ns, cell.told
                CLOCK.sleep_until(CLOCK.monotonic_ns() + seconds_to_ns(0.05))
            level = cell.told[name].level
        assert level != b"\0"
    finally:
        process.terminate()
        assert process.wait(30.0) == 0
