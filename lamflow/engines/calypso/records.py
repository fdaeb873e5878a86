"""CALYPSO's records in results/: what was proposed, what it relaxed to, and the order of enthalpy.

pso_ini_k and pso_opt_k hold the structures of generation k, each as a line with the enthalpy in eV/atom and a POSCAR;
pso_sor_k holds the enthalpies in ascending order. The search's whole memory is here, so it can be ended anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lamflow.data import Frame, Relaxed
from lamflow.data.files import write_whole
from lamflow.engines.calypso.exchange import SENTINEL, Exchange, read_poscar, write_poscar
from lamflow.errors import EngineError
from lamflow.science.similarity import bond_matrix, space_group


@dataclass(frozen=True, eq=False)
class Particle:
    """A structure as it was proposed and as it relaxed.

    enthalpy  eV/atom; None where the relaxation failed
    """

    generation: int
    number: int
    start: Frame
    frame: Frame
    enthalpy: float | None

    @property
    def counts(self) -> tuple[tuple[int, int], ...]:
        """Atoms of each atomic number."""
        numbers, counts = np.unique(self.frame.numbers, return_counts=True)
        return tuple(zip(numbers.tolist(), counts.tolist(), strict=True))


def record_proposed(exchange: Exchange, generation: int, frames: list[Frame]) -> None:
    """Write pso_ini of a generation."""
    write_whole(exchange.results / f"pso_ini_{generation}", _blocks([(SENTINEL, frame) for frame in frames]))


def record_relaxed(
    exchange: Exchange, generation: int, relaxed: Sequence[Relaxed], elements: list[int], pressure: float
) -> None:
    """Write pso_opt and pso_sor of a generation, and its lines of struct.dat and similar.dat; `pressure` in eV/Å³."""
    per_atom = [_enthalpy(each, pressure) for each in relaxed]
    pairs = list(zip(per_atom, (each.frame for each in relaxed), strict=True))
    write_whole(exchange.results / f"pso_opt_{generation}", _blocks(pairs))
    order = np.argsort(per_atom, kind="stable")
    rows = [f"{rank + 1:6d} {per_atom[place]:18.8f} {place + 1:6d}" for rank, place in enumerate(order)]
    write_whole(exchange.results / f"pso_sor_{generation}", "\n".join(rows) + "\n")
    structs, alike = [], []
    for number, (each, value) in enumerate(zip(relaxed, per_atom, strict=True), 1):
        volume = abs(float(np.linalg.det(each.frame.cell)))
        group = 0 if each.labels is None else space_group(each.frame)
        structs.append(f"{generation:6d} {number:6d} {each.frame.natoms:6d} {volume:14.6f} {group:4d} {value:18.8f}")
        matrix = np.zeros(0) if each.labels is None else bond_matrix(each.frame, elements)
        alike.append(f"{generation:6d} {number:6d} " + " ".join(f"{number:.6f}" for number in matrix))
    for name, lines in (("struct.dat", structs), ("similar.dat", alike)):
        path = exchange.results / name
        before = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        kept = [line for line in before if int(line.split()[0]) < generation]
        write_whole(path, "\n".join([*kept, *lines]) + "\n")


def particles(exchange: Exchange, generation: int) -> list[Particle]:
    """Every structure of a finished generation. Raises EngineError for records that cannot be read."""
    starts = _read(exchange.results / f"pso_ini_{generation}")
    ends = _read(exchange.results / f"pso_opt_{generation}")
    if len(starts) != len(ends):
        raise EngineError(
            f"{exchange.results}: pso_ini_{generation} has {len(starts)} structures, pso_opt_{generation} {len(ends)}"
        )
    return [
        Particle(generation, number, start, frame, None if abs(value - SENTINEL) < 1 else value)
        for number, ((_, start), (value, frame)) in enumerate(zip(starts, ends, strict=True), 1)
    ]


def _enthalpy(found: Relaxed, pressure: float) -> float:
    """E + pV in eV/atom."""
    if found.labels is None:
        return SENTINEL
    return (found.labels.energy + pressure * abs(float(np.linalg.det(found.frame.cell)))) / found.frame.natoms


def _blocks(pairs: list[tuple[float, Frame]]) -> str:
    return "".join(f"{value:18.8f}\n{write_poscar(frame)}" for value, frame in pairs)


def _read(path: Path) -> list[tuple[float, Frame]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise EngineError(f"{path}: this record of the search is missing") from error
    found, place = [], 0
    try:
        while place < len(lines):
            natoms = sum(int(word) for word in lines[place + 7].split())
            block = lines[place + 1 : place + 9 + natoms]
            found.append((float(lines[place]), read_poscar("\n".join(block))))
            place += 9 + natoms
    except (ValueError, IndexError) as error:
        raise EngineError(f"{path}: cut off, or not a record of a search: line {place + 1}: {error}") from error
    return found
