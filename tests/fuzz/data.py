"""Files that a study names, spoilt: labeled data, structures, outputs of codes and models."""

from __future__ import annotations

import gzip
import os
import random
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lamflow.data.dataset import write_dataset
from lamflow.data.frames import LabeledFrame
from lamflow.data.io import write_extxyz, write_structure
from tests.conftest import ROOT, STUDY
from tests.fuzz.harness import Case, Expected
from tests.lam import labeled, metal

OUTPUTS = ROOT / "tests" / "engines" / "outputs"
TRAINING = """\
workflow: training
name: spoilt
elements: [Cu, {other}]
start: {{data: [{given}]}}
heldout: {{data: [held.extxyz]}}
train: {train}
"""
PAIR = "{engine: pair, models: 1, functions: 4}"
FINETUNE = "{engine: deepmd, models: 1, pretrained: {file: model.pt, head: noble}, phases: [{start_from: finetune, steps: 10}]}"
Change = Callable[[random.Random, Path], None]
"""Spoils the file or folder at a path."""


def _lines(rng: random.Random, path: Path, change: Callable[[list[str], int], None]) -> None:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    change(lines, rng.randrange(len(lines)))
    path.write_text("".join(lines), encoding="utf-8")


def unchanged(rng: random.Random, path: Path) -> None:
    pass


def cut(rng: random.Random, path: Path) -> None:
    path.write_bytes(path.read_bytes()[: rng.randrange(1, path.stat().st_size)])


def flip(rng: random.Random, path: Path) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 1, 3, 30])):
        data[rng.randrange(len(data))] = rng.randrange(256)
    path.write_bytes(data)


def insert_bytes(rng: random.Random, path: Path) -> None:
    data = path.read_bytes()
    at = rng.randrange(len(data))
    path.write_bytes(
        data[:at] + rng.choice([rng.randbytes(1000), b"\0" * 8, b"\x1b[31m", b"\xff\xfe", b"\n", b" "]) + data[at:]
    )


def empty(rng: random.Random, path: Path) -> None:
    path.write_bytes(b"")


def noise(rng: random.Random, path: Path) -> None:
    path.write_bytes(rng.randbytes(rng.choice([1, 100, 100_000])))


