"""Fingerprints, repeats, energies and trajectories: what labels say of each other."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc111, molecule
from ase.calculators.emt import EMT

from lamflow.config.cleaning import Duplicates
from lamflow.data.frames import Floats, Frame, Ints, LabeledFrame, Labels
from lamflow.science.cleaning import compression
from lamflow.science.cleaning.asymmetry import forbidden_forces
from lamflow.science.cleaning.compression import (
    bandwidth,
    by_clusters,
    by_distance,
    by_entropy,
    entropy,
    every_nth,
    neighbourhoods,
)
from lamflow.science.cleaning.describe import features
from lamflow.science.cleaning.doubt import expected_errors
from lamflow.science.cleaning.duplicates import clusters
from lamflow.science.cleaning.energies import element_energies, expected_energies, explained_by_unit
from lamflow.science.cleaning.exchanges import exchanged, exchanges
from lamflow.science.cleaning.fingerprint import Pairs, apart, connected, environments
from lamflow.science.cleaning.mixtures import mixture
from lamflow.science.cleaning.opinions import opinions
from lamflow.science.cleaning.trajectories import Slopes, slopes, tolerances, unexplained, work
from lamflow.science.diversity import farthest_points

pytest.importorskip("vesin", reason="cleaning needs vesin: pip install 'lamflow[cleaning]'")


def labeled(atoms: Atoms) -> LabeledFrame:
    frame = Frame.from_ase(atoms)
    atoms = atoms.copy()
    atoms.calc = EMT()
    labels = Labels.from_stress(
        float(atoms.get_potential_energy()), atoms.get_forces(), atoms.get_stress(), frame.volume
    )
    return LabeledFrame(frame, labels)


def walk(steps: int, seed: int = 0) -> list[LabeledFrame]:
    """A trajectory of small random moves of atoms and cell."""
    generator = np.random.default_rng(seed)
    atoms = bulk("Cu", "fcc", a=3.7, cubic=True).repeat((2, 1, 1))
    atoms.symbols[::3] = "Au"
    atoms.rattle(0.08, seed=seed)
    frames = []
    for _ in range(steps):
        atoms.positions += generator.normal(scale=0.02, size=atoms.positions.shape)
        atoms.set_cell(atoms.cell.array * (1 + generator.normal(scale=0.003)), scale_atoms=True)
        frames.append(labeled(atoms))
    return frames


def crystals() -> list[LabeledFrame]:
    """Ordered alloys, a little out of equilibrium."""
    found = []
    for number in range(20):
        atoms = bulk("Cu", "fcc", a=3.7 + 0.02 * number, cubic=True).repeat((2, 1, 1))
        atoms.numbers[[0, 4]] = 79
        found.append(labeled(atoms))
    return found


def evaluated(frames: Sequence[Frame]) -> list[Labels]:
    """By EMT, with errors as models have them."""
    generator = np.random.default_rng(len(frames))
    answers = []
    for frame in frames:
        labels = labeled(frame.to_ase()).labels
        noise = generator.normal(scale=0.02, size=labels.forces.shape)
        answers.append(
            dataclasses.replace(labels, energy=labels.energy + noise.sum() / 8, forces=labels.forces + noise)
        )
    return answers


def labeled_frame(atoms: Atoms) -> LabeledFrame:
    return LabeledFrame(Frame.from_ase(atoms), Labels(0.0, np.zeros((len(atoms), 3))))


def test_a_fingerprint_does_not_see_order_rotation_shift_or_cell() -> None:
    atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    atoms.rattle(0.1, seed=1)
    other = atoms.repeat((1, 2, 1))
    other.rotate(40, (1, 2, 3), rotate_cell=True)
    other.positions += 0.7
    other = other[np.random.default_rng(0).permutation(len(other))]
    swapped = atoms.copy()
    swapped.numbers[[0, -1]] = swapped.numbers[[-1, 0]]
    (first, second, third), (slope, *_) = environments(Pairs.of([Frame.from_ase(a) for a in (atoms, other, swapped)]))
    assert apart(first, second, slope, 8) < 2e-4
    assert apart(first, third, slope, 8) > 0.05


@pytest.mark.parametrize("moved", [0.002, 0.01, 0.05])
def test_the_difference_of_fingerprints_is_a_length(moved: float) -> None:
    frame = Frame.from_ase(bulk("NaCl", "rocksalt", a=5.6, cubic=True).repeat(2))
    frame = dataclasses.replace(
        frame, positions=frame.positions + np.random.default_rng(1).normal(scale=0.1, size=(64, 3))
    )
    shaken = dataclasses.replace(
        frame, positions=frame.positions + np.random.default_rng(2).normal(scale=moved, size=(64, 3))
    )
    (first, second), (slope, _) = environments(Pairs.of([frame, shaken]))
    assert 0.2 * moved < apart(first, second, slope, 64) < 8 * moved


@pytest.mark.parametrize("size", [1, 2, 4])
def test_independent_snapshots_of_a_crystal_are_told_apart(size: int) -> None:
    """As those of a cold crystal, whose atoms move about places of high symmetry: of 4, 32 and 256 atoms."""
    perfect, generator = bulk("Cu", "fcc", a=3.6, cubic=True).repeat(size), np.random.default_rng(1)
    frames = []
    for _ in range(20):
        atoms = perfect.copy()
        atoms.positions += generator.normal(scale=0.02, size=atoms.positions.shape)
        frames.append(labeled_frame(atoms))
    made = features(frames, np.zeros(20, dtype=np.int64))
    assert clusters(made, Duplicates().tolerance).tolist() == list(range(20))


def test_small_strains_and_displacements_are_told_apart() -> None:
    """As for elastic constants and phonons; turned, each is like itself."""
    perfect = bulk("Cu", "fcc", a=3.6, cubic=True).repeat(2)
    images = [perfect]
    for strain in ((0.01, 0, 0), (-0.01, 0, 0), (0, 0.01, 0), (0, 0.003, 0), (0, 0, 0.03)):
        atoms, (along, shear, shift) = perfect.copy(), strain
        atoms.set_cell(atoms.cell.array @ [[1 + along, shear, 0], [0, 1, 0], [0, 0, 1]], scale_atoms=True)
        atoms.positions[0, 0] += shift
        images.append(atoms)
    turned = [atoms.copy() for atoms in images]
    for atoms in turned:
        atoms.rotate(40, (1, 2, 3), rotate_cell=True)
    made = features([labeled_frame(atoms) for atoms in images + turned], np.zeros(12, dtype=np.int64))
    assert clusters(made, Duplicates().tolerance).tolist() == [*range(6), *range(6)]


def test_repeats_are_found_whatever_their_cell() -> None:
    frames = walk(6)
    copy = frames[2].frame.to_ase().repeat((1, 1, 2))
    copy.rotate(25, "z", rotate_cell=True)
    all_frames = [*frames, labeled(copy), frames[4]]
    found = clusters(features(all_frames, np.zeros(8, dtype=np.int64)), 0.005)
    assert found.tolist() == [0, 1, 2, 3, 4, 5, 2, 4]
    assert clusters(features(all_frames, np.zeros(8, dtype=np.int64)), 0.0).tolist() == [0, 1, 2, 3, 4, 5, 6, 4]


def test_energies_of_elements_come_out_and_a_lack_of_compositions_is_said() -> None:
    frames = walk(30)
    made = features(frames, np.zeros(30, dtype=np.int64))
    fitted = element_energies(made)
    assert (fitted.rank, fitted.elements) == (1, 2)
    assert np.isfinite(fitted.energies).all()
    assert fitted.scatter < 0.1


def test_units_and_signs_are_named() -> None:
    expected = np.full(6, -5.0)
    energy = np.array([-5.1, -5 * 23.06, 5.0, -5 / 13.606, -5 / 27.21, -3.0])
    assert explained_by_unit(energy, expected, 0.1, 8).tolist() == [
        "", "in kcal/mol", "with the other sign", "in Ry", "in Hartree", "",
    ]  # fmt: skip
    assert explained_by_unit(np.array([0.5]), np.array([0.03]), 0.01, 8).tolist() == [""]


def test_out_of_fold_energies_do_not_explain_their_own_errors() -> None:
    frames = [item for seed in range(8) for item in walk(15, seed)]
    made = features(frames, np.zeros(120, dtype=np.int64))
    wrong = made.energy.copy()
    wrong[[7, 70]] += 3.0
    expected = expected_energies(dataclasses.replace(made, energy=wrong), 1)
    assert np.abs(made.energy - expected).max() < 0.5
    assert np.argsort(-np.abs(wrong - expected))[:2].tolist() in ([7, 70], [70, 7])


def test_forces_and_stress_are_the_derivatives_along_a_trajectory() -> None:
    made = features(walk(20), np.zeros(20, dtype=np.int64))
    good = slopes(made.change, made.force_work, made.stress_work)
    assert good.forces == pytest.approx(1, abs=0.1)
    assert good.stress == pytest.approx(1, abs=0.1)
    turned = slopes(made.change, made.force_work, -made.stress_work)
    assert (turned.problem("forces"), turned.problem("stress")) == ("", "sign")
    kilocalories = slopes(made.change, made.force_work * 23.06, made.stress_work)
    assert kilocalories.problem("forces") == "unit"
    coarse = [Slopes(33, stress=slope, stress_error=0.05).problem("stress") for slope in (0.575, -0.575, -1602.0)]
    assert coarse == ["", "sign", "unit"], "a sign counts alike both ways"


def test_a_wrong_frame_is_told_from_its_neighbours() -> None:
    frames = walk(20)
    for bad in (0, 9, 19):
        spoilt = list(frames)
        labels = dataclasses.replace(frames[bad].labels, energy=frames[bad].labels.energy + 4.0)
        spoilt[bad] = LabeledFrame(frames[bad].frame, labels)
        made = features(spoilt, np.zeros(20, dtype=np.int64))
        work = made.force_work + made.stress_work
        share = unexplained(made.change, work, made.work_size, np.zeros(20, dtype=np.int64), 0.4)
        assert np.flatnonzero(np.isfinite(share)).tolist() == [bad]


def test_frames_that_were_strained_one_by_one_may_leave_more_unexplained() -> None:
    generator = np.random.default_rng(3)
    frames, together = [], np.zeros(60, dtype=np.int64)
    for _ in together:
        atoms = bulk("Cu", "fcc", a=3.6, cubic=True)
        atoms.positions += generator.normal(scale=0.08, size=atoms.positions.shape)
        strain = generator.uniform(-0.03, 0.03, size=(3, 3))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + (strain + strain.T) / 2), scale_atoms=True)
        frames.append(labeled(atoms))

    def blamed(items: Sequence[LabeledFrame], least: float) -> list[int]:
        made = features(list(items), np.zeros(60, dtype=np.int64))
        explained = made.force_work + made.stress_work
        allowed = tolerances(made.change, explained, made.work_size, together, together, least)
        found = unexplained(made.change, explained, made.work_size, together, allowed)
        return np.flatnonzero(np.isfinite(found)).tolist()

    assert blamed(frames, 0.1) == []
    for bad in (12, 40):
        labels = frames[bad].labels
        frames[bad] = LabeledFrame(frames[bad].frame, dataclasses.replace(labels, energy=labels.energy + 4.0))
    assert blamed(frames, 0.1) == [12, 40]
    own = tolerances(np.ones(6), np.ones(6) * 0.99, np.ones(6), np.array([0, 0, 0, 1, 1, 1]), np.zeros(6, int), 0.3)
    assert own.tolist() == [0.3] * 6, "along a trajectory as it is asked for"


def test_compression_keeps_what_is_rare() -> None:
    generator = np.random.default_rng(0)
    crowd, rare = generator.normal(scale=0.05, size=(300, 4)), generator.normal(scale=3.0, size=(12, 4))
    points = np.concatenate([crowd, rare])
    chosen = by_entropy(points, 40, 1)
    assert len(np.unique(chosen)) == 40
    assert set(range(300, 312)) <= set(chosen.tolist())
    drawn = generator.permutation(312)[:40]
    assert entropy(points[chosen], 0.1) > entropy(points[drawn], 0.1)
    assert entropy(np.zeros((50, 3)), 1.0) == pytest.approx(0.0)


def test_direct_takes_one_of_each_cluster() -> None:
    points = np.concatenate([np.random.default_rng(n).normal(loc=10 * n, scale=0.1, size=(20, 3)) for n in range(5)])
    assert sorted(place // 20 for place in by_clusters(points, 5)) == [0, 1, 2, 3, 4]
    assert by_clusters(points, 100).tolist() == list(range(100))


def greedy(points: Floats, count: int, width: float) -> Ints:
    """What `by_entropy` promises, as it is written down."""
    kernel = np.exp(-((points[:, None] - points[None]) ** 2).sum(axis=-1) / (2 * width**2))
    chosen = [int(kernel.sum(axis=1).argmax())]
    while len(chosen) < count:
        free = np.setdiff1d(np.arange(len(points)), chosen)
        chosen.append(int(free[kernel[free][:, chosen].sum(axis=1).argmin()]))
    return np.sort(np.array(chosen))


def test_of_few_points_the_choice_is_the_greedy_one() -> None:
    points = np.random.default_rng(4).normal(size=(200, 5))
    assert by_entropy(points, 70, 1).tolist() == greedy(points, 70, bandwidth(points)).tolist()
    wanted = farthest_points(points, np.zeros((0, 5)), 70)
    assert by_distance(points, 70).tolist() == np.sort(wanted).tolist()
    assert len(by_distance(np.repeat(points[:10], 3, axis=0), 20)) == 10, "none that coincides with another"


def test_blocks_hold_every_point_once_and_part_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "BLOCK", 300)
    generator = np.random.default_rng(5)
    cluster = np.repeat(np.arange(40), 25)
    points = 10 * generator.normal(size=(40, 3))[cluster] + generator.normal(scale=0.01, size=(1000, 3))
    blocks = neighbourhoods(points)
    assert sorted(np.concatenate(blocks).tolist()) == list(range(1000))
    assert max(map(len, blocks)) <= 300
    assert sum(len(np.unique(cluster[members])) for members in blocks) == 40


def test_a_crowd_that_fills_several_blocks_is_thinned_in_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two thousand frames that lie together, and 25 wider places of 100 each."""
    generator = np.random.default_rng(6)
    place = np.concatenate([np.zeros(2000, dtype=int), np.repeat(np.arange(1, 26), 100)])
    points = 10 * generator.normal(size=(26, 4))[place]
    points += np.where(place == 0, 0.001, 0.02)[:, None] * generator.normal(size=(len(place), 4))
    kept = []
    for size in (5000, 300):
        monkeypatch.setattr(compression, "BLOCK", size)
        kept.append(np.bincount(place[by_entropy(points, 900, 1)]))
    assert kept[0][0] == 1
    assert kept[1][0] < 2000 / 300 * 3, "one or two of each block"
    assert np.abs(kept[1] - kept[0])[1:].max() <= 8


