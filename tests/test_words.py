"""Words that were given up do not come back as public names."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT

LOST = {
    "task": "head, simulation, training job or job",
    "here": "local, or the noun",
    "judge": "score",
    "climb": "ramp",
    "ladder": "temperature ramp",
    "rung": "level",
    "hot": "electronic temperature",
    "heat": "electronic temperature",
    "heavy": "temporary files",
    "recipe": "input hash",
    "refusal": "unsupported reason",
    "refuses": "checks frames",
    "surprise": "calibration",
    "regret": "ground-state error",
    "patience": "retry policy",
    "hopeless": "timed out",
    "settle": "wait until finished",
    "deal": "indices of a job",
    "collected": "merge partial",
    "share": "fraction",
    "by": "metric",
    "within": "tolerance",
    "frozen": "snapshot",
    "part": "head or subset",
    "place": "location or index",
    "found": "the noun",
    "made": "the noun",
    "own": "the noun",
    "given": "the noun",
    "mine": "the noun",
    "there": "the noun",
    "away": "the noun",
    "said": "the noun",
    "each": "the noun",
}
"""A word that was given up, and what is said in its place."""
LOST_CLASSES = {
    "Shape": "Graph",
    "Room": "Capacity",
    "Machine": "LocalCapacity",
    "Elsewhere": "ClusterCapacity",
    "OnCluster": "ArgoExecutor",
    "Remote": "RunLocation",
    "Stored": "Artifact",
    "Visited": "ScoredFrames",
    "Standing": "LoopState",
    "Rules": "ConvergenceCriteria",
    "Moving": "BatchSession",
    "Waits": "PendingPods",
}
"""Classes whose words are good elsewhere, but named something else here."""
ALONE = {"by", "each", "there", "here", "own", "given", "mine", "away", "said", "made", "found", "place"}
"""Words that mislead alone, as the name of a function, a class, a key or a parameter, and may be part of a longer name."""


def test_lost_words_do_not_come_back() -> None:
    lost = list(_lost_names(ROOT / "lamflow"))
    assert not lost, "\n".join(f"{name}: {reason}" for name, reason in sorted(lost))


def test_lost_words_are_seen(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(
        "class Shape:\n    tasks: int\n    _rung: int\n    def of(self, by: str, given_names: int): ...\n"
        "def _climb(share: float): ...\ndef show(standby: int, *, place: str): ...\n"
    )
    names = [name for name, _ in _lost_names(tmp_path)]
    assert names == ["Shape", "Shape.tasks", "Shape.of(by)", "show(place)"]


def _lost_names(folder: Path) -> Iterator[tuple[str, str]]:
    """Public functions, classes, fields (which keys of YAML are) and parameters that have a lost word, and what to say."""
    for path in sorted(folder.rglob("*.py")):
        for name, word in _names(ast.parse(path.read_text()), ""):
            lost = _lost_word(word)
            if lost:
                yield name, f"{path.name}: instead of {lost!r} say: {LOST.get(lost) or LOST_CLASSES[lost]}"


def _names(tree: ast.Module | ast.ClassDef, prefix: str) -> Iterator[tuple[str, str]]:
    """Public names of a module or a class, qualified, and the word that counts."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield prefix + node.name, node.name
            yield from _names(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef) and (not node.name.startswith("_") or node.name == "__init__"):
            yield prefix + node.name, node.name
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            public = (item.arg for item in arguments if not item.arg.startswith("_"))
            yield from ((f"{prefix}{node.name}({name})", name) for name in public)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id[0] != "_":
            yield prefix + node.target.id, node.target.id


def _lost_word(name: str) -> str | None:
    """The lost word in a name, singular or plural; some count only where they are the whole name."""
    if name in LOST_CLASSES:
        return name
    words: list[str] = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]
    for word in words:
        for singular in (word, word.removesuffix("s")):
            if singular in LOST and (singular not in ALONE or len(words) == 1):
                return singular
    return None
