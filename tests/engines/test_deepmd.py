from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from lamflow.data import Frame, LabeledFrame
from lamflow.data.dataset import Item, Origin, systems, write_dataset
from lamflow.engines.deepmd.card import read_definition
from lamflow.engines.deepmd.input import training_input
from lamflow.engines.deepmd.neighbours import Counts
from lamflow.engines.deepmd.settings import DeepmdTraining
from lamflow.engines.emt import Emt
from lamflow.engines.lammps.settings import LammpsExploration
from lamflow.engines.protocol import Model, Simulation, TrainingJob
from lamflow.engines.registry import evaluator, explorer, trainer
from lamflow.errors import EngineError
from lamflow.science.metrics import errors

SMALL = {
    "engine": "deepmd",
    "steps": 200,
    "checkpoint_every": 100,
    "phases": [{"from_iteration": 2, "start_from": "init", "steps": 20, "start_lr": 0.001}],
    "input": {
        "model": {
            "descriptor": {"type": "se_e2_a", "sel": [60], "rcut": 4.8, "rcut_smth": 0.5, "neuron": [4, 8], "axis_neuron": 2},
            "fitting_net": {"neuron": [16, 16]},
        },
        "learning_rate": {"type": "exp", "start_lr": 0.01, "stop_lr": 0.0001},
        "training": {"data": {"batch_size": 1}},
    },
}  # fmt: skip


def task(copper: list[Frame], folder: Path, name: str = "model", previous: Path | None = None) -> TrainingJob:
    if not (folder / "data").is_dir():
        labels = evaluator(Emt()).evaluate(copper)
        items = [
            Item(LabeledFrame(frame, label), Origin(iteration=0, source="x"))
            for frame, label in zip(copper, labels, strict=True)
        ]
        write_dataset(folder / "data", items, ["Cu"], "deepmd/npy")
    return TrainingJob(
        systems=tuple(systems(folder / "data")), elements=("Cu",), seed=1, previous=previous,
        output=folder / name, scratch=folder / f"{name}-scratch", iteration=1 if previous is None else 2,
    )  # fmt: skip


def frames() -> list[Frame]:
    from tests.conftest import copper

    return copper.__wrapped__()  # type: ignore[attr-defined, no-any-return]


@pytest.fixture(scope="module", autouse=True)
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """DeePMD-kit leaves files in the current directory; in a pod that is the pod's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("cwd"))
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one small trained model."""
    pytest.importorskip("deepmd", reason='DeePMD-kit is missing: pip install "lamflow[deepmd]"')
    folder = tmp_path_factory.mktemp("deepmd")
    fractions: list[float] = []
    steps = trainer(DeepmdTraining.model_validate(SMALL)).train(task(frames(), folder), fractions.append)
    assert steps == 200
    return folder


@pytest.fixture
def model(trained: Path) -> Model:
    return trainer(DeepmdTraining.model_validate(SMALL)).load(trained / "model")


