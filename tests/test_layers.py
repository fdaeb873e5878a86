"""The layer law."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT


def test_contracts_hold() -> None:
    found = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout


def test_the_tree_has_no_drawers() -> None:
    drawers = {"utils", "util", "common", "base", "core", "misc", "helpers", "helper"}
    assert not [path for path in (ROOT / "lamflow").rglob("*") if path.stem in drawers]


def test_no_module_has_more_than_400_lines() -> None:
    lines = {path: len(path.read_text().splitlines()) for path in (ROOT / "lamflow").rglob("*.py")}
    assert {str(path.relative_to(ROOT)): count for path, count in lines.items() if count > 400} == {}


def test_no_folder_imports_anothers_private_module() -> None:
    private = [
        (module, target)
        for module, targets in _imports().items()
        for target in targets
        if target.rsplit(".", 1)[-1].startswith("_") and _package(module) != _package(target)
    ]
    assert not private


def test_no_import_cycle() -> None:
    """Imports inside of functions and for type checkers count."""
    assert not _cycles()


def test_cycles_are_found(tmp_path: Path) -> None:
    (tmp_path / "lamflow").mkdir()
    for name, text in {
        "__init__": "",
        "first": "def late():\n    from lamflow import second\n",
        "second": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import lamflow.third\n",
        "third": "from lamflow.first import late\n",
        "fourth": "from lamflow.first import late\n",
    }.items():
        (tmp_path / "lamflow" / f"{name}.py").write_text(text)
    assert _cycles(tmp_path) == [["lamflow.first", "lamflow.second", "lamflow.third"]]


def _package(module: str) -> str:
    return ".".join(module.split(".")[:2])


def _imports(root: Path = ROOT) -> dict[str, set[str]]:
    """The modules of lamflow that each module names in an import, wherever in its text."""
    files = {}
    for path in (root / "lamflow").rglob("*.py"):
        parts = path.relative_to(root).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    imports: dict[str, set[str]] = {}
    for module, path in files.items():
        named: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                named |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                named |= {name for name in inner if name in files} or {node.module}
        imports[module] = {name for name in named if name in files} - {module}
    return imports


def _cycles(root: Path = ROOT) -> list[list[str]]:
    """Groups of modules that import each other, directly or not (R. Tarjan, SIAM J. Comput. 1, 146 (1972))."""
    imports = _imports(root)
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    cycles = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for target in sorted(imports[module]):
            if target not in index:
                visit(target)
            if target in stack:
                low[module] = min(low[module], low[target])
        if low[module] == index[module]:
            at = stack.index(module)
            group, stack[at:] = sorted(stack[at:]), []
            if len(group) > 1:
                cycles.append(group)

    for module in sorted(imports):
        if module not in index:
            visit(module)
    return sorted(cycles)
