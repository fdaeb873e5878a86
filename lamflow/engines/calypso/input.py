"""CALYPSO's own input: `input.dat` of versions up to 7, and `input.toml` of version 10."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ase.data import atomic_numbers

from lamflow.engines.calypso.settings import CalypsoSearch, formula
from lamflow.errors import InputError

Format = Literal["input.dat", "input.toml"]
Value = str | int | float | bool | list[Any]
Matrix = list[list[float]]
WORDS = ("SystemName", "NameOfAtoms", "Command", "Substrate", "Substrate2", "CifFilePath")
FLAGS = (
    "PickUp", "LMC", "2D", "LFilm", "Cluster", "MOL", "VSC", "LSurface", "SpaceSaving", "CapBondsWithH",
    "LInterface", "InterfaceTranslation", "Twin_Interface", "Hardness", "Adsorption", "BothSide", "BandGapDesign",
    "FixCell", "FixAtom", "LXRD", "LTranState", "Parallel", "Split", "LMolecule",
)  # fmt: skip
INTEGERS = (
    "NumberOfSpecies", "AtomicNumber", "NumberOfAtoms", "NumberOfFormula", "Ialgo", "ICode", "NumberOfLocalOptim",
    "PopSize", "MaxStep", "PickStep", "MaxTime", "MultiLayer", "NumberOfTypeMolecule", "NumberOfMolecule", "MaxNumAtom",
    "SurfaceAtoms", "ECR", "MillerIndex", "SlabNumLayers", "NumRelaxedLayers", "Rand_Scheme", "AdsorptionStyle",
    "NumberOfTypeAtom", "SpeSpaceGroup", "NumberOfImages", "NumberOfLbest", "GenType", "Seed",
)  # fmt: skip
REALS = (
    "Volume", "PsoRatio", "Kgrid", "Thickness", "Area", "DeltaZ", "LayerGap", "VacuumGap", "LAtom_Dis", "Vacancy",
    "DistOfMol", "SurfaceThickness", "SlabVacuumThick", "SlabTopMost", "TranslationLimitA", "TranslationLimitB",
    "Interface_thickness", "RangeOfZAxis", "TarBandGap", "WaveLength", "RangeOf2Theta", "StandardPeakPosition",
    "PSTRESS", "fmax",
)  # fmt: skip
MATRICES = (
    "DistanceOfIon", "CtrlRange", "LayerType", "MatrixNotation", "Surface_Atoms", "Coordinate_Number", "Adatoms",
    "SuperCell",
)  # fmt: skip
SPELLING = {key.lower(): key for key in (*WORDS, *FLAGS, *INTEGERS, *REALS, *MATRICES)}
KILOBAR_IN_GPA = 0.1


@dataclass(frozen=True)
class CalypsoInput:
    """An `input.dat`: values by key as the manual spells it, matrices row by row. Keys are not case-sensitive."""

    values: Mapping[str, Value] = field(default_factory=dict)
    matrices: Mapping[str, Matrix] = field(default_factory=dict)

    def get(self, key: str, default: Any = None) -> Any:
        """The value of `key` or `default`."""
        return self.values.get(SPELLING.get(key.lower(), key), default)

    def text(self) -> str:
        """As `input.dat`."""
        lines = [f"{key} = {_written(value)}" for key, value in self.values.items()]
        for key, rows in self.matrices.items():
            lines += [f"@{key}", *(" ".join(f"{number:g}" for number in row) for row in rows), "@End"]
        return "\n".join(lines) + "\n"

    @classmethod
    def parse(cls, text: str, name: str = "input.dat") -> CalypsoInput:
        """Read an `input.dat`. Raises InputError with the line that cannot be read; unknown keys are kept."""
        values: dict[str, Value] = {}
        matrices: dict[str, Matrix] = {}
        lines = enumerate((line.split("#", 1)[0].strip() for line in text.splitlines()), 1)
        for number, line in lines:
            if not line:
                continue
            if line.startswith("@"):
                key = SPELLING.get(line[1:].strip().lower(), line[1:].strip())
                matrices[key] = _matrix(lines, name, number, key)
                continue
            key, equals, rest = (part.strip() for part in line.partition("="))
            if not equals:
                raise InputError(f"{name}: line {number}: {line!r} is neither `key = value` nor the begin of a matrix")
            key = SPELLING.get(key.lower(), key)
            try:
                values[key] = _read(key, rest)
            except ValueError as error:
                raise InputError(f"{name}: line {number}: {key} = {rest}: {error}") from error
        return cls(values, matrices)


def _matrix(lines: Iterator[tuple[int, str]], name: str, begin: int, key: str) -> Matrix:
    rows: Matrix = []
    for number, line in lines:
        if line.lower() == "@end":
            return rows
        try:
            if line:
                rows.append([float(word) for word in line.split()])
        except ValueError as error:
            raise InputError(f"{name}: line {number}: {line!r} in @{key} is not a row of numbers") from error
    raise InputError(f"{name}: line {begin}: @{key} has no @End; the file is cut off")


def _read(key: str, text: str) -> Value:
    words = text.split()
    if key in FLAGS:
        flag = text.strip().lower().strip(".")
        if flag not in ("t", "true", "f", "false"):
            raise ValueError("give T or F")
        return flag in ("t", "true")
    for keys, kind in ((INTEGERS, int), (REALS, float)):
        if key in keys:
            numbers = [kind(word) for word in words]
            if not numbers:
                raise ValueError("a number is missing")
            return numbers[0] if len(numbers) == 1 else list(numbers)
    return words if key == "NameOfAtoms" else text


def _written(value: Value) -> str:
    if isinstance(value, bool):
        return "T" if value else "F"
    if isinstance(value, list):
        return " ".join(_written(item) for item in value)
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def input_of(
    settings: CalypsoSearch, condition: Mapping[str, float], extra: CalypsoInput | None = None
) -> CalypsoInput:
    """The `input.dat` of a search; keys of the user's `extra` that a search does not decide are kept."""
    elements = settings.elements
    per_unit = settings.formula or dict.fromkeys(elements, 1)
    values: dict[str, Value] = {
        "SystemName": "".join(elements),
        "NumberOfSpecies": len(elements),
        "NameOfAtoms": list(elements),
        "AtomicNumber": settings.numbers,
        "NumberOfAtoms": [per_unit[element] for element in elements],
        "NumberOfFormula": list(settings.formula_units) if settings.formula else [1, 1],
        "Volume": round(sum(settings.volume(element) * count for element, count in per_unit.items()), 4),
        "Ialgo": 1 if settings.swarm == "global" else 2,
        "PsoRatio": settings.pso_ratio,
        "PopSize": settings.population,
        "MaxStep": settings.generations,
        "ICode": 15,
        "NumberOfLbest": settings.leaders if settings.swarm == "local" else 1,
        "NumberOfLocalOptim": 1,
        "Command": "true",
        "GenType": 1,
        "PickUp": False,
        "Parallel": False,
        "Split": True,
        "SpeSpaceGroup": list(settings.space_groups),
        "VSC": bool(settings.ranges),
        "MaxNumAtom": settings.max_atoms,
        "PSTRESS": settings.pressure_gpa(dict(condition)) / KILOBAR_IN_GPA,
        "fmax": settings.relax.fmax,
    }
    matrices: dict[str, Matrix] = {"DistanceOfIon": [[settings.distance(a, b) for b in elements] for a in elements]}
    if settings.ranges:
        matrices["CtrlRange"] = [[float(low), float(high)] for low, high in settings.ranges.values()]
    kept = extra or CalypsoInput()
    return CalypsoInput({**kept.values, **values}, {**kept.matrices, **matrices})


