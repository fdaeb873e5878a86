"""APEX's all_result.json."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lamflow.data.properties import Curve, PropertyResult, Value
from lamflow.policy.apex import apex_values, is_apex
from lamflow.reports.apex import apex_document
from lamflow.science.properties.eos import birch_murnaghan


def array(values: object) -> dict[str, object]:
    """As monty writes it."""
    return {"@module": "numpy", "@class": "array", "dtype": "float64", "data": values}


VOLUMES = np.linspace(10.5, 12.5, 9)
DOCUMENT = {
    "work_path": "/tmp/work",
    "archive_key": None,
    "confs/std-fcc": {
        "relaxation": {"result": {"@module": "dpdata.system", "data": {
            "atom_types": array([0]), "energies": array([-3.5]), "cells": array([[[0, 1.8, 1.8], [1.8, 0, 1.8], [1.8, 1.8, 0]]])}}},
        "eos_00": {"result": json.dumps({str(v): e for v, e in zip(
            VOLUMES.tolist(), birch_murnaghan(VOLUMES, -3.5, 11.5, 0.87, 4.5).tolist(), strict=True)})},
        "elastic_00": {"result": {"elastic_tensor": (100 * np.eye(6)).tolist(), "B": 134.0, "G": 60.0, "E": 150.0, "u": 0.3}},
        "surface_00": {"result": {"[1, 1, 1]_task.000000": [1.3, -3.4, -3.5], "[1, 1, 1]_task.000001": [1.4, -3.4, -3.5]}},
        "phonon_00": {"result": {"band": []}},
    },
}  # fmt: skip


def test_its_values_have_lamflow_s_names() -> None:
    assert is_apex(DOCUMENT)
    assert not is_apex({"results": []})
    found = {(v.property, v.name, v.where): v for v in apex_values(DOCUMENT)}
    assert {value.structure for value in found.values()} == {"std-fcc"}
    assert found["relaxation", "E", ""].value == -3.5
    assert found["relaxation", "V", ""].value == pytest.approx(2 * 1.8**3)
    assert found["eos", "B0", ""].value == pytest.approx(0.87 * 160.2177, rel=1e-4)
    assert found["elastic", "C44", ""].value == 100
    assert found["surface", "gamma", "(111) termination 2"].value == 1.4


def test_what_is_written_is_read_again() -> None:
    energies = birch_murnaghan(VOLUMES, -3.5, 11.5, 0.87, 4.5)
    curve = Curve(name="energy", x=VOLUMES.tolist(), y=energies.tolist(), x_label="", y_label="")
    about = {"structure": "copper", "potential": "emt"}
    results = [
        PropertyResult(**about, property="relaxation", values=[Value(name="E", value=-3.5, unit="eV/atom")]),
        PropertyResult(**about, property="eos", values=[], curves=[curve]),
        PropertyResult(
            **about, property="surface", values=[Value(name="gamma", value=1.3, unit="J/m²", where="(111)")]
        ),
        PropertyResult(**about, property="phonon", values=[], failed="it is none"),
    ]
    document = json.loads(json.dumps(apex_document(results, "emt")))
    assert document["confs/copper"]["surface_00"]["result"] == {"[1, 1, 1]_task.000000": [1.3, "nan", -3.5]}
    found = {(v.property, v.name): v.value for v in apex_values(document)}
    assert found["eos", "V0"] == pytest.approx(11.5, rel=1e-4)
    assert apex_document(results, "other") == {"work_path": ".", "archive_key": None}


def test_a_relaxed_crystal_is_written_as_the_reporter_of_apex_reads_it() -> None:
    values = [Value(name="E", value=-3.5, unit="eV/atom"), Value(name="V", value=11.664, unit="Å³/atom")]
    values += [Value(name=name, value=3.6, unit="Å") for name in "abc"]
    values += [Value(name=name, value=90.0, unit="°") for name in ("alpha", "beta", "gamma")]
    about = {"structure": "copper", "potential": "emt", "property": "relaxation"}
    result = PropertyResult(**about, values=values, notes=["space group Fm-3m (225)"])
    document = json.loads(json.dumps(apex_document([result], "emt")))
    relaxation = document["confs/copper"]["relaxation"]
    assert relaxation["result"]["data"]["energies"]["data"] == [-14.0]
    assert relaxation["result"]["data"]["cells"]["data"][-1][0] == pytest.approx([3.6, 0, 0])
    assert relaxation["structure_info"]["space_group_number"] == 225
    assert relaxation["structure_info"]["crystal_system"] == "cubic"
    assert apex_values(document) == []


def test_values_at_temperatures_are_written_and_read_again() -> None:
    about = {"structure": "copper", "potential": "emt"}
    where, tensor = "300 K", np.diag([170.0, 170, 170, 75, 75, 75]).tolist()
    results = [
        PropertyResult(
            **about, property="dynamics-2",
            values=[Value(name=n, value=3.62, unit="Å", where=where) for n in "abc"],
        ),
        PropertyResult(
            **about, property="thermal-elastic", tables={"300 K: stiffness (GPa)": tensor},
            values=[Value(name="V", value=11.8, unit="Å³/atom", where=where),
                    Value(name="B", value=140.0, unit="GPa", where="300 K, voigt"),
                    Value(name="G", value=50.0, unit="GPa", where="300 K, voigt")],
        ),
    ]  # fmt: skip
    document = json.loads(json.dumps(apex_document(results, "emt")))["confs/copper"]
    assert document["finite_t_latt_01"]["result"] == {"300": [3.62, 3.62, 3.62, 300.0]}
    assert document["finite_t_elastic_00"]["result"]["temperatures"]["300"]["B"] == 140.0
    found = {
        (v.property, v.name, v.where): v.value for v in apex_values({"confs/copper": {**document, "relaxation": {}}})
    }
    assert found["dynamics", "a", "300 K"] == 3.62
    assert found["thermal-elastic", "C44", "300 K"] == 75.0
    assert found["thermal-elastic", "B", "300 K, voigt"] == 140.0
