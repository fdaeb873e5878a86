"""Verdicts on frames: what models disagree with, what repeats, what leaks, and what is held out."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import yaml

from lamflow.config.cleaning import CleaningStudy, Source
from lamflow.data.cleaning import HeadCard
from lamflow.data.features import ELEMENTS, Features
from lamflow.data.opinions import Opinions
from lamflow.errors import InputError
from lamflow.policy.audits import audits
from lamflow.policy.cleaning import decide, ids_of
from lamflow.policy.findings import Table
from lamflow.policy.heads import training_study
from lamflow.policy.sources import head_of, with_names
from lamflow.science.cleaning.energies import is_strained
from lamflow.science.cleaning.fingerprint import KINDS, QUANTILES

COUNT = 120


def features(**changes: Any) -> Features:
    """Frames of forty binary compounds, three of each, whose structures are all different."""
    generator = np.random.default_rng(3)
    formulas = np.zeros((40, ELEMENTS), dtype=np.int32)
    for row in range(40):
        formulas[row, 20 + row % 8], formulas[row, 40 + row // 8] = 2, 1 + row % 3
    formula = np.arange(COUNT) % 40
    nothing = np.full(COUNT, np.nan)
    values: dict[str, Any] = {
        "natoms": formulas[formula].sum(axis=1), "formula": formula, "formulas": formulas,
        "energy": -5 - formula * 0.05 + generator.normal(scale=0.01, size=COUNT), "force_max": np.full(COUNT, 1.0),
        "force_rms": np.full(COUNT, 0.5), "force_sum": np.zeros(COUNT), "force_forbidden": nothing,
        "volume": np.full(COUNT, 15.0),
        "pressure": nothing, "distance": np.full(COUNT, 0.9), "fingerprint": generator.random((COUNT, 40)).astype("f4"),
        "environments": (10 * generator.random((COUNT, KINDS * QUANTILES))).astype("f4"),
        "slopes": np.ones((COUNT, KINDS), dtype="f4"),
        "change": nothing, "force_work": nothing, "stress_work": nothing, "work_size": nothing,
        "state": np.zeros(COUNT, dtype=np.uint64), "digest": np.stack([np.arange(COUNT), np.arange(COUNT)], axis=1).astype(np.uint64),
        "label_digest": np.arange(COUNT, dtype=np.uint64),
    }  # fmt: skip
    return Features(**{**values, **changes})


def table(made: Features, source: np.ndarray | None = None, heads: int = 1) -> Table:
    zeros = np.zeros(len(made), dtype=np.int64)
    sources = zeros if source is None else source
    return Table(
        made, sources, zeros if heads == 1 else sources, np.arange(len(made)), ["a", "b"],
        ["a", "b"][:heads], turned=np.zeros(len(made), dtype=bool),
    )  # fmt: skip


def study(**more: Any) -> CleaningStudy:
    sources = [{"name": "a", "data": ["a"]}, {"name": "b", "data": ["b"], **more.pop("second", {})}]
    return CleaningStudy.model_validate({"name": "x", "sources": sources, **more})


def opinions(energy: np.ndarray, match: float = 1.0) -> Opinions:
    half, one = np.full(len(energy), 0.5), np.full(len(energy), match)
    nothing = np.full(len(energy), np.nan)
    return Opinions(energy, half, half, one, half * 0, half * 0, one, nothing, nothing.copy())


def test_frames_that_a_model_disagrees_with_are_told_from_odd_elements() -> None:
    made = features()
    said = made.energy.copy()
    said[[5, 50]] += 0.5
    decided = decide(study(), table(made), [opinions(said)])
    assert np.flatnonzero(decided.verdicts.state).tolist() == [5, 50]
    assert "eV/atom from the models'" in decided.verdicts.evidence[5][0].says
    odd = made.formulas[made.formula, 44] > 0
    assert not decide(study(), table(made), [opinions(made.energy - 1.2 * odd)]).verdicts.state.any()


def test_forces_that_the_symmetry_forbids_are_quarantined() -> None:
    forbidden = np.full(COUNT, 0.001)
    forbidden[[3, 7]] = 0.2, np.nan
    decided = decide(study(), table(features(force_forbidden=forbidden)), [])
    assert np.flatnonzero(decided.verdicts.state).tolist() == [3]
    assert "forbids 0.2 eV/Å of its forces" in decided.verdicts.evidence[3][0].says


def test_what_nobody_was_asked_is_said() -> None:
    made = features()
    said = made.energy.copy()
    said[made.formulas[made.formula, 44] > 0] = np.nan
    asked = int(np.isfinite(said).sum())
    notes = decide(study(), table(made), [opinions(said)]).notes
    assert f"model 0 was asked about {asked} of {COUNT} frames, none of those with Ru" in notes
    few = made.subset(np.arange(3))
    assert decide(study(), table(few), [opinions(few.energy)]).notes[-1] == (
        "a: it has 3 frames; of fewer than 12 nothing is said of their energies"
    )


def test_what_leaves_nothing_to_train_on_is_said() -> None:
    held = study(second={"role": "heldout"})
    made = features(digest=np.stack([np.arange(COUNT) % 60, np.zeros(COUNT)], axis=1).astype(np.uint64))
    source = (np.arange(COUNT) >= 60).astype(np.int64)
    half = np.arange(COUNT) % 60
    made = dataclasses.replace(made.subset(half), digest=made.digest)
    notes = decide(held, table(made, source), []).notes
    assert any(note.startswith("no frame is left to train on: ") and "leak took 60" in note for note in notes), notes


def test_models_must_agree_that_a_frame_is_bad() -> None:
    made = features()
    said = made.energy.copy()
    said[5] += 0.5
    decided = decide(study(), table(made), [opinions(said), opinions(made.energy)])
    assert not decided.verdicts.state.any()
    match = opinions(made.energy)
    match.force_match[7] = -1.0
    decided = decide(study(), table(made), [match])
    assert [part.rule for part in decided.verdicts.evidence[7]] == ["model_forces"]


def test_a_stress_fits_with_its_sign_turned_or_the_model_is_wrong() -> None:
    generator, made = np.random.default_rng(7), features()
    said = dataclasses.replace(opinions(made.energy), stress_match=np.ones(COUNT))
    label, model = generator.uniform(1, 9, COUNT), generator.normal(scale=0.2, size=COUNT)
    said.stress_label[:], said.stress_model[:] = label, label + model
    said.stress_match[[4, 9]] = -1.0
    said.stress_model[9] = 0.2 * label[9]  # wrong by more than a sign
    said.stress_match[11], said.stress_label[11], said.stress_model[11] = -1.0, 0.1, 0.1  # too little to tell
    said.stress_label[4], said.stress_model[4] = 3.0, 3.1
    decided = decide(study(), table(made), [said])
    assert [frame for frame, parts in decided.verdicts.evidence.items()] == [4]
    assert decided.verdicts.evidence[4][0].rule == "model_stress"


def test_a_structure_whose_elements_are_exchanged_is_quarantined_with_the_atoms() -> None:
    made = features()
    said = opinions(made.energy)
    said.first_atom[6], said.second_atom[6] = 1, 4
    evidence = decide(study(), table(made), [said]).verdicts.evidence
    assert [(part.rule, part.says) for part in evidence[6]] == [
        ("swapped_elements", "its energy, forces and stress fit the models' when atoms 1 and 4 exchange their elements")
    ]
    assert list(evidence) == [6]
    assert not decide(study(), table(made), [said, opinions(made.energy)]).verdicts.evidence, "the other model agrees"


@pytest.mark.parametrize(
    ("factor", "shift", "offset", "bad"),
    [
        (1.0, 1.5, 0.0, False), (1.0, 2.5, 0.0, True), (23.0605, 0.1, 0.0, True), (0.0433641, 0.1, 0.0, True),
        (-1.0, 0.1, 0.0, True), (1.0, 2.5, -150.0, False),
    ],
)  # fmt: skip
def test_the_energy_of_an_element_that_hardly_occurs_is_not_held_against_a_model(
    factor: float, shift: float, offset: float, bad: bool
) -> None:
    """Every fifth atom of frame 7 is Pu: a pseudopotential moves it by at most 2 eV/atom, unless all energies of the head
    are counted from elsewhere; another unit is found below that, too."""
    formulas = features().formulas.copy()
    formulas[7, 94] = 1
    formula = np.arange(COUNT) % 40
    formula[[47, 87]] = 6
    right = features(formulas=formulas, formula=formula, natoms=formulas[formula].sum(axis=1))
    said = opinions(right.energy.copy())
    energy = right.energy + offset
    energy[7] = factor * energy[7] + shift
    made = features(formulas=formulas, formula=formula, natoms=right.natoms, energy=energy)
    decided = decide(study(), table(made), [said])
    found = {part.rule for part in decided.verdicts.evidence.get(7, [])}
    assert ("model_energy" in found) == bad
    assert any(note.startswith("a: Pu in fewer than 3 frames") for note in decided.notes), decided.notes


def test_repeats_are_dropped_and_conflicts_quarantined() -> None:
    made = features()
    made.digest[80] = made.digest[0]
    made.environments[80], made.energy[80] = made.environments[0], made.energy[0]
    made.digest[41] = made.digest[1]
    made.environments[41], made.energy[41] = made.environments[1], made.energy[1] + 0.2
    verdicts = decide(study(), table(made), []).verdicts
    assert (verdicts.state[0], verdicts.state[80]) == (0, 1)
    assert (verdicts.state[1], verdicts.state[41]) == (2, 2)
    kept = decide(study(duplicates={"keep": True}, checks={"actions": {"conflict": "flag"}}), table(made), [])
    assert not kept.verdicts.state.any()


def test_a_frame_with_other_forces_or_another_pressure_repeats_none() -> None:
    """A phonon displacement may be smaller than the tolerance of structures."""
    made = features()
    made = dataclasses.replace(made, pressure=np.ones(COUNT))
    for frame, twin in ((40, 0), (80, 0), (41, 1)):
        made.environments[frame], made.energy[frame] = made.environments[twin], made.energy[twin]
    made.force_max[40], made.pressure[41] = 1.1, 1.3
    verdicts = decide(study(), table(made), []).verdicts
    assert np.flatnonzero(verdicts.state).tolist() == [80], verdicts.evidence


def test_the_same_structure_of_two_heads_is_no_conflict() -> None:
    source = (np.arange(COUNT) >= 60).astype(np.int64)
    made = features()
    made.digest[100], made.environments[100] = made.digest[20], made.environments[20]
    verdicts = decide(study(), table(made, source, heads=2), []).verdicts
    assert not verdicts.state.any()
    assert verdicts.heldout[100] == verdicts.heldout[20], "neither head is trained on what the other holds out"


def alike(made: Features, first: np.ndarray, second: np.ndarray) -> None:
    """Make frames like others, but not the same: turned, or their atoms in another order."""
    for values in (made.environments, made.fingerprint, made.energy):
        values[second] = values[first]


@pytest.mark.parametrize("whole", ["formula", "structure", "trajectory"])
def test_no_head_is_trained_on_the_like_of_what_another_holds_out(whole: str) -> None:
    """Compositions go with them, and heads that share one have it on the same side."""
    source, half = (np.arange(COUNT) >= 60).astype(np.int64), np.arange(60)
    made = features(formula=np.arange(COUNT) % 20)
    alike(made, half, half + 60)
    verdicts = decide(study(split={"heldout": 0.2, "whole": whole}), table(made, source, heads=2), []).verdicts
    assert not verdicts.state.any()
    assert verdicts.heldout[:60].tolist() == verdicts.heldout[60:].tolist()
    assert 0.1 <= verdicts.heldout.mean() <= 0.3
    if whole == "formula":
        held = set(made.formula[verdicts.heldout > 0].tolist())
        assert held.isdisjoint(made.formula[verdicts.heldout == 0].tolist())


def test_cells_of_two_sizes_are_one_formula() -> None:
    """Rows 2n + 1 of the compositions are those of row 2n, twice."""
    made = features()
    formulas = np.repeat(made.formulas[::2], 2, axis=0)
    formulas[1::2] *= 2
    made = dataclasses.replace(made, formulas=formulas, natoms=formulas[made.formula].sum(axis=1))
    verdicts = decide(study(split={"heldout": 0.2}), table(made), []).verdicts
    held = set((made.formula[verdicts.heldout > 0] // 2).tolist())
    assert held
    assert held.isdisjoint((made.formula[(verdicts.heldout == 0) & (verdicts.state == 0)] // 2).tolist())


def test_an_energy_that_forces_or_pressure_explain_is_in_no_other_unit() -> None:
    """A crystal that is pressed hard has as high an energy as one that is written in Ry; a low energy is not strained."""
    made = features()
    made.force_rms[1], made.pressure[2] = 20.0, 200.0
    residual = np.zeros(COUNT)
    residual[:3], residual[3] = 4.6, -4.6
    made.force_rms[3] = 20.0
    assert np.flatnonzero(is_strained(made, residual)).tolist() == [1, 2]


def test_frames_of_one_composition_are_parted_with_their_like() -> None:
    """Copies that are kept, half a data set apart in their file."""
    made, half = features(formula=np.zeros(COUNT, dtype=np.int64)), np.arange(60)
    alike(made, half, half + 60)
    frames = dataclasses.replace(table(made), trajectory=np.zeros(COUNT, dtype=np.int64))
    decided = decide(study(duplicates={"keep": True}, split={"heldout": 0.2}), frames, [])
    assert decided.verdicts.heldout[:60].tolist() == decided.verdicts.heldout[60:].tolist()
    assert 0.1 <= decided.verdicts.heldout.mean() <= 0.3
    assert decided.notes == ["a: all its frames are of one formula, so parts of it are held out"]


def test_a_head_that_cannot_be_parted_is_named() -> None:
    """Its two frames are alike, and like one of the other head."""
    made = features(formula=np.zeros(COUNT, dtype=np.int64))
    alike(made, np.array([0, 0]), np.array([118, 119]))
    frames = table(made, (np.arange(COUNT) >= 118).astype(np.int64), heads=2)
    decided = decide(study(duplicates={"keep": True}, split={"heldout": 0.5}), frames, [])
    assert len(set(decided.verdicts.heldout[[0, 118, 119]].tolist())) == 1
    assert "b: all its frames are of one formula, so nothing is held out" in decided.notes


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("first", [False, True])
def test_what_is_like_a_held_out_source_is_not_trained_on(heads: int, first: bool) -> None:
    """Whether the source stands first or last in the file, and whatever its head."""
    held = np.arange(COUNT) < 10 if first else np.arange(COUNT) >= 110
    benchmark = np.flatnonzero(held)[0]
    made = features()
    for values in (made.digest, made.environments, made.energy):
        values[30] = values[benchmark]
    decided = decide(study(second={"role": "heldout"}), table(made, held.astype(np.int64), heads=heads), [])
    assert decided.leaks == 1
    assert np.flatnonzero(decided.verdicts.state).tolist() == [30]
    assert np.flatnonzero(decided.verdicts.heldout).tolist() == np.flatnonzero(held).tolist()


def test_whole_compositions_are_held_out_and_released_frames_stay() -> None:
    made = features(force_sum=np.where(np.arange(COUNT) == 9, 1.0, 0.0))
    decided = decide(study(split={"heldout": 0.2}), table(made), [])
    held = set(made.formula[decided.verdicts.heldout > 0])
    assert 0.1 < decided.verdicts.heldout.mean() < 0.3
    assert held.isdisjoint(made.formula[(decided.verdicts.heldout == 0) & (decided.verdicts.state == 0)])
    assert decided.verdicts.state[9] == 2
    identity = ids_of(table(made), [9])[0]
    assert not decide(study(release=[identity]), table(made), []).verdicts.state.any()
    with pytest.raises(InputError, match="release: no frame that was read has an id that begins with 'zz'"):
        decide(study(release=["zz"]), table(made), [])


def test_compression_drops_and_says_what_it_kept() -> None:
    decided = decide(
        study(compress={"method": "entropy", "fraction": 0.5}, split={"heldout": 0}), table(features()), []
    )
    assert (decided.verdicts.state == 1).sum() == COUNT // 2
    assert "60 of 120 training frames stay (entropy)" in decided.notes[0]


def heads_of(*written: tuple[dict[str, str], str]) -> tuple[list[str], dict[str, str], dict[str, str]]:
    """Names of the heads of sources with these settings and methods, a frame each, and what is said of them."""
    sources = [Source.model_validate({"name": f"s{n}", "data": ["a"], **more}) for n, (more, _) in enumerate(written)]
    keys = [head_of(source, method) for source, (_, method) in zip(sources, written, strict=True)]
    methods = dict[str, str]()
    for key, (_, method) in zip(keys, written, strict=True):
        methods.setdefault(key, method)
    places = np.array([list(methods).index(key) for key in keys])
    frames = table(features().subset(np.arange(len(keys))))
    found, of_names, said = with_names(dataclasses.replace(frames, head=places, heads=list(methods)), methods)
    return [found.heads[place] for place in found.head], of_names, said


def test_methods_that_are_written_differently_have_heads_of_their_own() -> None:
    assert heads_of(({}, "VASP PBE+U"), ({}, "r²SCAN"), ({}, "ωB97M-V"), ({}, "B97M-V"), ({"name": "mine"}, "")) == (
        ["VASP-PBE-U", "r2SCAN", "omegaB97M-V", "B97M-V", "mine"],
        {"VASP-PBE-U": "VASP PBE+U", "r2SCAN": "r²SCAN", "omegaB97M-V": "ωB97M-V", "B97M-V": "B97M-V", "mine": ""}, {},
    )  # fmt: skip
    long = "A" * 70
    names, methods, said = heads_of(({}, "PBE/U"), ({}, long + "2"), ({}, "PBE+U"), ({}, long + "1"), ({}, "PBE/U"))
    assert names == ["PBE-U-2", "A" * 55 + "-2", "PBE-U", "A" * 60, "PBE-U-2"]
    assert methods["PBE-U"] == "PBE+U"
    assert "'PBE/U'; the name PBE-U would do for 'PBE+U', too" in said["PBE-U-2"]
    assert heads_of(({}, "PBE+U"), ({}, "PBE/U"))[0] == ["PBE-U", "PBE-U-2"], "the order in which they are read"
    names, _, said = heads_of(({"name": "PBE"}, ""), ({}, "PBE"))
    assert names == ["PBE-2", "PBE"], "nothing is known of the first"
    assert "this head is of 'source PBE'" in said["PBE-2"]
    names, _, said = heads_of(({"pseudopotentials": "54"}, "PBE"), ({}, "PBE 54"))
    assert names == ["PBE-54-2", "PBE-54"]
    assert "this head is of 'PBE with 54'" in said["PBE-54-2"]
    assert heads_of(({"head": "PBE"}, "x"), ({}, "PBE"))[0] == ["PBE", "PBE"], "the study says that they are one"
    assert heads_of(({}, "密度"), ({}, "***"))[0] == ["other-2", "other"]


def test_what_is_said_of_a_head_is_in_its_audits() -> None:
    assert [row.notes for row in audits(table(features()), {}, {"a": "alike"})] == [["alike"]]


def test_a_training_study_on_the_heads() -> None:
    given = study(training={"exponent": 0.5, "study": {"train": {"engine": "pair", "models": 1}}})
    cards = [HeadCard(name=name, method="", train=train, heldout=held) for name, train, held in
             (("a", 400, 10), ("b", 100, 10), ("c", 5, 0))]  # fmt: skip
    text = training_study(given, cards, ["H", "O"])
    document = yaml.safe_load(text)
    assert [(head["name"], head["weight"]) for head in document["heads"]] == [("a", 1.0), ("b", 0.5)]
    assert document["heads"][0]["start"]["data"] == ["../../../data/train/*/systems/a"]
    assert "Left out, with nothing to train on or to be judged by: c" in text


def test_new_labels_bring_nothing_back_that_repeats_or_is_held_out() -> None:
    made = features()
    for frame, twin in ((80, 0), (41, 1), (103, 62)):
        made.digest[frame], made.environments[frame] = made.digest[twin], made.environments[twin]
    made.energy[41] = made.energy[1] + 0.2  # in conflict
    said = opinions(made.energy.copy())
    said.energy[[80, 62, 103]] += 1.0
    verdicts = decide(study(split={"heldout": 0.3}), table(made), [said]).verdicts
    held = {int(formula) for formula in made.formula[(verdicts.state == 0) & (verdicts.heldout > 0)]}
    assert verdicts.kept_out.keys() - {62, 1} >= {80, 41, 103}
    assert verdicts.kept_out[103] == "another frame in quarantine has its structure"
    for frame, alone in ((62, "its formula is held out"), (1, "its formula is held out")):
        assert verdicts.kept_out.get(frame, "") == (alone if int(made.formula[frame]) in held else "")
    assert verdicts.kept_out[80] in ("its structure is in the data", "its structure is held out")


def test_an_id_that_is_of_several_frames_is_refused() -> None:
    """One structure with two labels: the first sixteen digits are the same."""
    made = features()
    made.digest[41] = made.digest[1]
    short = ids_of(table(made), [1])[0][:16]
    with pytest.raises(InputError, match=f"2 different frames that were read have an id that begins with '{short}'"):
        decide(study(release=[short]), table(made), [])


@pytest.mark.parametrize(("released", "left"), [(1, {41}), (41, {1})])
def test_of_two_frames_in_conflict_the_one_that_is_released_stays(released: int, left: set[int]) -> None:
    made = features()
    made.digest[41], made.environments[41] = made.digest[1], made.environments[1]
    made.energy[41] = made.energy[1] + 0.2
    frames = table(made)
    verdicts = decide(study(release=ids_of(frames, [released])), frames, []).verdicts
    assert set(np.flatnonzero(verdicts.state == 2).tolist()) == left
    assert set(verdicts.evidence) == left
