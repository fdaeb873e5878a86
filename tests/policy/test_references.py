"""References that are of no value."""

from __future__ import annotations

from lamflow.config.properties import References, ReferenceValue
from lamflow.data.properties import PropertyResult, Value
from lamflow.policy.references import unmatched

RESULTS = [
    PropertyResult(
        structure="copper", potential="emt", property="elastic", frames=1,
        values=[Value(name=name, where=where, value=1.0, unit="GPa")
                for name, where in (("C44", ""), ("B", "voigt"), ("B", "reuss"), ("B", "hill"))],
    )
]  # fmt: skip


def reference(name: str, where: str = "", structure: str = "copper") -> ReferenceValue:
    return ReferenceValue(structure=structure, property="elastic", name=name, where=where, value=1.0, unit="GPa")


def test_references_of_no_value_are_said_with_what_they_may_have_meant() -> None:
    given = [
        reference("C44"),
        reference("B", "hill"),
        reference("B"),
        reference("C66"),
        reference("C44", structure="gold"),
    ]
    assert unmatched(RESULTS, References(values=given)) == [
        "the reference B of copper, elastic, is of no value; there is B voigt, B reuss, B hill",
        "the reference C66 of copper, elastic, is of no value; there is C44",
        "the reference C44 of gold, elastic, is of no value",
    ]
