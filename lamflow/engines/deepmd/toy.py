"""An architecture tried out on two atoms, by DeePMD-kit's array code, which needs no torch."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lamflow.errors import InputError

TRIED = {
    "se_e2_a", "se_a", "se_e2_r", "se_r", "se_e3", "se_t", "se_at", "se_a_3be", "dpa1", "se_atten", "dpa2", "dpa3",
}  # fmt: skip
"""Descriptors that DeePMD-kit has in its array code too."""
SEL = ("sel", "nsel", "three_body_sel", "e_sel", "a_sel")
"""Keys of descriptors for the most neighbours that are looked at."""


def check_widths(model: Mapping[str, Any]) -> None:
    """Raise InputError for a layer without neurons and for descriptors that look at no neighbour."""
    for section in ("descriptor", "fitting_net"):
        for path, value in _leaves(model.get(section, {}), f"model.{section}"):
            key = path.rpartition(".")[2]
            values = value if isinstance(value, list) else [value]
            numbers = [number for number in values if isinstance(number, int) and not isinstance(number, bool)]
            if key == "neuron" and any(number < 1 for number in numbers):
                raise InputError(f"train.input: {path} = {value}: every layer needs at least one neuron")
            if key in SEL and numbers and (sum(numbers) < 1 or min(numbers) < 0):
                raise InputError(f"train.input: {path} = {value}: the model would look at no neighbour")


def check_rates(rate: Mapping[str, Any]) -> None:
    """Raise InputError for a learning rate that does not fall."""
    start, stop = rate.get("start_lr", 1e-3), rate.get("stop_lr")
    if isinstance(start, int | float) and isinstance(stop, int | float) and stop >= start:
        raise InputError(f"train.input: learning_rate: stop_lr ({stop:g}) must be below start_lr ({start:g})")


def check_sel_lists(model: Mapping[str, Any], elements: Sequence[str]) -> None:
    """Raise InputError for a `sel` by element that has not one number for each element."""
    for where, descriptor in _descriptors(model.get("descriptor", {}), "model.descriptor"):
        sel = descriptor.get("sel")
        mixed = descriptor.get("type") in ("dpa1", "se_atten", "dpa2", "dpa3")
        if isinstance(sel, list) and not mixed and len(sel) != len(elements):
            raise InputError(
                f"train.input: {where}.sel has {len(sel)} numbers for {len(elements)} elements; give one for each of "
                f"{', '.join(elements)}, or auto"
            )


def check_model(model: Mapping[str, Any]) -> None:
    """Raise InputError when DeePMD-kit cannot make such a model or it says nothing of two atoms.

    model  section of an input that DeePMD-kit has normalized
    """
    kinds = {descriptor.get("type") for _, descriptor in _descriptors(model.get("descriptor", {}), "")} - {"hybrid"}
    plain = model.get("type", "standard") == "standard" and "spin" not in model and "pair_hybrid" not in model
    if not plain or not kinds <= TRIED or model.get("fitting_net", {}).get("type", "ener") != "ener":
        return
    from deepmd.dpmodel.model.model import get_model

    given = _with_numbers(dict(model), len(model["type_map"]))
    types = np.array([[0, len(model["type_map"]) - 1]])
    width = int(given["fitting_net"].get("numb_fparam", 0))
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            built = get_model(given)
            answer = built(
                np.array([[[0.0, 0, 0], [1.5, 0, 0]]]), types, fparam=np.zeros((1, width)) if width else None
            )
        energy = float(np.asarray(answer["energy"]).ravel()[0])
    except Exception as error:  # DeePMD-kit raises anything
        raise InputError(f"train.input: no model can be made of it: {type(error).__name__}: {error}") from error
    if not np.isfinite(energy):
        raise InputError("train.input: the energy of two atoms is not a number; see sel, rcut and neuron")


def _with_numbers(model: dict[str, Any], ntypes: int) -> dict[str, Any]:
    """The model with small numbers where `sel` is `auto`: two atoms have one neighbour each."""

    def replaced(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: ([4] * ntypes if key == "sel" and value.get("type") not in ("dpa1", "se_atten") else 4)
                if key in SEL and isinstance(item, str)
                else replaced(item)
                for key, item in value.items()
            }
        return [replaced(item) for item in value] if isinstance(value, list) else value

    result: dict[str, Any] = replaced(model)
    return result


def _descriptors(descriptor: Mapping[str, Any], where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """A descriptor, and those that a hybrid one is made of."""
    yield where, descriptor
    for number, part in enumerate(descriptor.get("list", []) if isinstance(descriptor, Mapping) else []):
        if isinstance(part, Mapping):
            yield from _descriptors(part, f"{where}.list[{number}]")


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}")
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for number, item in enumerate(value):
            yield from _leaves(item, f"{path}[{number}]")
    else:
        yield path, value
