"""Task groups of dpgen2 and PFD-kit as entries of `explore`."""

from __future__ import annotations

from typing import Literal

import numpy as np

from lamflow.migrate.keys import Keys
from lamflow.migrate.paths import Paths, Spec
from lamflow.migrate.searches import search
from lamflow.migrate.structures import count, starts
from lamflow.migrate.templates import revised
from lamflow.migrate.translate import listed, pressed


def group(
    keys: Keys,
    paths: Paths,
    structures: list[Spec],
    name: str,
    lmp: list[str],
    kind: str,
    *,
    pressure_unit: Literal["kbar", "GPa"] = "kbar",
) -> list[Spec]:
    """One task group as entries of `explore`. pressure_unit: of CALYPSO's keys."""
    known = [item["name"] for item in structures]
    if kind.startswith("calypso") or "name_of_atoms" in keys:
        keys.used |= {"conf_idx", "n_sample"}
        keys.lose("type")
        return search(keys, pressure_unit)
    if kind.startswith("diffcsp"):
        keys.lose(*keys.raw, why="there is no engine diffcsp")
        return []
    type_of = str(keys.take("type", default="lmp-md"))
    if type_of == "customized-lmp-template":
        keys.lose(*keys.raw, why="run your shell commands first, and give their result as a template")
        return []
    chosen = [
        n
        for index in listed(keys.take("conf_idx", "sys_idx", to="stages: structures"))
        for n in known
        if n == f"conf-{index}" or n.startswith(f"conf-{index}-")
    ]
    sets = [item for item in structures if item["name"] in (chosen or known[:1])]
    base: Spec = {}
    every = int(keys.take("trj_freq", "t_freq", "traj_freq", to="stages: every", default=10))
    if type_of == "lmp-template":
        given = {
            "lmp": keys.take("lmp", "lmp_template", "lmp_template_fname"),
            "plm": keys.take("plm", "plm_template", "plm_template_fname"),
            "lmp_values": keys.take("revisions", default={}),
            "plm_values": {},
        }
        base |= revised(Keys(given, keys.where, keys.notes), keys.where, paths, name)
        steps = [value for key, value in given["lmp_values"].items() if "STEP" in key.upper()]
        most = int(max(listed(steps[0]))) if steps else 1000
        base |= {"temperatures": [300.0], "steps": max(most, every), "every": every}
        keys.notes.add(
            "changed",
            f"{keys.where}.lmp",
            "stages: temperatures",
            "the template has its own temperature and steps; those "
            "here are not used unless it says {{ temperature }} and {{ steps }}",
        )
        keys.lose("extra_pair_style_args", why="see stages: zbl, d3, overlays")
    else:
        base |= _md(keys, every)
    beads = keys.take("pimd_bead", to="stages: beads")
    if beads:
        base["beads"] = int(beads)
    files = [paths.path(file) for file in listed(keys.take("input_extra_files", to="stages: files"))]
    if files:
        base["files"] = files
    if lmp:
        base["command"] = lmp
    return [{"engine": "lammps", **drawn, **base} for drawn in sampled(keys, sets, paths)]


def sampled(keys: Keys, sets: list[Spec], paths: Paths) -> list[Spec]:
    """`structures` and `starts` of entries that explore what n_sample draws; each structure once without n_sample."""
    wanted = keys.raw.get("n_sample")
    numbers: list[int | None]
    if wanted is None:
        keys.used.add("n_sample")
        numbers = [starts(item, paths, keys.notes, f"{keys.name('conf_idx')}: {item['name']}") for item in sets]
    elif len(sets) == 1:
        numbers = [int(keys.take("n_sample", to="stages: starts"))]
    else:
        shares = _shared(int(wanted), [count(item, paths) for item in sets])
        why = (
            f"{wanted} of all structures of the group there, of each set here: dealt out by the sizes of the sets, one "
            f"of each at least, {sum(shares)} in all"
        )
        keys.take("n_sample", to="stages: starts", why=why)
        numbers = [*shares]
    entries: dict[int | None, list[str]] = {}
    for item, number in zip(sets, numbers, strict=True):
        entries.setdefault(number, []).append(item["name"])
    return [
        {"structures": names, **({} if number is None else {"starts": number})} for number, names in entries.items()
    ]


def _shared(total: int, sizes: list[int | None]) -> list[int]:
    """`total` in proportion to these sizes, or evenly where one is not known; one at least."""
    weights = np.array([1 if None in sizes else size for size in sizes], dtype=np.float64)
    until = np.rint(total * np.concatenate([[0.0], weights.cumsum() / weights.sum()]))
    return [max(1, int(number)) for number in np.diff(until)]


def _md(own: Keys, every: int) -> Spec:
    name = str(own.take("ens", "ensemble", to="stages: ensemble", default="nve")).lower()
    made = pressed(own, name)
    temps = own.take("temps", "Ts", to="stages: temperatures", default=[300])
    made["temperatures"] = [float(t) for t in listed(temps)]
    steps = int(own.take("nsteps", to="stages: steps", default=100))
    made |= {
        "steps": max(steps, every),
        "timestep": float(own.take("dt", to="stages: timestep", default=0.001)),
        "every": every,
    }
    for key, to, default in (("tau_t", "thermostat_time", 0.05), ("tau_p", "barostat_time", 0.5)):
        made[to] = float(own.take(key, to=f"stages: {to}", default=default))
    heat = own.take("ele_temp_f", to="stages: electronic_temperatures")
    if heat is None:
        why = "a parameter of each atom there, of the whole frame here"
        heat = own.take("ele_temp_a", to="stages: electronic_temperatures", why=why)
    if heat:
        made["electronic_temperatures"] = [float(t) for t in listed(heat)]
    own.lose("relative_f_epsilon", "relative_v_epsilon", why="see select.metric")
    own.lose("no_pbc", why="give structures without a cell")
    own.lose("use_clusters", why="clusters are not cut out of periodic frames")
    own.lose("pka_e", "neidelay", why="give a template for it")
    return made
