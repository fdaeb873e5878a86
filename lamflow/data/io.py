"""Structures and labeled data from outside: any format of ASE or dpdata, converted once, at the edge."""

from __future__ import annotations

import importlib.util
import itertools
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_numbers

from lamflow.data.frames import Frame, LabeledFrame, Labels
from lamflow.errors import InputError

PYMATGEN = "pymatgen"
HEAT = "fparam.npy"
"""DeePMD-kit's frame parameter (F, 1): here always the electronic temperature in K."""


def read_structures(path: Path, format: str | None = None) -> list[Frame]:
    """Every structure in `path`, without labels. Raises InputError that names the file and the reason."""
    frames = _structures(path, format)
    if not frames:
        raise InputError(f"{path}: there is no structure in it")
    for number, frame in enumerate(frames):
        if not frame.natoms:
            raise InputError(f"{path}: structure {number} has no atoms")
        if not (np.isfinite(frame.positions).all() and np.isfinite(frame.cell).all()):
            raise InputError(f"{path}: structure {number} has coordinates or cell vectors that are not finite")
    return frames


def _structures(path: Path, format: str | None) -> list[Frame]:
    if path.is_dir() or _is_hdf5(path) or (format and format != PYMATGEN and not _ase_knows(format)):
        return [_frame_of(system, index, path) for system in _dpdata_systems(path, format, labeled=False)
                for index in range(system.get_nframes())]  # fmt: skip
    frames = []
    try:
        images = _pymatgen_read(path) if format == PYMATGEN else _ase_read(path, format)
    except InputError as by_ase:
        if format is not None or importlib.util.find_spec(PYMATGEN) is None:
            raise
        try:
            images = _pymatgen_read(path)
        except InputError:
            raise by_ase from None
    for number, atoms in enumerate(images):
        try:
            frames.append(Frame.from_ase(atoms))
        except ValueError as error:
            raise InputError(f"{path}: structure {number}: {error}") from error
    return frames


def read_labeled(path: Path, format: str | None = None) -> list[LabeledFrame]:
    """Every labeled frame in `path`: a folder of deepmd/npy data, or a file that dpdata or ASE reads.

    Raises InputError for what cannot be read, and for a frame whose labels are missing, not finite, or of the
    wrong shape.
    """
    if path.is_dir() or _is_hdf5(path) or (format and not _ase_knows(format)):
        labeled = [
            _labeled_frame_of(system, index, path)
            for system in _dpdata_systems(path, format, labeled=True)
            for index in range(system.get_nframes())
        ]
    else:
        labeled = [_labeled_of(atoms, number, path) for number, atoms in enumerate(_ase_read(path, format))]
    if not labeled:
        raise InputError(f"{path}: there is no labeled frame in it")
    for number, item in enumerate(labeled):
        problem = item.labels.problem(item.frame)
        if problem:
            raise InputError(f"{path}: frame {number}: {problem}")
    return labeled


def write_structure(path: Path, frame: Frame, format: str) -> None:
    """Write one frame in a format of ASE or dpdata. Raises InputError for a format that cannot be written so."""
    try:
        if _ase_knows(format):
            from ase.io import write

            write(path, frame.to_ase(), format=format)
        else:
            import dpdata

            dpdata.System(frame.to_ase(), fmt="ase/structure").to(format, str(path))
    except Exception as error:
        raise InputError(f"the format {format!r} cannot be written: {type(error).__name__}: {error}") from error
    if not path.is_file():
        raise InputError(f"the format {format!r} writes no file for one structure")


def write_extxyz(path: Path, labeled: Sequence[LabeledFrame]) -> None:
    """Labeled frames as extended XYZ with energy (eV), forces (eV/Å) and stress (eV/Å³, ASE's sign)."""
    from ase.io import write

    images = []
    for item in labeled:
        atoms = item.frame.to_ase()
        results: dict[str, Any] = {"energy": item.labels.energy, "forces": item.labels.forces}
        if item.labels.virial is not None and item.frame.pbc:
            results["stress"] = _stress(item.labels.virial, atoms.get_volume())
        atoms.calc = SinglePointCalculator(atoms, **results)
        images.append(atoms)
    write(path, images, format="extxyz")