def pipe(rng: random.Random, path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(rng: random.Random, path: Path) -> None:
    path.unlink()
    path.mkdir()


def link_to_itself(rng: random.Random, path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def missing(rng: random.Random, path: Path) -> None:
    path.unlink()


def encoding(rng: random.Random, path: Path) -> None:
    text = path.read_text(encoding="utf-8", errors="replace")
    path.write_bytes(
        rng.choice([text.encode("utf-16"), b"\xef\xbb\xbf" + text.encode(), text.replace("\n", "\r\n").encode(), text.replace("\n", "\r").encode(),
                    text.replace(" ", "\t").encode(), text.replace(" ", "\u00a0").encode(), text.encode("utf-32"), gzip.compress(text.encode())])
    )  # fmt: skip


def line_gone(rng: random.Random, path: Path) -> None:
    def without(lines: list[str], at: int) -> None:
        del lines[at]

    _lines(rng, path, without)


def line_twice(rng: random.Random, path: Path) -> None:
    _lines(rng, path, lambda lines, at: lines.insert(at, lines[at]))


def blank_line(rng: random.Random, path: Path) -> None:
    _lines(rng, path, lambda lines, at: lines.insert(at, "\n"))


def columns(rng: random.Random, path: Path) -> None:
    def shuffled(lines: list[str], at: int) -> None:
        words = lines[at].split()
        rng.shuffle(words)
        lines[at] = " ".join(words) + "\n"

    _lines(rng, path, shuffled)


def _numbers(rng: random.Random, path: Path, new: str) -> None:
    text = path.read_text(encoding="utf-8", errors="replace")
    found = list(re.finditer(r"(?<![\w.])-?\d+\.\d+(?:[eE][-+]?\d+)?(?![\w.])", text)) or list(
        re.finditer(r"\d+", text)
    )
    if found:
        number = rng.choice(found)
        path.write_text(text[: number.start()] + new + text[number.end() :], encoding="utf-8")


def not_a_number(rng: random.Random, path: Path) -> None:
    _numbers(rng, path, rng.choice(["nan", "inf", "-inf", "NaN"]))


def odd_number(rng: random.Random, path: Path) -> None:
    _numbers(
        rng, path, rng.choice(["1e400", "****", "1.0D+02", "0", "-1", "1e300", "x", "1,5", "99999999999999999999"])
    )


def huge_count(rng: random.Random, path: Path) -> None:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    counts = [n for n, line in enumerate(lines) if line.split() and all(word.isdigit() for word in line.split())]
    if counts:
        lines[rng.choice(counts)] = rng.choice(["1000000000000\n", "99999999\n", "-5\n", "0\n", "1e9\n"])
    path.write_text("".join(lines), encoding="utf-8")


def control(rng: random.Random, path: Path) -> None:
    text = path.read_text(encoding="utf-8", errors="replace")
    path.write_text(
        text.replace("Cu", rng.choice(["\x1b[31mCu", "C\x07u", "Cu\x1b]0;x\x07", "\u202eCu"]), 1), encoding="utf-8"
    )


ANY_FILE: dict[Change, Expected] = {
    unchanged: "good", cut: "any", flip: "any", insert_bytes: "any", empty: "refused", noise: "refused", pipe: "refused", folder: "refused",
    link_to_itself: "refused", missing: "refused",
}  # fmt: skip
TEXT: dict[Change, Expected] = {
    **ANY_FILE, encoding: "any", line_gone: "any", line_twice: "any", blank_line: "any", columns: "any", odd_number: "any",
    huge_count: "any", control: "any",
}  # fmt: skip


def _frames(change: Callable[[random.Random, list[LabeledFrame]], list[LabeledFrame]]) -> Change:
    """A change of the frames in an extended XYZ file."""

    def spoil(rng: random.Random, path: Path) -> None:
        write_extxyz(path, change(rng, [item.labeled for item in labeled(metal("Cu", 12, 7))]))

    spoil.__name__ = change.__name__
    return spoil


def _scaled(
    frames: list[LabeledFrame], energy: float = 1.0, forces: float = 1.0, virial: float = 1.0
) -> list[LabeledFrame]:
    made = []
    for item in frames:
        own = item.labels
        assert own.virial is not None
        made.append(
            LabeledFrame(
                item.frame,
                replace(own, energy=own.energy * energy, forces=own.forces * forces, virial=own.virial * virial),
            )
        )
    return made


@_frames
def forces_of_the_other_sign(rng: random.Random, frames: list[LabeledFrame]) -> list[LabeledFrame]:
    return _scaled(_path(frames), forces=-1.0)


@_frames
def lengths_in_nm(rng: random.Random, frames: list[LabeledFrame]) -> list[LabeledFrame]:
    return [
        LabeledFrame(replace(f.frame, positions=f.frame.positions / 10, cell=f.frame.cell / 10), f.labels)
        for f in frames
    ]


@_frames
def fractional_coordinates(rng: random.Random, frames: list[LabeledFrame]) -> list[LabeledFrame]:
    return [
        LabeledFrame(replace(f.frame, positions=f.frame.positions @ np.linalg.inv(f.frame.cell)), f.labels)
        for f in frames
    ]


@_frames
def stress_in_kbar(rng: random.Random, frames: list[LabeledFrame]) -> list[LabeledFrame]:
    return _scaled(frames, virial=1602.0)


@_frames
def labels_of_another(rng: random.Random, frames: list[LabeledFrame]) -> list[LabeledFrame]:
    return [LabeledFrame(item.frame, frames[0].labels) for item in frames]


@_frames
def nothing_but_zeros(rng: random.Random, frames: list[LabeledFrame]) -> list[LabeledFrame]:
    return _scaled(frames, 0.0, 0.0, 0.0)


@_frames
def atoms_on_top_of_each_other(rng: random.Random, frames: list[LabeledFrame]) -> list[LabeledFrame]:
    at = rng.randrange(len(frames))
    positions = frames[at].frame.positions.copy()
    positions[1] = positions[0] + rng.choice([0.0, 1e-3, 0.05])
    frames[at] = LabeledFrame(replace(frames[at].frame, positions=positions), frames[at].labels)
    return frames


@_frames
def another_energy_for_a_frame(rng: random.Random, frames: list[LabeledFrame]) -> list[LabeledFrame]:
    own = frames[3].labels
    return [*frames, LabeledFrame(frames[3].frame, replace(own, energy=own.energy + rng.choice([0.1, -3.0])))]


def _path(frames: list[LabeledFrame]) -> list[LabeledFrame]:
    """Frames along a path of small steps, so that energies tell the sign of forces."""
    from lamflow.engines.emt import Emt, EmtEvaluator

    first = frames[0].frame
    rng = np.random.default_rng(1)
    direction = rng.normal(size=first.positions.shape) * 0.02
    along = [replace(first, positions=first.positions + step * direction) for step in range(12)]
    return [
        LabeledFrame(frame, own)
        for frame, own in zip(along, EmtEvaluator(Emt()).evaluate(along), strict=True)
        if not isinstance(own, str)
    ]


EXTXYZ: dict[Change, Expected] = {
    **TEXT, not_a_number: "refused", forces_of_the_other_sign: "said", lengths_in_nm: "said", fractional_coordinates: "said",
    stress_in_kbar: "said", labels_of_another: "refused", nothing_but_zeros: "refused", atoms_on_top_of_each_other: "refused",
    another_energy_for_a_frame: "said",
}  # fmt: skip


def _array(change: Callable[[random.Random, np.ndarray], Any]) -> Change:
    """A change of one of the arrays below a folder."""

    def spoil(rng: random.Random, path: Path) -> None:
        file = rng.choice(sorted(path.rglob("set.*/*.npy")))
        np.save(file, change(rng, np.load(file)), allow_pickle=False)

    spoil.__name__ = f"array_{change.__name__}"
    return spoil


@_array
def not_finite(rng: random.Random, array: np.ndarray) -> np.ndarray:
    array = array.astype(float)
    array.flat[rng.randrange(array.size)] = rng.choice([np.nan, np.inf, -np.inf])
    return array


@_array
def of_no_numbers(rng: random.Random, array: np.ndarray) -> np.ndarray:
    return array.astype(rng.choice(["c16", "?", "U8", "S8", "M8[s]"]))


@_array
def of_another_type(rng: random.Random, array: np.ndarray) -> np.ndarray:
    return array.astype(rng.choice(["f4", "f2", ">f8", "i8", "i1", "longdouble"]))


@_array
def of_another_shape(rng: random.Random, array: np.ndarray) -> np.ndarray:
    flat = array.reshape(len(array), -1)
    return rng.choice(
        [
            array[:-1],
            np.concatenate([array, array[:1]]),
            flat[:, :-1],
            flat.T,
            array.ravel(),
            array[:0],
            array[..., None],
            np.array(1.0),
        ]
    )


@_array
def in_another_order(rng: random.Random, array: np.ndarray) -> np.ndarray:
    return rng.choice([np.asfortranarray(array), array[::-1]])


@_array
def scaled(rng: random.Random, array: np.ndarray) -> np.ndarray:
    return array * rng.choice([0, -1, 1e3, 1e-3, 1e300])


def huge_header(rng: random.Random, path: Path) -> None:
    file = rng.choice(sorted(path.rglob("set.*/*.npy")))
    rows = rng.choice(["999999999999", "99999999", "-1"])
    data = file.read_bytes()
    file.write_bytes(
        re.sub(
            rb"'shape': \(\d+(, [^)]*)\), \}( *)\n",
            lambda m: (f"'shape': ({rows}".encode() + m[1] + b"), }").ljust(len(m[0]) - 1)[: len(m[0]) - 1] + b"\n",
            data,
            count=1,
        )
    )


def _some_file(change: Change) -> Change:
    """A change of some file below a folder."""

    def spoil(rng: random.Random, path: Path) -> None:
        change(
            rng, rng.choice(sorted(file for file in path.rglob("*") if file.is_file() and file.name != "manifest.json"))
        )

    spoil.__name__ = f"file_{change.__name__}"
    return spoil


def types_that_are_none(rng: random.Random, path: Path) -> None:
    rng.choice(sorted(path.rglob("type.raw"))).write_text(
        rng.choice(["0 1 2 9\n", "-1\n" * 8, "x\n" * 8, "0.5\n" * 8, "0\n", "", "9" * 40 + "\n"])
    )


def elements_that_are_none(rng: random.Random, path: Path) -> None:
    rng.choice(sorted(path.rglob("type_map.raw"))).write_text(
        rng.choice(["Xx Yy\n", "D T\n", "\x1b[31mCu Ag\n", "", "Cu\n" * 5, "Type_0 Type_1\n"])
    )


def links_in_a_circle(rng: random.Random, path: Path) -> None:
    rng.choice(sorted(file for file in path.rglob("*") if file.is_dir())).joinpath("again").symlink_to(path.absolute())


ARRAYS: dict[Change, Expected] = {
    not_finite: "refused", of_no_numbers: "refused", of_another_type: "any", of_another_shape: "any", in_another_order: "any",
    unchanged: "good", scaled: "any", huge_header: "refused", types_that_are_none: "any", elements_that_are_none: "any", links_in_a_circle: "any",
    **{_some_file(change): "any" for change in ANY_FILE if change not in (pipe, unchanged)},
}  # fmt: skip
DATA = {"frames.extxyz": EXTXYZ, "npy": ARRAYS, "mixed": ARRAYS, "frames.traj": ANY_FILE, "frames.db": ANY_FILE, "frames.json": TEXT,
        "5.OUTCAR": TEXT, "6.OUTCAR": TEXT, "data.h5": ANY_FILE}  # fmt: skip
STRUCTURES = {"POSCAR": {**TEXT, not_a_number: "any"}, "crystal.cif": TEXT, "frames.extxyz": TEXT, "frames.xyz": TEXT}
MODELS = {"model.pt": ANY_FILE}
FORMATS = {"frames.db": "db", "frames.json": "json", "5.OUTCAR": "vasp-out", "6.OUTCAR": "vasp-out"}


class DataFuzzer:
    """Spoils the files of three studies: those that train on data, begin with structures, fine-tune a model."""

    name = "data"

    def prepare(self, folder: Path) -> None:
        """Good files of every kind."""
        good = folder / "good"
        good.mkdir()
        items = [*labeled(metal("Cu", 8, 1)), *labeled(metal("Ag", 4, 2))]
        frames = [item.labeled for item in items]
        write_extxyz(good / "frames.extxyz", [item.labeled for item in labeled(metal("Cu", 12, 7))])
        write_extxyz(good / "held.extxyz", [item.labeled for item in labeled(metal("Cu", 6, 5))])
        write_dataset(good / "npy", items, ["Cu", "Ag"], "deepmd/npy")
        write_dataset(good / "mixed", items, ["Cu", "Ag"], "deepmd/npy/mixed")
        _write_hdf5(good / "npy", good / "data.h5")
        _write_by_ase(good, frames)
        for version, name in (("5", "vasp-5.4.4-converged"), ("6", "vasp-6.2.0-converged")):
            (good / f"{version}.OUTCAR").write_bytes(gzip.decompress((OUTPUTS / f"{name}.OUTCAR.gz").read_bytes()))
        write_structure(good / "POSCAR", frames[0].frame, "vasp")
        write_structure(good / "crystal.cif", frames[0].frame, "cif")
        shutil.copyfile(ROOT / "workflows" / "finetune" / "tiny-lam.pt", good / "model.pt")

    def write(self, rng: random.Random, folder: Path) -> Case:
        """One study with one file spoilt."""
        case = folder / "case"
        shutil.rmtree(case, ignore_errors=True)
        case.mkdir()
        shutil.copyfile(folder / "good" / "held.extxyz", case / "held.extxyz")
        names = rng.choices([DATA, STRUCTURES, MODELS], [12, 5, 2])[0]
        name = rng.choice(sorted(names))
        change, expected = rng.choice(list(names[name].items()))
        source = folder / "good" / name
        if names is MODELS:
            shutil.copyfile(folder / "good" / "frames.extxyz", case / "frames.extxyz")
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, case / name)
        change(rng, case / name)
        study = case / "study.yaml"
        study.write_text(_study(names, name), encoding="utf-8")
        return Case(f"{name}: {getattr(change, '__name__', '')}", study, expected)

    def inputs(self, case: Case) -> list[Path]:
        """All files of the case."""
        return [path for path in case.study.parent.iterdir() if not path.is_symlink()]


def _study(names: dict[str, Any], name: str) -> str:
    if names is STRUCTURES:
        crystal = "crystal: {formula: Cu, lattice: fcc, a: 3.6, cubic: true}, supercell: [2, 2, 1], copies: 3"
        return STUDY.replace("elements: [Cu]", "elements: [Cu, Ag]").replace(crystal, f"files: [{name}]")
    given = "held.extxyz" if names is MODELS else name
    train = FINETUNE if names is MODELS else PAIR
    text = TRAINING.format(given=given, train=train, other="Ag" if "OUTCAR" not in name else "Si, Ga, As, N, O, Al")
    if names is MODELS:
        return text.replace(
            "data: [held.extxyz]}\nheldout: {data: [held.extxyz]}",
            "data: [frames.extxyz]}\nheldout: {data: [held.extxyz]}",
        )
    return text.replace(f"[{name}]}}", f"[{name}], format: {FORMATS[name]}}}") if name in FORMATS else text


def _write_by_ase(folder: Path, frames: list[LabeledFrame]) -> None:
    from ase.io import write

    from lamflow.data.ase_labels import ase_with_labels

    images = [ase_with_labels(item) for item in frames]
    write(folder / "frames.traj", images)
    write(folder / "frames.db", images)
    write(folder / "frames.json", images, format="json")
    write(folder / "frames.xyz", [image.copy() for image in images[:4]], format="xyz")


def _write_hdf5(folder: Path, file: Path) -> None:
    import h5py

    with h5py.File(file, "w") as target:
        for path in sorted(folder.rglob("*")):
            name = str(path.relative_to(folder))
            if path.suffix == ".npy":
                target[name] = np.load(path)
            elif path.suffix == ".raw":
                target[name] = [word.encode() for word in path.read_text(encoding="utf-8").split()]
