"""Start structures: what is built, cut, damaged and moved, and that a seed makes the same ones again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ase.neighborlist import neighbor_list
from pydantic import ValidationError

from lamflow.config.structures import StructureSet
from lamflow.data import Frame
from lamflow.policy.structures import build_crystal, make_copies

CRYSTAL = {"formula": "Cu", "lattice": "fcc", "a": 3.6, "cubic": True}


def made(seed: int = 1, **settings: Any) -> list[Frame]:
    given = StructureSet.model_validate({"name": "x", "crystal": CRYSTAL, **settings})
    assert given.crystal is not None
    return make_copies([build_crystal(given.crystal)], given, seed)


def nearest(frame: Frame) -> float:
    distances = frame.to_ase().get_all_distances(mic=True)
    return float(distances[np.triu_indices(frame.natoms, 1)].min())


def test_a_seed_makes_the_same_structures_again() -> None:
    settings: dict[str, Any] = {"copies": 3, "rattle": 0.1, "strain": 0.02, "vacancies": 1, "supercell": [2, 1, 1]}
    one, same, other = made(**settings), made(**settings), made(seed=2, **settings)
    assert [frame.content_hash() for frame in one] == [frame.content_hash() for frame in same]
    assert not {frame.content_hash() for frame in one} & {frame.content_hash() for frame in other}
    assert len({frame.content_hash() for frame in one}) == 3


def test_every_scale_gets_its_copies() -> None:
    frames = made(scale=[0.95, 1.0, 1.05], copies=2, rattle=0.01)
    volumes = [np.linalg.det(frame.cell) / 3.6**3 for frame in frames]
    np.testing.assert_allclose(volumes, np.repeat([0.95, 1.0, 1.05], 2) ** 3)


def test_a_slab_has_its_layers_and_its_vacuum() -> None:
    for miller, spacing in (([1, 0, 0], 1.8), ([1, 1, 1], 3.6 / 3**0.5), ([1, 1, 0], 3.6 / 2 / 2**0.5)):
        [slab] = made(slab={"miller": miller, "layers": 4, "vacuum": 10}, supercell=[2, 2, 1])
        heights = np.unique(np.round(slab.positions[:, 2], 4))
        np.testing.assert_allclose(np.diff(heights), spacing, atol=1e-3)
        empty = np.linalg.norm(slab.cell[2]) - np.ptp(heights)
        assert slab.cell[2, 2] - np.ptp(heights) == pytest.approx(10, abs=1e-3)
        assert empty >= 10 - 1e-3
        assert slab.pbc
        assert nearest(slab) == pytest.approx(3.6 / 2**0.5)


LATTICES = {
    "fcc": {"formula": "Cu", "lattice": "fcc", "a": 3.6, "cubic": True},
    "primitive fcc": {"formula": "Cu", "lattice": "fcc", "a": 3.6, "cubic": False},
    "bcc": {"formula": "Fe", "lattice": "bcc", "a": 2.87, "cubic": True},
    "hcp": {"formula": "Mg", "lattice": "hcp", "a": 3.21, "c": 5.21, "cubic": False},
    "diamond": {"formula": "Si", "lattice": "diamond", "a": 5.43, "cubic": True},
    "rock salt": {"formula": "NaCl", "lattice": "rocksalt", "a": 5.64, "cubic": True},
}


def environments(frame: Frame, reach: float) -> tuple[float, list[int]]:
    """Smallest distance, and the numbers of neighbours within `reach` that occur."""
    index, distances = neighbor_list("id", frame.to_ase(), reach)
    return float(distances.min()), sorted(set(np.bincount(index, minlength=frame.natoms).tolist()))


@pytest.mark.parametrize("lattice", LATTICES)
@pytest.mark.parametrize("miller", [[1, 0, 0], [1, 1, 0], [1, 1, 1], [2, 1, 1], [3, 1, 0], [-1, 1, 2]])
@pytest.mark.parametrize("rounding", [0.0, 1e-12, 1e-10, 1e-8])
def test_a_slab_is_the_crystal_inside_however_numbers_are_rounded(
    lattice: str, miller: list[int], rounding: float
) -> None:
    settings = StructureSet.model_validate(
        {"name": "x", "crystal": LATTICES[lattice], "slab": {"miller": miller, "layers": 12, "vacuum": 12}}
    )
    assert settings.crystal is not None
    bulk = build_crystal(settings.crystal)
    rng = np.random.default_rng(len(lattice) + sum(miller))
    noisy = replace(bulk, positions=bulk.positions + rounding * rng.uniform(-1, 1, bulk.positions.shape))
    [slab] = make_copies([noisy], settings, 1)
    reach = 1.2 * environments(bulk, 4.0)[0]
    nearest, inside = environments(bulk, reach)
    closest, counts = environments(slab, reach)
    assert closest == pytest.approx(nearest, abs=1e-6)
    assert max(counts) == max(inside), "atoms in the middle see what they see in the crystal"
    assert slab.natoms % 12 == 0
    empty = slab.cell[2, 2] - np.ptp(slab.positions[:, 2])
    assert empty == pytest.approx(12, abs=1e-3)


def test_vacancies_and_interstitials() -> None:
    frames = made(supercell=[2, 2, 2], vacancies=2, interstitials={"H": 3}, copies=4)
    for frame in frames:
        assert frame.symbols.count("Cu") == 30
        assert frame.symbols.count("H") == 3
        assert nearest(frame) > 1.3, "there is room around every atom"
    holes = {tuple(np.round(frame.positions[:30].sum(axis=0), 3)) for frame in frames}
    assert len(holes) == 4


def test_there_is_an_end_to_interstitials() -> None:
    with pytest.raises(ValueError, match="no room for another interstitial"):
        made(interstitials={"Cu": 900})


def test_an_octahedral_hole_is_found_in_a_perfect_crystal() -> None:
    [frame] = made(supercell=[2, 2, 2], interstitials={"H": 1})
    away = frame.to_ase().get_distances(32, range(32), mic=True)
    assert away.min() > 0.9 * 1.8


def test_alloys_have_their_composition() -> None:
    for frame in made(supercell=[2, 2, 2], composition={"Cu": 0.75, "Al": 0.25}, copies=3):
        assert frame.symbols.count("Al") == 8


def test_the_order_of_damage_and_alloying() -> None:
    [frame] = made(supercell=[2, 2, 2], composition={"Cu": 0.5, "Al": 0.5}, vacancies=4, interstitials={"H": 2})
    assert frame.natoms == 30
    assert frame.symbols[-2:] == ["H", "H"]


def test_a_hot_structure_from_a_file_stays_hot() -> None:
    hot = Frame(np.array([29]), np.zeros((1, 3)), np.eye(3) * 3, fields={"electronic_temperature": np.array(5000.0)})
    for given, expected in ((None, 5000.0), (300.0, 300.0)):
        settings = StructureSet.model_validate({"name": "x", "files": ["x"], "electronic_temperature": given})
        assert make_copies([hot], settings, 1)[0].electronic_temperature == expected


def test_hot_electrons_are_on_the_frame() -> None:
    assert {frame.electronic_temperature for frame in made(copies=2, rattle=0.1, electronic_temperature=5000)} == {
        5000.0
    }


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"slab": {"miller": [0, 0, 0], "layers": 2, "vacuum": 5}}, "no surface"),
        ({"slab": {"miller": [1, 0, 0], "layers": 0, "vacuum": 5}}, "greater than or equal to 1"),
        ({"scale": [0]}, "greater than"),
        ({"interstitials": {"Xx": 1}}, "not a chemical symbol"),
        ({"scale": []}, "at least 1"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        made(**settings)


def test_more_vacancies_than_atoms() -> None:
    with pytest.raises(ValueError, match="4 vacancies in a structure of 4 atoms leave nothing"):
        made(vacancies=4)


def test_an_isolated_structure_has_no_surface() -> None:
    settings = StructureSet.model_validate(
        {"name": "x", "crystal": CRYSTAL, "slab": {"miller": [1, 0, 0], "layers": 2, "vacuum": 5}}
    )
    isolated = Frame(np.array([29, 29]), np.array([[0, 0, 0], [2.5, 0, 0]]), np.zeros((3, 3)), pbc=False)
    with pytest.raises(ValueError, match="isolated"):
        make_copies([isolated], settings, 1)


def test_a_set_that_no_machine_holds_is_refused_before_it_is_built() -> None:
    with pytest.raises(ValueError, match=r"these are 50,000,000,000 atoms, and a set has at most 10,000,000"):
        made(supercell=[50, 50, 50], copies=100_000)
