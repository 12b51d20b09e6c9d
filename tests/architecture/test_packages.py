"""Every package is a complete ament package, so the tree also builds on an apt ROS."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tests.architecture.source_tree import PACKAGE_FOLDERS, ROOT, imported_modules

MANIFESTS = sorted(p for folder in PACKAGE_FOLDERS for p in (ROOT / folder).glob("*/package.xml"))
PYTHON_MANIFESTS = [path for path in MANIFESTS if (path.parent / "setup.py").is_file()]
ROSDEP_KEYS = {
    "PIL": "python3-pil",
    "can": "python3-can",
    "matplotlib": "python3-matplotlib",
    "numpy": "python3-numpy",
    "scipy": "python3-scipy",
    "tqdm": "python3-tqdm",
    "transforms3d": "python3-transforms3d",
    "yaml": "python3-yaml",
}
NO_ROSDEP_KEY = {
    "accelerate", "av", "daqp", "diffusers", "fpsample", "isal", "mcap", "mink", "mujoco",
    "peft", "piper_sdk", "pyarrow", "rosbags", "ruckig", "safetensors", "tensorboard",
    "tokenizers", "torch", "transformers", "viser", "websockets",
}  # fmt: skip
"""On an apt ROS these come from pip (its websockets is too old): requirements-apt.in names them."""
PIP_NAMES = {"cv2": "opencv-contrib-python-headless", "open3d": "open3d-cpu"}
"""Imported by another name than pip's; apt's OpenCV is older than what calibration needs."""


def name_of(manifest: Path) -> str:
    return manifest.parent.name


@pytest.mark.parametrize("manifest", MANIFESTS, ids=name_of)
def test_a_manifest_names_its_folder_its_licence_and_its_build_type(manifest: Path) -> None:
    package = ElementTree.parse(manifest).getroot()
    assert package.findtext("name") == name_of(manifest)
    assert package.findtext("license") == "Apache-2.0"
    maintainer = package.find("maintainer")
    assert maintainer is not None
    assert maintainer.get("email") == "maintainers@mvista4d.org"
    assert package.findtext("export/build_type") in {"ament_cmake", "ament_python"}


@pytest.mark.parametrize("manifest", MANIFESTS, ids=name_of)
def test_every_package_has_the_version_of_the_changelog(manifest: Path) -> None:
    """REP-149 wants it in each package.xml, which setup.py reads: they go up together."""
    releases = re.findall(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    assert ElementTree.parse(manifest).findtext("version") == releases[0]
    setup = manifest.parent / "setup.py"
    assert not setup.is_file() or 'ElementTree.parse("package.xml")' in setup.read_text("utf-8")


@pytest.mark.parametrize("manifest", PYTHON_MANIFESTS, ids=name_of)
def test_a_python_package_is_registered_typed_and_described(manifest: Path) -> None:
    name = name_of(manifest)
    for needed in (f"resource/{name}", f"{name}/py.typed", "setup.cfg"):
        assert (manifest.parent / needed).is_file(), f"{name} lacks {needed}"


@pytest.mark.parametrize("manifest", PYTHON_MANIFESTS, ids=name_of)
def test_what_a_package_imports_its_manifest_declares(manifest: Path) -> None:
    name = name_of(manifest)
    tags = ("depend", "exec_depend")
    declared = {e.text for tag in tags for e in ElementTree.parse(manifest).getroot().iter(tag)}
    used = {
        module.split(".")[0]
        for path in (manifest.parent / name).rglob("*.py")
        for module, _ in imported_modules(path)
    }
    used -= {name, "__future__", *sys.stdlib_module_names, *NO_ROSDEP_KEY, *PIP_NAMES}
    missing = sorted(key for key in (ROSDEP_KEYS.get(m, m) for m in used) if key not in declared)
    assert not missing, f"{manifest.relative_to(ROOT)} does not declare {missing}"


@pytest.mark.parametrize("manifest", MANIFESTS, ids=name_of)
def test_a_manifest_names_only_python_keys_that_rosdep_has(manifest: Path) -> None:
    root = ElementTree.parse(manifest).getroot()
    keys = {e.text or "" for e in root if e.tag.endswith("depend")}
    known = {*ROSDEP_KEYS.values(), "python3-msgpack", "python3-pytest"}
    assert {key for key in keys if key.startswith("python3-")} <= known


def test_what_rosdep_has_no_key_for_is_in_the_apt_requirements() -> None:
    lines = (ROOT / "requirements-apt.in").read_text(encoding="utf-8").splitlines()
    named = {re.split(r"[<=>]", line)[0] for line in lines if line and line[0] != "#"}
    assert named >= {*NO_ROSDEP_KEY, *PIP_NAMES.values()}
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert "pip install -r requirements-apt.lock" in guide