def labels_from_ase(atoms: Atoms) -> Labels:
    """The results that `atoms` carries. Raises KeyError when energy or forces are missing.

    The energy is the one whose derivative the forces are: ASE's free energy where it is given.
    """
    results = atoms.calc.results if atoms.calc is not None else {}
    energy = results.get("free_energy", results.get("energy"))
    if energy is None:
        raise KeyError("energy")
    virial = None
    if "stress" in results and atoms.pbc.any():
        from ase.stress import voigt_6_to_full_3x3_stress

        stress = np.asarray(results["stress"], dtype=np.float64)
        full = voigt_6_to_full_3x3_stress(stress) if stress.shape == (6,) else stress.reshape(3, 3)
        virial = -full * atoms.get_volume()
    return Labels(float(energy), np.array(results["forces"], dtype=np.float64), virial)


def _stress(virial: np.ndarray, volume: float) -> np.ndarray:
    from ase.stress import full_3x3_to_voigt_6_stress

    return np.asarray(full_3x3_to_voigt_6_stress(-virial / volume))


def _ase_knows(format: str) -> bool:
    from ase.io.formats import ioformats

    return format in ioformats


def _ase_read(path: Path, format: str | None) -> list[Atoms]:
    from ase.io import read

    _check_symbols(path, format)
    try:
        images = read(path, index=":", format=format)
    except Exception as error:
        hint = "" if format else "; if its name does not tell the format, give `format:`"
        raise InputError(f"{path}: cannot be read: {type(error).__name__}: {error}{hint}") from error
    return list(images)


def _check_symbols(path: Path, format: str | None) -> None:
    """Raise InputError for a POSCAR without chemical symbols, which ASE would read as hydrogen, helium and so on."""
    is_poscar = format == "vasp" or (format is None and path.name.startswith(("POSCAR", "CONTCAR")))
    if is_poscar and path.is_file():
        with path.open(errors="replace") as lines:
            head = list(itertools.islice(lines, 6))
        words = head[5].split() if len(head) == 6 else []
        titled = head[0].split() if head else []
        if words and words[0].isdigit() and not (titled and set(titled) <= set(atomic_numbers)):
            raise InputError(f"{path}, line 6: this POSCAR does not say which elements it has; put their symbols there")


def _pymatgen_read(path: Path) -> list[Atoms]:
    """A structure or molecule in a format that only pymatgen knows."""
    try:
        from pymatgen.core import Molecule, Structure
        from pymatgen.io.ase import AseAtomsAdaptor
    except ImportError as error:
        raise InputError(f"{path}: format pymatgen needs the package pymatgen: pip install pymatgen") from error
    reasons = []
    for kind in (Structure, Molecule):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return [AseAtomsAdaptor.get_atoms(kind.from_file(str(path)), msonable=False)]
        except Exception as error:  # noqa: BLE001  its parsers raise anything
            reasons.append(f"{type(error).__name__}: {error}")
    raise InputError(
        f"{path}: cannot be read by ASE or pymatgen: {'; '.join(reasons)}; if its name does not tell the format, give "
        "`format:`"
    )


def _labeled_of(atoms: Atoms, number: int, path: Path) -> LabeledFrame:
    if atoms.calc is None and "energy" not in atoms.info:
        raise InputError(f"{path}: frame {number} has no labels; labeled data need an energy and forces")
    try:
        virial = atoms.info.get("virial", atoms.info.get("virials"))
        labels = labels_from_ase(atoms)
        if labels.virial is None and virial is not None and atoms.pbc.any():
            labels = Labels(labels.energy, labels.forces, np.asarray(virial, dtype=np.float64).reshape(3, 3))
        return LabeledFrame(Frame.from_ase(atoms), labels)
    except KeyError as error:
        raise InputError(f"{path}: frame {number} has no {error.args[0]}; labeled data need both energy and forces") \
            from error  # fmt: skip
    except ValueError as error:
        raise InputError(f"{path}: frame {number}: {error}") from error


