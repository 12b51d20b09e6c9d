"""Makes `.venv`, installs the locked dependencies, repairs the ROS wheels and builds the workspace.

    python3 ros2_ws/tools/setup_workspace.py        # what `make setup` runs

Standard library only. Safe to repeat: each step is skipped when its result is already there.
Works without an apt ROS; on a machine that has one, use rosdep and `colcon build` instead.
"""

from __future__ import annotations

import ctypes.util
import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

from pip_progress import requirement_names, run_pip

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
LOCK = ROOT / "requirements.lock"
WITHOUT_DEPENDENCIES = ROOT / "requirements-nodeps.txt"
WORKSPACE = ROOT / "ros2_ws"
OLDEST, NEWEST = (3, 10), (3, 13)
# Off-screen GL for the simulator; libusb and X11's client library are what Open3D links against.
SYSTEM_PACKAGES = {
    "EGL": "libegl1",
    "GL": "libgl1",
    "OSMesa": "libosmesa6",
    "X11": "libx11-6",
    "usb-1.0": "libusb-1.0-0",
}
# Build machine paths that the ROS wheels' exported CMake targets still name.
BAKED_NUMPY = re.compile(r"/[^;\"\s]*/cp3\d+-cp3\d+/[^;\"\s]*/numpy/_core/include")
BAKED_PYTHON = re.compile(r"/[^;\"\s]*/cp3\d+-cp3\d+/include/python3\.\d+")


class SetupError(Exception):
    """Setup cannot go on; the message says what to do."""


def main() -> int:
    """Run every step and report what each took."""
    os.chdir(ROOT)
    turn = wait_for_other_setups(Path(__file__))
    try:
        for title, step in (
            ("machine", check_machine),
            ("system libraries", install_system_libraries),
            ("virtual environment", make_environment),
            ("dependencies", install_dependencies),
            ("ROS wheels", repair_baked_paths),
            ("workspace", build_workspace),
            ("commands", write_entry_points),
        ):
            started_s = time.monotonic()
            note = step()
            print(f"setup: {title}: {note} ({time.monotonic() - started_s:.1f} s)", flush=True)
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        print(f"setup: failed ({error.returncode}): {' '.join(error.cmd)}", file=sys.stderr)
        return 1
    finally:
        os.close(turn)
    return 0


def wait_for_other_setups(script: Path) -> int:
    """This tree's script, locked until it is closed: two builds in one tree break each other."""
    # Open for writing: NFS locks nothing that is open for reading only.
    held = os.open(script, os.O_RDWR)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("setup: another setup of this tree is at work; waiting for its end", flush=True)
        fcntl.flock(held, fcntl.LOCK_EX)
    return held


def check_machine() -> str:
    """Refuse what cannot work before anything is installed."""
    version = sys.version_info[:2]
    if not OLDEST <= version <= NEWEST:
        raise SetupError(
            f"Python {version[0]}.{version[1]} is not supported (3.10 to 3.13 are); "
            "name another one: make setup PYTHON=python3.12"
        )
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise SetupError(
            f"the ROS wheels exist for Linux x86_64 only, this is {platform.system()} "
            f"{platform.machine()}; use an apt ROS 2 and colcon there (see CONTRIBUTING.md)"
        )
    if not any(shutil.which(compiler) for compiler in ("c++", "g++", "clang++")):
        raise SetupError("no C++ compiler found; install one, e.g. apt-get install build-essential")
    return f"Python {platform.python_version()}, {os.cpu_count()} cores"


def install_system_libraries() -> str:
    """Shared libraries, headers and ensurepip for Python: by apt when allowed."""
    missing = [deb for name, deb in SYSTEM_PACKAGES.items() if not ctypes.util.find_library(name)]
    suffix = f"{sys.version_info.major}.{sys.version_info.minor}"
    required = []
    if not (Path(sysconfig.get_paths()["include"]) / "Python.h").is_file():
        required.append(f"python{suffix}-dev")
    if subprocess.run([sys.executable, "-c", "import ensurepip"], capture_output=True).returncode:
        required.append(f"python{suffix}-venv")
    wanted = missing + required
    if not wanted:
        return "present"
    command = f"apt-get update && apt-get install -y --no-install-recommends {' '.join(wanted)}"
    if shutil.which("apt-get") and os.geteuid() == 0:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        result = subprocess.run(["sh", "-c", command], env=environment, stdin=subprocess.DEVNULL)
        if result.returncode == 0:
            return f"installed {', '.join(wanted)}"
    if required:
        raise SetupError(f"missing {', '.join(required)}; run: sudo sh -c '{command}'")
    print(f"setup: rendering and calibration need one more line: sudo sh -c '{command}'")
    return f"{', '.join(missing)} missing"


