"""`lamflow data`: small needs of labeled data, without a study."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import disk_usage, rmtree
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from lamflow.cli.documents import print_document
from lamflow.config.cleaning import CleaningStudy, Duplicates, Extra
from lamflow.data.dataset import Item, Origin
from lamflow.data.features import Features
from lamflow.data.fields import Field, label_fields
from lamflow.data.frames import Ints, LabeledFrame, Labels
from lamflow.data.mixed import write_mixed
from lamflow.data.shards import SourceFrame
from lamflow.data.sources import Dialect, source_frames
from lamflow.data.writers import write_lmdb, write_parquet, write_xyz
from lamflow.errors import InputError, printable
from lamflow.policy.cleaning import decide
from lamflow.policy.findings import Table
from lamflow.science.cleaning.describe import features
from lamflow.science.cleaning.duplicates import clusters
from lamflow.science.split import blocks, heldout_groups, joined

SUFFIXES: dict[str, Extra] = {".extxyz": "extxyz", ".xyz": "extxyz", ".parquet": "parquet", ".lmdb": "deepmd/lmdb"}

SAME = 1e-6
"""eV/atom, eV/Å or eV/μB; labels that differ by less are the same."""
ROOM, FRAME_ROOM, ATOM_ROOM = 65_536, 1024, 160
"""Bytes that a file, a frame and an atom take at most, whatever the format."""
AT_ONCE = 50_000
"""Atoms that are held where only ranges are wanted."""
PLURALS = {"energy": "energies", "virial": "virials", "force_mag": "magnetic forces"}


@dataclass(frozen=True, eq=False)
class Loaded:
    """Frames of several files.

    unreadable  reasons, and how many frames have each
    unread      what frames have that is not kept, and how many have it
    """

    items: list[Item]
    trajectories: list[str]
    unreadable: Counter[str]
    unread: Counter[str]

    @property
    def labeled(self) -> list[LabeledFrame]:
        """The labeled frames."""
        return [item.labeled for item in self.items]


def _load(files: Sequence[Path], format: str | None, *, strict: bool = False) -> Loaded:
    """Raises InputError where there is no labeled frame, and with `strict` where a frame is none."""
    [loaded] = _pieces(files, format, strict=strict)
    return loaded


def _pieces(
    files: Sequence[Path], format: str | None, *, strict: bool = False, atoms: float = np.inf
) -> Iterator[Loaded]:
    """Labeled frames of so many atoms, about, at a time; each piece counts what is left out of those before it, too.

    Raises InputError where there is no labeled frame, and with `strict` where a frame is none.
    """
    loaded, held, pieces = Loaded([], [], Counter(), Counter()), 0, 0
    for file in files:
        if not file.exists():
            raise InputError(f"{file}: no such file")
        for frame in source_frames(file, Dialect(format=format)):
            _take(loaded, file, frame, strict, several=len(files) > 1)
            held += frame.labeled.frame.natoms if frame.labeled is not None else 0
            if held >= atoms:
                yield loaded
                loaded, held, pieces = replace(loaded, items=[], trajectories=[]), 0, pieces + 1
    if not loaded.items and not pieces:
        reasons = "; ".join(loaded.unreadable) or "the files are empty"
        raise InputError(f"{', '.join(map(str, files))}: there is no labeled frame: {reasons}")
    yield loaded


def _take(loaded: Loaded, file: Path, frame: SourceFrame, strict: bool, several: bool) -> None:
    """Of several files, frames without a trajectory of their own are of one that is called as their file."""
    if frame.labeled is None:
        if strict:
            raise InputError(f"{file}: frame {frame.number}: {frame.problem}; `lamflow data check` says all")
        loaded.unreadable[f"{file}: {frame.problem}"] += 1
        return
    origin = Origin(
        iteration=0, source=f"{file}#{frame.number}", method=frame.method,
        trajectory=frame.trajectory or (str(file) if several else ""), **frame.state._asdict(),
    )  # fmt: skip
    loaded.items.append(Item(frame.labeled, origin))
    loaded.trajectories.append(f"{file}/{frame.trajectory}")
    loaded.unread.update(f"{file}: {line}" for line in frame.unread)


def _say_unreadable(loaded: Loaded) -> None:
    """What could not be read, and what was left out of that which could."""
    for reason, count in (loaded.unreadable + loaded.unread).most_common():
        print(printable(f"{count} frames: {reason}"))


def _say_methods(loaded: Loaded) -> None:
    """That frames of several levels of theory are in one set."""
    methods = _methods(loaded)
    if len(methods) > 1:
        counts = ", ".join(f"{name or 'none said'} {count}" for name, count in methods.most_common())
        print(printable(
            f"{len(methods)} methods in one set, frames of each: {counts}; their energies do not compare: train each "
            "in a head of its own, as cleaning makes them by the `method` that every frame keeps"
        ))  # fmt: skip


def _methods(loaded: Loaded) -> Counter[str]:
    return Counter(item.origin.method for item in loaded.items)


def _features(loaded: Loaded) -> tuple[Features, Any]:
    trajectory, methods = _numbered(loaded.trajectories), [item.origin.method for item in loaded.items]
    return features(loaded.labeled, _numbered(list(zip(trajectory, methods, strict=True)))), trajectory


def _numbered(names: Sequence[Hashable]) -> Ints:
    """Each name's number, in the order in which they come."""
    places = {name: place for place, name in enumerate(dict.fromkeys(names))}
    return np.array([places[name] for name in names], dtype=np.int64)


