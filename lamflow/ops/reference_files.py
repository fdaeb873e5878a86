"""Files with references: of lamflow, of APEX, of matcalc, and tables."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lamflow.config.properties import ReferenceValue
from lamflow.config.section import expand, json_of, text_of
from lamflow.config.tracked import AskedProperties
from lamflow.data import Frame
from lamflow.errors import InputError
from lamflow.policy.apex import apex_values, is_apex
from lamflow.policy.matcalc import is_matcalc, matcalc_values

COLUMNS = ("structure", "property", "name", "where", "value", "unit", "uncertainty", "source")
MOST_BYTES = 64_000_000
"""Of a compressed file when it is unpacked."""


def references_of(asked: AskedProperties, structures: Mapping[str, Frame]) -> list[ReferenceValue]:
    """The values of the file that is named as the reference; none where there is none. See `read_references`."""
    file = asked.reference.file if asked.reference is not None else None
    cohesive = [title for title, settings in asked.named_properties() if settings.property == "cohesive"]
    return read_references(file, structures, cohesive) if file is not None else []


def read_references(
    file: Path, structures: Mapping[str, Frame] | None = None, cohesive: Sequence[str] = ()
) -> list[ReferenceValue]:
    """The values of properties.json or .csv of another run, of a table with COLUMNS, of APEX's all_result.json, or of
    matcalc's references of the elements.

    structures  by name: which of matcalc's crystals are theirs is seen from their elements and symmetry
    cohesive    titles of the results that have a cohesive energy

    Raises InputError that names what is none of them, and the row of a table that is wrong.
    """
    try:
        text = _unpacked(file) if file.suffix.lower() == ".gz" else text_of(file)
    except (OSError, ValueError) as error:
        raise InputError(f"reference.file: {file}: {error}") from error
    if file.suffix.lower() == ".csv":
        rows = list(csv.DictReader(io.StringIO(text)))
        return [_value(file, number, row) for number, row in enumerate(rows, 2)]
    try:
        document = json_of(text)
    except ValueError as error:
        raise InputError(f"reference.file: {file}: neither a .csv table nor JSON: {error}") from error
    if is_apex(document):
        try:
            return apex_values(document)
        except (KeyError, TypeError, ValueError, IndexError, RecursionError) as error:
            raise InputError(f"reference.file: {file}: not as APEX writes all_result.json: {error!r}") from error
    if is_matcalc(document):
        try:
            return list(matcalc_values(document, structures or {}, cohesive))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError(f"reference.file: {file}: not as matcalc writes its references: {error!r}") from error
    if isinstance(document, dict) and isinstance(document.get("comparisons"), list):
        rows = document["comparisons"]
        return [_value(file, number, row) for number, row in enumerate(rows, 1) if isinstance(row, Mapping)]
    raise InputError(
        f"reference.file: {expand(file)}: not properties.json of a run, nor APEX's all_result.json, nor matcalc's "
        f"references of the elements, nor a .csv table with the columns {', '.join(COLUMNS)}"
    )


def _unpacked(file: Path) -> str:
    """The text of a compressed file. Raises ValueError for one that is none, or too large."""
    try:
        with gzip.open(expand(file)) as packed:
            data = packed.read(MOST_BYTES + 1)
    except (EOFError, zlib.error) as error:
        raise ValueError(f"it is cut off or damaged: {error}") from error
    if len(data) > MOST_BYTES:
        raise ValueError(f"more than {MOST_BYTES / 1e6:.0f} MB when it is unpacked")
    return data.decode("utf-8")


def _value(file: Path, number: int, row: Mapping[str, Any]) -> ReferenceValue:
    """A row of a table; of several potentials the first one counts."""
    given = {name: row[name] for name in COLUMNS if row.get(name) not in (None, "")}
    try:
        for name in ("value", "uncertainty"):
            if name in given:
                given[name] = float(given[name])
        return ReferenceValue.model_validate({"source": expand(file).name, **given})
    except (ValidationError, ValueError) as error:
        reason = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        where = ".".join(map(str, reason["loc"]))
        raise InputError(f"reference.file: {file}, row {number}: {where} {reason['msg']}") from error
