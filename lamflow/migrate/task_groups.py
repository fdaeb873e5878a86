"""Task groups of dpgen2 and PFD-kit as entries of `explore`."""

from __future__ import annotations

from typing import Literal

from lamflow.migrate.keys import Keys
from lamflow.migrate.paths import Paths, Spec
from lamflow.migrate.searches import search
from lamflow.migrate.structures import starts
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
    base: Spec = {"engine": "lammps", "structures": chosen or known[:1]}
    base |= sampled(keys, base["structures"], {item["name"]: item for item in structures}, paths)
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
    return [base]


def sampled(keys: Keys, names: list[str], known: dict[str, Spec], paths: Paths) -> Spec:
    """`starts`: as many as n_sample draws, over again where there are fewer; each structure once without n_sample."""
    count = keys.take("n_sample", to="stages: starts")
    if count is None:
        count = starts(names, known, paths, keys.notes, keys.name("conf_idx"))
    return {"starts": int(count)} if count else {}


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
