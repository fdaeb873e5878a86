"""Every command, engine, configuration key and workflow is named in the documentation."""

from __future__ import annotations

import ast
import functools
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from docs import generate, hooks, layers
from lamflow.cli.app import app
from lamflow.cli.manual import manual
from lamflow.config import Config, parse
from lamflow.config.installed import engines
from lamflow.config.schema import Study
from lamflow.errors import InputError
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()
PAGES = sorted(
    path
    for pattern in ("README.md", "CONTRIBUTING.md", "docs/*.md", "images/*.md", "workflows/*/README.md")
    for path in ROOT.glob(pattern)
)
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?:^ {4,}|`|^)lamflow +([a-z][^`#\n]*)", re.MULTILINE)
"""A command in an indented block, between backquotes, or at the beginning of a line of a fenced block."""


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
    """A property of a protocol may have its line in the class's docstring, as attributes have."""
    for file in sorted((ROOT / "lamflow").rglob("*.py")):
        tree = ast.parse(file.read_text())
        assert ast.get_docstring(tree) or file.name == "__init__.py", file
        for node, owner in _public_definitions(tree, None):
            named = owner is not None and re.search(rf"^{node.name}  ", ast.get_docstring(owner) or "", re.MULTILINE)
            assert ast.get_docstring(node) or named or node.name == "frames", f"{file}: {node.name}"


