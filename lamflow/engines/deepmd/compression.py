"""Which descriptors `dp --pt compress` can tabulate, so that a study says it before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lamflow.config.section import expand
from lamflow.engines.deepmd.card import DPA4, branches, read_definition
from lamflow.errors import InputError

NEVER = {"dpa3", *DPA4}
"""DeePMD-kit 3.2.0 raises NotImplementedError for them: what passes messages has no table."""
STRIPPED = {"se_atten", "dpa1", "dpa2", "se_e3_tebd"}
"""Tabulated only with `tebd_input_mode: strip`; se_atten_v2 has no other."""


def check_compression(architecture: Mapping[str, Any] | Path | None, variant: str = "") -> None:
    """Raise InputError for an architecture that cannot be compressed.

    architecture  a descriptor of DeePMD-kit's input, or the file of a model that has one; None is passed over
    variant       name of the architecture, where there are several
    """
    if isinstance(architecture, Path):
        first = next(iter(branches(read_definition(expand(architecture))).values()))
        descriptor: Mapping[str, Any] = first.get("descriptor", {})
    else:
        descriptor = architecture or {}
    for reason in filter(None, map(_why_not, _parts(descriptor))):
        where = f"train.variants: {variant}: compress" if variant else "train.compress"
        raise InputError(f"{where}: {reason}; or set compress: false")


def _parts(descriptor: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The descriptors that a hybrid one is made of, or the one itself."""
    return list(descriptor.get("list", [])) if descriptor.get("type") == "hybrid" else [descriptor]


def _why_not(descriptor: Mapping[str, Any]) -> str | None:
    kind = str(descriptor.get("type", "")).lower()
    if kind in NEVER:
        return f"DeePMD-kit compresses no {kind} model; leave it out"
    owner = descriptor.get("repinit", {}) if kind == "dpa2" else descriptor
    inner = "repinit." if kind == "dpa2" else ""
    mode = owner.get("tebd_input_mode", "concat")
    if kind in STRIPPED and mode != "strip":
        return f"DeePMD-kit compresses a {kind} descriptor only with {inner}tebd_input_mode: strip, and it is {mode}"
    if kind in STRIPPED | {"se_atten_v2"} and owner.get("resnet_dt"):
        return f"DeePMD-kit compresses a {kind} descriptor only with {inner}resnet_dt: false, and it is true"
    return None
