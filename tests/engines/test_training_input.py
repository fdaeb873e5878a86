"""Inputs of trainings are proved before labels are paid: widths, rates, neighbours, and a model of two atoms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase.build import bulk

from lamflow.data import Frame
from lamflow.engines.deepmd import neighbours, toy
from lamflow.engines.deepmd.examine import OTHER_BACKENDS, check_inputs, check_neighbours
from lamflow.engines.deepmd.settings import DeepmdTraining
from lamflow.errors import InputError

pytestmark = pytest.mark.deepmd
DESCRIPTOR = {"type": "se_e2_a", "sel": [6, 6], "rcut": 4.0, "neuron": [4, 8], "axis_neuron": 2}


def normalized(descriptor: dict[str, Any], fitting: dict[str, Any]) -> dict[str, Any]:
    from deepmd.utils.argcheck import normalize

    model = {"type_map": ["Al", "Cu"], "descriptor": descriptor, "fitting_net": fitting}
    training = {"training_data": {"systems": ["x"]}, "numb_steps": 1}
    whole = {
        "model": model,
        "training": training,
        "loss": {"type": "ener"},
        "learning_rate": {"start_lr": 1e-3, "stop_lr": 1e-8},
    }
    return dict(normalize(whole)["model"])


@pytest.mark.parametrize(
    ("descriptor", "fitting"),
    [
        ({}, {}),
        ({"sel": "auto"}, {}),
        ({}, {"numb_fparam": 1}),
        ({"type": "dpa1", "sel": "auto:1.2", "axis_neuron": 2}, {}),
    ],
)
def test_models_that_can_be_made(descriptor: dict[str, Any], fitting: dict[str, Any]) -> None:
    model = normalized({**DESCRIPTOR, **descriptor}, fitting)
    toy.check_widths(model)
    toy.check_model(model)


@pytest.mark.parametrize(
    ("descriptor", "fitting", "expected"),
    [
        ({"neuron": [0, 8]}, {}, "every layer needs at least one neuron"),
        ({}, {"neuron": [16, 0]}, r"model.fitting_net.neuron = \[16, 0\]: every layer"),
        ({"sel": [0, 0]}, {}, "would look at no neighbour"),
        ({"precision": "float12"}, {}, "no model can be made of it: KeyError: 'float12'"),
        ({}, {"activation_function": "foo"}, "no model can be made of it"),
        ({"rcut_smth": 5.0}, {}, "no model can be made of it"),
        ({"axis_neuron": 20}, {}, "no model can be made of it"),
    ],
)
def test_models_that_cannot(descriptor: dict[str, Any], fitting: dict[str, Any], expected: str) -> None:
    model = normalized({**DESCRIPTOR, **descriptor}, fitting)
    with pytest.raises(InputError, match=expected):
        tried(model)


def tried(model: dict[str, Any]) -> None:
    toy.check_widths(model)
    toy.check_model(model)


def test_one_number_for_several_elements() -> None:
    for sel in ([6], [6, 6, 6]):
        with pytest.raises(InputError, match=rf"sel has {len(sel)} numbers for 2 elements; .* Al, Cu, or auto"):
            toy.check_sel_lists({"descriptor": {**DESCRIPTOR, "sel": sel}}, ["Al", "Cu"])
    hybrid = {"type": "hybrid", "list": [DESCRIPTOR, {**DESCRIPTOR, "sel": [6]}]}
    with pytest.raises(InputError, match=r"descriptor.list\[1\].sel has 1 numbers"):
        toy.check_sel_lists({"descriptor": hybrid}, ["Al", "Cu"])
    toy.check_sel_lists({"descriptor": {**DESCRIPTOR, "type": "dpa1", "sel": [6]}}, ["Al", "Cu"])


def test_rates_fall() -> None:
    with pytest.raises(InputError, match=r"stop_lr \(0.01\) must be below start_lr \(0.001\)"):
        toy.check_rates({"start_lr": 1e-3, "stop_lr": 1e-2})
    toy.check_rates({"start_lr": 1e-3, "stop_lr": 1e-8})


def test_neighbours_are_counted_as_shells_say() -> None:
    """An atom of fcc has 12 neighbours in the first shell and 6 in the second."""
    copper = Frame.from_ase(bulk("Cu", "fcc", a=3.6, cubic=True))
    ordered = Frame(np.array([13, 29, 29, 29]), copper.positions, copper.cell)  # Cu3Al: Al has 12 Cu, Cu has 4 Al, 8 Cu
    assert neighbours.neighbours(copper, ["Cu"], 3.0, mixed=True).tolist() == [12]
    assert neighbours.neighbours(copper, ["Cu"], 3.7, mixed=True).tolist() == [18]
    assert neighbours.neighbours(ordered, ["Al", "Cu"], 3.0, mixed=False).tolist() == [4, 12]
    assert neighbours.neighbours(ordered, ["Al", "Cu"], 3.0, mixed=True).tolist() == [12]

    def said(sel: Any, kind: str = "se_e2_a") -> list[str]:
        return neighbours.Counts(["Al", "Cu"], [copper, ordered]).too_few({"type": kind, "rcut": 3.0, "sel": sel})

    assert said([4, 12]) == said("auto") == said(12, "dpa1") == []
    [warning] = said([4, 11])
    assert "sel is 11 for Cu" in warning
    assert "up to 12" in warning
    [warning] = said(11, "dpa1")
    assert "sel is 11 for all elements" in warning
    repinit = {"type": "dpa2", "repinit": {"rcut": 3.0, "nsel": 10}}
    assert "repinit.nsel is 10" in neighbours.Counts(["Al", "Cu"], [copper]).too_few(repinit)[0]


def test_neighbours_of_a_cutoff_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    copper = Frame.from_ase(bulk("Cu", "fcc", a=3.6, cubic=True))
    counted: list[float] = []
    count = neighbours.neighbours

    def counting(frame: Frame, elements: Any, cutoff: float, *, mixed: bool) -> Any:
        counted.append(cutoff)
        return count(frame, elements, cutoff, mixed=mixed)

    monkeypatch.setattr(neighbours, "neighbours", counting)
    settings = DeepmdTraining.model_validate(
        {
            "engine": "deepmd",
            "models": 2,
            "input": {"model": {"descriptor": {**DESCRIPTOR, "sel": [6]}}},
            "variants": [
                {"name": "small"},
                {"name": "wide", "input": {"model": {"descriptor": {**DESCRIPTOR, "sel": [3]}}}},
            ],
        }
    )
    said = check_neighbours(settings.descriptors().values(), ["Cu"], [copper])
    assert [warning.split(", and")[0] for warning in said] == [
        f"train.input: model.descriptor.sel is {sel} for all elements" for sel in (6, 3)
    ]
    assert counted == [4.0]


def test_statistics_are_made_where_they_are_asked_for() -> None:
    assert neighbours.asks_for_statistics({"model": {"descriptor": {"list": [{"sel": "auto:1.1"}]}}})
    assert not neighbours.asks_for_statistics({"model": {"descriptor": DESCRIPTOR}, "training": {"batch": "auto"}})


@pytest.mark.parametrize("key", OTHER_BACKENDS)
def test_a_switch_that_the_pytorch_backend_passes_over_is_refused(key: str) -> None:
    with pytest.raises(InputError, match=rf"train.input: training.{key}: DeePMD-kit heeds it in other backends"):
        check_inputs({"": {"training": {key: True}}}, ["Cu"])


def test_switches_of_dpa4_are_passed_on_and_those_of_no_model_are_refused() -> None:
    from deepmd.utils.argcheck import normalize

    switches = {"use_compile": True, "enable_tf32": True}
    descriptor, fitting = {"type": "dpa4", "use_amp": True}, {"type": "dpa4_ener"}
    model = {"type": "dpa4", "type_map": ["Cu"], "descriptor": descriptor, "fitting_net": fitting, **switches}
    training = {"training_data": {"systems": ["x"]}, "numb_steps": 1}
    rate = {"start_lr": 1e-3, "stop_lr": 1e-8}
    whole = {"model": model, "training": training, "loss": {"type": "ener"}, "learning_rate": rate}
    found = normalize(whole)["model"]
    assert found["use_compile"]
    assert found["enable_tf32"]
    assert found["descriptor"]["use_amp"]
    plain = {"model": {"descriptor": {**DESCRIPTOR, "use_amp": True}, "fitting_net": {"neuron": [8]}}}
    with pytest.raises(InputError, match=r"DeePMD-kit refuses it: .*use_amp"):
        check_inputs({"": plain}, ["Al", "Cu"])