def test_what_other_blocks_have_around_a_point_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Points whose density changes little from block to block: without, 3 % of the entropy are lost."""
    generator = np.random.default_rng(8)
    points = generator.normal(size=(2000, 6)) * generator.pareto(1.5, size=(2000, 1))
    width, reached = bandwidth(points), []
    for size, others in ((5000, 1), (150, 500)):
        monkeypatch.setattr(compression, "BLOCK", size)
        monkeypatch.setattr(compression, "OTHERS", others)
        reached.append(entropy(points[by_entropy(points, 1000, 1)], width))
    assert reached[1] > 0.985 * reached[0]


@pytest.mark.parametrize("chosen", [by_distance, by_clusters, lambda points, count: by_entropy(points, count, 1)])
def test_many_points_are_chosen_from_as_well_as_few(
    chosen: Callable[[Floats, int], Ints], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks of neighbours against all points at once, of trajectories of different lengths."""
    generator = np.random.default_rng(7)
    lengths = np.minimum(1 + generator.pareto(0.7, size=3000), 400).astype(int)
    start = np.repeat(np.arange(3000), lengths)[:4500]
    points = generator.normal(size=(3000, 6))[start] + 0.05 * generator.normal(size=(len(start), 6))
    width, count = bandwidth(points), 900
    blocks = entropy(points[chosen(points, count)], width)
    monkeypatch.setattr(compression, "BLOCK", 5000)
    whole = chosen(points, count)
    assert len(whole) == count
    assert blocks > 0.98 * entropy(points[whole], width)


