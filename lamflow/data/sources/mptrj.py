"""MPtrj's JSON, 11 GB in one object, streamed: memory holds one trajectory at a time."""

from __future__ import annotations

import lzma
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from ase.data import atomic_numbers
from ase.io.formats import open_with_compression

from lamflow.data.frames import Frame, LabeledFrame
from lamflow.data.shards import SourceFrame
from lamflow.data.sources.dialect import MATERIALS_PROJECT, STRESSES, Dialect, stress_labels
from lamflow.data.sources.packages import needed
from lamflow.data.unread import state_of, unread
from lamflow.errors import InputError

UNKNOWN = re.compile(rb"([:,\[]\s*)(?:NaN|-?Infinity)(\s*[,\]}])")


def mptrj_frames(path: Path, dialect: Dialect) -> Iterator[SourceFrame]:
    """Frames of {mp-id: {frame-id: {structure, corrected_total_energy, force, stress, …}}}.

    Its stress is VASP's: kbar, positive under compression. Raises InputError without a choice of the energy: with
    the corrections of the Materials Project's phase diagrams, or without.
    """
    dialect.require("MPtrj's JSON", {"energy"})
    if dialect.energy not in MATERIALS_PROJECT:
        raise InputError(
            f"{path}: MPtrj has two energies; say energy: uncorrected (what DFT gave, and forces belong to) or "
            "energy: corrected (with the Materials Project's shifts by composition)"
        )
    ijson = needed("ijson", "to stream MPtrj's JSON")
    number = -1
    with open_with_compression(str(path), "rb") as stream:
        try:
            for material, frames in ijson.kvitems(_WithoutNaN(stream), "", use_float=True):
                for values in frames.values() if isinstance(frames, dict) else [frames]:
                    number += 1
                    yield _frame(values, number, material, dialect)
        except (ijson.JSONError, OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            yield SourceFrame(number + 1, None, f"cut off: nothing can be read after frame {number}: {error}")


class _WithoutNaN:
    """A stream of JSON in which numbers that JSON does not know, as Python writes them, are null."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream, self.kept = stream, b""

    def read(self, size: int = -1) -> bytes:
        """Some bytes, about `size`; none at the end. A word that may go on in the next ones is kept for these."""
        if not size:
            return b""
        given = self.stream.read(size)
        text = self.kept + given
        cut = len(text) if not given else max(text.rfind(mark) for mark in (b",", b"}", b"]", b"{", b"[")) + 1
        if given and not cut:
            self.kept = text
            return self.read(size)
        self.kept = text[cut:]
        return UNKNOWN.sub(rb"\1null\2", text[:cut])


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
        labels = stress_labels(values[MATERIALS_PROJECT[dialect.energy]], values["force"], tension, frame)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"no {error.args[0]}" if isinstance(error, KeyError) else str(error)
        return SourceFrame(number, None, f"schema: it has {what}", material)
    item = LabeledFrame(frame, labels)
    carried = {**structure, **values}
    return SourceFrame(number, item, "", material, dialect.method, unread(carried, item), state_of(carried))
