"""Files with references."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamflow.data.comparisons import Comparison
from lamflow.data.properties import PropertyValues
from lamflow.errors import InputError
from lamflow.ops.reference_files import read_references
from lamflow.reports.properties import as_csv

ROW = Comparison(
    structure="copper", potential="pbe", property="eos", name="B0", where="", value=137.0, unit="GPa", uncertainty=0.5,
    reference=None,
)  # fmt: skip


def test_properties_of_another_run_are_references(tmp_path: Path) -> None:
    (tmp_path / "properties.csv").write_text(as_csv([ROW]))
    PropertyValues(results=[], comparisons=[ROW]).save(tmp_path / "properties.json")
    for name in ("properties.csv", "properties.json"):
        [value] = read_references(tmp_path / name)
        assert (value.structure, value.name, value.value, value.unit, value.uncertainty, value.source) == (
            "copper", "B0", 137.0, "GPa", 0.5, name,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.csv", "structure,property,name,value,unit\ncopper,eos,B0,many,GPa\n", r"x\.csv, row 2: .*many"),
        ("x.csv", "structure,property,name,value\ncopper,eos,B0,1\n", "row 2: unit Field required"),
        ("x.json", "{", "neither a .csv table nor JSON"),
        ("x.json", "[1]", "not properties.json of a run"),
        ("x.json", '{"confs/a": {"relaxation": {"result": {"data": {}}}}}', "not as APEX writes"),
    ],
)
def test_what_is_no_reference_is_refused(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_references(tmp_path / name)
