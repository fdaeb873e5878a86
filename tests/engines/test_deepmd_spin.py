"""Models that see magnetic moments: trained on what iron of the spin-lattice does, and on a real antiferromagnet."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from lamflow.config.pretrained import PretrainedModel
from lamflow.config.read import parse
from lamflow.config.schema import TrainingStudy
from lamflow.data import Frame, LabeledFrame, Labels
from lamflow.data.dataset import Item, Origin, systems, write_dataset
from lamflow.data.fields import turned
from lamflow.data.io import read_labeled
from lamflow.driver.rundir import RunDirectory
from lamflow.engines.conformance import EvaluatorConformance
from lamflow.engines.deepmd.examine import check_neighbours, check_pretrained, check_spin
from lamflow.engines.deepmd.phases import Phase
from lamflow.engines.deepmd.settings import DeepmdTraining
from lamflow.engines.deepmd.spin import Spin, with_copies
from lamflow.engines.lammps.settings import LammpsExploration
from lamflow.engines.lammps.spins import LammpsMoments, motion, write_spin_data
from lamflow.engines.protocol import Model, Simulation, TrainingJob
from lamflow.engines.registry import evaluator, explorer, trainer
from lamflow.engines.spin_lattice import SpinLatticeLabels, iron_frames
from lamflow.errors import EngineError, InputError
from tests.cli.test_outcomes import lamflow

NIO = Path(__file__).parents[3] / "shared" / "data" / "nio-spin"
TRUTH = evaluator(SpinLatticeLabels(engine="spin-lattice"))
MODEL = {
    "descriptor": {"type": "se_e2_a", "sel": [30], "rcut": 4.6, "rcut_smth": 0.5, "neuron": [4, 8], "axis_neuron": 2},
    "fitting_net": {"neuron": [16, 16]},
}
SETTINGS = DeepmdTraining.model_validate(
    {
        "engine": "deepmd", "steps": 60, "spin": {"elements": ["Fe"], "rotations": 1},
        "input": {"model": MODEL, "training": {"data": {"batch_size": 1}}},
    }
)  # fmt: skip


def iron_job(folder: Path) -> TrainingJob:
    frames = iron_frames()
    labels = TRUTH.evaluate(frames)
    items = [
        Item(LabeledFrame(frame, label), Origin(iteration=0, source=f"iron#{number}"))
        for number, (frame, label) in enumerate(zip(frames, labels, strict=True))
    ]
    write_dataset(folder / "data", items, ["Fe"], "deepmd/npy")
    return TrainingJob(
        systems=tuple(systems(folder / "data")), elements=("Fe",), seed=1, previous=None, output=folder / "model",
        scratch=folder / "scratch",
    )  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def folder_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """DeePMD-kit leaves files in the current directory."""
    with contextlib.chdir(tmp_path_factory.mktemp("cwd")):
        yield


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A model that was trained a little on moments."""
    job = iron_job(tmp_path_factory.mktemp("iron"))
    assert trainer(SETTINGS).train(job, lambda _: None) == 60
    header, *lines = (job.output / "curve.csv").read_text(encoding="utf-8").splitlines()
    assert "magnetic_force_rmse" in header.split(",")
    assert len(lines) > 5
    return trainer(SETTINGS).load(job.output)


@pytest.mark.slow
class TestModel(EvaluatorConformance):
    """What is trained on moments gives forces, magnetic forces and virials that are derivatives of its energy."""

    force_tolerance, virial_tolerance = 5e-3, 5e-2

    def frames(self) -> list[Frame]:
        return iron_frames()

    def test_lattice_and_moments_turn_together(self, engine: Model) -> None:
        frame, rotation = iron_frames()[0], np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
        fields = turned(frame.fields, rotation)
        one, other = engine.evaluate(
            [frame, replace(frame, positions=frame.positions @ rotation, cell=frame.cell @ rotation, fields=fields)]
        )
        for name, value in turned(one.fields, rotation).items():
            np.testing.assert_allclose(other.fields[name], value, atol=2e-3)

    def test_moments_must_be_there(self, engine: Model) -> None:
        with pytest.raises(EngineError, match=r"frame 0: .* needs the magnetic moments of Fe, and a frame has none"):
            engine.evaluate([iron_frames()[0].with_fields(spin=None)])

    def test_lammps_uses_the_pair_style_for_spins(self, engine: Model) -> None:
        assert engine.lammps().style == "deepspin"


