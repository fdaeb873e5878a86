"""APEX's properties at temperatures in the words of a study of properties."""

from __future__ import annotations

from typing import Any

from lamflow.migrate.keys import Keys
from lamflow.migrate.paths import Spec
from lamflow.migrate.translate import listed

EVENLY = "all axes are scaled alike"
SIZE = "supercells are given by their width: 10 Å unless `size` says otherwise"
TIMESTEP = 0.001
"""ps, of APEX."""


def thermal_lattice(keys: Keys) -> Spec | None:
    """finite_t_latt."""
    settings = keys.section("cal_setting")
    step = float(settings.take("timestep", to="timestep", default=TIMESTEP))
    warm = int(settings.take("equi_step", to="time, equilibration", default=80_000))
    counted = int(settings.take("ave_step", to="time, equilibration", default=40_000))
    made: Spec = {"property": "dynamics", "ensemble": "npt", "timestep": step}
    made["temperatures"] = _temperatures(settings, [200, 400, 600, 800])
    made["time"] = round((warm + counted) * step, 6)
    made["equilibration"] = min(0.9, round(warm / max(1, warm + counted), 3))
    keys.take("supercell_size", to="size", why=SIZE)
    settings.lose("N_every", "N_repeat", "N_freq", why="every step counts, and errors come from blocks")
    settings.lose("tdamp", "pdamp", why="thermostat and barostat have lamflow's own times")
    keys.notes.add("changed", keys.where, "dynamics", EVENLY)
    return made


def thermal_elastic(keys: Keys) -> Spec | None:
    """finite_t_elastic."""
    settings = keys.section("cal_setting")
    made: Spec = {"property": "thermal-elastic"}
    source = keys if "temperature" in keys else settings
    made["temperatures"] = _temperatures(source, [300])
    made["strain"] = min(0.05, float(keys.take("strain", to="strain", default=0.001)))
    steps = int(keys.take("response_step", to="time", default=16_000))
    made["timestep"] = step = float(keys.take("timestep", to="timestep", default=TIMESTEP))
    made["time"] = round(steps * step, 6)
    keys.take("supercell_size", to="size", why=SIZE)
    keys.take("equi_step", to="time", why="the run before is as long as those under strain")
    keys.lose("strain_components", why="symmetry says which strains are needed")
    keys.lose("stress_output_every", "n_blocks", "seed", "method", why="every step counts, in five blocks a run")
    return made


def annealing(keys: Keys) -> Spec | None:
    """annealing, which is melting where it goes so high."""
    coldest = max(1.0, float(keys.take("start_temp", to="coldest", default=4)))
    hottest = float(keys.take("target_temp", to="hottest", default=300))
    made: Spec = {"property": "melting", "coldest": coldest, "hottest": hottest}
    made["rate"] = float(keys.take("temp_ramp_rate", to="rate", default=1000))
    made["timestep"] = float(keys.take("timestep", to="timestep", default=TIMESTEP))
    keys.take("supercell_size", to="size", why=SIZE)
    keys.lose("end_temp", "cool_rate", why="it is cooled as it is heated, to where it began")
    keys.lose("equi_step", "hold_step", why="temperatures change all the time")
    keys.lose("rdf_bins", "rdf_cutoff", "msd_nevery", why="radial distributions are in `dynamics`")
    if hottest > coldest:
        return made
    keys.notes.add("lost", keys.where, why=f"nothing is heated from {coldest:g} to {hottest:g} K")
    return None


def gruneisen(keys: Keys) -> Spec | None:
    """gruneisen."""
    strains = [abs(float(one)) for one in listed(keys.take("volume_strains", to="strain, points", default=[0.02]))]
    made: Spec = {"property": "quasiharmonic", "strain": min(0.3, max(0.01, *strains, 0.01))}
    made["points"] = max(5, len(strains) + 1 - len(strains) % 2)
    made["temperatures"] = [float(t) for t in listed(keys.take("temperatures", to="temperatures", default=[300]))]
    size = keys.take("supercell_size", to="supercell")
    if size is not None:
        made["supercell"] = [int(n) for n in size]
    mesh = keys.take("MESH", to="mesh")
    if mesh is not None:
        made["mesh"] = max(int(n) for n in (mesh.split() if isinstance(mesh, str) else listed(mesh)))
    keys.lose("alpha_mode", "bulk_modulus_source", "eos_model", why="the free energy at several volumes says it all")
    return made


def _temperatures(keys: Keys, default: list[float]) -> list[float]:
    given: Any = keys.take("temperature", to="temperatures", default=default)
    return [float(one) for one in (given if isinstance(given, list) else [given])]