@pytest.mark.deepmd
@pytest.mark.slow
class TestTraining:
    def test_it_learns(self, model: Model, copper: list[Frame]) -> None:
        found = errors(model.evaluate(copper), evaluator(Emt()).evaluate(copper))
        assert found.force_rmse < 0.7 * found.force_size

    def test_the_bundle_is_complete(self, trained: Path) -> None:
        names = {path.name for path in (trained / "model").iterdir()}
        assert names == {"model.pt", "model.pth", "input.json", "curve.csv", "lcurve.out", "train.log"}

    def test_a_finished_training_is_not_done_again_and_a_killed_one_goes_on(self, trained: Path) -> None:
        given = task(frames(), trained, "again")
        made = trainer(DeepmdTraining.model_validate(SMALL))
        given.scratch.mkdir()
        for name in ("start.txt", "input.json", "model.ckpt-100.pt"):
            text = (trained / "model-scratch" / name).read_bytes()
            (given.scratch / name).write_bytes(text.replace(b"model-scratch", b"again-scratch"))
        spec = training_input(DeepmdTraining.model_validate(SMALL), given)
        (given.scratch / "input.json").write_text(json.dumps(spec, indent=1, sort_keys=True))
        made.train(given, lambda fraction: None)
        curve = np.loadtxt(given.output / "lcurve.out")
        assert curve[0, 0] >= 100, "the first hundred steps were done again"

    def test_later_iterations_start_from_the_model_before(self, trained: Path, copper: list[Frame]) -> None:
        made = trainer(DeepmdTraining.model_validate(SMALL))
        before = errors(made.load(trained / "model").evaluate(copper), evaluator(Emt()).evaluate(copper))
        given = task(frames(), trained, "next", previous=trained / "model")
        assert made.train(given, lambda fraction: None) == 20
        after = errors(made.load(given.output).evaluate(copper), evaluator(Emt()).evaluate(copper))
        assert after.force_rmse < 2 * before.force_rmse

    def test_neighbours_that_are_left_to_deepmd_are_counted_once(self, copper: list[Frame], tmp_path: Path) -> None:
        """`sel: auto` is a number in the trained model, and stays that number in the next iteration's, on denser data."""
        wanted = deepcopy(SMALL)
        wanted["input"]["model"]["descriptor"]["sel"] = "auto"  # type: ignore[index]
        wanted["phases"][0]["steps"] = 5  # type: ignore[index]
        made = trainer(DeepmdTraining.model_validate({**wanted, "steps": 10}))
        first = task(copper, tmp_path / "first")
        assert made.train(first, lambda fraction: None) == 10
        assert len(made.load(first.output).evaluate(copper)) == len(copper)
        [sel] = read_definition(first.output / "model.pt")["descriptor"]["sel"]
        assert sel >= Counts(["Cu"], copper).most(4.8, mixed=True)[0]
        dense = [replace(frame, positions=frame.positions * 0.85, cell=frame.cell * 0.85) for frame in copper]
        second = task(dense, tmp_path / "second", previous=first.output)
        assert made.train(second, lambda fraction: None) == 5
        assert read_definition(second.output / "model.pt")["descriptor"]["sel"] == [sel]

    def test_bad_input_shows_the_end_of_the_log(self, tmp_path: Path) -> None:
        wrong = {**SMALL, "input": {**SMALL["input"], "learning_rate": {"type": "nonsense"}}}  # type: ignore[dict-item]
        with pytest.raises(EngineError, match=r"dp --pt train failed.*nonsense"):
            trainer(DeepmdTraining.model_validate(wrong)).train(task(frames(), tmp_path), lambda fraction: None)

    def test_compressed_models_say_the_same(self, trained: Path, copper: list[Frame]) -> None:
        from lamflow.engines.deepmd.model import DeepmdModel

        made = trainer(DeepmdTraining.model_validate({**SMALL, "compress": True}))
        given = task(frames(), trained, "small", previous=trained / "model")
        made.train(given, lambda fraction: None)
        whole = made.load(given.output).evaluate(copper)
        compressed = DeepmdModel(given.output / "model.pth").evaluate(copper)
        for one, other in zip(whole, compressed, strict=True):
            assert one.energy == pytest.approx(other.energy, abs=1e-3)