def test_copies_of_frames_turn_all_moments_and_nothing_else(tmp_path: Path) -> None:
    job = iron_job(tmp_path)
    settings = Spin(elements=["Fe"], rotations=2)
    copies = with_copies(job.systems, tmp_path / "copies", settings, seed=3)
    again = with_copies(job.systems, tmp_path / "again", settings, seed=3)
    for system, copy in copies.items():
        before, after = read_labeled(system), read_labeled(copy)
        assert len(after) == 4 * len(before)
        for number, item in enumerate(after):
            original = before[number % len(before)]
            [truth] = TRUTH.evaluate([item.frame])
            np.testing.assert_array_equal(item.frame.positions, original.frame.positions)
            for name, value in truth.fields.items():
                np.testing.assert_allclose(item.labels.fields[name], value, atol=1e-6)
        np.testing.assert_array_equal(np.asarray(after[len(before)].frame.spins), -np.asarray(before[0].frame.spins))
        for one, other in zip(after, read_labeled(again[system]), strict=True):
            np.testing.assert_array_equal(np.asarray(one.frame.spins), np.asarray(other.frame.spins))
    assert with_copies(job.systems, tmp_path / "none", Spin(elements=["Fe"], time_reversal=False), 3) == {
        system: system for system in job.systems
    }


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"input": {"model": {"spin": {}}}}, "input.model.spin: lamflow writes it; give `spin` beside `input`"),
        ({"spin": {"elements": ["Fe"]}, "input": {"loss": {"type": "ener"}}}, "'ener' knows no magnetic forces"),
        ({"spin": {"elements": ["Fe"]}, "compress": True}, "compresses no model with spins"),
        ({"spin": {"elements": ["Iron"]}}, "Iron"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: dict[str, object], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        DeepmdTraining.model_validate({"engine": "deepmd", **settings})


STUDY = """
workflow: training
name: iron
elements: [Fe]
start: {data: [DATA]}
heldout: {fraction: 0.2}
train: {engine: deepmd, models: 1, spin: {elements: [Fe]}}
"""


def test_what_a_study_cannot_train_with_spins_is_refused() -> None:
    study = parse(STUDY, kind=TrainingStudy, files=False)
    with pytest.raises(InputError, match=r"trains no model with spins by the descriptor hybrid, se_e2_r; take one of"):
        check_spin(Spin(elements=["Fe"]), [{"type": "se_e2_r"}, {"type": "hybrid"}], study)
    with pytest.raises(InputError, match=r"native is for dpa4, .*, and the descriptor is dpa3; use deepspin"):
        check_spin(Spin(elements=["Fe"], scheme="native"), [{"type": "dpa3"}], study)


@pytest.mark.deepmd
def test_prefactors_of_phases_are_those_of_the_loss() -> None:
    study = parse(STUDY, kind=TrainingStudy, files=False)
    text = (
        "{engine: deepmd, models: 1, spin: {elements: [Fe]}, phases: [{from_iteration: 1, loss: {start_pref_f: 5.0}}]}"
    )
    wrong = parse(
        STUDY.replace("{engine: deepmd, models: 1, spin: {elements: [Fe]}}", text), kind=TrainingStudy, files=False
    )
    with pytest.raises(InputError, match=r"train.phases\[0\].loss: DeePMD-kit refuses it: .* `start_pref_f`"):
        wrong.train.examine(wrong)
    study.train.examine(study)


@pytest.mark.slow
def test_a_model_without_spins_begins_no_training_with_them(engine: Model, tmp_path: Path) -> None:
    """DeePMD-kit would stop in fine-tuning, and `init` would make a model without spins of it in silence."""
    study = parse(STUDY, kind=TrainingStudy, files=False)
    job = iron_job(tmp_path)
    for file in [*tmp_path.rglob("spin.npy"), *tmp_path.rglob("force_mag.npy")]:
        file.unlink()
    plain = SETTINGS.model_copy(update={"spin": None, "steps": 2})
    trainer(plain).train(job, lambda _: None)
    source = PretrainedModel(file=job.output / "model.pt")
    for start_from in ("finetune", "init"):
        phase = Phase.model_validate({"start_from": start_from})
        with pytest.raises(InputError, match=f"{start_from}: the pre-trained model knows no spins"):
            check_pretrained([(phase, source)], study, ["Fe"])
        assert check_pretrained([(phase, source)], study) == []
    magnetic = PretrainedModel(file=engine.path)  # type: ignore[attr-defined]  # of DeePMD models alone
    assert check_pretrained([(Phase(start_from="init"), magnetic)], study, ["Fe"]) == []
    with pytest.raises(InputError, match=r"the pre-trained model knows spins; give train\.spin"):
        check_pretrained([(Phase(start_from="init"), magnetic)], study)


def test_neighbours_are_counted_with_their_virtual_twins() -> None:
    few, many = ({"type": "dpa1", "rcut": 4.0, "sel": sel} for sel in (40, 120))
    [warning] = check_neighbours([few], ["Fe"], iron_frames(), doubled=True)
    assert "such neighbours with their virtual twins within 4 Å" in warning
    assert check_neighbours([many], ["Fe"], iron_frames(), doubled=True) == []
    assert check_neighbours([few], ["Fe"], iron_frames()) == []


@pytest.mark.skipif(not NIO.is_dir(), reason=f"the NiO data set is not in {NIO}")
def test_a_real_antiferromagnet_keeps_its_moments(tmp_path: Path) -> None:
    given = read_labeled(NIO / "data_2")
    items = [Item(item, Origin(iteration=0, source=f"nio#{number}")) for number, item in enumerate(given)]
    for format in ("deepmd/npy", "deepmd/npy/mixed"):
        write_dataset(tmp_path / format, items, ["Ni", "O"], format)
        [system] = systems(tmp_path / format)
        for item, back in zip(given, read_labeled(system), strict=True):
            moments = np.linalg.norm(np.asarray(back.frame.spins), axis=1)
            np.testing.assert_allclose(moments[np.array(back.frame.symbols) == "Ni"], 1.274, atol=1e-3)
            assert not moments[np.array(back.frame.symbols) == "O"].any()
            np.testing.assert_array_equal(np.asarray(back.labels.force_mag), np.asarray(item.labels.force_mag))


@pytest.mark.slow
@pytest.mark.skipif(not NIO.is_dir(), reason=f"the NiO data set is not in {NIO}")
def test_a_real_antiferromagnet_trains(tmp_path: Path) -> None:
    """As docs/spin.md says, by a smaller model and for a few steps."""
    text = """
        {workflow: training, name: nio, elements: [Ni, O], start: {data: [NIO/data_0, NIO/data_1]},
         heldout: {data: [NIO/data_2]}, train: {engine: deepmd, models: 1, steps: 10, spin: {elements: [Ni]}, input: {model:
         {descriptor: {type: se_e2_a, sel: [24, 24], rcut: 4.5, rcut_smth: 0.5, neuron: [4, 8], axis_neuron: 2},
         fitting_net: {neuron: [16, 16]}}}}}"""
    (tmp_path / "nio.yaml").write_text(text.replace("NIO", str(NIO)), encoding="utf-8")
    said = lamflow("check", "nio.yaml", cwd=tmp_path)
    assert "magnetic moments up to 1.28 μB of Ni; magnetic forces up to 0.146 eV/μB" in said.stdout
    done = lamflow("run", "nio.yaml", "--dir", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    [model] = RunDirectory(tmp_path / "run").iterations()[-1].models
    assert model.errors is not None
    assert model.errors.magnetic_force_rmse is not None
    assert model.moments is not None
    assert model.moments.longest == pytest.approx(1.28, abs=0.01)
    assert not model.moments.collinear
    assert model.moments.heldout == 0


def test_the_default_model_has_room_for_virtual_atoms() -> None:
    plain = DeepmdTraining.model_validate({"engine": "deepmd"}).merged_input()["model"]["descriptor"]["sel"]
    spin = {"engine": "deepmd", "spin": {"elements": ["Fe"]}}
    assert DeepmdTraining.model_validate(spin).merged_input()["model"]["descriptor"]["sel"] == 2 * plain


def test_labels_without_magnetic_forces_are_labels_too() -> None:
    labels = Labels(0.0, np.zeros((2, 3)))
    assert labels.force_mag is None


ATTEN = {"sel": 60, "rcut": 4.0, "rcut_smth": 0.5, "neuron": [4, 8], "axis_neuron": 2}
DPA4 = {"type": "dpa4", "rcut": 4.0, "sel": 60, "channels": 8, "n_radial": 4, "lmax": 1, "n_blocks": 1}
DESCRIPTORS: dict[str, dict[str, object]] = {
    "dpa1": {"type": "se_atten", "attn_layer": 0, **ATTEN},
    "dpa1-attention": {"type": "dpa1", "attn_layer": 1, "attn": 8, **ATTEN},
    "se_atten_v2": {"type": "se_atten_v2", "attn_layer": 0, **ATTEN},
    "dpa2": {
        "type": "dpa2",
        "repinit": {"rcut": 4.0, "rcut_smth": 0.5, "nsel": 60, "neuron": [4, 8], "axis_neuron": 2, "tebd_dim": 4},
        "repformer": {
            "rcut": 3.0, "rcut_smth": 0.5, "nsel": 40, "nlayers": 1, "g1_dim": 8, "g2_dim": 4, "attn2_hidden": 4,
            "attn2_nhead": 1, "attn1_hidden": 4, "attn1_nhead": 1, "axis_neuron": 2,
        },
    },
    "dpa3": {
        "type": "dpa3",
        "repflow": {
            "n_dim": 8, "e_dim": 4, "a_dim": 4, "nlayers": 1, "e_rcut": 4.0, "e_rcut_smth": 0.5, "e_sel": 60,
            "a_rcut": 3.0, "a_rcut_smth": 0.5, "a_sel": 40, "axis_neuron": 2,
        },
    },
    "dpa4-virtual": DPA4,
    "dpa4-native": DPA4,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", DESCRIPTORS)
def test_every_descriptor_learns_moments(name: str, tmp_path: Path) -> None:
    """A few steps, frozen where LAMMPS can take it, and gradients of the energy as its forces and magnetic forces."""
    fitting = {"type": "dpa4_ener", "neuron": [8, 8]} if name.startswith("dpa4") else {"neuron": [8, 8]}
    scheme = "native" if name == "dpa4-native" else "deepspin"
    settings = DeepmdTraining.model_validate(
        {
            "engine": "deepmd", "steps": 3, "spin": {"elements": ["Fe"], "scheme": scheme},
            "input": {
                "model": {"descriptor": DESCRIPTORS[name], "fitting_net": fitting},
                "training": {"data": {"batch_size": 1}},
            },
        }
    )  # fmt: skip
    check_spin(
        Spin(elements=["Fe"], scheme=scheme),
        settings.descriptors().values(),
        parse(STUDY, kind=TrainingStudy, files=False),
    )
    job = iron_job(tmp_path)
    assert trainer(settings).train(job, lambda _: None) == 3
    assert (job.output / "model.pth").is_file() != name.startswith("dpa4")
    suite, model = TestModel(), trainer(settings).load(job.output)
    suite.test_forces_are_minus_the_gradient(model)
    suite.test_magnetic_forces_are_minus_the_gradient(model)
    suite.test_lattice_and_moments_turn_together(model)


@pytest.mark.slow
def test_lammps_moves_moments_with_the_model(engine: Model, tmp_path: Path) -> None:
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    start = iron_frames()[0]
    start = replace(
        start, positions=start.positions @ rotation, cell=start.cell @ rotation, fields=turned(start.fields, rotation)
    )
    given = {"engine": "lammps", "structures": ["x"], "temperatures": [300], "steps": 4, "every": 2, "timestep": 1e-4}
    moving = LammpsExploration.model_validate(
        {**given, "spins": {"temperatures": [100], "magnetic_field": [0, 0, 5], "magnetic_field_end": [0, 0, 20]}}
    )
    frozen = LammpsExploration.model_validate({**given, "ensemble": "nvt"})
    lengths = np.linalg.norm(np.asarray(start.spins), axis=1)
    for settings, moves in ((moving, True), (frozen, False)):
        condition = settings.conditions()[0]
        simulation = Simulation(start, condition, 7, tmp_path / str(moves))
        [found] = explorer(settings).explore_all([simulation], [engine, engine])  # type: ignore[attr-defined]
        assert found.failure is None, found.log
        spins = found.fields["spin"]
        np.testing.assert_allclose(np.linalg.norm(spins, axis=-1), np.tile(lengths, (2, 1)), rtol=1e-5)
        assert (np.abs(spins[1] - spins[0]).max() > 1e-6) == moves
        answers = engine.evaluate(list(found))
        assert (found.forces is None) == moves
        if found.forces is not None:
            np.testing.assert_allclose(found.forces[0], answers[0].forces, atol=1e-4)


@pytest.mark.slow
def test_lammps_brings_moments_to_rest(engine: Model, tmp_path: Path) -> None:
    """Their magnetic forces end along them; atoms stand, and lengths stay."""
    start = iron_frames()[1]
    given = {"engine": "lammps", "structures": ["x"], "ensemble": "relax", "spins": {}, "steps": 200, "every": 5}
    settings = LammpsExploration.model_validate(given)
    [found] = explorer(settings).explore_all(  # type: ignore[attr-defined]  # of LAMMPS's alone
        [Simulation(start, settings.conditions()[0], 7, tmp_path)], [engine]
    )
    assert found.failure is None, found.log
    first, last = (engine.evaluate([frame])[0] for frame in (start, list(found)[-1]))
    assert last.energy < first.energy
    across = [
        np.linalg.norm(np.cross(np.asarray(labels.force_mag), np.asarray(frame.spins)), axis=1).max()
        for labels, frame in ((first, start), (last, list(found)[-1]))
    ]
    assert across[1] < 0.05 * across[0]
    np.testing.assert_allclose(found.positions[-1], found.positions[0])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"ensemble": "relax"}, "relax brings moments to rest; give `spins`"),
        ({"ensemble": "relax", "spins": {"damping": 0.2}}, "spins.damping: relax brings moments to rest"),
        ({"ensemble": "relax", "spins": {}, "temperatures": [300]}, "relax knows no temperatures"),
        ({"ensemble": "npt", "pressures": [0], "temperatures": [300], "spins": {}}, "ensembles nve, nvt and relax"),
        ({"ensemble": "nvt"}, "temperatures are needed by ensemble nvt"),
    ],
)
def test_how_lammps_moves_moments_is_checked(settings: dict[str, object], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        LammpsExploration.model_validate({"engine": "lammps", "structures": ["x"], "steps": 10, **settings})


def test_heat_baths_get_seeds_that_lammps_takes() -> None:
    lines = [motion(LammpsMoments(), {"temperature": 300.0}, 10, 0.1, 2**31 - 2 - n)[0].splitlines() for n in range(20)]
    seeds = [int(line.split()[-1]) for run in lines for line in run if "langevin" in line]
    assert len(seeds) == 40
    assert all(1 <= seed <= 900_000_000 for seed in seeds)


def test_moments_in_a_data_file_turn_with_the_cell(tmp_path: Path) -> None:
    frame = iron_frames()[1]
    write_spin_data(tmp_path / "start.lmp", frame, ["Fe"])
    rows = np.loadtxt((tmp_path / "start.lmp").read_text(encoding="utf-8").split("Atoms # spin")[1].splitlines())
    moments = rows[:, 8:9] * rows[:, 5:8]
    assert frame.spins is not None
    np.testing.assert_allclose(
        np.einsum("ix,ix->i", moments, rows[:, 2:5]), np.einsum("ix,ix->i", frame.spins, frame.positions), atol=1e-6
    )