def test_every_nth_keeps_both_ends() -> None:
    trajectory = np.array([0] * 30 + [1] * 4)
    assert every_nth(trajectory, 10, 3).tolist() == [0, 1, 2, 10, 20, 27, 28, 29, 30, 31, 32, 33]


def test_a_cell_that_stays_needs_no_stress() -> None:
    """Rounding makes a strain of 10⁻¹⁶ of a cell that is the same."""
    generator = np.random.default_rng(4)
    for _ in range(20):
        cell = np.diag(generator.uniform(5, 8, 3)) + generator.normal(scale=0.4, size=(3, 3))
        atoms = bulk("Cu", "fcc", a=3.7, cubic=True)
        atoms.set_cell(cell, scale_atoms=True)
        first = labeled(atoms)
        atoms.rattle(0.02, seed=1)
        pair = [dataclasses.replace(one, labels=dataclasses.replace(one.labels, virial=None))
                for one in (first, labeled(atoms))]  # fmt: skip
        assert np.isfinite(features(pair, np.zeros(2, dtype=np.int64)).change[1])


def test_forces_in_another_order_break_the_symmetry_of_a_crystal() -> None:
    crystal = Atoms("TiOO", [(0, 0, 0), (0, 0, 1.9), (0, 0, -1.9)], cell=[4.0, 4.0, 6.0], pbc=True)
    forces = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.7], [0.0, 0.0, -0.7]])
    frame = Frame.from_ase(crystal)
    assert forbidden_forces(frame, forces) == pytest.approx(0, abs=1e-6)
    # what is left of 0.7 along one axis of one atom when three images are asked: its mean is zero
    assert forbidden_forces(frame, forces[[1, 0, 2]]) > 0.2
    crystal.rattle(0.1, seed=1)
    assert np.isnan(forbidden_forces(Frame.from_ase(crystal), forces)), "nothing is known without symmetry"
    alone = Atoms("OO", [(0, 0, 0), (0, 0, 1.2)])
    assert np.isnan(forbidden_forces(Frame.from_ase(alone), forces[:2]))


