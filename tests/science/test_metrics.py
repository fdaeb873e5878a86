from __future__ import annotations

import numpy as np
import pytest

from lamflow.data import Frame, Labels, fields
from lamflow.data.fields import Field
from lamflow.science.metrics import energy_shift, errors, leave_one_out, shifted


def labels(energy: float, force: float) -> Labels:
    return Labels(energy, np.full((4, 3), force), np.eye(3) * energy)


def test_errors_are_what_they_say() -> None:
    found = errors([labels(1.0, 0.5), labels(2.0, 0.5)], [labels(1.4, 0.3), labels(2.4, 0.3)])
    assert found.force_rmse == pytest.approx(0.2)
    assert found.force_mae == pytest.approx(0.2)
    assert found.force_size == pytest.approx(0.3)
    assert found.energy_rmse == pytest.approx(0.1)
    assert found.virial_rmse == pytest.approx(0.1 * np.sqrt(1 / 3))
    with pytest.raises(ValueError, match="no frame"):
        errors([], [])


def test_energies_are_shifted_by_element() -> None:
    frames = [
        Frame(np.array(numbers), np.zeros((len(numbers), 3)), np.eye(3))
        for numbers in ([29, 29, 13], [29, 13, 13], [29, 29, 29])
    ]
    predicted = [Labels(float(n), np.zeros((3, 3))) for n in range(3)]
    true = {"Cu": 0.5, "Al": -2.0}
    reference = [shifted(labels, frame, true) for labels, frame in zip(predicted, frames, strict=True)]
    found = energy_shift(predicted, reference, frames, ["Al", "Ag", "Cu"])
    assert found == pytest.approx({"Cu": 0.5, "Al": -2.0, "Ag": 0.0})
    alone = energy_shift(predicted[:1], reference[:1], frames[:1], ["Al", "Cu"])  # one composition tells one number
    assert 2 * alone["Cu"] + alone["Al"] == pytest.approx(2 * 0.5 - 2.0)


def test_a_shift_leaves_every_other_label_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    dipole = Field("dipole", "labels", "frame", (3,), "e Å", deepmd="dipole", dpdata="dipoles", ase="dipole")
    monkeypatch.setattr(fields, "TABLE", (*fields.TABLE, dipole))
    frame = Frame(np.array([29, 13]), np.zeros((2, 3)), np.eye(3))
    moved = shifted(Labels(1.0, np.ones((2, 3)), np.eye(3), others={"dipole": np.arange(3)}), frame, {"Cu": 0.5})
    assert moved.energy == pytest.approx(1.5)
    np.testing.assert_array_equal(moved.fields["dipole"], np.arange(3))
    np.testing.assert_array_equal(moved.fields["virial"], np.eye(3))


def test_a_frame_is_judged_by_the_shift_of_the_others() -> None:
    """As many fits as frames give the same; who is alone with an element is told by nobody."""
    rng, elements = np.random.default_rng(2), ["Al", "Cu", "Ag"]
    numbers = [[29, 29, 13], [29, 13, 13], [29, 29, 29], [13, 29, 29], [13, 13, 13], [47, 29, 13]]
    frames = [Frame(np.array(own), np.zeros((3, 3)), np.eye(3)) for own in numbers]
    predicted = [Labels(0.0, np.zeros((3, 3)))] * 6
    reference = [Labels(float(energy), np.zeros((3, 3))) for energy in rng.normal(0, 20, 6)]
    found = leave_one_out(predicted, reference, frames, elements)
    for left in range(5):
        rest = [n for n in range(6) if n != left]
        fit = energy_shift(
            [predicted[n] for n in rest], [reference[n] for n in rest], [frames[n] for n in rest], elements
        )
        assert found[left] == pytest.approx(shifted(predicted[left], frames[left], fit).energy)
    assert np.isnan(found[5])
