"""The label step: settings that are the same, labels that are not paid twice, failures that are told."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from lamflow.config import parse
from lamflow.config.schema import TrainingStudy
from lamflow.data import Frame
from lamflow.data.batch import Batch
from lamflow.data.cache import Folder, LabelCache
from lamflow.data.dataset import Origin
from lamflow.data.layout import LABELED_RECORD
from lamflow.data.results import Labeled
from lamflow.ops.label import label
from lamflow.ops.operation import Context
from lamflow.ops.read import settings_hash

RUN = """\
workflow: training
name: {name}
elements: [Cu, H]
structures: [{{name: s, crystal: {{formula: Cu, lattice: fcc}}}}]
start: {{label: [s]}}
heldout: {{fraction: 0.5}}
train: {{engine: pair}}
label: {label}
"""
SCRIPT = """\
from ase.calculators.emt import EMT
from ase.io import read, write
from pathlib import Path
with Path({counter!r}).open("a") as file:
    file.write("x")
atoms = read("POSCAR")
atoms.calc = EMT()
atoms.get_stress()
write("labeled.extxyz", atoms)
"""


class Shop:
    """Label steps of several runs that share a cache; counts what is paid."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.counter = folder, folder / "paid"
        self.counter.touch()
        self.script("label.py")

    @property
    def paid(self) -> int:
        return len(self.counter.read_text())

    def script(self, name: str, more: str = "") -> Path:
        (self.folder / name).write_text(SCRIPT.format(counter=str(self.counter)) + more)
        return self.folder / name

    def config(self, name: str, **more: str) -> TrainingStudy:
        given = {"command": f"[{sys.executable}, label.py]", "files": f"[{self.folder}/label.py]", **more}
        text = "{engine: custom, " + ", ".join(f"{key}: {value}" for key, value in given.items()) + "}"
        return parse(RUN.format(name=name, label=text), kind=TrainingStudy)

    def label(self, config: TrainingStudy, frames: list[Frame]) -> Labeled:
        place = self.folder / config.name
        (place / "input").mkdir(parents=True, exist_ok=True)
        (place / "input" / "config.json").write_text(config.model_dump_json())
        Batch(frames, [Origin(iteration=1, source="x")] * len(frames)).save(place / "batch")
        out = place / f"out{len(list(place.glob('out*')))}"
        context = Context(
            0, 1, "label-0", place / "work", out / "scratch", out, labels=LabelCache(Folder(self.folder / "cache"))
        )
        made = label(context, input=place / "input", batch=place / "batch")
        return Labeled.read(made.labeled / "0" / LABELED_RECORD)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_a_label_is_never_paid_twice(shop: Shop, copper: list[Frame]) -> None:
    first = shop.label(shop.config("one"), copper[:3])
    assert shop.paid == 3
    assert [outcome.cached for outcome in first.outcomes] == [False] * 3
    second = shop.label(shop.config("two"), copper[1:4])
    assert shop.paid == 4
    assert [outcome.cached for outcome in second.outcomes] == [True, True, False]
    assert [outcome.energy for outcome in second.outcomes[:2]] == [outcome.energy for outcome in first.outcomes[1:]]
    assert [outcome.seconds for outcome in second.outcomes[:2]] == [0, 0]


def test_what_changes_a_label_is_paid_and_what_does_not_is_not(shop: Shop, copper: list[Frame]) -> None:
    frames = copper[:1]
    shop.label(shop.config("one"), frames)
    shop.label(shop.config("slower", label_timeout="10"), frames)
    assert shop.paid == 1, "a time limit is no physics"
    shop.label(shop.config("other", command=f"[{sys.executable}, -u, label.py]"), frames)
    assert shop.paid == 2, "a command of the user's is"
    shop.script("label.py", "# another file\n")
    shop.label(shop.config("edited"), frames)
    assert shop.paid == 3, "a file counts by its content"


def test_a_program_on_path_counts_by_its_content(
    shop: Shop, copper: list[Frame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it lies does not count."""
    program = f"#!/bin/sh\nexec {sys.executable} label.py\n"
    for folder, text in (("old", program), ("moved", program), ("new", program + "# another version\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "kept-elsewhere").write_text(text)
        (tmp_path / folder / "kept-elsewhere").chmod(0o755)
        (tmp_path / folder / "my-code").symlink_to("kept-elsewhere")
    path = os.environ["PATH"]
    for folder, paid in (("old", 1), ("moved", 1), ("new", 2)):
        monkeypatch.setenv("PATH", f"{tmp_path / folder}:{path}")
        shop.label(shop.config("one", command="[my-code]"), copper[:1])
        assert shop.paid == paid, folder


def test_a_variable_that_the_command_reads_belongs_to_the_label(
    shop: Shop, copper: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = shop.config("one", environment="[FUNCTIONAL]")
    for value, paid in (("PBE", 1), ("PBE", 1), ("SCAN", 2), (None, 3)):
        if value is None:
            monkeypatch.delenv("FUNCTIONAL")
        else:
            monkeypatch.setenv("FUNCTIONAL", value)
        shop.label(config, copper[:1])
        assert shop.paid == paid
    monkeypatch.setenv("OTHER", "value")
    shop.label(config, copper[:1])
    assert shop.paid == 3


def test_a_run_may_want_its_own_labels(shop: Shop, copper: list[Frame]) -> None:
    config = shop.config("one").model_copy(update={"label_cache": False})
    shop.label(config, copper[:1])
    shop.label(config, copper[:1])
    assert shop.paid == 2
    assert not (shop.folder / "cache").exists()


def test_failures_are_classed_and_not_kept(shop: Shop, copper: list[Frame]) -> None:
    config = shop.config("one", unconverged="'not converged'", command="[echo, not converged]")
    [outcome] = shop.label(config, copper[:1]).outcomes
    assert outcome.kind == "unconverged"
    assert outcome.failed == "the command says that it did not converge"
    assert not (shop.folder / "cache").exists()


def test_a_remedy_leaves_its_trace(shop: Shop, copper: list[Frame]) -> None:
    shop.script("label.py", "import os\nif 'MORE' not in os.environ: os.remove('labeled.extxyz')\n")
    config = shop.config("one", remedies="{incomplete: [{environment: {MORE: 'yes'}}]}")
    [outcome] = shop.label(config, copper[:1]).outcomes
    assert outcome.failed is None
    assert [attempt.kind for attempt in outcome.attempts] == ["incomplete", None]
    assert outcome.attempts[1].changes == {"environment": {"MORE": "yes"}}


def test_the_hash_of_settings_is_the_same_in_any_folder(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    other = Shop(tmp_path / "elsewhere")
    other.script("label.py")
    (tmp_path / "elsewhere" / "label.py").write_text((tmp_path / "label.py").read_text())
    one, two = shop.config("one").labeler(), other.config("one").labeler()
    assert one != two
    assert settings_hash(one) == settings_hash(two)
