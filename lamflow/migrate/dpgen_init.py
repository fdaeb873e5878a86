"""DP-GEN's init_bulk and init_surf: structures that are strained, rattled and labeled."""

from __future__ import annotations

import math
from typing import Any

from lamflow.errors import InputError
from lamflow.migrate import labels, vasp
from lamflow.migrate.commands import command
from lamflow.migrate.crystals import UNIFORM, crystal, lattice_note
from lamflow.migrate.keys import Keys
from lamflow.migrate.paths import Paths, Spec
from lamflow.migrate.structures import with_format
from lamflow.migrate.translate import heldout, listed
from lamflow.migrate.typemap import symbols

RELAXED = "structures are labeled as they are: relax them first, or explore with a stage of method relax"
NO_MD = "there is no dynamics by the label engine: the rattled structures are labeled, and models explore from there"
ONCE = "these files train nothing: lamflow's default model is trained once on the labels, and judged"


def is_init(raw: Spec) -> bool:
    """It is a file of init_bulk, init_surf or init_reaction."""
    return "reaxff" in raw or ("super_cell" in raw and "elements" in raw and ("pert_numb" in raw or "millers" in raw))


def convert(keys: Keys, machines: Keys, paths: Paths) -> Spec:
    """A study that labels the structures. Raises InputError for init_reaction."""
    if "reaxff" in keys:
        raise InputError(
            "init_reaction: lamflow runs no ReaxFF dynamics; cut the clusters out with DP-GEN, and start from "
            "them with engine gaussian"
        )
    atoms = symbols(listed(keys.take("elements", to="elements")), keys.notes, "elements")
    elements = symbols(listed(keys.take("type_map", to="elements")), keys.notes, "type_map")
    elements += [element for element in atoms if element not in elements]
    paths.elements = paths.type_map = elements
    structures = _surfaces(keys, paths, atoms) if "millers" in keys else [_bulk(keys, paths, atoms)]
    disturbed = _disturbed(keys)
    structures = [{**spec, **disturbed} for spec in structures]
    start: Spec = {"label": [spec["name"] for spec in structures]}
    made: Spec = {"elements": elements, "structures": structures, "start": start}
    made["heldout"] = heldout(structures, keys.notes, [])
    made["train"] = {"engine": "deepmd"}
    keys.notes.add("changed", "(training)", "train", ONCE)
    made["label"] = _label(keys, machines.section("fp"), paths, atoms)
    keys.lose("stages", why="all structures are made and labeled")
    keys.lose("relax_incar", "relax_kpt", "skip_relax", why=RELAXED)
    keys.lose("md_nstep", "coll_ndata", why=NO_MD)
    keys.lose("atom_masses", why="every element has its own mass")
    keys.lose("deepgen_templ", why="not needed")
    return made


def _bulk(keys: Keys, paths: Paths, atoms: list[str]) -> Spec:
    """The crystal, or the structure of from_poscar_path, repeated."""
    repeat = [int(n) for n in listed(keys.take("super_cell", to="structures: supercell", default=[1, 1, 1]))]
    spec: Spec = {"name": "bulk", **_source(keys, paths, atoms)}
    if repeat != [1, 1, 1]:
        spec["supercell"] = repeat
    return spec


def _source(keys: Keys, paths: Paths, atoms: list[str]) -> Spec:
    if keys.take("from_poscar"):
        path = keys.take("from_poscar_path", to="structures: files", default="POSCAR")
        keys.notes.add("translated", "from_poscar", "structures: files")
        keys.lose("cell_type", "latt", why="from_poscar is given")
        poscar = str(keys.raw.get("init_fp_style", "VASP")) != "ABACUS"
        spec = with_format({"files": paths.files(path)}, "vasp/poscar" if poscar else "abacus/stru", paths, keys.notes)
        return spec
    keys.lose("from_poscar_path", why="from_poscar is off")
    lattice = str(keys.take("cell_type", to="structures: crystal.lattice", default="fcc"))
    constant = float(keys.take("latt", to="structures: crystal.a", default=4.0))
    made = crystal(lattice, constant, atoms[0], nearest=True)
    why = lattice_note(lattice, made, constant)
    if "latt" not in keys:
        why = f"it says none; {made['a']:g} Å was put in"
    if why:
        keys.notes.add("changed", "latt", "structures: crystal.a", why)
    if len(atoms) == 1:
        return {"crystal": made}
    share = 1 / len(atoms)
    why = "every number of atoms of each element there, random alloys of equal fractions here: add sets of others"
    keys.notes.add("changed", "elements", "structures: composition", why)
    return {"crystal": made, "composition": dict.fromkeys(atoms, share)}


