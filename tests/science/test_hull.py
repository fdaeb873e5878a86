from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamflow.science.hull import above_hull


def test_a_binary_hull_by_hand() -> None:
    fractions = np.array([[1, 0], [0, 1], [0.5, 0.5], [0.5, 0.5], [0.75, 0.25]])
    found = above_hull(fractions, np.array([0.0, 1.0, -1.0, 0.0, 0.0]))
    assert found == pytest.approx([0, 0, 0, 1.0, 0.5])


def test_end_members_may_be_compounds() -> None:
    fractions = np.array([[0.5, 0.5], [0.25, 0.75], [0.4, 0.6]])
    found = above_hull(fractions, np.array([0.0, 0.0, 0.3]))
    assert found == pytest.approx([0, 0, 0.3])


def test_what_the_reference_does_not_span_has_no_height() -> None:
    found = above_hull(np.array([[0.0, 1.0]]), np.zeros(1), (np.array([[1.0, 0.0], [0.5, 0.5]]), np.zeros(2)))
    assert np.isnan(found[0])


@given(st.integers(0, 10_000), st.integers(2, 4))
def test_heights_agree_with_pymatgen(seed: int, elements: int) -> None:
    diagram = pytest.importorskip("pymatgen.analysis.phase_diagram", reason='pip install "lamflow[calypso]"')
    from pymatgen.core import Composition

    rng = np.random.default_rng(seed)
    names = ["Li", "Mg", "Al", "Cu"][:elements]
    counts = np.vstack([np.eye(elements, dtype=int), rng.integers(0, 4, (8, elements))])
    counts = counts[counts.sum(axis=1) > 0]
    enthalpies = rng.normal(size=len(counts))
    entries = [
        diagram.PDEntry(Composition(dict(zip(names, map(int, row), strict=True))), value * row.sum())
        for row, value in zip(counts, enthalpies, strict=True)
    ]
    made = diagram.PhaseDiagram(entries)
    found = above_hull(counts / counts.sum(axis=1, keepdims=True), enthalpies)
    assert found == pytest.approx([made.get_e_above_hull(entry, allow_negative=True) for entry in entries], abs=1e-6)
