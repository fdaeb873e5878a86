"""Task groups of dpgen2 and PFD-kit as entries of `explore`."""

from __future__ import annotations

from typing import Literal

from lamflow.migrate.keys import Keys
from lamflow.migrate.place import Place, Spec
from lamflow.migrate.searches import search
from lamflow.migrate.structures import starts
from lamflow.migrate.templates import revised
from lamflow.migrate.translate import listed, pressed


def group(
    own: Keys,
    place: Place,
    structures: list[Spec],
    name: str,
    lmp: list[str],
    kind: str,
    *,
    pressure_unit: Literal["kbar", "GPa"] = "kbar",
) -> list[Spec]:
    """One task group as entries of `explore`. pressure_unit: of CALYPSO's keys."""
    known = [item["name"] for item in structures]
    if kind.startswith("calypso") or "name_of_atoms" in own:
        own.used |= {"conf_idx", "n_sample"}
        own.lose("type")
        return search(own, pressure_unit)
    if kind.startswith("diffcsp"):
        own.lose(*own.raw, why="there is no engine diffcsp")
        return []
    type_of = str(own.take("type", default="lmp-md"))
    if type_of == "customized-lmp-template":
        own.lose(*own.raw, why="run your shell commands first, and give their result as a template")
        return []
    chosen = [
        n
        for index in listed(own.take("conf_idx", "sys_idx", to="stages: structures"))
        for n in known
        if n == f"conf-{index}" or n.startswith(f"conf-{index}-")
    ]
    base: Spec = {"engine": "lammps", "structures": chosen or known[:1]}
    base |= sampled(own, base["structures"], {item["name"]: item for item in structures}, place)
    every = int(own.take("trj_freq", "t_freq", "traj_freq", to="stages: every", default=10))
    if type_of == "lmp-template":
        given = {
            "lmp": own.take("lmp", "lmp_template", "lmp_template_fname"),
            "plm": own.take("plm", "plm_template", "plm_template_fname"),
            "lmp_values": own.take("revisions", default={}),
            "plm_values": {},
        }
        base |= revised(Keys(given, own.where, own.notes), own.where, place, name)
        steps = [value for key, value in given["lmp_values"].items() if "STEP" in key.upper()]
        most = int(max(listed(steps[0]))) if steps else 1000
        base |= {"temperatures": [300.0], "steps": max(most, every), "every": every}
        own.notes.add(
            "changed",
            f"{own.where}.lmp",
            "stages: temperatures",
            "the template has its own temperature and steps; those "
            "here are not used unless it says {{ temperature }} and {{ steps }}",
        )
        own.lose("extra_pair_style_args", why="see stages: zbl, d3, overlays")
    else:
        base |= _md(own, every)
    beads = own.take("pimd_bead", to="stages: beads")
    if beads:
        base["beads"] = int(beads)
    files = [place.path(file) for file in listed(own.take("input_extra_files", to="stages: files"))]
    if files:
        base["files"] = files
    if lmp:
        base["command"] = lmp
    return [base]


def sampled(own: Keys, names: list[str], known: dict[str, Spec], place: Place) -> Spec:
    """`starts`: as many as n_sample draws, over again where there are fewer; each structure once without n_sample."""
    count = own.take("n_sample", to="stages: starts")
    if count is None:
        count = starts(names, known, place, own.notes, own.name("conf_idx"))
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
