"""What frames of a source say that models do not see: stresses under unknown names, and electronic states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from lamflow.data.fields import SPIN
from lamflow.data.frames import LabeledFrame
from lamflow.data.npy import CHARGE_SPIN

STATES: tuple[tuple[str, tuple[str, ...], tuple[float, ...]], ...] = (
    ("charge", ("charge", "total_charge", "system_charge", "net_charge"), (0,)),
    ("spin multiplicity", ("multiplicity", "spin_multiplicity", "spin"), (0, 1)),
)
"""What a frame has one number of, its names in small letters, and the values that most frames have."""
MOMENTS, SMALL_MOMENT = "magmoms", 0.1
"""What ASE calls magnetic moments that a code has found, and μB below which there is none."""
STATE_NAMES = frozenset([CHARGE_SPIN, *(name for _, names, _ in STATES for name in names)])


def unread(carried: Mapping[str, Any], item: LabeledFrame) -> tuple[str, ...]:
    """A line for each thing that a frame has by a name and that `item`, which was read of it, lacks."""
    numbers, lines = _numbers(carried), []
    if item.labels.virial is None and item.frame.pbc:
        for name, value in numbers.items():
            label = _tensor(name)
            if label and value.size in (6, 9):
                lines.append(f"{name} is not read; if it is their {label}, say keys: {{{label}: {name}}}")
    moments, natoms = numbers.get(MOMENTS), item.frame.natoms
    is_moment = moments is not None and moments.size in (natoms, 3 * natoms) and np.abs(moments).max() > SMALL_MOMENT
    if is_moment and SPIN not in item.frame.fields:
        lines.append(f"{MOMENTS} are not kept; for models with moments say keys: {{spin: {MOMENTS}}}")
    for what, names, usual in STATES:
        for name, value in numbers.items():
            if name.lower() in names and value.size == 1 and float(value[0]) not in usual:
                lines.append(
                    f"{name} is nothing that models see: they cannot tell these frames from others; give each {what} a "
                    "source and a head of its own"
                )
    return tuple(lines)


class State(NamedTuple):
    """Total charge in e and spin multiplicity of a frame; None for what it does not say."""

    charge: float | None = None
    multiplicity: float | None = None


UNKNOWN = State()


def state_of(carried: Mapping[str, Any]) -> State:
    """The electronic state that a frame says by the names of `STATES`."""
    numbers = _numbers(carried)
    found = (
        next((float(v[0]) for name, v in numbers.items() if name.lower() in names and v.size == 1), None)
        for _, names, _ in STATES
    )
    return State(*found)


def _numbers(carried: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """What `unread` looks at, flat, as far as it is numbers."""
    wanted = {str(name): value for name, value in carried.items() if may_be_unread(name)}
    numbers = {name: np.ravel(value) for name, value in wanted.items() if _is_numeric(value)}
    if (both := numbers.get(CHARGE_SPIN)) is not None and both.size == 2:
        numbers |= {"charge": both[:1], "multiplicity": both[1:]}
    return numbers


def may_be_unread(name: object) -> bool:
    """`unread` looks at what has this name."""
    return str(name).lower() in STATE_NAMES or name == MOMENTS or bool(_tensor(name))


def unread_of(atoms: Atoms, item: LabeledFrame) -> tuple[str, ...]:
    """`unread` of ASE's Atoms."""
    results = atoms.calc.results if atoms.calc is not None else {}
    return unread({**flat_info(atoms.info), **results}, item)


def flat_info(info: Mapping[Any, Any]) -> dict[str, Any]:
    """What ASE's Atoms have by name, with what its databases keep in two mappings of their own."""
    inner = {
        str(name): value
        for key in ("data", "key_value_pairs") if isinstance(info.get(key), Mapping)
        for name, value in info[key].items()
    }  # fmt: skip
    return {**inner, **{str(name): value for name, value in info.items() if name not in ("data", "key_value_pairs")}}


def _tensor(name: object) -> str:
    """The label that a name speaks of, `stress` or `virial`; empty for others."""
    return next((word for word in ("stress", "virial") if word in str(name).lower()), "")


def _is_numeric(value: Any) -> bool:
    try:
        return np.asarray(value).dtype.kind in "fiu"
    except ValueError:  # lists of unequal lengths
        return False


def counted(lines: Mapping[str, int], total: int) -> list[str]:
    """The lines with how many frames of `total` each is said of."""
    return [f"{count} of {total} frames: {line}" for line, count in lines.items()]
