"""MPtrj's JSON, 11 GB in one object, streamed: memory holds one trajectory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from lamflow.data.frames import Frame, LabeledFrame
from lamflow.data.shards import SourceFrame
from lamflow.data.sources.dialect import STRESSES, Dialect, stress_labels
from lamflow.data.sources.packages import needed
from lamflow.errors import InputError

ENERGIES = {"corrected": "corrected_total_energy", "uncorrected": "uncorrected_total_energy"}


def mptrj_frames(path: Path, dialect: Dialect) -> Iterator[SourceFrame]:
    """Frames of {mp-id: {frame-id: {structure, corrected_total_energy, force, stress, …}}}.

    Its stress is VASP's: kbar, positive under compression. Raises InputError without a choice of the energy: with
    the corrections of the Materials Project's phase diagrams, or without.
    """
    if dialect.energy not in ENERGIES:
        raise InputError(
            f"{path}: MPtrj has two energies; say energy: uncorrected (what DFT gave, and forces belong to) or "
            "energy: corrected (with the Materials Project's shifts by composition)"
        )
    ijson = needed("ijson", "to stream MPtrj's JSON")
    number = -1
    with path.open("rb") as stream:
        try:
            for material, frames in ijson.kvitems(stream, "", use_float=True):
                for values in frames.values():
                    number += 1
                    yield _frame(values, number, material, dialect)
        except ijson.JSONError as error:
            yield SourceFrame(number + 1, None, f"cut off: nothing can be read after frame {number}: {error}")


def _frame(values: dict[str, Any], number: int, material: str, dialect: Dialect) -> SourceFrame:
    try:
        structure = values["structure"]
        cell = np.array(structure["lattice"]["matrix"], dtype=np.float64)
        species = [site["species"] for site in structure["sites"]]
        if any(len(kinds) != 1 or kinds[0].get("occu", 1) != 1 for kinds in species):
            return SourceFrame(number, None, "schema: a site is occupied in part", material)
        kinds = np.array([atomic_numbers[kind[0]["element"]] for kind in species], dtype=np.int64)
        scaled = np.array([site["abc"] for site in structure["sites"]], dtype=np.float64)
        frame = Frame(kinds, scaled @ cell, cell)
        stress = values.get("stress")
        tension = None if stress is None else -np.asarray(stress, dtype=np.float64) * STRESSES["kbar"]
        labels = stress_labels(values[ENERGIES[dialect.energy]], values["force"], tension, frame)
    except (KeyError, TypeError, ValueError) as error:
        what = f"no {error.args[0]}" if isinstance(error, KeyError) else str(error)
        return SourceFrame(number, None, f"schema: it has {what}", material)
    return SourceFrame(number, LabeledFrame(frame, labels), "", material, dialect.method)
