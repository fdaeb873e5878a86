"""A study of properties without a file: structures, a model, and the names of properties."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from lamflow.config.installed import engines
from lamflow.config.properties import PropertiesStudy
from lamflow.config.read import parse
from lamflow.config.section import distinct
from lamflow.errors import InputError

PROPERTIES = ("eos", "elastic")
"""What a quick look asks for unless it is told."""


def quick_study(
    structures: Sequence[Path], elements: Sequence[str], model: str, head: str | None = None,
    properties: Sequence[str] = (), like: PropertiesStudy | None = None,
) -> PropertiesStudy:  # fmt: skip
    """The study that asks a model for properties of the structures in files.

    elements  of all structures
    model     a model file, the name of an engine that needs no file, or the import path of a calculator of ASE
    like      whose properties, relaxation and references it has, where these are not named

    Raises InputError for a model that nobody can evaluate and for a property that there is not.
    """
    names = [_name(file) for file in structures]
    asked = _name(Path(model if Path(model).exists() else model.rsplit(".", 1)[-1]))
    spec: dict[str, Any] = {
        "workflow": "properties",
        "name": f"{names[0][:16]}-{asked[:12].strip('-')}-properties",
        "elements": list(elements),
        "structures": [
            {"name": name, "files": [str(file.absolute())]}
            for name, file in zip(distinct(names), structures, strict=True)
        ],
        "potentials": [{"name": "model", "evaluate": evaluator_spec(model, head)}],
        "properties": [{"property": name} for name in properties or ([] if like is not None else PROPERTIES)],
    }
    try:
        study = parse(yaml.safe_dump(spec, allow_unicode=True), "lamflow properties", kind=PropertiesStudy)
    except InputError as error:  # nobody has seen the lines
        raise InputError(re.sub(r"^  line \d+ +", "  ", str(error), flags=re.MULTILINE)) from error
    if like is None:
        return study
    update: dict[str, Any] = {"relax": like.relax, "reference": like.reference, "pods": like.pods}
    if not properties:
        update["properties"] = like.properties
    return study.model_copy(update=update)


def evaluator_spec(model: str, head: str | None = None) -> dict[str, Any]:
    """What a file would say of a model. Raises InputError for one that nobody can evaluate."""
    if Path(model).is_file():
        readers = [
            engine.name
            for engine in engines().values()
            if "evaluate" in engine.roles and "model" in engine.roles["evaluate"].settings.model_fields
        ]
        if not readers:
            raise InputError(f"--model {model}: no engine that is installed here evaluates model files")
        return {
            "engine": readers[0],
            "model": {"file": str(Path(model).absolute()), **({"head": head} if head else {})},
        }
    if head is not None:
        raise InputError(f"--head {head}: {model} is no model file, and only these have heads")
    if model in engines() and "evaluate" in engines()[model].roles:
        return {"engine": model}
    if re.fullmatch(r"\w+(\.\w+)+", model) and not model.endswith((".pt", ".pth", ".pb", ".pt2")):
        return {"engine": "ase", "calculator": model}
    known = sorted(name for name, engine in engines().items() if "evaluate" in engine.roles)
    raise InputError(
        f"--model {model}: there is no such file, and no such engine; engines that evaluate are {', '.join(known)}, "
        "and a calculator of ASE is named like ase.calculators.emt.EMT"
    )


def _name(file: Path) -> str:
    """A file's name as that of a structure set."""
    stem = file.parent.name if file.stem in ("POSCAR", "CONTCAR") and file.parent.name else file.stem
    return re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[:40].strip("-") or "structure"