def _surfaces(keys: Keys, paths: Paths, atoms: list[str]) -> list[Spec]:
    """A slab for each Miller index, with the largest vacuum."""
    source = _source(keys, paths, atoms)
    repeat = [int(n) for n in listed(keys.take("super_cell", to="structures: supercell", default=[1, 1, 1]))]
    vacuum = float(keys.take("vacuum_max", to="structures: slab.vacuum", default=10.0))
    count = keys.take("layer_numb", to="structures: slab.layers")
    if count is None:
        thickness, constant = float(keys.take("z_min", default=9.0)), float(keys.raw.get("latt") or 4.0)
        count = math.ceil(thickness / constant)
        why = f"{count} repeat units, for a thickness of about {thickness:g} Å"
        keys.notes.add("changed", "z_min", "structures: slab.layers", why)
    keys.lose("z_min", why="layer_numb is given")
    why = "each slab has one vacuum, the largest"
    keys.lose("vacuum_min", "vacuum_resol", "vacuum_numb", "mid_point", "head_ratio", why=why)
    specs: list[Spec] = []
    for miller in listed(keys.take("millers", to="structures: slab.miller")):
        name = "surface-" + "".join(str(abs(int(n))) for n in miller)
        names = [spec["name"] for spec in specs]
        spec: Spec = {"name": name if name not in names else f"{name}-{len(specs)}", **source}
        spec["slab"] = {"miller": [int(n) for n in miller], "layers": int(count), "vacuum": vacuum}
        if repeat != [1, 1, 1]:
            spec["supercell"] = repeat
        specs.append(spec)
    return specs


def _disturbed(keys: Keys) -> Spec:
    """Scales, copies, strain and rattling."""
    made: Spec = {}
    scale = [float(item) for item in listed(keys.take("scale", to="structures: scale", default=[1.0]))]
    if scale != [1.0]:
        made["scale"] = scale
    why = "copies, each of them disturbed; one more is left as it is there"
    copies = int(keys.take("pert_numb", to="structures: copies", why=why, default=1))
    made["copies"] = max(1, copies)
    strain = float(keys.take("pert_box", to="structures: strain", default=0.0))
    why = "a third of it, the standard deviation of each coordinate for displacements of up to this length"
    rattle = round(UNIFORM * float(keys.take("pert_atom", to="structures: rattle", why=why, default=0.0)), 8)
    return made | {name: value for name, value in (("strain", strain), ("rattle", rattle)) if value}


def _label(keys: Keys, machine: Keys, paths: Paths, elements: list[str]) -> Spec:
    """VASP by md_incar without its dynamics, or ABACUS."""
    style = str(keys.take("init_fp_style", to="label.engine", default="VASP")).upper()
    files = dict(zip(elements, (str(file) for file in listed(keys.take("potcars", to="label"))), strict=False))
    source = keys.take("md_incar", "relax_incar")
    text = machine.take("command", to="label.command")
    if style == "ABACUS":
        made: Spec = {"pseudopotentials": {element: paths.path(file) for element, file in files.items()}}
        orbitals = listed(keys.take("orb_files", to="label.orbitals"))
        if orbitals:
            made["orbitals"] = {e: paths.path(file) for e, file in zip(elements, orbitals, strict=False)}
        body: Any = labels.abacus_text((paths.read(source) if source else None) or "")
        body |= labels.abacus_mesh(keys, "md_kpt", paths)
        made = labels.abacus_input(keys.enter(body, str(source)), made)
        keys.lose("dpks_descriptor", "dpks_model", why="DeePKS is not offered")
    else:
        made = {"engine": "vasp"}
        made |= vasp.potcars(files, paths) if files else {"potcars": "${VASP_PP_PATH}/potpaw_PBE"}
        if source:
            made |= vasp.incar(source, keys, "md_incar" if "md_incar" in keys else "relax_incar", paths)
            why = "labels are single points with it"
            keys.notes.add("changed", "md_incar" if "md_incar" in keys else "relax_incar", "label", why)
        else:
            made["kspacing"] = vasp.DEFAULT_SPACING
            keys.notes.add("changed", "md_incar", "label.kspacing", "there is none; VASP's own 0.5 Å⁻¹ was put in")
    if text:
        made["command"] = command(text, made["engine"])
    return made