def _public_definitions(
    node: ast.AST, owner: ast.ClassDef | None
) -> Iterator[tuple[ast.FunctionDef | ast.ClassDef, ast.ClassDef | None]]:
    """Public functions and classes outside of functions, with the class that they are in; overloads and tests left out."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            overload = any(isinstance(item, ast.Name) and item.id == "overload" for item in child.decorator_list)
            if not child.name.startswith(("_", "test_")) and not overload:
                yield child, owner
        if not isinstance(child, ast.FunctionDef):
            yield from _public_definitions(child, child if isinstance(child, ast.ClassDef) else owner)


def test_generated_pages_are_up_to_date() -> None:
    for name, text in generate.pages().items():
        assert (ROOT / "docs" / name).read_text() == text, f"docs/{name}: run `make schema`"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_yaml_blocks(page: Path) -> None:
    """A block with a name and elements is a whole study and must be good; every key of the others must be known."""
    for number, text in _blocks(page, "yaml"):
        document = yaml.safe_load(text)
        if {"name", "elements"} <= set(document):
            parse(text, f"{page}:{number}", kind=Study, files=False)
        elif not text.startswith("# ~/"):  # the first line names another file than a study
            assert not _unknown_keys(document), f"{page}:{number}"


def test_unknown_keys_are_seen() -> None:
    assert not _unknown_keys({"explore": [{"engine": "shaker", "amplitudes": [0.1]}], "label": {"engine": "qe"}})
    assert len(_unknown_keys({"labels": {"engine": "emt"}})) == 1
    assert len(_unknown_keys({"label": {"engine": "vasp", "potcar": "POTCAR"}})) == 1
    assert len(_unknown_keys({"evaluate": {"engine": "emt", "cutoff": 3}})) == 1


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_commands_of_pages(page: Path) -> None:
    """Every `lamflow …` on a page is a command with options that exist."""
    fenced = {number + row for number, text in _blocks(page, "sh") for row in range(len(text.splitlines()))}
    text = page.read_text(encoding="utf-8")
    for found in COMMAND.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        if not found[0].startswith("lamflow") or line in fenced:
            problem = _problem(shlex.split(found[1].split(" | ")[0]))
            assert problem is None, f"{page}:{line}: lamflow {found[1].strip()}: {problem}"


def test_the_architecture_names_every_package() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    for name in (name for row in layers.layers() for name in row):
        assert re.search(rf"^\|.*`{name}`.*\|", page, re.MULTILINE) or name == "__main__", name


def test_modules_that_pages_name_exist() -> None:
    for page in PAGES:
        for path, name in re.findall(r"`((?:\w+/)+\w+\.py)(?::(\w+))?`", page.read_text()):
            files = [file for file in (ROOT / path, ROOT / "lamflow" / path) if file.is_file()]
            assert files, f"{page}: {path}"
            assert re.search(rf"\b{name}\b", files[0].read_text()), f"{page}: {path}:{name}"


def test_problems_of_commands_are_seen() -> None:
    assert _problem(["run", "study.yaml"]) is None
    assert _problem(["models", "show", "model.pt"]) is None
    assert _problem(["walk"]) == "there is no command walk"
    assert _problem(["run", "--fast"]) == "there is no option --fast"


def test_every_page_is_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text()
    for page in PAGES:
        if page != ROOT / "README.md":
            name = page.relative_to(ROOT).as_posix().removeprefix("docs/")
            assert f": {name}\n" in text, name


def test_links_of_pages() -> None:
    """A relative link of any page leads to a file of the repository."""
    for page in PAGES:
        for link in hooks.LINK.findall(page.read_text()):
            assert (page.parent / link).exists(), f"{page}: {link}"


def test_links_between_pages_are_turned() -> None:
    names = {"engines.md", "workflows/dpgen/README.md", "CONTRIBUTING.md"}
    assert hooks.site_link("../../docs/engines.md", "workflows/dpgen/README.md", names) == "../../engines.md"
    assert hooks.site_link("../workflows/dpgen/README.md", "docs/index.md", names) == "workflows/dpgen/README.md"
    assert hooks.site_link("../tests/plugin", "docs/plugin.md", names) == "CONTRIBUTING.md"
    assert hooks.site_link("missing.md", "docs/plugin.md", names) == "missing.md"


@pytest.mark.slow
def test_the_site_is_built(tmp_path: Path) -> None:
    """Strictly: every link, every anchor and every page of the navigation is there."""
    pytest.importorskip("mkdocs", reason='MkDocs is missing: pip install "lamflow[docs]"')
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "lamflow.api" in (tmp_path / "api.html").read_text()
    assert "layers.svg" in (tmp_path / "architecture.html").read_text()


def test_attribute_lists_become_markdown() -> None:
    pytest.importorskip("griffe", reason='griffe is missing: pip install "lamflow[docs]"')
    from docs.docstrings import as_markdown

    text = "What it is.\n\ncell   (3, 3), Å, or None\n       for molecules\nmade\n\nThe end."
    assert as_markdown(text) == ("What it is.\n\n\n* `cell`: (3, 3), Å, or None\n    for molecules\nmade\n\nThe end.")


def _blocks(page: Path, language: str) -> Iterator[tuple[int, str]]:
    """Fenced blocks of a language, without their indentation, and the numbers of their first lines."""
    text = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        if found[2] == language:
            body = "\n".join(line.removeprefix(found[1]) for line in found[3].splitlines())
            yield text.count("\n", 0, found.start()) + 2, body


def _unknown_keys(document: dict[str, Any]) -> list[str]:
    """What `lamflow check` says of keys that do not exist, when a part of a study takes its place in a whole one."""
    if "explore" in document:
        document = {key: value for key, value in document.items() if key != "explore"} | {
            "stages": [{"name": "stage", "explore": document["explore"]}]
        }
    kinds = [document["workflow"]] if "workflow" in document else list(_whole_studies())
    return min((_unknown_in({**_whole_studies()[kind], **document}) for kind in kinds), key=len)


@functools.cache
def _whole_studies() -> dict[str, dict[str, Any]]:
    """A study of each kind that pages show parts of."""
    files = {"learning": "dpgen/quickstart", "properties": "properties/tiny", "transport": "transport/tiny",
             "cleaning": "cleaning/tiny"}  # fmt: skip
    studies = {kind: yaml.safe_load((ROOT / "workflows" / f"{file}.yaml").read_text()) for kind, file in files.items()}
    learning = studies["learning"]
    studies["evaluation"] = {
        "workflow": "evaluation",
        **{key: learning[key] for key in ("name", "elements", "heldout")},
    }
    kept = {key: value for key, value in learning.items() if key not in ("stages", "select", "converge", "budget")}
    return {**studies, "training": {"workflow": "training", **kept}}


def _unknown_in(study: dict[str, Any]) -> list[str]:
    try:
        parse(yaml.safe_dump(study, sort_keys=False), kind=Study, files=False)
    except InputError as error:
        return [line for line in str(error).splitlines() if "no such key" in line and "…" not in line]
    return []


def _problem(words: list[str]) -> str | None:
    """Why a command line is none of lamflow's."""
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        word = words.pop(0) if words else ""
        if word not in command.commands:
            return f"there is no command {word}"
        command = command.commands[word]
    known = {option for item in command.params for option in (*item.opts, *item.secondary_opts)} | {"--help", "-h"}
    wrong = [word for word in words if word.startswith("-") and word.split("=")[0] not in known]
    return f"there is no option {wrong[0]}" if wrong else None
