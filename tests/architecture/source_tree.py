"""The shipped Python files and what each imports, read from the source without running it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE_FOLDERS = ("ros2_ws/src", "models", "calibration")


def shipped_files() -> list[Path]:
    """Python files of every package, without the setup.py beside it."""
    files = (path for folder in PACKAGE_FOLDERS for path in (ROOT / folder).rglob("*.py"))
    return sorted(path for path in files if path.name != "setup.py")


@cache
def tree_of(path: Path) -> ast.Module:
    """The syntax tree of a file, parsed once."""
    return ast.parse(path.read_text(encoding="utf-8"))


def package_of(path: Path) -> str:
    """`mvista_core` for ros2_ws/src/mvista_core/mvista_core/geometry.py."""
    parts = path.relative_to(ROOT).parts
    return next(part for part in parts if part.startswith("mvista_"))


def imported_modules(path: Path) -> Iterator[tuple[str, int]]:
    """(dotted module, line) of every import in a file, also inside functions."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module, node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def class_of_each_call(path: Path) -> Iterator[tuple[str, tuple[str, ...], ast.Call]]:
    """(dotted callee, bases of the class around it, the call) of every call in a file."""
    tree = tree_of(path)
    for top in tree.body:
        bases = tuple(map(ast.unparse, top.bases)) if isinstance(top, ast.ClassDef) else ()
        for node in ast.walk(top):
            if isinstance(node, ast.Call):
                yield ast.unparse(node.func), bases, node


def calls(path: Path) -> Iterator[tuple[str, int]]:
    """(dotted callee, line) of every call in a file, e.g. ("time.sleep", 12)."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node.lineno