def make_environment() -> str:
    """Create `.venv`, or keep the one there is if its Python is still there and matches."""
    python = VENV / "bin" / "python"
    if python.exists() and (VENV / "pyvenv.cfg").is_file():
        found = _output([python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"])
        return f"kept {VENV.name} (Python {found})"
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True)
    return f"made {VENV.name}"


def install_dependencies() -> str:
    """Install the lock file, and what must come alone, unless these very files were the last."""
    digest = hashlib.sha256(LOCK.read_bytes() + WITHOUT_DEPENDENCIES.read_bytes()).hexdigest()
    stamp = VENV / ".locked"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == digest:
        return "up to date"
    python = str(VENV / "bin" / "python")
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site_packages = Path(_output([python, "-c", where]))
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off"]
    for options, requirements in (([], LOCK), (["--no-deps"], WITHOUT_DEPENDENCIES)):
        names = requirement_names(requirements.read_text(encoding="utf-8"))
        reason = run_pip([*pip, *options, "-r", str(requirements)], names, site_packages)
        if reason:
            raise SetupError(f"dependencies: pip could not install {requirements.name}: {reason}")
    stamp.write_text(digest, encoding="utf-8")
    return f"installed {LOCK.name} and {WITHOUT_DEPENDENCIES.name}"


def repair_baked_paths() -> str:
    """Point the wheels' CMake files at this machine's Python and NumPy headers."""
    python = VENV / "bin" / "python"
    include = _output([python, "-c", "import sysconfig; print(sysconfig.get_paths()['include'])"])
    numpy = _output([python, "-c", "import numpy; print(numpy.get_include())"])
    repaired = 0
    for path in VENV.glob("share/*/cmake/*.cmake"):
        text = path.read_text(encoding="utf-8")
        fixed = BAKED_PYTHON.sub(lambda _: include, BAKED_NUMPY.sub(lambda _: numpy, text))
        if fixed != text:
            path.write_text(fixed, encoding="utf-8")
            repaired += 1
    return f"{repaired} CMake files repaired"


def build_workspace() -> str:
    """Build every package with colcon; links, not copies, so edits need no second build."""
    underlay = sorted(path.parent for path in WORKSPACE.glob("pip_underlay/*/package.xml"))
    folders = [WORKSPACE / "src", ROOT / "models", ROOT / "calibration", *underlay]
    command = [str(VENV / "bin" / "colcon"), "--log-base", str(WORKSPACE / "log"), "build"]
    command += ["--base-paths", *(str(folder) for folder in folders if folder.is_dir())]
    command += ["--build-base", str(WORKSPACE / "build"), "--install-base"]
    command += [str(WORKSPACE / "install"), "--merge-install", "--symlink-install"]
    command += ["--event-handlers", "console_direct-", "status-"]
    command += ["--cmake-args", "-DBUILD_TESTING=OFF", "-DCMAKE_BUILD_TYPE=Release"]
    command += [f"-DPython3_EXECUTABLE={VENV / 'bin' / 'python'}", "-Wno-unused-cli"]
    subprocess.run(command, check=True, env=_build_environment(), stdin=subprocess.DEVNULL)
    return "built"


def write_entry_points() -> str:
    """A `.pth` so that every package imports with nothing sourced, and the `mvista` command."""
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(_output([VENV / "bin" / "python", "-c", where]))
    template = (WORKSPACE / "tools" / "workspace_paths.py").read_text(encoding="utf-8")
    module = template.replace("@WORKSPACE@", str(ROOT))
    (site / "_mvista_workspace.py").write_text(module, encoding="utf-8")
    (site / "_mvista_workspace.pth").write_text("import _mvista_workspace\n", encoding="utf-8")
    launcher = VENV / "bin" / "mvista"
    launcher.write_text(
        f"#!{VENV / 'bin' / 'python'}\nimport sys\n\nfrom mvista_cli.cli import main\n\n"
        # Worker processes import the launcher again and must not run it.
        'if __name__ == "__main__":\n    sys.exit(main())\n',
        encoding="utf-8",
    )
    launcher.chmod(0o755)
    _output([VENV / "bin" / "python", "-c", "import rclpy, mvista_core, mvista_interfaces.action"])
    return f"{launcher.relative_to(ROOT)} works with nothing sourced"


def _build_environment() -> dict[str, str]:
    """The environment without a sourced ROS and without make's job server, plus the prefix."""
    sourced = {"AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH", "COLCON_PREFIX_PATH", "LD_LIBRARY_PATH"}
    dropped = {"PYTHONPATH", "MAKEFLAGS", "MAKELEVEL", "MFLAGS", "_ROS_WHEELS_BOOTSTRAP_COMPLETE"}
    environment = {key: value for key, value in os.environ.items() if key not in sourced | dropped}
    environment.update(
        VIRTUAL_ENV=str(VENV),
        AMENT_PREFIX_PATH=str(VENV),
        CMAKE_PREFIX_PATH=str(VENV),
        PATH=f"{VENV / 'bin'}{os.pathsep}{environment.get('PATH', '')}",
        PYTHONWARNINGS="ignore",
    )
    return environment


def _output(command: list[Path | str]) -> str:
    """Standard output of a command that must succeed."""
    words = [str(word) for word in command]
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
