"""Reference numbers of ASE's EMT, made with ASE's optimisers and phonopy by hand, and crystals that it relaxes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from ase.build import bulk

from lamflow.config.properties import Relaxing
from lamflow.data import Frame
from lamflow.data.properties import Reduced
from lamflow.engines.emt import Emt, EmtEvaluator
from lamflow.science.properties.sample import Crystal, Phase, composition
from lamflow.science.properties.table import PROPERTIES, UNITS, answered
from lamflow.science.relaxation import relax

METALS = ("Cu", "Al", "Ni", "Au", "Ag", "Pt", "Pd")
TABLE: dict[str, tuple[float, ...]] = {
    "a0": (3.5898, 3.9943, 3.4871, 4.0562, 4.0636, 3.9218, 3.8787),
    "E_coh": (3.517, 3.2849, 4.4533, 3.8001, 2.9604, 5.8502, 3.9003),
    "B0": (134.4691, 39.6688, 175.8808, 173.8285, 100.1515, 278.2512, 179.2358),
    "B0 6 %": (134.3798, 39.3345, 174.4825, 173.7303, 100.0924, 277.8948, 179.0468),
    "B0 6 % vinet": (134.4524, 39.2824, 174.4454, 173.8445, 100.1593, 278.0842, 179.1691),
    "C11": (172.5877, 53.3253, 230.7741, 196.4799, 125.8723, 317.9824, 215.5239),
    "C12": (115.4253, 32.8906, 148.7778, 162.5212, 87.3021, 258.4516, 161.1639),
    "C44": (89.9037, 36.2004, 146.962, 46.9711, 54.1984, 79.1459, 73.4175),
    "(111)": (1.0437, 0.7066, 1.7041, 0.5139, 0.5468, 0.7486, 0.6672),
    "(111) unrelaxed": (1.0441, 0.7075, 1.7044, 0.5366, 0.5492, 0.7795, 0.6767),
    "(100)": (1.1338, 0.7307, 1.8194, 0.5985, 0.6141, 0.8759, 0.7656),
    "(110)": (1.2292, 0.7877, 1.969, 0.6353, 0.6649, 0.9313, 0.8251),
    "vacancy": (1.2242, 0.9524, 1.9021, 0.7363, 0.851, 1.0231, 0.9324),
    "vacancy unrelaxed": (1.2384, 0.9764, 1.925, 0.7542, 0.857, 1.0443, 0.9416),
    "octahedral": (3.7714, 1.8248, 5.5202, 3.4933, 3.5281, 5.3657, 4.476),
    "dumbbell": (3.5919, 1.7431, 5.2193, 3.4728, 3.4163, 5.3576, 4.4078),
    "fault": (-0.0053902, -0.0057409, -0.0095148, 0.0048919, 0.0069652, -0.002188, -0.0033074),
    "unstable": (0.1578921, 0.0927566, 0.2488894, 0.0992112, 0.1137618, 0.1592556, 0.1460258),
    "X": (8.1412, 8.6003, 10.7346, 3.4815, 5.0655, 4.4582, 5.8203),
    "L": (3.5491, 3.4973, 4.6186, 1.5916, 2.3036, 2.0646, 2.6848),
    "Cv": (23.3683, 23.2649, 22.3327, 24.6154, 24.2937, 24.4088, 24.074),
    "S": (31.1164, 30.5404, 24.9837, 50.4916, 41.9027, 44.3723, 38.2955),
}
"""Å, eV, GPa, J/m², THz and J/K/mol, in the order of METALS."""


def reference(name: str, metal: str) -> float:
    """A number of the table."""
    return TABLE[name][METALS.index(metal)]


def evaluate(frames: Sequence[Frame]) -> list[Any]:
    """EMT."""
    return EmtEvaluator(Emt(engine="emt")).evaluate(frames)


@cache
def crystal(metal: str) -> Crystal:
    """An fcc metal as EMT relaxes it."""
    return relaxed([(metal, Frame.from_ase(bulk(metal, "fcc")))])[0]


def relaxed(named: Sequence[tuple[str, Frame]]) -> list[Crystal]:
    """Structures that EMT has relaxed, each among all of them."""
    paths = relax([frame for _, frame in named], evaluate, Relaxing())
    assert all(path.converged for path in paths)
    phases = [
        Phase(name, composition(path.frame), path.labels.energy) for (name, _), path in zip(named, paths, strict=True)
    ]
    return [Crystal(phase.name, path.frame, phase.energy, phases) for phase, path in zip(phases, paths, strict=True)]


def found(name: str, of: Crystal, **settings: Any) -> Reduced:
    """A property by EMT; its values have the units that are promised."""
    kind = PROPERTIES[name]
    result = kind.reduce(of, answered(kind.frames(of, **settings), evaluate, Relaxing(), len))
    for one in result.values:
        assert [unit for pattern, unit in UNITS[name].items() if re.fullmatch(pattern, one.name)] == [one.unit], one
    return result


def value(result: Reduced, name: str, where: str = "") -> float:
    """One of its values."""
    [match] = [item.value for item in result.values if (item.name, item.where) == (name, where)]
    return match