def test_the_symmetry_of_frames_that_follow_one_without_is_not_looked_for() -> None:
    crystal = bulk("Cu", "fcc", a=3.6, cubic=True)
    rattled = crystal.copy()
    rattled.rattle(0.05, seed=1)
    items = [labeled(atoms) for atoms in (crystal, rattled, crystal)]
    assert np.isfinite(features(items, np.zeros(3, dtype=np.int64)).force_forbidden).tolist() == [True, False, False]
    assert np.isfinite(features(items, np.arange(3)).force_forbidden).tolist() == [True, False, True]


def test_a_model_may_err_more_where_it_has_the_stress_wrong_and_on_elements_that_it_does_not_know() -> None:
    generator = np.random.default_rng(1)
    frames = [labeled(bulk(name, "fcc", a=3.9)) for name in ("Cu", "Ag", "Au") for _ in range(100)]
    made = features(frames, np.arange(300))
    doubts = np.zeros((300, 1))
    doubts[:10] = 1.0
    residual = generator.normal(scale=0.02, size=300)
    residual[:10] *= 6
    residual[200:] *= 4
    found = expected_errors(made, residual, doubts)
    assert found[50] == pytest.approx(0.02, rel=0.5)
    assert found[:10].min() > 2 * found[50]
    assert found[250] > 2 * found[50]
    shifted = residual + 0.5 * (np.arange(300) % 30 == 17)
    assert (np.abs(shifted) > 6 * expected_errors(made, shifted, doubts)).sum() == 10


