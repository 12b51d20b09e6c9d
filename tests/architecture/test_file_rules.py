"""Rules about single files; the layers between packages are import-linter's (pyproject.toml)."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.architecture.source_tree import (
    ROOT,
    calls,
    imported_modules,
    package_of,
    shipped_files,
    tree_of,
)

pytestmark = pytest.mark.slow

STAGES = ("encode", "denoise", "decode", "infer", "refine")
"""Stages of the world model: only planner.py (with probe.py) and training compose them."""
WORLD = ROOT / "models/mvista_world/mvista_world"
LONGEST_FILE, LONGEST_NODE, LONGEST_FUNCTION = 400, 150, 50
"""Lines; of a function without its docstring."""
CLOCK_CALLS = ("time.time", "time.time_ns", "time.sleep", "time.monotonic", "time.perf_counter")


def may_use_ros(path: Path) -> bool:
    return package_of(path) in {
        "mvista_ros",
        "mvista_bringup",
        "mvista_eval",
        "mvista_cli",
    } or path.name.endswith("node.py")


def may_use_messages(path: Path) -> bool:
    return may_use_ros(path) or path.name.endswith("_messages.py")


def may_use_open3d(path: Path) -> bool:
    return package_of(path) == "mvista_calibration" or path.name == "fusion.py"


HOMES: dict[str, Callable[[Path], bool]] = {
    "rclpy": may_use_ros,
    "mvista_interfaces": may_use_messages,
    "torch": lambda path: package_of(path) == "mvista_world",
    "diffusers": lambda path: package_of(path) == "mvista_world",
    "mujoco": lambda path: package_of(path) in {"mvista_sim", "mvista_calibration_sim"},
    "open3d": may_use_open3d,
    "piper_sdk": lambda path: package_of(path) == "mvista_piper",
    "can": lambda path: package_of(path) == "mvista_piper",
    "pyorbbecsdk": lambda path: package_of(path) == "mvista_cameras",
    "tests": lambda path: False,
}


@pytest.mark.parametrize("library", HOMES)
def test_a_library_is_imported_only_where_it_belongs(library: str) -> None:
    strays = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in shipped_files()
        if not HOMES[library](path)
        for module, line in imported_modules(path)
        if module.split(".")[0] == library
    ]
    assert not strays, "\n".join(strays)


def every_file() -> list[Path]:
    """Shipped code and tests."""
    return [*shipped_files(), *sorted((ROOT / "tests").rglob("*.py"))]


def _lines_of(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def test_no_file_and_no_function_is_too_long() -> None:
    long = [
        f"{path.relative_to(ROOT)}: {lines} lines"
        for path in every_file()
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > LONGEST_FILE
    ]
    for path in every_file():
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = _lines_of(node) - (
                    _lines_of(node.body[0]) if ast.get_docstring(node) else 0
                )
                if lines > LONGEST_FUNCTION:
                    long.append(f"{path.relative_to(ROOT)}: {node.name} has {lines} lines")
    assert not long, f"files have {LONGEST_FILE} lines, functions {LONGEST_FUNCTION}: {long}"


def test_a_node_is_a_thin_skin() -> None:
    """Those of mvista_ros are the library that the others are made of."""
    thick = {
        str(path.relative_to(ROOT)): lines
        for path in shipped_files()
        if path.name.endswith("node.py") and package_of(path) != "mvista_ros"
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > LONGEST_NODE
    }
    assert not thick, f"over {LONGEST_NODE} lines; what is not ROS belongs to a pure file: {thick}"


def test_stages_of_the_world_model_do_not_import_each_other() -> None:
    stages = {f"mvista_world.{name}" for name in STAGES}
    files = [WORLD / f"{name}.py" for name in STAGES]
    missing = [path.name for path in files if not path.is_file()]
    assert not missing, f"the rule names stages that are no files: {missing}"
    strays = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in files
        for module, line in imported_modules(path)
        if module in stages
    ]
    assert not strays, "\n".join(strays)


def test_only_the_planner_composes_stages() -> None:
    """What a stage is built from knows no stage, and neither does what only loads."""
    stages = {f"mvista_world.{name}" for name in STAGES} - {"mvista_world.refine"}
    composers = {*STAGES, "planner", "probe"}
    strays = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in WORLD.glob("*.py")
        if path.stem not in composers
        for module, line in imported_modules(path)
        if module in stages
    ]
    assert not strays, "\n".join(strays)


def test_one_file_says_on_what_and_on_how_many_threads_networks_compute() -> None:
    files = [path for path in WORLD.rglob("*.py") if path.name != "compute.py"]
    strays = [
        f"{path.relative_to(ROOT)}:{node.lineno} says {node.value!r}"
        for path in files
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Constant) and node.value in ("cpu", "cuda")
    ]
    strays += [
        f"{path.relative_to(ROOT)}:{line} calls {callee}"
        for path in files
        for callee, line in calls(path)
        if callee in ("torch.set_num_threads", "torch.cuda.is_available")
    ]
    assert not strays, "ask mvista_world.compute: " + "; ".join(strays)


def test_the_clock_is_read_in_one_file() -> None:
    strays = [
        f"{path.relative_to(ROOT)}:{line} calls {callee}"
        for path in shipped_files()
        if path.name != "timing.py"
        for callee, line in calls(path)
        if callee in CLOCK_CALLS
    ]
    assert not strays, "\n".join(strays)


def test_every_file_parses_on_the_oldest_python_supported() -> None:
    for path in [*shipped_files(), *(ROOT / "tests").rglob("*.py")]:
        ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=(3, 10))


def test_every_shipped_module_says_what_it_is() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in shipped_files()
        if path.stat().st_size and not ast.get_docstring(ast.parse(path.read_text("utf-8")))
    ]
    assert not silent, f"no module docstring: {silent}"


def test_a_test_with_nodes_says_in_which_layer_it_is() -> None:
    """`make check` runs what is marked neither `ros` nor `system`: no middleware is in it."""
    silent = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").glob("*/test_*.py")
        if any(module.split(".")[0] == "rclpy" for module, _ in imported_modules(path))
        and not {"pytest.mark.ros", "pytest.mark.system"}
        & {ast.unparse(node) for node in ast.walk(tree_of(path)) if isinstance(node, ast.Attribute)}
    ]
    assert not silent, f"pytestmark = pytest.mark.ros, or system: {silent}"


def test_a_class_name_means_one_thing() -> None:
    """Public classes of all packages; a reader who meets a name need not ask whose it is."""
    homes: dict[str, list[str]] = {}
    for path in shipped_files():
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert not {name: files for name, files in homes.items() if len(files) > 1}


def test_nothing_cites_notes_that_a_reader_does_not_have() -> None:
    """A source can be looked up: a section of the paper, a standard, the name of a project."""
    absent = re.compile(r"robot_stack|world_models|audit_world|tiny_model|DESIGN\.md")
    citing = [
        str(path.relative_to(ROOT))
        for path in shipped_files()
        if absent.search(path.read_text(encoding="utf-8"))
    ]
    assert not citing


def test_where_networks_compute_is_said_in_one_place() -> None:
    """Device names and threads: whoever runs a network is handed a `Compute`."""
    names = {"cpu", "cuda", "mps"}
    forbidden = ("torch.device", "torch.set_num_threads", "torch.cuda")
    strays = []
    for path in shipped_files():
        if package_of(path) != "mvista_world" or path.name == "compute.py":
            continue
        strays += [
            f"{path.relative_to(ROOT)}:{node.lineno} {node.value!r}"
            for node in ast.walk(tree_of(path))
            if isinstance(node, ast.Constant) and str(node.value).split(":")[0] in names
        ]
        strays += [
            f"{path.relative_to(ROOT)}:{line} {name}"
            for name, line in calls(path)
            if name.startswith(forbidden)
        ]
    assert not strays, "\n".join(strays)


def test_no_signal_handler_sets_what_holds_a_lock() -> None:
    """`threading.Event.set` in a handler waits for the thread that it interrupted: `SignalFlag`."""
    both = [
        str(path.relative_to(ROOT))
        for path in shipped_files()
        if {"signal.signal", "threading.Event"} <= {name for name, _ in calls(path)}
    ]
    assert not both
