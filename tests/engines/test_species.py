"""Atoms that a code has sorted or turned."""

from __future__ import annotations

import numpy as np
import pytest

from lamflow.data import Frame, LabeledFrame, Labels, fields
from lamflow.data.fields import Field
from lamflow.engines.species import aligned, by_species
from tests.engines.conftest import failed


def test_labels_find_their_atoms_again() -> None:
    """A code that sorts by species and turns the cell."""
    rng = np.random.default_rng(5)
    frame = Frame(np.array([13, 6, 13, 6, 8]), rng.uniform(0, 4, (5, 3)), np.array([[4.0, 0, 0], [1, 5, 0], [0, 1, 6]]))
    order = by_species(frame)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    forces, virial = rng.normal(size=(5, 3)), rng.normal(size=(3, 3))
    wrapped = frame.positions[order] + frame.cell[0]
    found = LabeledFrame(
        Frame(frame.numbers[order], wrapped @ turn, frame.cell @ turn),
        Labels(1.0, forces[order] @ turn, turn.T @ virial @ turn),
    )
    answer = aligned(found, frame)
    assert isinstance(answer, Labels)
    np.testing.assert_allclose(answer.forces, forces, atol=1e-10)
    assert answer.virial is not None
    np.testing.assert_allclose(answer.virial, virial, atol=1e-10)
    other = np.argsort([[8, 13, 6].index(number) for number in frame.numbers], kind="stable")
    grouped = LabeledFrame(Frame(frame.numbers[other], frame.positions[other], frame.cell), Labels(1.0, forces[other]))
    answer = aligned(grouped, frame)
    assert isinstance(answer, Labels), "species may come in any order"
    np.testing.assert_allclose(answer.forces, forces, atol=1e-10)
    moved = Frame(frame.numbers, frame.positions + np.eye(5, 3), frame.cell)
    failed(aligned(found, moved), "invalid")


def test_every_field_of_a_parsed_output_finds_its_atom_again(monkeypatch: pytest.MonkeyPatch) -> None:
    torque = Field("torque", "labels", "atom", (3,), "eV/μB", deepmd="force_mag", dpdata="force_mags", ase="torques")
    monkeypatch.setattr(fields, "TABLE", (*fields.TABLE, torque))
    rng = np.random.default_rng(6)
    frame = Frame(np.array([13, 6, 13]), rng.uniform(0, 4, (3, 3)), np.eye(3) * 5)
    order, (turn, _) = by_species(frame), np.linalg.qr(rng.normal(size=(3, 3)))
    values = rng.normal(size=(3, 3))
    answer = aligned(
        LabeledFrame(
            Frame(frame.numbers[order], frame.positions[order] @ turn, frame.cell @ turn),
            Labels(1.0, np.zeros((3, 3)), others={"torque": values[order] @ turn}),
        ),
        frame,
    )
    assert isinstance(answer, Labels)
    np.testing.assert_allclose(answer.fields["torque"], values, atol=1e-10)