@pytest.mark.parametrize("share", [0.15, 0.45, 0.7])
def test_a_group_of_two_units_is_told_from_one_that_scatters(share: float) -> None:
    generator = np.random.default_rng(2)
    energies = {"Cu": -3.7, "Ag": -2.8, "Au": -3.3}
    names = [str(generator.choice(list(energies))) for _ in range(200)]
    made = features([labeled(bulk(name, "fcc", a=3.9)) for name in names], np.arange(200))
    assert mixture(made) is None, "energies of EMT lie about zero"
    energy = np.array([energies[name] for name in names]) + generator.normal(scale=0.1, size=200)
    assert mixture(dataclasses.replace(made, energy=energy)) is None
    broad = energy + generator.normal(scale=2.0, size=200)
    assert mixture(dataclasses.replace(made, energy=broad)) is None
    kcal = generator.random(200) < share
    found = mixture(dataclasses.replace(made, energy=np.where(kcal, energy * 23.0605, energy)))
    assert found is not None
    assert found.unit == "kcal/mol"
    few = kcal if share < 0.5 else ~kcal
    np.testing.assert_array_equal(found.other, few)
    assert found.factor == pytest.approx(1 / 23.0605 if share < 0.5 else 23.0605, rel=1e-4)


def one_of_each(frames: list[Frame]) -> bool:
    """No frame is taken for another one."""
    labels = [Labels(float(number), np.zeros((frame.natoms, 3))) for number, frame in enumerate(frames)]
    made = features([LabeledFrame(f, la) for f, la in zip(frames, labels, strict=True)], np.arange(len(frames)))
    return bool((clusters(made, 0.005) == np.arange(len(frames))).all())


def test_states_of_moments_are_frames_of_their_own() -> None:
    iron = bulk("Fe", cubic=True)
    moments = [np.array([[0, 0, 2.2], [0, 0, z]]) for z in (2.2, -2.2, 1.5)]
    assert one_of_each([dataclasses.replace(Frame.from_ase(iron), fields={"spin": own}) for own in moments])
    assert one_of_each(
        [dataclasses.replace(Frame.from_ase(iron), fields={"electronic_temperature": t}) for t in (300.0, 3000.0)]
    )


