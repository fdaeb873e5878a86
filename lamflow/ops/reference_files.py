"""Files with references: of lamflow, of APEX, and tables."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lamflow.config.properties import References, ReferenceValue
from lamflow.config.section import expand, json_of, text_of
from lamflow.errors import InputError
from lamflow.policy.apex import apex_values, is_apex

COLUMNS = ("structure", "property", "name", "where", "value", "unit", "uncertainty", "source")


def references_of(reference: References | None) -> list[ReferenceValue]:
    """The values of the file that is named as the reference; none where there is none."""
    file = reference.file if reference is not None else None
    return read_references(file) if file is not None else []


def read_references(file: Path) -> list[ReferenceValue]:
    """The values of properties.json or .csv of another run, of a table with COLUMNS, or of APEX's all_result.json.

    Raises InputError that names what is none of them, and the row of a table that is wrong.
    """
    try:
        text = text_of(file)
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
    if isinstance(document, dict) and isinstance(document.get("comparisons"), list):
        rows = document["comparisons"]
        return [_value(file, number, row) for number, row in enumerate(rows, 1) if isinstance(row, Mapping)]
    raise InputError(
        f"reference.file: {expand(file)}: not properties.json of a run, nor APEX's all_result.json, nor a .csv table "
        f"with the columns {', '.join(COLUMNS)}"
    )


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
