"""One module spells where a run keeps its data."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from lamflow.data import layout
from tests.conftest import ROOT

NAMES = {
    item
    for value in vars(layout).values()
    for item in (value if isinstance(value, tuple) else (value,))
    if isinstance(item, str) and re.fullmatch(r"[a-z-]+(\.(json|npz|npy|csv))?", item)
}
"""Names of files and folders of a run."""
SPELLS = {"data/layout.py", "config/read.py"}
"""`config` stands beside `data`, so it names the file of a study itself."""


def test_names_are_spelled_in_one_place() -> None:
    folder = ROOT / "lamflow"
    files = [file for file in sorted(folder.rglob("*.py")) if file.relative_to(folder).parts[0] != "migrate"]
    spelled = [
        f"{file.relative_to(folder)}:{line}: {text!r}"
        for file in files
        if str(file.relative_to(folder)) not in SPELLS
        for line, text in spelled_names(ast.parse(file.read_text()))
    ]
    assert not spelled, "\n".join(spelled)


def test_names_are_seen(tmp_path: Path) -> None:
    text = (
        '"""Reads run.json."""\na = path / "models"\nb = f"{path}/iterations/{n:03d}"\nc = "graph.json"\n'
        'raise InputError("run.json: there is none")\nd = {"models": 3}\n'
    )
    assert [line for line, _ in spelled_names(ast.parse(text))] == [2, 3, 4]


def spelled_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and text of strings that are paths with a name of the layout: after `/`, with `/` in them, or a file's name."""
    joined = {id(node.right) for node in ast.walk(tree) if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)}
    constants = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    for node in sorted(constants, key=lambda node: (node.lineno, node.col_offset)):
        text = str(node.value)
        if re.search(r"\s|://", text):
            continue
        is_path = id(node) in joined or "/" in text or "." in text
        if is_path and NAMES & set(text.removeprefix("*").split("/")):
            yield node.lineno, text