def settings_of(source: CalypsoInput) -> CalypsoSearch:
    """The search that an `input.dat` asks for. Raises InputError for what is missing, ValueError for what cannot be."""
    try:
        names, counts = [source.values[key] for key in ("NameOfAtoms", "NumberOfAtoms")]
    except KeyError as error:
        raise InputError(f"input.dat: {error.args[0]} is missing, and it has no default") from error
    elements = names if isinstance(names, list) else str(names).split()
    unknown = [element for element in elements if element not in atomic_numbers]
    if unknown:
        raise InputError(f"input.dat: NameOfAtoms: {unknown[0]!r} is not a chemical symbol")
    per_unit = dict(zip(elements, counts if isinstance(counts, list) else [counts], strict=False))
    if len(per_unit) != len(elements):
        raise InputError(f"input.dat: {len(elements)} names of atoms and {len(per_unit)} numbers of atoms")
    asked: dict[str, Any] = {
        "engine": "calypso", "population": source.get("PopSize", 30), "generations": source.get("MaxStep", 50),
        "pso_ratio": source.get("PsoRatio", 0.6), "swarm": "global" if source.get("Ialgo", 2) == 1 else "local",
        "leaders": source.get("NumberOfLbest", 4), "space_groups": _pair(source.get("SpeSpaceGroup", [1, 230])),
        "pressures": [source.get("PSTRESS", 0.0) * 1000.0],
    }  # fmt: skip
    if source.get("VSC", False):
        rows = source.matrices.get("CtrlRange", [])
        if len(rows) != len(elements):
            raise InputError(f"input.dat: @CtrlRange has {len(rows)} rows for {len(elements)} elements")
        asked["ranges"] = {element: (int(low), int(high)) for element, (low, high) in zip(elements, rows, strict=True)}
        asked["max_atoms"] = source.get("MaxNumAtom", 20)
    else:
        asked["formula"] = per_unit
        asked["formula_units"] = _pair(source.get("NumberOfFormula", [1, 4]))
        asked["max_atoms"] = max(1, asked["formula_units"][1] * sum(per_unit.values()))
        volume = source.get("Volume", 0)
        if volume:
            guess = CalypsoSearch.model_validate(asked)
            scale = volume / sum(guess.volume(element) * count for element, count in per_unit.items())
            asked["volumes"] = {element: guess.volume(element) * scale for element in elements}
    rows = source.matrices.get("DistanceOfIon", [])
    if rows:
        if [len(row) for row in rows] != [len(elements)] * len(elements):
            raise InputError(f"input.dat: @DistanceOfIon must have {len(elements)} rows of {len(elements)} numbers")
        asked["distances"] = {
            f"{a}-{b}": rows[i][j] for i, a in enumerate(elements) for j, b in enumerate(elements) if j >= i
        }
    return CalypsoSearch.model_validate(asked)


