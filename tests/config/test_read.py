from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamflow.config import load, parse
from lamflow.config.cleaning import CleaningStudy
from lamflow.config.references import files_of
from lamflow.config.section import json_of
from lamflow.errors import InputError, printable
from tests.conftest import STUDY


def problems(text: str, root: Path | None = None) -> str:
    with pytest.raises(InputError) as caught:
        parse(text, "dpgen.yaml", root)
    return str(caught.value)


GROUP = next(line + "\n" for line in STUDY.splitlines() if "engine: ase" in line)


def test_reads_the_study(study: Path) -> None:
    config = load(study)
    assert config.train.engine == "pair"
    assert config.stages[0].explore[0].conditions() == [{"temperature": 300.0}, {"temperature": 900.0}]


def test_every_problem_in_one_go_with_line_value_unit_and_suggestion() -> None:
    text = STUDY.replace("low: 0.001, high: 2.0", "low: 2.0, high: 0.5").replace("label: {engine", "lable: {engine")
    message = problems(text.replace("rattle: 0.05", "rattle: -0.05").replace("engine: ase", "engine: asse"))
    assert message.startswith("dpgen.yaml: 4 problems\n")
    assert "structures.0.rattle: -0.05 Å: input should be greater than or equal to 0 Å" in message
    assert "line 16   select.window: low (2 eV/Å) must be below high (0.5 eV/Å); as written no frame" in message
    assert "lable: no such key; did you mean 'label'?" in message
    assert "engine 'asse' is not known here; did you mean 'ase'?" in message


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("seed: 3", "seed: 3\nseed: 4", "line 3    seed: this key is given twice"),
        ("elements: [Cu]", "elements: [Cu", "not valid YAML"),
        ("elements: [Cu]", "elements: [true]", "YAML takes this word for true or false; write it in quotes"),
        ("elements: [Cu]", "elements: [No]", "label: emt cannot treat No"),
        ("elements: [Cu]", "elements: [Cx]", "'Cx' is not a chemical symbol"),
        ("elements: [Cu]", "elements: [Al]", "structures.rattled: Cu is not in elements ['Al']"),
        ("label: [rattled]", "label: [ratled]", "there is no structure set 'ratled'"),
        ("label: {engine: emt}", "label: {engine: qe}", "label.pseudopotentials: this key is required"),
        ("every: 4", "every: 400", "every (400) is more than steps (40): no frame would be kept"),
        ("name: tiny", "name: Tiny Run", "name"),
        ("formula: Cu", "formula: CuAu", "formula 'CuAu' does not fit fcc"),
        ("heldout: {fraction: 0.2}", "heldout: {}", "heldout: give data, label or fraction"),
        ("temperatures: [300, 900], ", "", "temperatures are needed by method langevin"),
        ("label: [rattled]", "data: [nowhere.extxyz]", "no such file"),
        ("elements: [Cu]", "elements: [Cu, Fe]", "emt cannot treat Fe"),
        ("budget: {iterations: 2}", "budget: {iterations: three}", "'three'"),
        ("label: {engine: emt}\n", "", "label: stages.warm.explore finds frames that no engine labels"),
        ("accurate: 0.999", "trajectory_force_rmse: 0.1", "only a teacher knows this error; set select.score: teacher"),
        ("limit: 6", "limit: 6\n  score: embedding", "embedding needs models that say their features of atoms"),
        ("limit: 6", "limit: 6\n  score: embedding\n  metric: virial_max", "virial_max has no bound; score: embedding"),
        ("iterations: 2}", "iterations: 2, forgetting: 1.5}", "budget.forgetting: there are no replay data"),
        ("models: 3", "models: 1", "train.models: a committee needs two models at least"),
        (
            "seed: 3",
            "seed: 3\nheads: [{name: a, start: {label: [rattled]}, heldout: {fraction: 0.2}}]",
            "start: with heads this belongs into a head",
        ),
        (
            "temperatures: [300, 900]",
            "temperatures: [300], electronic_temperatures: [9000]",
            "emt knows no electronic temp",
        ),
        ("rattle: 0.05", "electronic_temperature: 5000", "and structures.rattled has one"),
        ("seed: 3", "seed: 3\n1: 2", "line 3    a key must be a word"),
        ("seed: 3", "seed: 3\n? [1, 2]\n: 3", "a key must be a word"),
        ("seed: 3", "seed: &a [*a]", "line"),
        (
            "lattice: fcc, a: 3.6, cubic: true}, supercell: [2, 2, 1]",
            "lattice: fcc, a: 0}",
            "0 Å: input should be greater than 0 Å",
        ),
        ("lattice: fcc, a: 3.6, cubic: true}, supercell: [2, 1, 1]", "lattice: bcc}", "lattice constant a of bcc Cu"),
        ("temperatures: [300, 900]", "temperatures: [300, -9]", "-9 K: input should be greater than or equal to 0 K"),
        ("converge: {accurate: 0.999}", "converge:", "converge: must be a mapping of keys to values"),
        ("label: {engine: emt}", "label: emt", "must be a mapping of keys to values; write {engine: emt}"),
        ("rule: fixed", "rule: fixd", "rule 'fixd' is not known here; did you mean 'fixed'?"),
        ("heldout: {fraction: 0.2}", "heldout: {fraction: 1.0}", "heldout.fraction: 1.0"),
        (
            "heldout: {fraction: 0.2}",
            "heldout: {share: 0.2}",
            "heldout.share: no such key; it is called 'fraction' now",
        ),
        ("limit: 6", "limit: 6\n  filters: {volume_per_atom: [200, 2]}", "[200, 2] Å³ must be a range"),
        ("label: [rattled]", "label: [nobody]", "line 8    start.label: there is no structure set 'nobody'"),
        ("label: [rattled]", "label: [rattled, rattled]", "start.label: rattled appears more than once"),
        ("temperatures: [300, 900]", "temperatures: [300, 900, 300]", "temperatures: 300.0 appears more than once"),
        ("structures: [crystal]", "structures: [crystal, crystal]", "structures: crystal appears more than once"),
        ("    explore:\n", f"    explore:\n{GROUP}", "explore: groups 0 and 1 are the same"),
        ("label: {parallel: 1}", "label: {environment: {MY VAR: x}}", "pods.label.environment.MY VAR"),
        ("label: {engine: emt}", 'label: {engine: custom, command: ["a\\0b"]}', "a control character (code 0)"),
        (
            "label: {parallel: 1}",
            "label: {memory: null}",
            "memory: null: a pod or job has a limit of memory (4Gi if abs",
        ),
        ("label: {parallel: 1}", "label: {memory: null}", "say `batch: {sge: {memory: null}}`"),
        ("label: {parallel: 1}", "label: {retries: null}", "retries: null is no value here; leave the key out for its"),
        ("limit: 6", "limit: null", "limit: null is no value here; leave the key out for its default, 50"),
        (
            "limit: 6",
            f"limit: {10**99}",
            "1000000000000000000000000000000000000000…00000000000000000000 (100 characters)",
        ),
    ],
)
def test_names_what_is_wrong(old: str, new: str, expected: str, tmp_path: Path) -> None:
    assert expected in problems(STUDY.replace(old, new), tmp_path)


