"""The contract of engines is enforced: roles are typed, names are unique, and an engine that is wrong fails the suites."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from lamflow.config import parse
from lamflow.config.engines import LabelerSettings
from lamflow.config.installed import Role, engine_named, engines
from lamflow.data import Labels
from lamflow.engines.conformance import EvaluatorConformance, LabelerConformance
from lamflow.engines.emt import Emt, EmtEvaluator
from lamflow.engines.engine import Engine
from lamflow.engines.pair import PairTraining
from lamflow.errors import InputError
from tests.conftest import ROOT, STUDY

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def probe() -> str:
    return "1.0"


class TestRows:
    """What is no engine is refused when its module is imported, and by mypy before that."""

    def test_a_misspelt_role(self) -> None:
        with pytest.raises(TypeError, match="unexpected keyword argument 'lable'"):
            Engine("emt", probe, lable=Role(Emt, EmtEvaluator))  # type: ignore[call-arg]

    def test_settings_of_another_role(self) -> None:
        with pytest.raises(TypeError, match=r"engine 'pair': label: its settings must derive from LabelerSettings"):
            Engine("pair", probe, label=Role(PairTraining, EmtEvaluator))  # type: ignore[arg-type]

    def test_a_name_that_no_settings_have(self) -> None:
        with pytest.raises(TypeError, match=r"the key `engine` of Emt must be Literal\['emt2'\]"):
            Engine("emt2", probe, label=Role(Emt, EmtEvaluator))

    def test_what_is_no_role(self) -> None:
        with pytest.raises(TypeError, match="label: must be a Role"):
            Engine("emt", probe, label=(Emt, EmtEvaluator))  # type: ignore[arg-type]

    def test_an_image_of_a_role(self) -> None:
        engine = Engine("emt", probe, label=Role(Emt, EmtEvaluator, image="label-emt"), image="emt")
        assert engine.image_of("label") == "label-emt"
        assert replace(engine, label=Role(Emt, EmtEvaluator)).image_of("label") == "emt"

    def test_a_version_is_said_or_why_there_is_none(self) -> None:
        def broken() -> str:
            raise ImportError("no such library\nand more")

        assert Engine("emt", probe).version() == "1.0"
        assert Engine("emt", broken).version() == "does not work here: no such library"

    @pytest.mark.slow
    def test_mypy_refuses_a_labeler_without_label(self, tmp_path: Path) -> None:
        text = (
            "from lamflow.engines.emt import Emt, EmtEvaluator\n"
            "from lamflow.engines.engine import Engine, Role\n\n"
            "class Mute:\n    def __init__(self, settings: Emt) -> None: ...\n\n"
            "good = Engine('emt', lambda: '', label=Role(Emt, EmtEvaluator))\n"
            "bad = Engine('emt', lambda: '', label=Role(Emt, Mute))\n"
        )
        (tmp_path / "rows.py").write_text(text)
        done = subprocess.run(
            [sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml", tmp_path / "rows.py"],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert "rows.py:8: error" in done.stdout, done.stdout + done.stderr
        assert "rows.py:7" not in done.stdout
        assert 'expected "Callable[[Never], Labeler]"' in done.stdout


def package(folder: Path, name: str, entry: str, code: str) -> dict[str, str]:
    """The environment of a process in which a distribution with one entry point of lamflow is installed."""
    (folder / f"{name}.py").write_text(code)
    about = folder / f"{name}-1.5.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")
    (about / "entry_points.txt").write_text(f"[lamflow.engines]\n{entry} = {name}:ENGINE\n")
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "OMP_NUM_THREADS": "1",
    }


def check(study: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lamflow", "check", study], env=environment, capture_output=True, text=True, check=False
    )


class TestInstalled:
    def test_two_engines_of_one_name(self, study: Path, tmp_path: Path) -> None:
        environment = package(tmp_path, "other_emt", "emt", "from lamflow.engines.emt import ENGINE\n")
        done = check(study, environment)
        assert done.returncode == 2
        assert "two engines are called 'emt'" in done.stderr
        assert "other_emt 1.5" in done.stderr
        assert "of lamflow " in done.stderr
        assert "Traceback" not in done.stderr

    def test_an_engine_that_does_not_load_says_why_where_it_is_used(self, study: Path, tmp_path: Path) -> None:
        environment = package(tmp_path, "shattered", "shattered", "raise ImportError('libshatter.so is missing')\n")
        done = check(study, environment)
        assert done.returncode == 0, done.stderr
        assert "the engine 'shattered' is left out" in done.stderr
        study.write_text(STUDY.replace("label: {engine: emt}", "label: {engine: shattered}"), encoding="utf-8")
        done = check(study, environment)
        assert done.returncode == 2
        line = STUDY[: STUDY.index("label: {engine")].count("\n") + 1
        assert f"line {line} " in done.stderr
        assert (
            "engine 'shattered' cannot be used here: shattered:ENGINE of shattered 1.5 does not load: " in done.stderr
        )
        assert done.stderr.count("libshatter.so is missing") == 2
        assert "Traceback" not in done.stderr

    @pytest.mark.parametrize(
        ("code", "reason"),
        [
            ("ENGINE = 5\n", "it is no Engine but 5"),
            ("from lamflow.engines.emt import ENGINE\n", "the entry point is called 'odd' and the engine 'emt'"),
        ],
    )
    def test_what_is_no_engine_does_not_load(self, study: Path, tmp_path: Path, code: str, reason: str) -> None:
        study.write_text(STUDY.replace("label: {engine: emt}", "label: {engine: odd}"), encoding="utf-8")
        done = check(study, package(tmp_path, "odd", "odd", code))
        assert done.returncode == 2
        assert reason in done.stderr


class TestTogether:
    def test_an_explorer_that_the_models_cannot_serve(self) -> None:
        text = STUDY.replace(
            "engine: ase, structures: [crystal], method: langevin", "engine: lammps, structures: [crystal]"
        )
        with pytest.raises(
            InputError, match=r"stages.warm.explore: engine 'lammps' needs models with the ability lammps"
        ) as error:
            parse(text)
        assert "those of train.engine 'pair' offer nothing more" in str(error.value)
        assert str(error.value).startswith("configuration: 1 problem")

    def test_searches_play_a_role_of_their_own(self) -> None:
        assert "search" in engine_named("calypso").roles
        assert "explore" not in engine_named("calypso").roles

    def test_only_vasp_knows_potcars(self) -> None:
        settings = engine_named("vasp").roles["label"].settings
        assert issubclass(settings, LabelerSettings)
        begun = {"potcars": "p", "potcar_names": {}, "potcar_sha256": {"Si": "a" * 64}}
        assert settings.replaced_file(begun, begun) is None
        assert settings.replaced_file(begun, {**begun, "potcars": "q", "potcar_sha256": {"Si": "b" * 64}}) is None
        problem = settings.replaced_file(begun, {**begun, "potcar_sha256": {"Si": "b" * 64}})
        assert problem is not None
        assert "the POTCAR of Si is not the one" in problem
        assert Emt.replaced_file(begun, {}) is None


class TestSuites:
    """Engines that break a promise fail the suite that states it."""

    class NoVirial(EmtEvaluator):
        def label(self, frames: Any, work: Path) -> Any:
            return [replace(cast(Labels, labels), virial=None) for labels in super().label(frames, work)]

        def evaluate(self, frames: Any) -> Any:
            return [replace(labels, virial=None) for labels in super().evaluate(frames)]

    class BareKeyError(EmtEvaluator):
        def label(self, frames: Any, work: Path) -> Any:
            return [self._known(frame) for frame in frames]

        def evaluate(self, frames: Any) -> Any:
            return [self._known(frame) for frame in frames]

        def _known(self, frame: Any) -> Any:
            {29: "Cu"}[int(frame.numbers[-1])]
            return super().evaluate([frame])[0]

    def test_labels_without_a_virial(self, tmp_path: Path) -> None:
        engine = self.NoVirial(Emt())
        with pytest.raises(AssertionError, match="a periodic frame has no virial"):
            LabelerConformance().test_every_frame_gets_a_good_label(engine, tmp_path)
        with pytest.raises(AssertionError, match="a periodic frame has no virial"):
            EvaluatorConformance().test_shapes_and_finite(engine)
        declared = LabelerConformance()
        declared.has_virial = False
        declared.test_every_frame_gets_a_good_label(engine, tmp_path)

    def test_a_key_error_for_a_foreign_element(self, tmp_path: Path) -> None:
        engine = self.BareKeyError(Emt())
        tests: tuple[Callable[[], None], ...] = (
            lambda: LabelerConformance().test_a_foreign_element_is_a_failure_and_stops_no_other_frame(engine, tmp_path),
            lambda: EvaluatorConformance().test_a_frame_that_cannot_be_evaluated_is_an_engine_error(engine),
        )
        for test in tests:
            with pytest.raises(KeyError):
                test()

    def test_every_role_has_its_tests(self) -> None:
        from lamflow.config.installed import SETTINGS
        from lamflow.engines.conformance import installed

        tested = {
            value.role for value in vars(installed).values() if isinstance(value, type) and hasattr(value, "role")
        }
        assert tested == set(SETTINGS)

    def test_an_engine_without_an_example_fails(self, tmp_path: Path) -> None:
        code = (
            "from lamflow.config.engines import LabelerSettings\n"
            "from lamflow.engines.emt import EmtEvaluator\n"
            "from lamflow.engines.engine import Engine, Role\n"
            "from typing import Literal\n"
            "class Plain(LabelerSettings):\n    engine: Literal['plain']\n"
            "ENGINE = Engine('plain', lambda: '1', label=Role(Plain, EmtEvaluator))\n"
        )
        words = ["-q", "-p", "lamflow.engines.pytest_plugin", "-p", "no:cacheprovider", "--lamflow-engine"]
        run: Callable[[str], subprocess.CompletedProcess[str]] = lambda name: subprocess.run(  # noqa: E731
            [sys.executable, "-m", "pytest", *words, name], env=environment, cwd=tmp_path, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        environment = package(tmp_path, "plain", "plain", code)
        done = run("plain")
        assert done.returncode == 1
        assert "engine 'plain' plays 'label' without an example" in done.stdout
        assert "installed are abacus, " in run("nothing").stderr


def test_the_contract_of_imports_names_every_engine() -> None:
    rows = {value.partition(":")[0] for value in PROJECT["project"]["entry-points"]["lamflow.engines"].values()}
    [contract] = [
        c for c in PROJECT["tool"]["importlinter"]["contracts"] if c["name"] == "Engines do not import each other"
    ]
    assert set(contract["modules"]) == rows
    assert rows >= {type(engine).__module__ for engine in engines().values()} - {Engine.__module__}


def test_pytest_finds_the_plug_in() -> None:
    [(name, module)] = PROJECT["project"]["entry-points"]["pytest11"].items()
    assert name == module, "otherwise a conftest that names the module registers it twice"
    __import__(module)