def _dpdata_systems(path: Path, format: str | None, labeled: bool) -> list[Any]:
    """dpdata systems in a file or below a folder; a folder's systems are the folders that hold a type.raw."""
    import dpdata

    kind = dpdata.LabeledSystem if labeled else dpdata.System
    if path.is_dir() and format is None:
        folders = sorted(found.parent for found in path.rglob("type.raw"))
        if not folders:
            raise InputError(f"{path}: no deepmd/npy data below this folder (no type.raw)")
        sources = [(folder, _npy_format(folder)) for folder in folders]
    elif _is_hdf5(path) and format in (None, "deepmd/hdf5"):
        sources = [(Path(f"{path}#{group}"), "deepmd/hdf5") for group in _hdf5_groups(path)]
    else:
        sources = [(path, format or "auto")]
    systems = []
    for source, fmt in sources:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if fmt == "deepmd/npy/mixed":
                    loaded = dpdata.MultiSystems()
                    loaded.load_systems_from_file(str(source), fmt=fmt, labeled=labeled)
                    systems += list(loaded)
                    _add_heat(systems[-1], Path(source))
                else:
                    systems.append(kind(str(source), fmt=fmt))
                    _add_heat(systems[-1], Path(source))
        except Exception as error:
            raise InputError(f"{source}: dpdata cannot read it as {fmt}: {type(error).__name__}: {error}") from error
    return systems


def _is_hdf5(path: Path) -> bool:
    return path.suffix in (".hdf5", ".h5")


def _hdf5_groups(path: Path) -> list[str]:
    """Groups of DeePMD-kit's systems in an HDF5 file, those that hold a type.raw. Raises InputError."""
    import h5py

    groups: list[str] = []

    def visit(name: str, item: Any) -> None:
        if name.rsplit("/", 1)[-1] == "type.raw" and isinstance(item, h5py.Dataset):
            groups.append(f"/{name[: -len('type.raw')]}".rstrip("/"))

    try:
        with h5py.File(path) as file:
            file.visititems(visit)
    except OSError as error:
        raise InputError(f"{path}: cannot be read as HDF5: {error}") from error
    if not groups:
        raise InputError(f"{path}: no deepmd/hdf5 data in this file (no type.raw)")
    return sorted(groups)


def _add_heat(system: Any, folder: Path) -> None:
    """The electronic temperatures that lie beside the frames, which dpdata does not know."""
    files = sorted(folder.glob(f"set.*/{HEAT}")) if folder.is_dir() else []
    if files:
        heat = np.concatenate([np.load(file, allow_pickle=False) for file in files])
        if heat.shape != (system.get_nframes(), 1):
            raise ValueError(
                f"{HEAT} has shape {heat.shape} for {system.get_nframes()} frames; one number a frame is known"
            )
        system.data[HEAT] = heat[:, 0]


def _npy_format(folder: Path) -> str:
    mixed = next(folder.glob("set.*/real_atom_types.npy"), None)
    return "deepmd/npy/mixed" if mixed else "deepmd/npy"


def _frame_of(system: Any, index: int, path: Path) -> Frame:
    from ase.data import atomic_numbers

    try:
        numbers = np.array([atomic_numbers[name] for name in system["atom_names"]], dtype=np.int64)
    except KeyError as error:
        raise InputError(f"{path}: {error.args[0]!r} is not a chemical symbol; give the data a type_map.raw") from error
    pbc = not system.nopbc
    cell = np.array(system["cells"][index], dtype=np.float64) if pbc else np.zeros((3, 3))
    heat = float(system.data[HEAT][index]) if HEAT in system.data else None
    return Frame(numbers[system["atom_types"]], np.array(system["coords"][index], dtype=np.float64), cell, pbc, heat)


def _labeled_frame_of(system: Any, index: int, path: Path) -> LabeledFrame:
    for needed in ("energies", "forces"):
        if needed not in system.data:
            raise InputError(f"{path}: frame {index} has no {needed}; labeled data need both energies and forces")
    virial = system["virials"][index] if "virials" in system.data else None
    labels = Labels(
        float(system["energies"][index]),
        np.array(system["forces"][index], dtype=np.float64),
        None if virial is None else np.array(virial, dtype=np.float64),
    )
    return LabeledFrame(_frame_of(system, index, path), labels)
