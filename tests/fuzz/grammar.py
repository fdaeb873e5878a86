"""Studies that are spoilt: the tree of their YAML, or its text."""

from __future__ import annotations

import copy
import random
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import ROOT, STUDY, examples
from tests.fuzz.harness import Case, Expected

Tree = dict[str, Any]
Key = tuple[str | int, ...]
SLOW = ("csp/cluster.yaml",)
"""Hundreds of random crystals, which take a minute."""
PLAIN = [
    "1e-3", "1E5", "1_000", "0o17", "017", "0x1F", "yes", "no", "on", "off", "y", "2020-01-01", "12:30:45", "1:30", "~", "-0",
    "+5", "1e400", "1e-400", "0b11", "nan", "inf", "Infinity", "Null", "TRUE", "1,5", "50%", "300 K", "5.", ".5", "!!binary aGVsbG8=",
    "!!set {a, b}", "!!python/object/apply:os.getcwd []", "!local x", "*nothing", "&a [*a]", "!!str 5", "!!int '5'", "!!float 3",
    "!!timestamp 2020-01-01", "'1e-3'", "'1_000'", "'true'", "'yes'", "|\n  text", "[" * 200 + "]" * 200, "<<", "=", "? a",
]  # fmt: skip
"""What YAML reads in its own way, as it stands in the file."""
WORDS = [
    "", " ", "-", ".", "..", "~", "~/x", "~nobody_x/y", "$HOME", "${UNSET_VARIABLE_X}/a", "/etc/passwd", "../../etc/passwd", "/dev/null",
    "Cü", "银", "a b", " a ", "a\nb", "a\tb", "a" * 300, "x" * 50_000, "--help", "-rf", "a;b", "$(ls)", "%s", "{0}", "{{x}}", "[", "**/*",
    "*.nothing", "\x1b[31mred", "a\x07b", "\u202eb", "nan", "None", "null", "s3://a/b", "http://localhost:1/x.pt", "file:///etc/passwd",
    "<script>", "RANDOM", "X", "D",
]  # fmt: skip
NUMBERS = [-1, 0, 1e-12, 1e-300, 0.5, 10**6, 2**31, 2**63, 10**12, 10**30, 1e9, 1e300]
TYPES: list[Any] = [{}, {"a": 1}, [], [1], ["a"], "text", True, False, 3, 2.5, [[1]], [{"a": 1}], [None], None]
NAMES = ["Ünïcode", "a" * 41, "a" * 40, "-a", "a-", "A", "a_b", "a.b", "1", 1, "../x", "a/b", "con", "null", True]
ENGINES = [
    "lamps",
    "DEEPMD",
    "",
    "none",
    3,
    None,
    ["ase"],
    "gpaw",
    "vasp",
    "cp2k",
    "calypso",
    "custom",
    "batched",
    "pair",
    "deepmd",
]
MARK = "@@plain@@"
"""Stands in a tree where PLAIN text is written in the end."""


class Spoilt:
    """A tree that is being spoilt, with places in it that fit."""

    def __init__(self, rng: random.Random, tree: Tree) -> None:
        self.rng, self.tree, self.plain = rng, tree, ""

    def place(self, fits: Callable[[Key, Any], bool] = lambda key, value: True) -> Key:
        """The path of some key or item that fits; any one if none does."""
        every = list(_walk(self.tree))
        return self.rng.choice([key for key, value in every if fits(key, value)] or [key for key, _ in every])

    def mapping(self) -> Tree:
        """Some mapping."""
        every = [self.tree, *(value for _, value in _walk(self.tree) if isinstance(value, dict))]
        return self.rng.choice(every)

    def get(self, key: Key) -> Any:
        """What stands there."""
        value: Any = self.tree
        for part in key:
            value = value[part]
        return value

    def put(self, key: Key, value: Any) -> None:
        """Put it there."""
        self.get(key[:-1])[key[-1]] = value

    def text(self) -> str:
        """The YAML."""
        text = yaml.safe_dump(self.tree, sort_keys=False, allow_unicode=True, width=10_000)
        return text.replace(f"'{MARK}'", self.plain).replace(MARK, self.plain)


