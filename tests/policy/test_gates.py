"""Gates of studies of properties."""

from __future__ import annotations

import numpy as np
import pytest

from lamflow.config.properties import Gate
from lamflow.data.comparisons import Comparison
from lamflow.data.frames import Frame
from lamflow.data.properties import PropertyResult
from lamflow.policy.gates import checked, failed_properties, start_frames

MODULUS = Comparison(
    structure="copper", potential="emt", property="eos", name="B0", where="", value=134.0, unit="GPa", uncertainty=None,
    reference=140.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"relative_error": 0.05}, ""),
        ({"relative_error": 0.01}, "134 GPa is 4.3 % away from 140, more than 1 %"),
        ({"error": 1.0}, "134 is 6 GPa away from 140, more than 1"),
        ({"most": 100.0}, "134 GPa is more than 100"),
        ({"least": 100.0, "most": 200.0}, ""),
    ],
)
def test_a_gate_holds_or_says_why_not(limits: dict[str, float], reason: str) -> None:
    [result] = checked([Gate(property="eos", name="B0", **limits)], [MODULUS], [])
    assert (result.holds, result.reason) == (not reason, reason or "134 GPa")


@pytest.mark.parametrize("limits", [{"relative_error": 0.05}, {"error": 1.0}, {"most": 1000.0}, {"least": 100.0}])
def test_what_is_no_number_holds_no_gate(limits: dict[str, float]) -> None:
    [result] = checked([Gate(property="eos", name="B0", **limits)], [MODULUS.model_copy(update={"value": np.nan})], [])
    assert not result.holds


def test_a_value_without_reference_or_none_at_all_holds_no_gate() -> None:
    gate = Gate(property="eos", name="B0", relative_error=0.5)
    [result] = checked([gate], [MODULUS.model_copy(update={"reference": None})], [])
    assert (result.holds, result.reason) == (False, "it has no reference")
    [result] = checked([gate], [], [])
    assert (result.holds, result.reason) == (False, "there is no such value")
    broken = PropertyResult(structure="gold", potential="emt", property="eos", values=[], failed="it exploded")
    held, failed = checked([gate], [MODULUS], [broken])
    assert (held.holds, failed.holds, failed.reason) == (True, False, "it exploded")


def test_an_error_is_asked_of_values_with_a_reference_where_there_are_any() -> None:
    other = MODULUS.model_copy(update={"where": "vinet", "reference": None})
    [result] = checked([Gate(property="eos", name="B0", relative_error=0.05)], [MODULUS, other], [])
    assert result.holds
    assert len(checked([Gate(property="eos", name="B0", least=100)], [MODULUS, other], [])) == 2


def test_what_failed_is_what_the_next_iteration_begins_with() -> None:
    broken = PropertyResult(structure="gold", potential="emt", property="eos", values=[], failed="it exploded")
    gates = checked([Gate(property="eos", name="B0", error=1)], [MODULUS], [])
    assert failed_properties(gates, [broken]) == {("copper", "eos"), ("gold", "eos")}
    crystal = Frame(np.array([29]), np.zeros((1, 3)), 2.5 * np.eye(3), True)
    pair = Frame(np.array([29, 29]), np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 2.0]]), 20 * np.eye(3))
    [start] = start_frames([crystal, crystal, pair], 8.0, 100)
    assert start.natoms == 64
    assert start_frames([crystal], 8.0, 50) == []


def test_a_gate_asks_something() -> None:
    with pytest.raises(ValueError, match="at least one of error, relative_error, most and least"):
        Gate(property="eos", name="B0")
