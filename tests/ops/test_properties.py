"""The operations of a study of properties, one after the other, with real engines."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamflow.config import parse
from lamflow.config.properties import PropertiesStudy
from lamflow.config.read import SETTINGS
from lamflow.data.layout import ANSWERS, EXPANDED, PROPERTIES, PROPERTIES_RECORD, RELAXED
from lamflow.data.packed import PackedFrames
from lamflow.data.properties import PropertyResult, PropertyValues
from lamflow.driver.structures import frames_of
from lamflow.errors import InputError
from lamflow.ops.operation import Context
from lamflow.ops.properties import answer, expand, reduce, relax_structures

STUDY = """
workflow: properties
name: two
elements: [Cu, H]
structures:
  - {name: copper, crystal: {formula: Cu, lattice: fcc}}
potentials:
  - {name: emt, evaluate: {engine: emt}}
  - {name: labels, label: {engine: ase, calculator: ase.calculators.emt.EMT}}
relax: {cell: false}
properties:
  - {property: eos, points: 7}
  - {property: gamma, miller: [1, 1, 1], direction: [1, 1, 1]}
reference:
  values:
    - {structure: copper, property: eos, name: B0, value: 1.4, unit: Mbar, source: a book}
    - {structure: copper, property: eos, name: V0, value: 3.6, unit: Å, source: nonsense}
  potential: labels
"""


def carried_out(text: str, folder: Path, jobs: int = 1) -> dict[tuple[str, str], PropertyResult]:
    """Results by potential and property; every step in as many jobs."""
    study = parse(text, root=folder, kind=PropertiesStudy)
    input_folder = folder / "input"
    input_folder.mkdir(parents=True)
    (input_folder / SETTINGS).write_text(study.model_dump_json())
    structures = folder / "structures"
    for settings in study.structures:
        PackedFrames.of(frames_of(settings, study)).save(structures / f"{settings.name}.npz")

    def contexts(out: Path) -> list[Context]:
        return [Context(job, jobs, f"job-{job}", folder / "work", folder / "scratch", out) for job in range(jobs)]

    for index, potential in enumerate(study.potentials):
        for context in contexts(folder / "a" / potential.name):
            relax_structures(context, input=input_folder, structures=structures, potential=index)
        (folder / RELAXED).mkdir(exist_ok=True)
        (folder / "a" / potential.name / RELAXED).rename(folder / RELAXED / potential.name)
    expand(contexts(folder)[0], input=input_folder, relaxed=folder / RELAXED)
    for index, potential in enumerate(study.potentials):
        for context in contexts(folder / "b" / potential.name):
            answer(context, input=input_folder, expanded=folder / EXPANDED, potential=index)
        (folder / ANSWERS).mkdir(exist_ok=True)
        (folder / "b" / potential.name / ANSWERS).rename(folder / ANSWERS / potential.name)
    done = reduce(
        contexts(folder)[0], input=input_folder, relaxed=folder / RELAXED, expanded=folder / EXPANDED,
        answers=folder / ANSWERS,
    )  # fmt: skip
    values = PropertyValues.read(folder / PROPERTIES / PROPERTIES_RECORD)
    assert done.failed == sum(result.failed is not None for result in values.results)
    return {(result.potential, result.property): result for result in values.results}


def test_every_potential_answers_and_what_it_cannot_is_a_reason(tmp_path: Path) -> None:
    results = carried_out(STUDY, tmp_path)
    assert results["emt", "eos"].values == pytest.approx(results["labels", "eos"].values)
    assert results["emt", "gamma"].failed == "the direction [1, 1, 1] does not lie in the plane [1, 1, 1]"
    assert results["emt", "gamma"].values == []


def test_references_have_units_and_a_source(tmp_path: Path) -> None:
    carried_out(STUDY, tmp_path)
    rows = PropertyValues.read(tmp_path / PROPERTIES / PROPERTIES_RECORD).comparisons
    known = {(row.potential, row.property, row.name, row.where): row for row in rows}
    modulus = known["emt", "eos", "B0", ""]
    assert (modulus.reference, modulus.source) == (pytest.approx(140.0), "a book")
    assert modulus.relative_error == pytest.approx((modulus.value - 140) / 140)
    volume = known["emt", "eos", "V0", ""]
    assert volume.reference is None
    assert volume.source == "nonsense: the unit 'Å' cannot be converted into 'Å³/atom'"
    assert known["emt", "eos", "E0", ""].source == "labels"
    assert known["labels", "eos", "E0", ""].reference is None


def test_jobs_share_the_frames(tmp_path: Path) -> None:
    alone, together = carried_out(STUDY, tmp_path / "1"), carried_out(STUDY, tmp_path / "3", jobs=3)
    assert {key: result.values for key, result in together.items()} == {
        key: pytest.approx(result.values) for key, result in alone.items()
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("- {property: eos, points: 7}", "- {property: eso}"), "eso"),
        (("potential: labels", "potential: dft"), "there is no potential 'dft'"),
        (("potentials:", "label: {engine: emt}\npotentials:"), "a study of properties has no labeled data"),
        (
            ("evaluate: {engine: emt}", "evaluate: {engine: emt}, label: {engine: emt}"),
            "give one of evaluate and label",
        ),
        (("name: labels,", "name: emt,"), "potentials: emt appears more than once"),
    ],
)
def test_a_study_that_makes_no_sense_is_refused(change: tuple[str, str], message: str, tmp_path: Path) -> None:
    assert change[0] in STUDY
    with pytest.raises(InputError, match=message):
        parse(STUDY.replace(*change), root=tmp_path, kind=PropertiesStudy)