def show(files: Sequence[Path], format: str | None, as_json: bool) -> None:
    """Frames, elements and ranges of labeled data."""
    parts, methods = [], Counter[str]()
    for loaded in _pieces(files, format, atoms=AT_ONCE):
        methods += _methods(loaded)
        if loaded.items:
            parts.append(_features(loaded)[0])
    made = Features.concatenate(parts)
    used = made.formulas[made.formula]
    rows: dict[str, Any] = {
        "frames": len(made),
        "unreadable": sum(loaded.unreadable.values()),
        "compositions": len(made.formulas),
        "methods": {name or "none said": count for name, count in methods.most_common()},
        "elements": [chemical_symbols[z] for z in np.flatnonzero(used.sum(axis=0))],
        "atoms": _range(made.natoms),
        "energy (eV/atom)": _range(made.energy),
        "largest force (eV/Å)": _range(made.force_max),
        "volume (Å³/atom)": _range(made.volume),
        "pressure (GPa)": _range(made.pressure),
        "smallest distance (covalent radii)": _range(made.distance),
    }
    if as_json:
        print_document(rows | {"unread": dict(loaded.unread)})
        return
    for name, value in rows.items():
        print(printable(f"{name:36} {_words(value)}"))
    _say_unreadable(loaded)


def _range(values: Any) -> list[float] | None:
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    return [float(known.min()), float(np.median(known)), float(known.max())] if len(known) else None


def _words(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, dict):
        return ", ".join(f"{name}: {count}" for name, count in value.items())
    if isinstance(value, list) and value and isinstance(value[0], float):
        return f"{value[0]:.4g} to {value[2]:.4g}, median {value[1]:.4g}"
    return " ".join(value) if isinstance(value, list) else str(value)