def _pair(value: Any) -> tuple[int, int]:
    first, last = (value, value) if isinstance(value, int) else value
    return int(first), int(last)


def toml_of(settings: CalypsoSearch, condition: Mapping[str, float], seed: int, extra: str = "") -> str:
    """The `input.toml` of version 10 in its manual mode (IRunner = 2); the user's `extra` keys are kept."""
    elements = settings.elements
    if settings.formula:
        low, high = settings.formula_units
        units = f"({formula(dict(settings.formula))}){low}-{high}"
    else:
        units = "".join(f"({element}){low}-{high}" for element, (low, high) in settings.ranges.items())
    distances = [["X", *elements], *([a, *(round(settings.distance(a, b), 4) for b in elements)] for a in elements)]
    made: dict[str, dict[str, Any]] = {
        "CALYPSO": {
            "SystemName": "".join(elements), "Seed": seed % 2**31, "IType": 1, "ICode": 15,
            "IAlgo": 1 if settings.swarm == "global" else 2, "IFit": 1, "IRunner": 2, "ISim": 1, "BlockMode": True,
            "PickUp": True,
        },
        "EVO": {
            "NBest": settings.leaders if settings.swarm == "local" else 1, "PsoRatio": settings.pso_ratio,
            "PopSize": settings.population, "MaxStep": settings.generations,
        },
        "GENERATOR": {
            "FormulaUnit": [units], "MaxNumAtom": settings.max_atoms,
            "VolumeUnit": {element: round(settings.volume(element), 4) for element in elements},
            "DistanceOfIon": distances, "SpaceGroup": [f"{settings.space_groups[0]}-{settings.space_groups[1]}"],
        },
        "OPT": {"Pstress": settings.pressure_gpa(dict(condition)), "Fmax": settings.relax.fmax},
        "DESCRIPTOR": {"SimThreshold": settings.similarity},
    }  # fmt: skip
    given = parse_toml(extra) if extra else {}
    for section in sorted({*given, *made}, key=lambda name: (name != "CALYPSO", name)):
        theirs, ours = given.get(section, {}), made.get(section, {})
        decided = {key.lower() for key in ours}
        made[section] = {**{key: value for key, value in theirs.items() if key.lower() not in decided}, **ours}
    lines = []
    for section, content in made.items():
        lines.append("[CALYPSO]" if section == "CALYPSO" else f"[CALYPSO.{section}]")
        lines += [f"{key} = {_toml(value)}" for key, value in content.items()]
        lines.append("")
    return "\n".join(lines)


def parse_toml(text: str, name: str = "input.toml") -> dict[str, dict[str, Any]]:
    """The sections of an `input.toml` by their last names. Raises InputError."""
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{name}: {error}") from error
    top = {key.upper(): value for key, value in found.items()}.get("CALYPSO")
    if not isinstance(top, dict):
        raise InputError(f"{name}: there is no section [CALYPSO]")
    sections = {key.upper(): value for key, value in top.items() if isinstance(value, dict)}
    return {"CALYPSO": {key: value for key, value in top.items() if not isinstance(value, dict)}, **sections}


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    return repr(value)