def _walk(value: Any, key: Key = ()) -> list[tuple[Key, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [pair for name, inner in items for pair in [((*key, name), inner), *_walk(inner, (*key, name))]]


def _number(key: Key, value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _word(key: Key, value: Any) -> bool:
    return isinstance(value, str)


def _list(key: Key, value: Any) -> bool:
    return isinstance(value, list) and bool(value)


def _named(key: Key, value: Any) -> bool:
    return isinstance(key[-1], str)


def drop(tree: Spoilt) -> None:
    key = tree.place()
    del tree.get(key[:-1])[key[-1]]


def rename(tree: Spoilt) -> None:
    key = tree.place(_named)
    mapping, word = tree.get(key[:-1]), str(key[-1])
    at = tree.rng.randrange(len(word))
    new = tree.rng.choice(
        [word[:at] + word[at + 1 :], word[:at] + "q" + word[at:], word.upper(), word + "s", word + " "]
    )
    pairs = [(new if name == word else name, value) for name, value in mapping.items()]
    mapping.clear()
    mapping.update(pairs)


def unknown_key(tree: Spoilt) -> None:
    tree.mapping()[tree.rng.choice(["foo", "comment", "Steps", "lr", "engine ", "0", "é", "a\x1b[31mb"])] = 1


def key_of_another_type(tree: Spoilt) -> None:
    mapping: dict[Any, Any] = tree.mapping()
    mapping[tree.rng.choice([1, True, 1.5, None])] = 1


def key_twice(tree: Spoilt) -> None:
    key = tree.place(_named)
    tree.get(key[:-1])[MARK], tree.plain = copy.deepcopy(tree.get(key)), str(key[-1])


def item_twice(tree: Spoilt) -> None:
    items = tree.get(tree.place(_list))
    if isinstance(items, list) and items:
        items.append(copy.deepcopy(items[0]))


def retype(tree: Spoilt) -> None:
    key = tree.place()
    tree.put(key, copy.deepcopy(tree.rng.choice([new for new in TYPES if type(new) is not type(tree.get(key))])))


def wrap(tree: Spoilt) -> None:
    key = tree.place()
    tree.put(key, tree.rng.choice([[tree.get(key)], {"a": tree.get(key)}]))


def unwrap(tree: Spoilt) -> None:
    key = tree.place(_list)
    value = tree.get(key)
    tree.put(key, value[0] if isinstance(value, list) and value else 1)


def reverse(tree: Spoilt) -> None:
    key = tree.place(lambda key, value: isinstance(value, list | dict) and len(value) > 1)
    value = tree.get(key)
    if isinstance(value, list | dict):
        tree.put(key, value[::-1] if isinstance(value, list) else dict(reversed(value.items())))


def number(tree: Spoilt) -> None:
    key = tree.place(_number)
    value = tree.get(key)
    scaled = [-value, value + 0.5, value * 1000, value * 0.001, value * 10] if _number(key, value) else []
    tree.put(key, tree.rng.choice([*NUMBERS, *scaled]))


def not_finite(tree: Spoilt) -> None:
    tree.put(tree.place(_number), tree.rng.choice([float("nan"), float("inf"), float("-inf")]))


def quoted_number(tree: Spoilt) -> None:
    key = tree.place(_number)
    tree.put(key, str(tree.get(key)))


def word(tree: Spoilt) -> None:
    tree.put(tree.place(_word), tree.rng.choice(WORDS))


def plain(tree: Spoilt) -> None:
    tree.put(tree.place(), MARK)
    tree.plain = tree.rng.choice(PLAIN)


def other_engine(tree: Spoilt) -> None:
    tree.put(tree.place(lambda key, value: key[-1] == "engine"), tree.rng.choice(ENGINES))


def other_name(tree: Spoilt) -> None:
    key = tree.place(lambda key, value: key[-1] == "name")
    others = [value for path, value in _walk(tree.tree) if path[-1] == "name" and path != key]
    tree.put(key, tree.rng.choice([*others, *NAMES]))


def other_structure(tree: Spoilt) -> None:
    key = tree.place(lambda key, value: len(key) > 1 and key[-2] in ("structures", "label") and isinstance(value, str))
    tree.put(key, tree.rng.choice(["nothing", "Crystal", "", "rattled/../x", 3, None]))


def swap(tree: Spoilt) -> None:
    one, other = tree.place(), tree.place()
    if one[: len(other)] != other and other[: len(one)] != one:
        first, second = tree.get(one), tree.get(other)
        tree.put(one, second)
        tree.put(other, first)


TREES: dict[Callable[[Spoilt], None], Expected] = {
    drop: "any", rename: "any", unknown_key: "any", key_of_another_type: "refused", key_twice: "refused", item_twice: "any",
    retype: "any", wrap: "any", unwrap: "any", reverse: "any", number: "any", not_finite: "refused", quoted_number: "any",
    word: "any", plain: "any", other_engine: "any", other_name: "any", other_structure: "any", swap: "any",
}  # fmt: skip
"""What is done to a tree, and what must come of it."""


def text_of(rng: random.Random, text: str) -> tuple[str, bytes]:
    """How a text was spoilt, and the bytes."""
    kind = rng.choice(
        ["cut", "flip", "noise", "other file", "encoding", "bomb", "deep", "large", "control", *LINES, *LINES]
    )
    data = text.encode()
    if kind in LINES:
        return kind, _line(rng, kind, text).encode()
    if kind == "cut":
        data = data[: rng.randrange(len(data))]
    elif kind == "flip":
        flipped = bytearray(data)
        for _ in range(rng.choice([1, 1, 3])):
            flipped[rng.randrange(len(data))] = rng.choice(b"abc:{}[],-# \"'&*!|>%@`0129\n\t")
        data = bytes(flipped)
    elif kind == "noise":
        where = rng.randrange(len(data))
        data = data[:where] + rng.randbytes(rng.choice([1, 20, 10_000])) + data[where:]
    elif kind in ("bomb", "deep", "large"):
        data = (text + "\n" + rng.choice(_enormous(kind))).encode()
    elif kind == "control":
        data += rng.choice(
            [b"# \0\n", b"x: \x07\n", b"x: 1 # \x1b[31m\n", b"\x0c\n", "# \x85\n".encode(), b"\x1b[2J: 1\n"]
        )
    else:
        data = rng.choice(_others(text) if kind == "other file" else _encodings(text))
    return kind, data


LINES = ("gone", "twice", "exchanged", "indent", "tabs")


def _line(rng: random.Random, kind: str, text: str) -> str:
    """A text in which a line is spoilt."""
    lines = text.splitlines(keepends=True)
    full = [n for n, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")]
    at, other = rng.choice(full), rng.choice(full)
    if kind == "gone":
        lines.pop(at)
    elif kind == "twice":
        lines.insert(at, lines[at])
    elif kind == "exchanged":
        lines[at], lines[other] = lines[other], lines[at]
    elif kind == "indent":
        lines[at] = rng.choice([" " + lines[at], "  " + lines[at], "\t" + lines[at], lines[at].lstrip(" ")])
    else:
        lines = [line.replace("  ", "\t") for line in lines]
    return "".join(lines)


def _encodings(text: str) -> list[bytes]:
    return [
        text.encode("utf-16"), b"\xef\xbb\xbf" + text.encode(), text.encode("utf-32"), (text + "# é").encode("latin-1", "replace"),
        text.replace("name:", "name: \ud800", 1).encode("utf-8", "surrogatepass"), text.replace("\n", "\r\n").encode(),
        text.replace("\n", "\r").encode(), text.replace("\n", "\u2028\n").encode(),
    ]  # fmt: skip


def _others(text: str) -> list[bytes]:
    """Files that are no study, or two."""
    pieces = [
        "",
        "\n",
        "# nothing\n",
        "---\n",
        "...\n",
        "{}\n",
        "[]\n",
        "null\n",
        "text\n",
        "5\n",
        "%YAML 9.9\n---\n",
        "<<: 3\n",
    ]
    return [*(piece.encode() for piece in pieces), (text + "\n---\n" + text).encode(), (text + "\n---\n- 1\n").encode()]


@cache
def _enormous(kind: str) -> list[str]:
    if kind == "bomb":
        levels = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
            f"{new}: &{new} [{','.join(['*' + old] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
        )
        return [
            levels,
            "x: &x [*x]\n",
            "x: &x {y: *x}\n",
            "x: &x {seed: 5}\n<<: *x\n",
            "<<: [1, 2]\n",
            "<<: {foo: 1}\n",
        ]
    if kind == "deep":
        return [
            opening * n + closing * n
            for n in (500, 50_000)
            for opening, closing in (("x: [", "]"), ("[", "]"), ("{a: ", "}"), ("- ", ""))
        ]
    return [
        "# " + "x" * 5_000_000,
        "x: [" + ",".join(["1"] * 300_000) + "]\n",
        "".join(f"k{n}: 1\n" for n in range(5_000)),
        "x: '" + "y" * 900_000 + "'\n",
    ]


class GrammarFuzzer:
    """Spoils the studies in `workflows` and the small one of the tests."""

    name = "grammar"

    def prepare(self, folder: Path) -> None:
        """A copy of `workflows`, for files beside the studies."""
        shutil.copytree(ROOT / "workflows", folder / "workflows")
        (folder / "workflows" / "tests").mkdir()
        (folder / "workflows" / "tests" / "study.yaml").write_text(STUDY, encoding="utf-8")

    def write(self, rng: random.Random, folder: Path) -> Case:
        """One study, spoilt once, beside the files of the study that it was."""
        names = [str(file.relative_to(ROOT / "workflows")) for file in examples()]
        small = [name for name in names if name not in SLOW]
        file = folder / "workflows" / rng.choice([*small, *["tests/study.yaml"] * len(small)])
        text = file.read_text(encoding="utf-8")
        if rng.random() < 0.25:
            kind, data = text_of(rng, text)
            expected: Expected = "any"
        else:
            mutation, expected = rng.choice(list(TREES.items()))
            tree = Spoilt(rng, yaml.safe_load(text))
            mutation(tree)
            kind, data = mutation.__name__, tree.text().encode("utf-8", "surrogatepass")
        study = file.with_name("spoilt.yaml")
        study.write_bytes(data)
        return Case(kind, study, expected)

    def inputs(self, case: Case) -> list[Path]:
        """The study."""
        return [case.study]
