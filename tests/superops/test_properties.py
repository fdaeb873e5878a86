"""The graph of a study of properties."""

from __future__ import annotations

from typing import get_args

import pytest

from lamflow.config import parse
from lamflow.config.properties import PropertiesStudy, PropertySettings
from lamflow.driver.plan import cluster_jobs
from lamflow.driver.structures import frames_of

MOST_JOBS = 40
NEEDS = {
    "decohesive": ", miller: [1, 1, 1]", "gamma": ", miller: [1, 1, 1], direction: [1, 1, -2]",
    "gamma-surface": ", miller: [1, 1, 1]", "exchange": ", cutoff: 3", "curie": ", temperatures: [300, 600, 900]",
    "viscosity": ", temperatures: [1500]", "melting-point": ", guess: 1300",
}  # fmt: skip


@pytest.mark.parametrize("potentials", ["evaluate: {engine: emt}", "evaluate: {engine: ase, calculator: a.b.C}"])
def test_a_hundred_structures_with_all_properties_are_a_few_jobs(potentials: str) -> None:
    union, *_ = get_args(PropertySettings)
    names = [get_args(one.model_fields["property"].annotation)[0] for one in get_args(union)]
    measured = "\n".join(f"  - {{property: {name}{NEEDS.get(name, '')}}}" for name in names)
    text = f"""
workflow: properties
name: many
elements: [Cu]
structures: [{{name: copper, crystal: {{formula: Cu, lattice: fcc}}, copies: 100}}]
potentials: [{{name: one, {potentials}}}]
properties:
{measured}
"""
    study = parse(text, kind=PropertiesStudy, files=False)
    structures = {settings.name: frames_of(settings, study) for settings in study.structures}
    jobs = cluster_jobs(study, structures, 0)
    assert all(sum(steps.values()) <= MOST_JOBS for steps in jobs), jobs