@pytest.mark.deepmd
@pytest.mark.slow
class TestLammps:
    def explore(self, model: Model, frame: Frame, work: Path, **settings: object):  # type: ignore[no-untyped-def]
        made = {
            "engine": "lammps", "structures": ["x"], "temperatures": [300], "steps": 40, "every": 10, "timestep": 0.001, **settings
        }  # fmt: skip
        return explorer(LammpsExploration.model_validate(made)).explore(
            Simulation(frame, {"temperature": 300.0, "pressure": 0.0}, 5, work), model
        )

    def test_it_runs_the_trained_model(self, model: Model, copper: list[Frame], tmp_path: Path) -> None:
        found = self.explore(model, copper[0], tmp_path, ensemble="npt", pressures=[0])
        assert found.failure is None
        assert found.steps.tolist() == [10, 20, 30, 40]
        assert found.numbers.tolist() == [29] * 8
        assert np.abs(found.cells[-1] - found.cells[0]).max() > 1e-6

    def test_lammps_and_lamflow_agree_on_the_energy(self, model: Model, copper: list[Frame], tmp_path: Path) -> None:
        found = self.explore(model, copper[0], tmp_path, ensemble="nve", temperatures=[1])
        rows = [line.split() for line in (tmp_path / "lammps.log").read_text().splitlines()]
        energies = {int(row[0]): float(row[2]) for row in rows if len(row) in (6, 7) and row[0].isdigit()}
        for frame, step in zip(found, found.steps, strict=True):
            [labels] = model.evaluate([frame])
            assert labels.energy == pytest.approx(energies[int(step)], abs=2e-3)

    def test_a_template_of_the_user(self, model: Model, copper: list[Frame], tmp_path: Path) -> None:
        template = tmp_path / "in.user"
        template.write_text(
            "units metal\natom_style atomic\nread_data {{ structure }}\n{{ potential }}\n"
            "velocity all create {{ temperature }} {{ seed }}\nfix 1 all nvt temp {{ temperature }} {{ temperature }} {{ damp }}\n"
            "dump 1 all custom {{ every }} {{ trajectory }} id type xu yu zu\nrun {{ steps }}\n"
        )
        found = self.explore_with(model, copper[0], tmp_path / "run", template)
        assert found.steps.tolist() == [0, 10, 20, 30, 40]

    def explore_with(self, model: Model, frame: Frame, work: Path, template: Path):  # type: ignore[no-untyped-def]
        settings = LammpsExploration.model_validate(
            {
                "engine": "lammps", "structures": ["x"], "temperatures": [300], "steps": 40, "every": 10,
                "template": template, "variables": {"damp": [0.1]},
            }
        )  # fmt: skip
        [condition] = settings.conditions()
        return explorer(settings).explore(Simulation(frame, condition, 5, work), model)

    def test_lost_atoms_keep_the_trajectory_before(self, model: Model, copper: list[Frame], tmp_path: Path) -> None:
        found = self.explore(
            model, copper[0], tmp_path, ensemble="nve", temperatures=[300], timestep=0.001, steps=20, every=1
        )
        assert found.failure is None
        template = tmp_path / "in.break"
        template.write_text(
            "units metal\natom_style atomic\nread_data {{ structure }}\n{{ potential }}\nfix 1 all nve\n"
            "dump 1 all custom {{ every }} {{ trajectory }} id type x y z\nrun 20\nrun 20 every 5 'error all \"gone\"'\n"
        )
        settings = LammpsExploration.model_validate(
            {
                "engine": "lammps",
                "structures": ["x"],
                "temperatures": [300],
                "steps": 40,
                "every": 10,
                "template": template,
            }
        )
        broken = explorer(settings).explore(Simulation(copper[0], {"temperature": 300.0}, 5, tmp_path / "b"), model)
        assert broken.failure is not None
        assert "ERROR" in broken.failure
        assert 10 in broken.steps


class TestSettings:
    def test_data_belong_to_lamflow(self) -> None:
        wrong = {**SMALL, "input": {"training": {"systems": ["here"]}}}
        with pytest.raises(ValidationError, match=r"input\.training\.systems: lamflow supplies the data"):
            DeepmdTraining.model_validate(wrong)

    def test_the_file_of_dp_gen_works(self, tmp_path: Path) -> None:
        (tmp_path / "input.json").write_text(json.dumps({"_comment": "x", **SMALL["input"]}))  # type: ignore[dict-item]
        settings = DeepmdTraining.model_validate(
            {"engine": "deepmd", "input_file": tmp_path / "input.json", "input": {"learning_rate": {"start_lr": 1}}}
        )
        merged = settings.merged_input()
        assert merged["model"] == SMALL["input"]["model"]  # type: ignore[index]
        assert merged["learning_rate"] == {"start_lr": 1}

    def test_every_seed_is_its_own(self, tmp_path: Path) -> None:
        given = TrainingJob((tmp_path,), ("Cu",), 9, None, tmp_path, tmp_path)
        spec = training_input(DeepmdTraining.model_validate(SMALL), given)
        seeds = {spec["model"]["descriptor"]["seed"], spec["model"]["fitting_net"]["seed"], spec["training"]["seed"]}
        assert len(seeds) == 3
        assert spec["model"]["type_map"] == ["Cu"]