def check(files: Sequence[Path], format: str | None, as_json: bool) -> int:
    """What the checks of cleaning find; returns how many frames are bad."""
    loaded = _load(files, format)
    made, trajectory = _features(loaded)
    zeros = np.zeros(len(made), dtype=np.int64)
    study = CleaningStudy.model_construct(
        **{name: field.get_default(call_default_factory=True) for name, field in CleaningStudy.model_fields.items()}
        | {"name": "check", "sources": []}
    )
    study = study.model_copy(update={"split": study.split.model_copy(update={"heldout": 0.0})})
    table = Table(made, zeros, zeros, trajectory, ["data"], ["data"], turned=np.zeros(len(made), dtype=bool))
    decided = decide(study, table, [])
    bad = decided.verdicts.evidence
    rows: list[dict[str, Any]] = [
        {"frame": loaded.items[frame].origin.source, "evidence": [part.model_dump() for part in parts]}
        for frame, parts in sorted(bad.items())
    ]
    reasons = {rule: len(frames) for rule, _, frames in decided.verdicts.reasons if len(frames)}
    if as_json:
        print(
            json.dumps(
                {
                    "unreadable": dict(loaded.unreadable),
                    "unread": dict(loaded.unread),
                    "found": reasons,
                    "notes": decided.notes,
                    "bad": rows,
                }
            )
        )
    else:
        _say_unreadable(loaded)
        _say_methods(loaded)
        for row in rows:
            print(printable(f"{row['frame']}: {'; '.join(str(part['says']) for part in row['evidence'])}"))
        for note in decided.notes:
            print(printable(note))
        found = ", ".join(f"{rule} {count}" for rule, count in reasons.items()) or "nothing"
        print(f"{len(made)} labeled frames, {len(bad)} of them bad; found: {found}")
    return len(bad) + sum(loaded.unreadable.values())


def convert(files: Sequence[Path], to: Path, format: str | None) -> None:
    """Write the frames of `files` to `to`: extended XYZ, parquet or LMDB by its suffix, else deepmd/npy/mixed."""
    loaded = _load(files, format, strict=True)
    _write(to, loaded.items)
    _say_unreadable(loaded)
    _say_methods(loaded)
    print(f"{to}: {len(loaded.items)} frames")


merge = convert


def _write(to: Path, items: Sequence[Item]) -> None:
    if to.exists():
        raise InputError(f"{to} exists already; give another path")
    if to.suffix[1:].isalpha() and to.suffix not in SUFFIXES:
        known = ", ".join(SUFFIXES)
        raise InputError(f"{to}: nothing is written as {to.suffix}; {known} are files, and a name without is a folder")
    to.parent.mkdir(parents=True, exist_ok=True)
    needed = ROOM + sum(FRAME_ROOM + ATOM_ROOM * item.labeled.frame.natoms for item in items)
    free = disk_usage(to.parent).free
    if needed > free:
        raise InputError(f"{to}: about {needed / 1e6:.3g} MB are to be written, and {free / 1e6:.3g} MB are free there")
    part = to.with_name(f".{to.stem}.part{to.suffix}")
    try:
        _write_as(SUFFIXES.get(to.suffix), part, items)
        part.rename(to)
    except OSError as error:
        raise InputError(f"{to}: cannot be written: {error.strerror or error}") from error
    finally:
        if part.exists():
            rmtree(part) if part.is_dir() else part.unlink()


def _write_as(format: Extra | None, to: Path, items: Sequence[Item]) -> None:
    kinds = np.unique(np.concatenate([item.labeled.frame.numbers for item in items]))
    elements = [chemical_symbols[kind] for kind in kinds]
    match format:
        case "extxyz":
            write_xyz(to, items)
        case "parquet":
            write_parquet(to, items)
        case "deepmd/lmdb":
            write_lmdb(to, items, elements)
        case _:
            write_mixed(to, items, elements)


