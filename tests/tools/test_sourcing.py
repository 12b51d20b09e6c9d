"""Sourcing the built workspace tells a fresh shell where it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

INSTALL = Path(__file__).resolve().parents[2] / "ros2_ws" / "install"
PRINTED = ("AMENT_PREFIX_PATH", "LD_LIBRARY_PATH", "CMAKE_PREFIX_PATH")

pytestmark = pytest.mark.skipif(
    not (Path(sys.prefix) / "bin" / "mvista").is_file(), reason="not a `make setup` environment"
)


def sourced(shell: str, script: str, then: str) -> list[str]:
    result = subprocess.run(
        [shell, "-c", f". '{INSTALL / script}' && {then}"],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


@pytest.mark.parametrize(
    ("shell", "script"), [("bash", "setup.bash"), ("bash", "local_setup.bash"), ("sh", "setup.sh")]
)
def test_a_shell_that_sources_it_has_its_paths(shell: str, script: str) -> None:
    values = sourced(shell, script, "; ".join(f'echo "${name}"' for name in PRINTED))
    ament, libraries, cmake = (value.split(":") for value in values)
    assert str(INSTALL) in ament and str(INSTALL) in cmake
    assert str(INSTALL / "lib") in libraries


def test_python_works_in_such_a_shell() -> None:
    program = "import rclpy, mvista_interfaces.action; print('works')"
    assert sourced("bash", "setup.bash", f'"{sys.executable}" -c "{program}"') == ["works"]
