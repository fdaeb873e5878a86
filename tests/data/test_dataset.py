from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from lamflow.data import Frame, LabeledFrame, Labels
from lamflow.data.dataset import (
    Format,
    Item,
    Origin,
    manifests,
    read_dataset,
    resampled,
    systems,
    task_systems,
    write_dataset,
)
from lamflow.errors import InputError


def items(rng: np.random.Generator) -> list[Item]:
    """Two compositions, an isolated molecule, and a frame without a virial."""
    made = []
    for number, (symbols, pbc, virial) in enumerate(
        [
            ("CuAlCu", True, True),
            ("AlCuCu", True, True),
            ("AlAl", True, True),
            ("AlAl", True, False),
            ("CuCu", False, False),
        ]
    ):
        atoms = Atoms(symbols, positions=rng.uniform(0, 5, (len(Atoms(symbols)), 3)), cell=np.eye(3) * 6, pbc=pbc)
        energy, forces, tensor = float(rng.normal()), rng.normal(size=(len(atoms), 3)), rng.normal(size=(3, 3))
        labels = Labels(energy, forces, tensor + tensor.T if virial else None)
        origin = Origin(iteration=2, source=f"task {number}", step=number, deviation=0.1 * number)
        made.append(Item(LabeledFrame(Frame.from_ase(atoms), labels), origin))
    return made


@pytest.mark.parametrize("format", ["deepmd/npy", "deepmd/npy/mixed"])
def test_what_is_written_is_read_back(tmp_path: Path, format: Format) -> None:
    given = items(np.random.default_rng(0))
    write_dataset(tmp_path / "000", given, ["Al", "Cu"], format)
    found = {item.origin.source: item for item in read_dataset(tmp_path / "000")}
    assert len(found) == len(given)
    for item in given:
        back, frame = found[item.origin.source], item.labeled.frame
        assert back.origin == item.origin
        order = np.argsort([{"Al": 0, "Cu": 1}[s] for s in frame.symbols], kind="stable")
        np.testing.assert_array_equal(back.labeled.frame.numbers, frame.numbers[order])
        np.testing.assert_array_equal(back.labeled.frame.positions, frame.positions[order])
        np.testing.assert_array_equal(back.labeled.labels.forces, item.labeled.labels.forces[order])
        assert back.labeled.labels.energy == item.labeled.labels.energy
        assert back.labeled.frame.pbc == frame.pbc
        assert (back.labeled.labels.virial is None) == (item.labeled.labels.virial is None)
        if item.labeled.labels.virial is not None:
            np.testing.assert_array_equal(back.labeled.labels.virial, item.labeled.labels.virial)


def test_a_frame_is_written_once(tmp_path: Path) -> None:
    given = items(np.random.default_rng(0))
    manifest = write_dataset(tmp_path / "000", [*given, given[0], given[2]], ["Al", "Cu"], "deepmd/npy")
    assert len(manifest.frames) == len({record.hash for record in manifest.frames}) == len(given) - 1 + 1


def test_the_manifest_says_where_each_frame_lies(tmp_path: Path) -> None:
    write_dataset(tmp_path / "000", items(np.random.default_rng(0)), ["Al", "Cu"], "deepmd/npy")
    [manifest] = manifests(tmp_path)
    for item, record in zip(read_dataset(tmp_path / "000"), manifest.frames, strict=True):
        assert item.labeled.frame.content_hash() == record.hash
        assert (tmp_path / "000" / record.system / "type.raw").is_file()
    assert len(systems(tmp_path)) == len({record.system for record in manifest.frames})


def test_a_foreign_element_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"task 0: Cu is not in elements \['Al'\]"):
        write_dataset(tmp_path / "000", items(np.random.default_rng(0)), ["Al"], "deepmd/npy")


def test_no_data_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no data: there is no type\.raw"):
        systems(tmp_path)


def test_tasks_lie_apart_and_may_share_a_frame(tmp_path: Path) -> None:
    from dataclasses import replace

    one = items(np.random.default_rng(0))[:3]
    given = [
        replace(item, origin=item.origin.model_copy(update={"task": task})) for task in ("pbe", "lda") for item in one
    ]
    manifest = write_dataset(tmp_path / "000", [*given, given[0]], ["Al", "Cu"], "deepmd/npy")
    assert len(manifest.frames) == 6, "the same frame twice in one task is one"
    assert len({record.key for record in manifest.frames}) == 6
    found = task_systems(tmp_path)
    assert set(found) == {"pbe", "lda"}
    assert not set(found["pbe"]) & set(found["lda"])
    assert sorted(path for paths in found.values() for path in paths) == systems(tmp_path)


@pytest.mark.parametrize("format", ["deepmd/npy", "deepmd/npy/mixed"])
def test_a_bootstrap_sample_draws_frames_again(tmp_path: Path, format: Format) -> None:
    from lamflow.data.io import read_labeled

    rng = np.random.default_rng(0)
    many = [item for _ in range(6) for item in items(rng)]
    write_dataset(tmp_path / "000", many, ["Al", "Cu"], format)
    whole = systems(tmp_path / "000")
    copies = resampled(whole, tmp_path / "a", seed=1)
    drawn = [labeled.frame.content_hash() for copy in copies.values() for labeled in read_labeled(copy)]
    known = {item.labeled.frame.content_hash() for item in many}
    assert set(copies) == set(whole)
    assert len(many) <= len(drawn) < len(many) + len(whole)
    assert len(set(drawn)) < len(known)
    assert set(drawn) <= known
    again = resampled(whole, tmp_path / "b", seed=1)
    assert [labeled.frame.content_hash() for copy in again.values() for labeled in read_labeled(copy)] == drawn
    other = resampled(whole, tmp_path / "c", seed=2)
    assert [labeled.frame.content_hash() for copy in other.values() for labeled in read_labeled(copy)] != drawn
