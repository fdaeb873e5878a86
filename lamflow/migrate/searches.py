"""CALYPSO's own words, as DP-GEN and dpgen2 spell them, as a group of engine `calypso`."""

from __future__ import annotations

import itertools
from typing import Any, Literal

from lamflow.migrate.keys import Keys
from lamflow.migrate.paths import Spec
from lamflow.migrate.translate import is_true, listed

NEEDLESS = (
    "times", "ICode", "Ialgo", "NumberOfLbest", "NumberOfSpecies", "SystemName", "PickUp", "PickStep",
    "NumberOfLocalOptim", "Parallel", "Command", "MaxTime", "GenType",
    "numb_of_species", "atomic_number", "system_name", "ialgo", "icode", "numb_of_lbest", "numb_of_local_optim",
    "command", "max_time", "pick_up", "pick_step", "parallel", "gen_type", "ens",
    "CtrlRange", "ctrl_range", "MaxNumAtom", "max_numb_atoms", "NumberOfFormula", "numb_of_formula",
)  # fmt: skip
"""What lamflow's own search does not ask for, or not of this kind of search."""


BAR: dict[str, float] = {"kbar": 1e3, "GPa": 1e4}
RELAXATION = {"fmax": 0.01, "steps": 1000}
"""Of DP-GEN, dpgen2 and PFD-kit where nothing is said: eV/Å, and most steps."""


def search(keys: Keys, unit: Literal["kbar", "GPa"] = "kbar") -> list[Spec]:
    """The group; nothing where the search is described in an input.dat only.

    unit  of the pressure: kbar in DP-GEN and dpgen2, as in CALYPSO, GPa in PFD-kit
    """
    names = listed(keys.take("NameOfAtoms", "name_of_atoms", to="stages: formula"))
    if not names:
        keys.lose(
            *keys.raw, why="without names of atoms the search is in an input.dat: give engine calypso with `input`"
        )
        return []
    if isinstance(names[0], list):
        why = "the first element of each slot is taken; write an entry for each"
        keys.notes.add("changed", keys.name("name_of_atoms"), "stages: formula", why)
        names = [item[0] for item in names]
    made: Spec = {
        "engine": "calypso",
        "population": max(2, int(_one(keys, "PopSize", "pop_size", to="stages: population", default=30))),
        "generations": int(_one(keys, "MaxStep", "max_step", to="stages: generations", default=5)),
        "pso_ratio": float(_one(keys, "PsoRatio", "pso_ratio", to="stages: pso_ratio", default=0.6)),
        "exchange": 0.0,
        **_composition(keys, names),
        **_distances(keys, names),
    }
    why = f"{unit} became bar"
    pressures = listed(keys.take("PSTRESS", "pressure", to="stages: pressures", why=why, default=[0.001]))
    made["pressures"] = [round(BAR[unit] * float(pressure), 6) for pressure in pressures]
    fmax = _one(keys, "fmax", to="stages: relax.fmax", default=RELAXATION["fmax"])
    steps = _one(keys, "opt_step", to="stages: relax.steps", default=RELAXATION["steps"])
    made["relax"] = {"fmax": float(fmax), "steps": int(steps)}
    if is_true(_one(keys, "Split", "split", to="stages: mode", default=False)):
        made["mode"] = "split"
    groups = listed(keys.take("Spec_space_group", "SpeSpaceGroup", "spec_space_group", to="stages: space_groups"))
    if groups:
        made["space_groups"] = [int(n) for n in groups]
    keys.lose("Volume", "volume", why="estimated from the elements; give volumes of an atom")
    keys.lose(*NEEDLESS, why="lamflow's own search needs none of it")
    return [made]


def _composition(own: Keys, names: list[str]) -> Spec:
    """Ranges of the elements where the composition may vary, the formula and its units otherwise."""
    most = "MaxNumAtom", "max_numb_atoms"
    if is_true(_one(own, "VSC", "vsc", to="stages: ranges", default=False)):
        spans = listed(own.take("CtrlRange", "ctrl_range", to="stages: ranges", default=[[1, 10]]))
        spans = spans if isinstance(spans[0], list) else [spans]
        varied = "VSC varies the composition"
        own.lose("NumberOfAtoms", "numb_of_atoms", "NumberOfFormula", "numb_of_formula", why=varied)
        ranges = {name: [int(n) for n in spans[min(index, len(spans) - 1)]] for index, name in enumerate(names)}
        return {"ranges": ranges, "max_atoms": int(_one(own, *most, to="stages: max_atoms", default=20))}
    formula: dict[str, int] = {}
    counts = listed(own.take("NumberOfAtoms", "numb_of_atoms", to="stages: formula", default=[1] * len(names)))
    for name, count in zip(names, counts, strict=False):
        formula[name] = formula.get(name, 0) + int(count)
    units = listed(own.take("NumberOfFormula", "numb_of_formula", to="stages: formula_units", default=[1, 1]))
    units = [int(n) for n in units]
    return {"formula": formula, "formula_units": units, "max_atoms": max(1, units[-1] * sum(formula.values()))}


def _distances(own: Keys, names: list[str]) -> Spec:
    given = own.take("DistanceOfIon", "distance_of_ions", to="stages: distances")
    if isinstance(given, dict):  # radii, of which dpgen2 takes 0.7 times the sum
        known = [name for name in names if name in given]
        return {
            "distances": {
                f"{a}-{b}": round(0.7 * (float(given[a]) + float(given[b])), 4)
                for a, b in itertools.combinations_with_replacement(known, 2)
            }
        }
    rows = listed(given)
    if not rows or not isinstance(rows[0], list):
        return {}
    pairs = {
        f"{a}-{b}": float(rows[i][j])
        for (i, a), (j, b) in itertools.combinations_with_replacement(enumerate(names), 2)
        if i < len(rows) and j < len(rows[i])
    }
    return {"distances": pairs}


def _one(own: Keys, *keys: str, to: str, default: Any = None) -> Any:
    """A value that DP-GEN writes as a list of one."""
    value = own.take(*keys, to=to, default=default)
    return value[0] if isinstance(value, list) and value else value