def split(files: Sequence[Path], fraction: float, to: Path, seed: int, format: str | None) -> None:
    """Write `train` and `heldout` into the folder `to`; frames of a composition are not parted if there are several."""
    if not fraction:
        raise InputError("--heldout 0 holds nothing out; give a fraction above 0")
    loaded = _load(files, format, strict=True)
    groups = [item.labeled.frame.to_ase().get_chemical_formula(empirical=True) for item in loaded.items]
    if len(set(groups)) < 2:
        groups = _structures(loaded, fraction)
    held = heldout_groups(groups, fraction, seed)
    _say_unreadable(loaded)
    _say_methods(loaded)
    if not held:
        raise InputError(
            f"{len(groups)} frames of one composition and trajectory cannot be split so that nothing leaks; give more"
        )
    for name, wanted in (("train", False), ("heldout", True)):
        items = [item for item, group in zip(loaded.items, groups, strict=True) if (group in held) == wanted]
        _write(to / name, items)
        print(f"{to / name}: {len(items)} frames")


def _structures(loaded: Loaded, fraction: float) -> list[str]:
    """Groups (C,) of frames that may be parted: blocks of trajectories, with those of like structures made one; where
    that leaves a single one, the structures themselves."""
    alike = clusters(_features(loaded)[0], Duplicates().tolerance)
    parts = joined(np.unique(blocks(loaded.trajectories, range(len(alike)), fraction), return_inverse=True)[1], alike)
    return [str(group) for group in (parts if parts.any() else alike)]


def diff(first: Path, second: Path, format: str | None, as_json: bool) -> bool:
    """Compare two sets by the content of their structures; returns whether they are the same.

    Frames with the same structure are paired in the order of their energies. Labels that only one of a pair has, and
    frames that cannot be used, are differences.
    """
    loaded = [_load([path], format) for path in (first, second)]
    one, two = (_by_hash(each.items) for each in loaded)
    shared = {key: min(len(one.get(key, [])), len(two.get(key, []))) for key in one | two}
    pairs = [pair for key, count in shared.items() if count for pair in zip(one[key], two[key], strict=False)]
    rows: dict[str, float] = {
        "only in the first": sum(max(0, len(own) - shared[key]) for key, own in one.items()),
        "only in the second": sum(max(0, len(own) - shared[key]) for key, own in two.items()),
        "in both": len(pairs),
        "unreadable in the first": sum(loaded[0].unreadable.values()),
        "unreadable in the second": sum(loaded[1].unreadable.values()),
    }
    same = not any(value for name, value in rows.items() if name != "in both")
    for row in label_fields():
        have = [pair for pair in pairs if all(row.name in labels.fields for labels in _labels(pair))]
        alone = sum(any(row.name in labels.fields for labels in _labels(pair)) for pair in pairs) - len(have)
        if have:
            largest = max(_change(*pair, row) for pair in have)
            rows[f"largest difference of {PLURALS.get(row.name, row.name)} ({_unit(row)})"] = largest
            same = same and largest < SAME
        if alone:
            rows[f"{row.name} in one of both only"] = alone
            same = False
    if as_json:
        print_document(rows)
    else:
        for name, value in rows.items():
            print(f"{name:46} {value:.6g}")
        for each in loaded:
            _say_unreadable(each)
    return same


def _by_hash(items: Iterable[Item]) -> dict[str, list[LabeledFrame]]:
    """Frames by the content of their structures, in the order of their energies."""
    found: dict[str, list[LabeledFrame]] = {}
    for item in sorted(items, key=lambda item: item.labeled.labels.energy):
        found.setdefault(item.labeled.frame.content_hash(), []).append(item.labeled)
    return found


def _labels(pair: tuple[LabeledFrame, LabeledFrame]) -> tuple[Labels, Labels]:
    return pair[0].labels, pair[1].labels


def _unit(row: Field) -> str:
    return row.unit if row.per == "atom" else f"{row.unit}/atom"


def _change(first: LabeledFrame, second: LabeledFrame, row: Field) -> float:
    """Largest difference of a label of two frames with the same structure, in `_unit`."""
    one, two = (
        item.labels.reordered(np.argsort(item.frame.numbers, kind="stable")).fields[row.name]
        for item in (first, second)
    )
    return float(np.abs(one - two).max(initial=0.0)) / (1 if row.per == "atom" else first.frame.natoms)
