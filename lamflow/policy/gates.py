"""Which gates of a study of properties hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lamflow.config.properties import Gate
from lamflow.data.comparisons import Comparison, GateResult
from lamflow.data.frames import Frame
from lamflow.data.properties import PropertyResult
from lamflow.science.properties.cells import repeated, repeats

EMPTY = 200.0
"""Å³ an atom; a frame that is emptier is of free atoms or pairs."""


def failed_properties(gates: Sequence[GateResult], results: Sequence[PropertyResult]) -> set[tuple[str, str]]:
    """Structure and property of what has no value, and of values for which a gate does not hold."""
    broken = {(gate.structure, gate.property) for gate in gates if not gate.holds}
    return broken | {(result.structure, result.property) for result in results if result.failed}


def start_frames(frames: Sequence[Frame], size: float, most_atoms: int) -> list[Frame]:
    """Crystals among `frames`, each once, repeated until opposite faces are `size` Å apart.

    Isolated ones, atoms in boxes that are almost empty, and those of more than `most_atoms` atoms are left out.
    """
    dense = [frame for frame in frames if frame.pbc and frame.volume < EMPTY * frame.natoms]
    periodic = [repeated(frame, repeats(frame.cell, size)) for frame in dense]
    different = {frame.content_hash(): frame for frame in periodic if 2 <= frame.natoms <= most_atoms}
    return list(different.values())


def checked(
    gates: Sequence[Gate], comparisons: Sequence[Comparison], results: Sequence[PropertyResult]
) -> list[GateResult]:
    """A result for each gate and each value that it looks at; one that does not hold for a gate without any."""
    found: list[GateResult] = []
    for gate in gates:
        rows = _without_idle([row for row in comparisons if _looks_at(gate, row)], gate)
        found += [_of_value(gate, row) for row in rows]
        found += [
            GateResult(gate=_title(gate, result.structure, result.potential), holds=False, reason=result.failed,
                       structure=result.structure, property=result.property)
            for result in results
            if result.failed and _is_asked(gate, result)
        ]  # fmt: skip
        if not rows and not any(result.failed and _is_asked(gate, result) for result in results):
            found.append(GateResult(gate=_title(gate, gate.structure or "every structure", gate.potential or ""),
                                    holds=False, reason="there is no such value",
                                    structure=gate.structure or "", property=gate.property))  # fmt: skip
    return found


def _without_idle(rows: Sequence[Comparison], gate: Gate) -> list[Comparison]:
    """The rows without those that have no reference, where a gate asks for errors only and others have one."""
    known = {(row.structure, row.potential) for row in rows if row.reference is not None}
    if gate.most is not None or gate.least is not None:
        return list(rows)
    return [row for row in rows if row.reference is not None or (row.structure, row.potential) not in known]


def _is_asked(gate: Gate, result: PropertyResult) -> bool:
    return (
        result.property == gate.property
        and gate.structure in (None, result.structure)
        and gate.potential in (None, result.potential)
    )


def _looks_at(gate: Gate, row: Comparison) -> bool:
    return (
        (row.property, row.name) == (gate.property, gate.name)
        and gate.where in (None, row.where)
        and gate.structure in (None, row.structure)
        and gate.potential in (None, row.potential)
    )


def _of_value(gate: Gate, row: Comparison) -> GateResult:
    reasons = list(_reasons(gate, row))
    title = _title(gate, row.structure, row.potential) + (f" {row.where}" if row.where else "")
    return GateResult(gate=title, holds=not reasons, reason="; ".join(reasons) or f"{row.value:.6g} {row.unit}",
                      structure=row.structure, property=row.property)  # fmt: skip


def _reasons(gate: Gate, row: Comparison) -> Iterator[str]:
    """Why a value does not pass. No number passes that is none."""
    if (gate.error is not None or gate.relative_error is not None) and row.error is None:
        yield "it has no reference"
    elif row.error is not None:
        if gate.error is not None and not abs(row.error) <= gate.error:
            away = f"{abs(row.error):.4g} {row.unit} away from {row.reference:.6g}"
            yield f"{row.value:.6g} is {away}, more than {gate.error:g}"
        if gate.relative_error is not None and not abs(row.error) <= gate.relative_error * abs(row.reference or 0.0):
            yield (
                f"{row.value:.6g} {row.unit} is {100 * abs(row.relative_error or 0):.1f} % away from "
                f"{row.reference:.6g}, "
                f"more than {100 * gate.relative_error:g} %"
            )
    if gate.most is not None and not row.value <= gate.most:
        yield f"{row.value:.6g} {row.unit} is more than {gate.most:g}"
    if gate.least is not None and not row.value >= gate.least:
        yield f"{row.value:.6g} {row.unit} is less than {gate.least:g}"


def _title(gate: Gate, structure: str, potential: str) -> str:
    return " ".join(filter(None, (structure, potential, gate.property, gate.name)))
