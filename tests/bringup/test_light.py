"""Launching knows its nodes by name only: networks, simulator and plots are theirs to import."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FAKES = ROOT / "tests" / "fakes"
HEAVY = {
    "torch", "diffusers", "transformers", "mujoco", "mink", "matplotlib", "cv2", "scipy", "open3d",
    "piper_sdk", "pyorbbecsdk",
}  # fmt: skip
ROOMS_BELOW = {"mvista_bringup", "mvista_core", "mvista_description", "mvista_ros"}
LAUNCH_ALL = """
import json, runpy, sys
from pathlib import Path
from mvista_bringup.graph import robot, sim
from mvista_bringup.preflight import Call, look
from mvista_bringup.supervisor import Supervisor
for file in sorted(Path("launch").glob("*.launch.py")):
    runpy.run_path(str(file))["generate_launch_description"]()
for graph, options, chosen in (
    (sim.EMULATED_DEMO, sim.EMULATED_DEMO_OPTIONS, {}),
    (robot.REAL_ROBOT, robot.REAL_ROBOT_OPTIONS, {"instruction": "open the drawer"}),
):
    assert look(Call(graph, options, chosen, Path.cwd())) == ()
print(json.dumps(sorted(sys.modules)))
"""


def test_describing_and_looking_at_every_launch_imports_nothing_heavy() -> None:
    """In a fresh interpreter: each launch file's description, and the look before its start."""
    code = f"import sys; sys.path.insert(0, {str(FAKES)!r})\n{LAUNCH_ALL}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    imported = {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}
    assert not imported & HEAVY
    rooms = {name for name in imported if name.startswith("mvista_")} - {"mvista_interfaces"}
    assert rooms == ROOMS_BELOW