def test_fragments_that_are_far_from_each_other_are_told_apart() -> None:
    ions = [Frame.from_ase(Atoms("NaCl", [[0, 0, 0], [0, 0, z]])) for z in (4.3, 4.9, 5.2, 8.0, 12.0)]
    assert one_of_each(ions)
    water, other = molecule("H2O"), molecule("H2O")
    turned = []
    for angle in (0, 60, 120):
        copy = other.copy()
        copy.rotate(angle, "x")
        copy.translate((7.5, 0, 0))
        turned.append(Frame.from_ase(water + copy))
    assert one_of_each(turned)
    slabs = []
    for height in (5.2, 6.0, 8.0):
        slab = fcc111("Cu", (2, 2, 3), vacuum=12.0)
        add_adsorbate(slab, "Cu", height)
        slab.pbc = True
        slabs.append(Frame.from_ase(slab))
    assert one_of_each(slabs)


@pytest.mark.parametrize("natoms", [1, 2, 20, 80])
def test_atoms_hang_together_or_they_do_not(natoms: int) -> None:
    numbers = np.full(natoms, 29)
    chain = np.arange(natoms)[:, None] * np.array([3.0, 0, 0])
    assert connected(Pairs.of([Frame(numbers, chain, np.zeros((3, 3)), False)])).tolist() == [True]
    if natoms > 1:
        chain[natoms // 2 :, 0] += 2
        assert connected(Pairs.of([Frame(numbers, chain, np.zeros((3, 3)), False)])).tolist() == [False]


def test_the_work_of_magnetic_forces_explains_moments_that_turn() -> None:
    """E = -s·h in a field h: the whole change is that of the moments."""
    iron, field = Frame.from_ase(bulk("Fe")), np.array([[0.0, 0.1, 0.2]])
    found = []
    for x in (0.0, 0.1, 0.2):
        spin = np.array([[0.0, x, 2.2]])
        labels = Labels(-float((spin * field).sum()), np.zeros((1, 3)), others={"force_mag": field})
        found.append(LabeledFrame(dataclasses.replace(iron, fields={"spin": spin}), labels))
    first, second = work(found[0], found[1]), work(found[0], found[2])
    assert first is not None
    assert first[0] == pytest.approx(0, abs=1e-12)
    assert second is not None
    bare = [dataclasses.replace(one, labels=dataclasses.replace(one.labels, others={})) for one in found]
    assert work(bare[0], bare[1]) is None


def test_frames_that_are_described_together_are_described_as_each_alone() -> None:
    frames = [*walk(3), labeled(bulk("Cu").repeat(3)), labeled(molecule("CO", cell=(9, 9, 9), pbc=True)), *walk(2, 1)]
    alone = [features([frame], np.zeros(1, dtype=np.int64)) for frame in frames]
    together = features(frames, np.arange(len(frames)))
    for name in ("energy", "force_max", "force_sum", "distance", "fingerprint", "environments", "digest", "state"):
        expected = np.concatenate([getattr(made, name) for made in alone])
        np.testing.assert_allclose(getattr(together, name), expected, rtol=1e-6, atol=1e-6, err_msg=name)


def test_two_exchanged_elements_are_found_by_a_model_and_by_symmetry() -> None:
    frames = [*crystals(), *walk(30)]
    frames[3] = LabeledFrame(exchanged(frames[3].frame, 0, 3), frames[3].labels)
    answers = dict(enumerate(evaluated([item.frame for item in frames])))
    made, said = features(frames, np.arange(len(frames))), opinions(frames, answers)
    atoms = exchanges(frames, made, said, answers, evaluated)
    assert np.flatnonzero(np.isfinite(atoms[:, 0])).tolist() == [3]
    assert atoms[3].tolist() == [0, 3]


def test_frames_that_a_model_does_not_know_are_no_exchanges() -> None:
    frames = [*crystals(), *walk(30)]
    hard = frames[3].labels
    frames[3] = LabeledFrame(
        frames[3].frame, dataclasses.replace(hard, energy=hard.energy + 9, forces=-hard.forces + 1)
    )
    answers = dict(enumerate(evaluated([item.frame for item in frames])))
    atoms = exchanges(frames, features(frames, np.arange(len(frames))), opinions(frames, answers), answers, evaluated)
    assert np.isnan(atoms).all()