def test_the_training_study_that_cleaning_writes_is_checked_before(tmp_path: Path) -> None:
    text = "name: c\nworkflow: cleaning\nelements: [Cu]\nsources: [{name: a, data: [a.extxyz]}]\n"
    (tmp_path / "a.extxyz").touch()
    message = problems(f"{text}training: {{study: {{train: {{engine: pair, models: -1}}}}}}\n", tmp_path)
    assert "line 5    training.study: train.models: -1: input should be greater than or equal to 1" in message
    message = problems(f"{text}training: {{study: {{trains: 1}}}}\n", tmp_path)
    assert "training.study: train: this key is required" in message


def test_paths_of_the_training_study_that_cleaning_writes_are_those_of_the_study_s_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lies elsewhere; a missing file is said as any other, and a variable stays one."""
    text = "name: c\nworkflow: cleaning\nsources: [{name: a, data: [a.extxyz]}]\ntraining:\n  study:\n    train:\n"
    text += "      engine: deepmd\n      steps: 10\n      pretrained: {file: models/m.pt}\n"
    text += "      input_file: ${PLACE}/in.json\n      phases: [{start_from: finetune}]\n"
    monkeypatch.setenv("PLACE", str(tmp_path / "models"))
    (tmp_path / "models").mkdir()
    for name in ("a.extxyz", "models/in.json"):
        (tmp_path / name).touch()
    message = problems(text, tmp_path)
    assert f"line 9    training.study: train.pretrained.file: no such file: {tmp_path}/models/m.pt" in message
    parse(text, root=tmp_path, kind=CleaningStudy, files=False)
    (tmp_path / "models" / "m.pt").touch()
    found = parse(text, root=tmp_path, kind=CleaningStudy)
    assert found.training is not None
    assert found.training.study == {
        "train": {
            "engine": "deepmd", "steps": 10, "pretrained": {"file": f"{tmp_path}/models/m.pt"},
            "input_file": "${PLACE}/in.json", "phases": [{"start_from": "finetune"}],
        }
    }  # fmt: skip
    again = CleaningStudy.model_validate_json(found.model_dump_json(), context={"root": tmp_path / "run" / "input"})
    assert again.training == found.training


def test_an_environment_variable_in_a_path_is_never_written_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret-place").mkdir()
    (tmp_path / "secret-place" / "cu.extxyz").write_text("")
    monkeypatch.setenv("PLACE", str(tmp_path / "secret-place"))
    text = STUDY.replace("start: {label: [rattled]}", "start: {label: [rattled], data: ['${PLACE}/cu.extxyz']}")
    assert "secret-place" not in parse(text, root=tmp_path).model_dump_json()


@given(st.text(max_size=200))
def test_any_text_gives_a_configuration_or_one_message(text: str) -> None:
    with pytest.raises(InputError):
        parse(text)


@given(st.sampled_from(STUDY.splitlines()), st.text("abz:{}[]-# 0\"'\n", max_size=12))
def test_a_damaged_line_never_escapes_as_another_error(line: str, damage: str) -> None:
    try:
        parse(STUDY.replace(line, damage + line), root=Path("/"))
    except InputError as error:
        assert "line" in str(error)  # noqa: PT017  hypothesis tries texts that are fine as well


def test_floats_are_those_of_yaml_1_2() -> None:
    text = STUDY.replace("functions: 8", "functions: 8, ridge: 1e-8").replace("low: 0.001", "low: 1e-3")
    config = parse(text)
    assert config.train.model_dump()["ridge"] == 1e-8
    assert parse(
        text.replace("train: {engine: pair, models: 3, functions: 8, ridge: 1e-8}", DEEPMD)
    ).train.model_dump()["input"] == {"learning_rate": {"start_lr": 1e-3, "stop_lr": 1.5e-8}}


DEEPMD = "train: {engine: deepmd, input: {learning_rate: {start_lr: 1e-3, stop_lr: 1.5e-08}}}"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.yaml: cannot be read: No such file or directory"):
        load(tmp_path / "nothing.yaml")


def test_units_of_values_of_two_kinds(tmp_path: Path) -> None:
    text = STUDY.replace("engine: emt", "engine: gpaw, cutoff: 300, kspacing: 0, magnetic_moments: {Cu: x}")
    said = problems(text, tmp_path)
    assert "label.kspacing: 0 Å⁻¹: input should be greater than 0 Å⁻¹" in said
    assert "label.magnetic_moments.Cu: 'x' μB" in said


def test_a_ramp_advances_by_a_fixed_window(tmp_path: Path) -> None:
    text = STUDY.replace("temperatures: [300, 900]", "temperatures: [300, 900], ramp: {}")
    text = text.replace("{rule: fixed, low: 0.001, high: 2.0}", "{rule: adaptive, high: 2.0}")
    assert "which means nothing with an adaptive window" in problems(text, tmp_path)


def test_patterns_of_files_are_looked_up_beside_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a1.extxyz", "a2.extxyz", "b[1].extxyz"):
        (tmp_path / name).touch()
    monkeypatch.setenv("HERE", str(tmp_path))
    text = STUDY.replace("start: {label: [rattled]}", 'start: {data: ["a*.extxyz", "b[1].extxyz", "$HERE/a2*"]}')
    start = parse(text, root=tmp_path).start
    assert start is not None
    assert [file.name for file in files_of(start.data)] == ["a1.extxyz", "a2.extxyz", "b[1].extxyz", "a2.extxyz"]
    assert str(start.data[-1]) == "$HERE/a2.extxyz", "what a variable holds is not written down"
    assert "no such file" in problems(text.replace("a*", "c*"), tmp_path)


def test_models_must_learn_the_electronic_temperature_that_is_explored(tmp_path: Path) -> None:
    text = STUDY.replace("temperatures: [300, 900]", "temperatures: [300], electronic_temperatures: [9000]")
    text = text.replace("{engine: emt}", "{engine: custom, command: [x], electronic_temperature: true}")
    assert "see train.electronic_temperature" in problems(text, tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("every: 4", "every: 4, climb: {safe: 0.9}", "stages.0.explore.0.climb: no such key; it is called 'ramp' now"),
        ("every: 4", "every: 4, ramp: {safe: 0.9}", "ramp.safe: no such key; it is called 'advance_at' now"),
        ("limit: 6", "limit: 6\n  by: energy", "select.by: no such key; it is called 'metric' now"),
        (
            "{accurate: 0.999}",
            "{hull_change: 0.01}",
            "converge.hull_change: no such key; it is called 'hull_shift' now",
        ),
        (
            "pods: {train: {parallel: 1}",
            "pods: {train: {tasks_per_pod: 2}",
            "pods.train.tasks_per_pod: no such key; it is called 'work_per_job' now",
        ),
        ("{accurate: 0.999}", "{hull_regret: 0.01}", "hull_regret: no such key; it is called 'ground_state_error' now"),
    ],
)
def test_keys_of_earlier_versions_say_what_they_are_called_now(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    assert message in problems(STUDY.replace(old, new), tmp_path)


@pytest.mark.parametrize(
    ("written", "meant"),
    [("0o17", 15), ("0x1F", 31), ("+5", 5), ("1e1", 10), ("12", 12)],
)
def test_whole_numbers_are_those_of_yaml_1_2(written: str, meant: int) -> None:
    assert parse(STUDY.replace("seed: 3", f"seed: {written}")).seed == meant


@pytest.mark.parametrize("word", ["1:30", "yes", "on", "true", "False", ".inf", ".nan", "''", "2026-11-27"])
def test_words_are_no_numbers(word: str, tmp_path: Path) -> None:
    said = problems(STUDY.replace("seed: 3", f"seed: {word}"), tmp_path)
    assert "line 2" in said
    assert "seed" in said


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 100_000, "- " * 50_000, "a: " + "[" * 101 + "]" * 101])
def test_what_is_nested_without_end_is_refused(text: str) -> None:
    assert "nested more than 100 levels deep" in problems(text)


@pytest.mark.parametrize("digits", [301, 5000])
def test_a_whole_number_beyond_all_bounds_is_refused(digits: int) -> None:
    said = f"{'1' * 20}… has {digits} characters; a whole number has at most 300"
    assert f"line 2    not valid YAML: {said}" in problems(STUDY.replace("seed: 3", f"seed: {'1' * digits}"))
    with pytest.raises(ValueError, match=said):
        json_of(f'{{"stop_lr": {"1" * digits}}}')


def test_a_number_that_programs_read_differently_is_refused_with_the_one_to_write(tmp_path: Path) -> None:
    assert "line 2    not valid YAML: 017 is octal for some programs" in problems(STUDY.replace("seed: 3", "seed: 017"))
    assert "write 17, or 0o…" in problems(STUDY.replace("steps: 40", "steps: 017"))


@pytest.mark.parametrize(("word", "meant"), [("1_000", "1000"), ("'3'", "3"), ("'1e-3'", "0.001"), ("3_0.5", "30.5")])
def test_a_word_that_stands_for_a_number_is_refused_with_the_one_to_write(word: str, meant: str) -> None:
    said = problems(STUDY.replace("low: 0.001", f"low: {word}").replace("every: 4", f"every: {word}"))
    assert f"eV/Å: this is a word, and a number is needed; write {meant}, without quotes or '_'" in said
    assert "stages.0.explore.0.every" in said


@pytest.mark.parametrize("word", ["yes", "on", "'true'", "1", "0", "y", "'false'"])
def test_truth_values_are_true_and_false(word: str) -> None:
    said = problems(STUDY.replace("cubic: true", f"cubic: {word}"))
    shown = word if word.isdigit() or word.startswith("'") else f"'{word}'"
    assert f"structures.0.crystal.cubic: {shown} is no truth value: write true or false, without quotes" in said


def test_true_is_no_number_anywhere(tmp_path: Path) -> None:
    said = problems(STUDY.replace("low: 0.001", "low: true").replace("every: 4", "every: true"), tmp_path)
    assert "select.window.low: true is no number" in said
    assert "stages.0.explore.0.every: true is no number" in said


def test_what_is_no_study_is_refused_at_once(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10))
    assert "more than 100,000 values" in problems(bomb, tmp_path)
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(InputError, match="this is no file, and a study is one"):
        load(tmp_path / "pipe.yaml")
    (tmp_path / "large.yaml").write_text("# " + "x" * 5_000_000)
    with pytest.raises(InputError, match="5 MB are no study"):
        load(tmp_path / "large.yaml")


def test_control_characters_never_reach_the_terminal() -> None:
    assert printable("a\x1b[31mred\x07\n\tÅ → é") == "a\\x1b[31mred\\x07\n\tÅ → é"


def test_a_file_in_another_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "INCAR").write_bytes(b"ENCUT = 300\nSYSTEM = \xe9\n")
    text = STUDY.replace("{engine: emt}", "{engine: vasp, potcars: pp, kspacing: 0.3, incar: INCAR}")
    assert "INCAR, line 2: this is not UTF-8 text" in problems(text, tmp_path)
