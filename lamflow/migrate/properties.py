"""Properties of APEX and of DP-GEN's autotest in the words of a study of properties."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from lamflow.migrate.dynamics import SIZE, annealing, gruneisen, thermal_elastic, thermal_lattice
from lamflow.migrate.keys import Keys, is_comment
from lamflow.migrate.paths import Spec
from lamflow.migrate.translate import listed

NO_PROPERTY = "there is no such property"
RELAXES = "what of a frame relaxes is the property's own affair"
STATIC = ("cal_type", "cal_setting", "req_calc", "reproduce", "init_from_suffix", "output_suffix", "init_data_path",
          "reprod_last_frame", "start_confs_path", "suffix")  # fmt: skip
"""Keys that every property has."""


def _eos(own: Keys) -> Spec | None:
    low, high, step = (own.take(f"vol_{name}", to="strain, points") for name in ("start", "end", "step"))
    if own.take("vol_abs", to="strain") or not low or not high or not step:
        own.notes.add("changed", own.name("vol_start"), "strain", "volumes are fractions of the equilibrium one: 0.06")
        return {"property": "eos"}
    strain = max(1 - float(low), float(high) - 1)
    if not 0 < strain <= 0.3:
        own.notes.add("changed", own.name("vol_start"), "strain", f"{strain:g} is outside of 0 to 0.3: 0.06 is put in")
        strain = 0.06
    points = max(6, round((float(high) - float(low)) / float(step)) + 1)
    if abs((1 - float(low)) - (float(high) - 1)) > 1e-9:
        own.notes.add("changed", own.name("vol_end"), "strain", "volumes lie evenly around the equilibrium one")
    return {"property": "eos", "strain": round(strain, 6), "points": points}


def _elastic(own: Keys) -> Spec | None:
    normal, shear = own.take("norm_deform", to="strain", default=0.01), own.take("shear_deform", default=None)
    if shear is not None:
        own.notes.add("changed", own.name("shear_deform"), "strain", "one largest strain holds for all directions")
    own.lose("conventional", "ieee", why="constants are given in the axes of the conventional cell")
    own.lose("modulus_type", why="all of Voigt, Reuss and Hill are given")
    return {"property": "elastic", "strain": _at_most(own, "norm_deform", 0.3, float(normal))}


def _surface(own: Keys) -> Spec | None:
    largest = int(own.take("max_miller", to="max_miller", default=2))
    made: Spec = {"property": "surface", "max_miller": _at_most(own, "max_miller", 4, largest)}
    made["thickness"] = float(own.take("min_slab_size", to="thickness", default=15))
    made["vacuum"] = float(own.take("min_vacuum_size", to="vacuum", default=15))
    own.lose("pert_xz", why="slabs are not shifted")
    return made


def _vacancy(own: Keys) -> Spec | None:
    own.take("supercell", to="sizes", why=SIZE)
    return {"property": "vacancy"}


def _interstitial(own: Keys) -> Spec | None:
    own.take("supercell", to="sizes", why=SIZE)
    made: Spec = {"property": "interstitial"}
    elements = listed(own.take("insert_ele", to="elements", default=[]))
    if elements:
        made["elements"] = elements
    filters = own.section("conf_filters")
    if "min_dist" in filters:
        made["min_distance"] = float(filters.take("min_dist", to="min_distance"))
    own.lose("lattice_type", "voronoi_param", "special_list", why="the crystal's symmetry tells its places")
    return made


def _gamma(own: Keys) -> Spec | None:
    made: Spec = {"property": "gamma", "miller": _plane(own.take("plane_miller", to="miller"))}
    made["direction"] = _direction(own.take("slip_direction", to="direction"))
    made["points"] = max(4, int(own.take("n_steps", to="points", default=10)) + 1)
    own.take("supercell_size", to="thickness", why="crystals are 20 Å thick unless `thickness` says otherwise")
    own.take("slip_length", to="length", why="the slip goes over one lattice vector, `length` of it")
    own.lose("plane_shift", "vacuum_size", "add_fix", why="the stack is periodic, and atoms relax normal to the plane")
    own.lose("fcc", "bcc", "hcp", why="one plane and direction hold for all structures of a study; write one for each")
    return made


def _gamma_surface(own: Keys) -> Spec | None:
    made: Spec = {"property": "gamma-surface", "miller": _plane(own.take("plane_miller", to="miller"))}
    made["points"] = max(2, int(own.take("n_steps_x", "n_steps", to="points", default=10)))
    own.take("slip_direction", "slip_length", why="the whole cell of the plane is gone over")
    return made


def _phonon(own: Keys) -> Spec | None:
    primitive = "" if own.raw.get("primitive") else (
        "it multiplies the primitive cell, not that of the file; where they differ, give `size` in Å instead"
    )  # fmt: skip
    times = own.take("supercell_size", to="supercell", why=primitive, default=[2, 2, 2])
    made: Spec = {"property": "phonon", "supercell": [int(n) for n in times]}
    own.take("approach", why="phonons come from finite displacements")
    own.lose("primitive", "seekpath_from_original", "seekpath_param", "PRIMITIVE_AXES", "BAND", "BAND_LABELS",
             "BAND_POINTS", "BAND_CONNECTION", why="bands follow seekpath's path of the primitive cell")  # fmt: skip
    mesh = own.take("MESH", to="mesh")
    if mesh is not None:
        made["mesh"] = max(int(n) for n in (mesh.split() if isinstance(mesh, str) else listed(mesh)))
    return made


def _cohesive(own: Keys) -> Spec | None:
    low, high, step = (own.take(f"latt_{name}", to="stretch") for name in ("start", "end", "step"))
    made: Spec = {"property": "cohesive"}
    if not own.take("latt_abs", to="stretch") and low and high and step:
        count = int((float(high) - float(low)) / float(step) + 1e-6) + 1
        made["stretch"] = [round(float(low) + index * float(step), 6) for index in range(min(count, 200))]
    own.notes.add("changed", own.where, "E_coh", "energies are against free atoms, not against the last point")
    return made


def _decohesive(own: Keys) -> Spec | None:
    made: Spec = {"property": "decohesive", "miller": _plane(own.take("miller_index", to="miller"))}
    made["thickness"] = float(own.take("min_slab_size", to="thickness", default=15))
    made["gap"] = float(own.take("max_vacuum_size", to="gap", default=15))
    step = float(own.take("vacuum_size_step", to="points", default=1))
    made["points"] = max(4, round(made["gap"] / step) + 1)
    own.lose("pert_xz", why="slabs are not shifted")
    return made


KINDS: Mapping[str, Callable[[Keys], Spec | None]] = {
    "eos": _eos, "elastic": _elastic, "surface": _surface, "vacancy": _vacancy, "interstitial": _interstitial,
    "gamma": _gamma, "gamma_surface": _gamma_surface, "phonon": _phonon, "cohesive": _cohesive,
    "decohesive": _decohesive, "finite_t_latt": thermal_lattice, "finite_t_elastic": thermal_elastic,
    "annealing": annealing, "gruneisen": gruneisen,
}  # fmt: skip
"""Properties that have a counterpart, by their `type`."""


def converted(keys: Keys, sections: list[Any]) -> list[Spec]:
    """The entries of `properties`; what has no counterpart is lost with its reason."""
    made: list[Spec] = []
    for index, raw in enumerate(sections):
        own = keys.enter(raw, f"properties[{index}]")
        kind = str(own.take("type", to="property"))
        if own.raw.get("skip"):
            own.lose(*own.raw, why="`skip` leaves it out")
            continue
        own.take("skip")
        if kind not in KINDS:
            own.notes.add("lost", f"{own.name('type')} = {kind!r}", why=NO_PROPERTY)
            own.lose(*(key for key in own.raw if not is_comment(key)), why=NO_PROPERTY)
            continue
        spec = KINDS[kind](own)
        own.lose(*STATIC, why=RELAXES)
        if spec is not None:
            made.append(spec)
    return made


def structure_name(file: str) -> str:
    """The name of a structure set for `confs/std-fcc/POSCAR`: that of its folder."""
    folder = file.rsplit("/", 2)[-2] if "/" in file else file
    return re.sub(r"[^a-z0-9]+", "-", folder.lower()).strip("-")[:40].strip("-") or "structure"


def _at_most(own: Keys, key: str, most: float, value: float) -> Any:
    """The value, or the largest one that there is, which is said."""
    if value > most:
        own.notes.add("changed", own.name(key), why=f"{value:g} is more than there is: {most:g} is put in")
    return min(most, value)


def _plane(raw: Any) -> list[int]:
    """Miller indices of a plane; of four of hexagonal axes the third says nothing new."""
    numbers = [int(n) for n in listed(raw)]
    return [numbers[0], numbers[1], numbers[3]] if len(numbers) == 4 else numbers


def _direction(raw: Any) -> list[int]:
    """Indices of a direction; [u v t w] of hexagonal axes is [u-t v-t w], as short as it can be."""
    numbers = [int(n) for n in listed(raw)]
    if len(numbers) != 4:
        return numbers
    u, v, t, w = numbers
    common = math.gcd(u - t, v - t, w) or 1
    return [(u - t) // common, (v - t) // common, w // common]
