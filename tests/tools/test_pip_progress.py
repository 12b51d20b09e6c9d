"""`make setup` tells how far pip is, keeps its noise away, and ends a failure with the reason."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pip_progress
import pytest
from pip_progress import PipProgress, requirement_names, run_pip

pytestmark = pytest.mark.slow

SAID = """\
Looking in indexes: https://pypi.org/simple
Collecting alpha==1.0 (from -r requirements.lock (line 2))
  Downloading alpha-1.0-py3-none-any.whl (1.5 MB)
Collecting torch==2.9 (from -r requirements.lock (line 3))
  Using cached torch-2.9-cp311-cp311-manylinux_2_28_x86_64.whl (190.2 MB)
WARNING: Value for scheme.purelib does not match. Please report this to <https://x/10151>
distutils: /usr/lib/python3.11/site-packages
sysconfig: /usr/lib/python3.11/dist-packages
WARNING: Additional context:
user = False
home = None
root = None
prefix = None
WARNING: The candidate selected for download or install is a yanked version
WARNING: Running pip as the 'root' user can result in broken permissions
Processing /wheels/be_ta-2.0-py3-none-any.whl (from -r requirements.lock (line 4))
Installing collected packages: alpha, be-ta, torch
Successfully installed alpha-1.0 be-ta-2.0 torch-2.9
"""
NAMES = ["alpha", "be-ta", "torch"]


def test_every_line_moves_it_on_and_never_back() -> None:
    now_s = [0.0]
    progress = PipProgress(NAMES, lambda: now_s[0])
    fractions = []
    for line in SAID.splitlines():
        now_s[0] += 1.0
        progress.hear(line)
        fractions.append(progress.fraction(0))
    assert fractions == sorted(fractions) and fractions[0] == 0.0
    assert progress.fraction(3) == 1.0
    assert progress.line(3) == "unpacking, 3 of 3 packages, 192 MB, 18 s, about 0 s left"


def test_the_estimate_follows_what_is_left() -> None:
    now_s = [0.0]
    progress = PipProgress(["a", "b", "c", "d"], lambda: now_s[0])
    for name in ("a", "b"):
        progress.hear(f"Collecting {name}==1 (from -r x)")
    now_s[0] = 30.0
    # 2 of 4 are half of the downloads, 3 of 8 of all: 5/8 are left.
    assert progress.line() == "downloading, 2 of 4 packages, 0 MB, 30 s, about 50 s left"


def test_noise_is_dropped_and_real_warnings_are_kept_once() -> None:
    progress = PipProgress(NAMES)
    for line in SAID.splitlines() * 3:
        progress.hear(line)
    assert progress.warnings == [
        "WARNING: The candidate selected for download or install is a yanked version"
    ]
    assert not [line for line in progress.last if "distutils" in line or "Value for" in line]


def test_names_are_read_from_a_lock() -> None:
    text = "# made\nabsl-py==2.5 ; python_version < '3.11'\nros-rclpy[all]==9.1\n-r x\nb @ c\n"
    assert requirement_names(text) == ["absl-py", "ros-rclpy", "b"]


def wheel(folder: Path, name: str) -> None:
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        info = f"{name}-1.0.dist-info"
        archive.writestr(f"{name}.py", "")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


def pip(wheels: Path, target: Path, *names: str) -> list[str]:
    command = [sys.executable, "-m", "pip", "install", "--no-index", "--find-links", str(wheels)]
    return [*command, "--target", str(target), "--disable-pip-version-check", *names]


def test_a_real_installation_succeeds_in_silence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    wheel(tmp_path, "gamma")
    out = io.StringIO()
    target = tmp_path / "site"
    assert run_pip(pip(tmp_path, target, "gamma==1.0"), ["gamma"], target, out) == ""
    assert (target / "gamma.py").is_file()
    assert capfd.readouterr() == ("", "")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("out", [io.StringIO(), Terminal()], ids=["plain", "terminal"])
def test_it_tells_lines_or_on_a_terminal_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: io.StringIO
) -> None:
    monkeypatch.setattr(pip_progress, "PLAIN_PERIOD_S", 0.2)
    slow = "print('Collecting a==1', flush=True); import time; time.sleep(1.5)"
    assert run_pip([sys.executable, "-c", slow], ["a", "b"], tmp_path, out) == ""
    told = out.getvalue()
    assert "setup: dependencies: downloading, 1 of 2 packages, 0 MB, " in told
    if out.isatty():
        assert "\n" not in told and told.endswith("\r\033[K")
    else:
        assert "\r" not in told and told.endswith("s left\n")


def test_a_failed_one_ends_with_the_reason(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    reason = run_pip(pip(tmp_path, tmp_path, "delta==9"), ["delta"], tmp_path, io.StringIO())
    assert reason == "No matching distribution found for delta==9"
    assert "delta==9" in capfd.readouterr().err


def test_an_index_that_is_not_reached_is_the_reason(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--index-url", "http://127.0.0.1:9/simple"]
    options = ["--retries", "1", "--target", str(tmp_path), "--disable-pip-version-check"]
    reason = run_pip([*command, *options, "delta==9"], ["delta"], tmp_path, io.StringIO())
    assert reason.startswith("No matching distribution found for delta==9; the network failed: ")
    assert "Connection refused" in reason


@pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="not in a virtual environment")
def test_setup_ends_with_that_reason(tmp_path: Path) -> None:
    """The whole script on a copy whose lock asks for what no index has."""
    tools = Path(__file__).resolve().parents[2] / "ros2_ws" / "tools"
    copy = tmp_path / "ros2_ws" / "tools"
    copy.mkdir(parents=True)
    for tool in tools.glob("*.py"):
        (copy / tool.name).write_text(tool.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "requirements.lock").write_text("no-such-project==1.0\n", encoding="utf-8")
    (tmp_path / "requirements-nodeps.txt").write_text("", encoding="utf-8")
    # Nothing gets into it: there is nothing to install.
    (tmp_path / ".venv").symlink_to(sys.prefix)
    result = subprocess.run(
        [sys.executable, str(copy / "setup_workspace.py")],
        env={"PATH": "/usr/bin:/bin", "PIP_NO_INDEX": "1"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1] == (
        "setup: dependencies: pip could not install requirements.lock: "
        "No matching distribution found for no-such-project==1.0"
    )
