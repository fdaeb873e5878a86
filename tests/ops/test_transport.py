"""Simulations that leave displacements, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lamflow.config import parse
from lamflow.config.transport import TransportStudy
from lamflow.data import Trajectory
from lamflow.data.transport import TransportRun
from lamflow.errors import InputError
from lamflow.ops.relaxed import set_of
from lamflow.ops.transport import _load, _save, measured
from lamflow.policy.transport import transport_results
from tests.science.test_transport import DIFFUSION, IONS, walk
from tests.superops.test_transport import STUDY

SALT = STUDY.replace("[Cu]", "[Li, S, Cu]").replace("mobile: Cu", "mobile: Li\ncharges: {Li: 1}\nequilibration: 0.1").replace(
    "error: 0.1\nrounds: 3", "extrapolate: [300]"
)  # fmt: skip


def trajectory(seed: int, speed: float = 1.0) -> Trajectory:
    """Lithium that walks among sulphur that stands, in a cell of 20 Å, a frame a ps."""
    lithium = walk(seed) * speed
    sulphur = np.zeros((len(lithium), 4, 3)) + np.arange(4)[:, None]
    positions = np.concatenate([lithium + 10, sulphur], axis=1) % 20
    cells = np.tile(np.eye(3) * 20, (len(lithium), 1, 1))
    numbers = np.array([3] * IONS + [16] * 4)
    return Trajectory(numbers, positions, cells, 1000 * np.arange(1, len(lithium) + 1))


def test_diffusion_conduction_and_activation_come_of_displacements(tmp_path: Path) -> None:
    study = parse(SALT, kind=TransportStudy)
    runs = []
    for number, temperature in enumerate([1500.0, 1500.0, 1800.0, 1800.0]):
        moved, _ = measured(study, trajectory(number, 1.0 if temperature == 1500 else 1.2), temperature)
        _save(tmp_path / "x.npz", moved)
        run = TransportRun(
            number=number, iteration=1, structure="salt", potential="emt", condition={"temperature": temperature},
            seed=1, frames=400, natoms=20, mobile=IONS,
        )  # fmt: skip
        runs.append((run, _load(tmp_path / "x.npz")))
    results, error = transport_results(study, runs)
    values = {(item.name, item.where): item for result in results for item in result.values}
    diffusion = values["D", "1500 K"]
    assert diffusion.uncertainty is not None
    assert abs(diffusion.value - 1e-4 * DIFFUSION) < 3 * diffusion.uncertainty
    assert error < 0.2
    sigma = values["sigma_NE", "1500 K"]
    assert sigma.value == pytest.approx(IONS * diffusion.value / (20.0**3 * 1500) * 1.85925e9, rel=1e-4)
    assert values["E_a", ""].value == pytest.approx(np.log(1.44) / (1 / 1500 - 1 / 1800) * 8.617e-5, rel=0.3)
    assert values["sigma_NE", "300 K"].note == "extrapolated from 1500 to 1800 K"


def test_a_framework_that_flows_and_positions_that_are_none_are_said() -> None:
    study, flows = parse(SALT, kind=TransportStudy), trajectory(1)
    positions = np.concatenate([walk(2) + 5, walk(3) + 5], axis=1) % 20
    flows = Trajectory(np.array([3] * IONS + [16] * IONS), positions, flows.cells, flows.steps)
    run = TransportRun(
        number=0, iteration=1, structure="salt", potential="emt", condition={"temperature": 1500.0}, seed=1, frames=400,
        natoms=2 * IONS, mobile=IONS,
    )  # fmt: skip
    for path, told in ((flows, True), (trajectory(2), False)):
        found, moved = measured(study, path, 1500.0)
        [result, *_] = transport_results(study, [(run.model_copy(update={"framework": moved.framework}), found)])[0]
        assert any("atoms other than Li have moved by" in note for note in result.notes) is told
    positions[100, 3] = np.nan
    with pytest.raises(ValueError, match=r"positions are no numbers from frame 100 of 400 on"):
        measured(study, flows, 1500.0)


def test_two_cells_of_one_material_are_compared() -> None:
    study = parse(SALT, kind=TransportStudy)
    runs = []
    for number, natoms in enumerate((20, 20, 160, 160)):
        moved, _ = measured(study, trajectory(number), 1500.0)
        run = TransportRun(
            number=number, iteration=1, structure=f"salt-{natoms}", potential="emt", condition={"temperature": 1500.0},
            seed=1, frames=400, natoms=natoms, mobile=IONS, formula="Li4 S",
        )  # fmt: skip
        runs.append((run, moved))
    results, _ = transport_results(study, runs)
    [compared] = [result for result in results if result.property == "finite-size"]
    assert compared.structure == "salt-20"
    assert compared.values[0].value == pytest.approx(1.0, abs=0.3)
    assert compared.notes == ["160 atoms of salt-160 against 20 of salt-20: they agree within two standard errors"]
    values = {item.name: item for result in results for item in result.values if result.property == "transport"}
    assert values["jump_rate"].value > 0
    assert values["correlation_factor"].uncertainty is not None
    assert {curve.name for result in results for curve in result.curves} >= {"msd", "van Hove"}


def test_what_failed_is_said() -> None:
    study = parse(SALT, kind=TransportStudy)
    run = TransportRun(
        number=0, iteration=1, structure="salt", potential="emt", condition={"temperature": 1500.0}, seed=1, frames=3,
        natoms=20, mobile=IONS, failed="the run exploded at step 30",
    )  # fmt: skip
    results, error = transport_results(study, [(run, None)])
    assert [result.failed for result in results] == [
        "1500 K: the run exploded at step 30",
        "an activation energy needs at least two temperatures",
    ]
    assert error == 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("mobile: Cu", "mobile: Li"), "mobile: Li is not in elements"),
        (("error: 0.1\nrounds: 3", "error: 0.1"), "with one round nothing can be run longer"),
        (("{engine: emt}", "{engine: emt}, label: {engine: emt}"), "give one of evaluate and label"),
        (("mobile: Cu", "mobile: Cu\nproperties: [{property: eos}]"), "a study of transport has none"),
        (("structures: [copper]", "structures: [silver]"), "there is no structure set 'silver'"),
        (("temperatures: [1500, 1800]", "temperatures: [0, 300]"), "nothing diffuses at 0 K"),
    ],
)
def test_a_study_that_makes_no_sense_is_refused(change: tuple[str, str], message: str) -> None:
    assert change[0] in STUDY
    with pytest.raises(InputError, match=message):
        parse(STUDY.replace(*change), kind=TransportStudy)


@pytest.mark.parametrize(
    ("structure", "of"),
    [("argon", "argon"), ("argon-large", "argon-large"), ("argon-2", "argon"), ("argon-large-3", "argon-large"),
     ("argon-larger", None)],
)  # fmt: skip
def test_structures_belong_to_the_set_whose_name_they_have(structure: str, of: str | None) -> None:
    assert set_of(structure, ["argon", "argon-large"]) == of
    assert set_of("argon-2", ["argon", "argon-2"]) == "argon-2"
