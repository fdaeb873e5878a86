"""PFD-kit's exploration as stages: molecular dynamics by ASE, or task groups as in dpgen2."""

from __future__ import annotations

from lamflow.migrate.keys import Keys
from lamflow.migrate.paths import Paths, Spec
from lamflow.migrate.task_groups import group
from lamflow.migrate.translate import listed


def stages(keys: Keys, explored: Keys, settings: Keys, structures: list[Spec], paths: Paths) -> tuple[list[Spec], int]:
    """The stages, and most iterations of all of them."""
    kind = str(explored.take("type", to="stages: engine", default="lmp"))
    config = explored.section("config")
    config.lose(*config.raw, why="the models that are trained explore; LAMMPS and ASE are started by lamflow")
    md = explored.section("md")
    source = md if "stages" in md else explored
    raw = source.take("stages", to="stages")
    if raw is None:
        generation = keys.section("conf_generation")
        raw = [generation.take("expl_tasks", "task_groups", to="stages", default=[])]
        generation.lose("type", "config")
    why = "one more, which trains on the last labels and labels nothing"
    sections = ((settings, ("max_iter",)), (explored, ("max_numb_iter", "max_iter")), (md, ("max_iter",)))
    limits = [section.take(*names, to="budget.iterations", why=why) for section, names in sections]
    most = int(next((limit for limit in limits if limit is not None), 3))
    made: list[Spec] = []
    for number, groups in enumerate(listed(raw)):
        entries: list[Spec] = []
        for index, item in enumerate(listed(groups)):
            own = source.enter(item, f"stages[{number}][{index}]")
            nested = own.raw.get("exploration")
            if isinstance(nested, dict):
                own.used.add("exploration")
                own.lose("max_sample", why="see select.limit")
                own = source.enter(
                    {**{k: v for k, v in own.raw.items() if k not in ("exploration", "max_sample")}, **nested},
                    f"stages[{number}][{index}]",
                )
            entries += (
                [_walk(own, structures)]
                if kind == "ase"
                else group(own, paths, structures, f"stage-{number}-{index}", [], kind, pressure_unit="GPa")
            )
        if entries:
            made.append({"name": f"stage-{number}", "explore": entries})
    for stage in made[:-1]:
        stage["max_iterations"] = max(1, most // max(1, len(made)))
    explored.lose(
        "fatal_at_max",
        "output_nopbc",
        "test_set_config",
        "test_set",
        "init_training",
        "skip_aimd",
        why="lamflow does it its own way",
    )
    for name in ("filter", "filters"):
        explored.lose(name, why="see select.filters")
    return made, max(most, len(made))


def _walk(own: Keys, structures: list[Spec]) -> Spec:
    """An ASE task group; dt and tau_p are in fs, tau_t in fs for npt and in steps for nvt."""
    name = str(own.take("ens", to="stages: method", default="npt"))
    method = {"npt": "npt", "nvt": "nvt", "lbfgs": "relax"}.get(name, "npt")
    chosen = [
        f"conf-{n}"
        for n in listed(own.take("conf_idx", to="stages: structures"))
        if f"conf-{n}" in {s["name"] for s in structures}
    ]
    made: Spec = {"engine": "ase", "method": method, "structures": chosen or [structures[0]["name"]]}
    count = own.take("n_sample", to="stages: starts")
    if count:
        made["starts"] = int(count)
    if method == "npt":
        why = "Berendsen's barostat there, Martyna-Tobias-Klein's here"
        own.notes.add("changed", own.name("ens"), "stages: method", why)
    every = int(own.take("trj_freq", to="stages: every", default=100))
    step = float(own.take("dt", to="stages: timestep", why="fs became ps", default=2.0))
    made |= {"steps": max(int(own.take("nsteps", to="stages: steps", default=1000)), every), "every": every}
    temps, pressures = (
        listed(own.take("temps", to="stages: temperatures")),
        listed(own.take("press", to="stages: pressures")),
    )
    if method == "relax":
        made |= {"steps": 1000, "fmax": 0.01, "every": min(every, 1000)}
        own.notes.add("translated", f"{own.where}: at most 1000 steps, to 0.01 eV/Å (PFD-kit's)", "stages: steps, fmax")
    else:
        made |= {"timestep": step / 1000, "temperatures": [float(t) for t in temps] or [300.0]}
        heat = float(
            own.take("tau_t", to="stages: thermostat_time", why="fs, or steps of nvt, became ps", default=100.0)
        )
        made["thermostat_time"] = heat / 1000 * (step if method == "nvt" else 1)
    if method == "npt":
        made["pressures"] = [float(p) for p in pressures if p is not None] or [0.0]
        made["barostat_time"] = (
            float(own.take("tau_p", to="stages: barostat_time", why="fs became ps", default=500.0)) / 1000
        )
    own.lose("no_pbc", "tau_t", "tau_p") if method == "relax" else own.lose("no_pbc")
    return made
