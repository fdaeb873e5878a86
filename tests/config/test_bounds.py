"""Every number of every section and engine has bounds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from lamflow.config.kinds import study_schema
from tests.config.test_read import problems
from tests.conftest import STUDY

UNBOUNDED = {"LammpsExploration.variables": "placeholders of the user's template, in whatever units it has"}
"""Settings without bounds, and why."""
CONTAINERS = (
    "$defs",
    "properties",
    "items",
    "prefixItems",
    "anyOf",
    "oneOf",
    "additionalProperties",
    "patternProperties",
)


def numbers(schema: Any, where: tuple[str, ...] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
    """The class and the key of every number in a JSON schema, and what the schema says of it."""
    if isinstance(schema, list):
        for part in schema:
            yield from numbers(part, where)
    elif isinstance(schema, dict):
        if schema.get("type") in ("number", "integer"):
            yield ".".join(where[:2]), schema
        for key, part in schema.items():
            if key != "default":
                yield from numbers(part, where if key in CONTAINERS else (*where, key))


def test_every_number_has_bounds() -> None:
    found = list(numbers(study_schema()))
    assert len(found) > 200
    open_below = {name for name, schema in found if not schema.keys() & {"minimum", "exclusiveMinimum"}}
    open_above = {name for name, schema in found if not schema.keys() & {"maximum", "exclusiveMaximum"}}
    assert open_below == open_above == set(UNBOUNDED), "give the field bounds, or say here why it has none"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "temperatures: [300, 900]",
            "temperatures: [1e9]",
            "1000000000.0 K: input should be less than or equal to 1000000 K",
        ),
        ("steps: 40", "steps: 1000000000000000", "input should be less than or equal to 1000000000"),
        ("iterations: 2", "iterations: 1000000", "less than or equal to 10000"),
        ("seed: 3", "seed: 9007199254740992", "less than 9007199254740992"),
        ("rattle: 0.05", "rattle: 1e6", "less than or equal to 1000 Å"),
        ("limit: 6", "limit: 1e30", "limit"),
    ],
)
def test_what_is_beyond_them_is_refused(old: str, new: str, expected: str) -> None:
    assert expected in problems(STUDY.replace(old, new))


@pytest.mark.parametrize("word", [".nan", ".inf", "-.inf", "1e400"])
def test_numbers_are_finite(word: str) -> None:
    text = STUDY.replace("temperatures: [300, 900]", f"temperatures: [300, {word}]").replace(
        "low: 0.001", f"low: {word}"
    )
    said = problems(text.replace("strain: 0.02", f"strain: {word}"))
    assert "stages.0.explore.0.temperatures.1" in said
    assert "select.window.low" in said
    assert "structures.0.strain" in said
