"""Every command, engine, configuration key and workflow is named in the documentation."""

from __future__ import annotations

import typer.main

from lamflow.cli.app import app
from lamflow.cli.manual import manual
from lamflow.config import Config
from lamflow.config.installed import engines
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()


def test_commands() -> None:
    for name in typer.main.get_command(app).commands:  # type: ignore[attr-defined]
        assert f"`lamflow {name}" in README or f"lamflow {name}" in README, name


def test_engines() -> None:
    for name in engines():
        assert f"| `{name}` |" in README, name


def test_the_engines_page_is_what_the_engines_say() -> None:
    page, made = (ROOT / "docs" / "engines.md").read_text(), manual()
    for chapter in made.split("\n## ")[1:]:  # other packages' engines may be installed too
        name = chapter.split("\n", 1)[0]
        if engines()[name].roles and f"\n## {name}\n" in page:
            assert chapter.strip() in page, f"{name}: run `make schema`"
    for name in engines():
        assert f"\n## {name}\n" in page, name


def test_keys() -> None:
    page = (ROOT / "workflows" / "dpgen" / "README.md").read_text()
    for key in Config.model_fields:
        assert f"`{key}`" in page, key


def test_workflows() -> None:
    for folder in (ROOT / "workflows").iterdir():
        assert f"workflows/{folder.name}" in README, folder
        page = (folder / "README.md").read_text()
        for file in folder.glob("*.yaml"):
            assert file.name in page, file


def test_every_public_name_has_a_docstring() -> None:
    import ast

    for file in sorted((ROOT / "lamflow").rglob("*.py")):
        tree = ast.parse(file.read_text())
        assert ast.get_docstring(tree) or file.name == "__init__.py", file
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                nested = any(
                    isinstance(parent, ast.FunctionDef) and node in ast.walk(parent) and parent is not node
                    for parent in ast.walk(tree)
                )
                if not nested and not node.name.startswith("test_"):
                    assert ast.get_docstring(node) or node.name == "frames", f"{file}: {node.name}"
