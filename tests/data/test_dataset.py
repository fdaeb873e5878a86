from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from lamflow.data import Frame, LabeledFrame, Labels
from lamflow.data.dataset import (
    Format,
    Item,
    Origin,
    head_systems,
    labels_hash,
    manifests,
    read_dataset,
    read_manifest,
    resampled,
    systems,
    verified_manifests,
    verify,
    verify_as_known,
    write_dataset,
)
from lamflow.errors import InputError, StateError


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
        replace(item, origin=item.origin.model_copy(update={"head": head})) for head in ("pbe", "lda") for item in one
    ]
    manifest = write_dataset(tmp_path / "000", [*given, given[0]], ["Al", "Cu"], "deepmd/npy")
    assert len(manifest.frames) == 6, "the same frame twice in one task is one"
    assert len({record.key for record in manifest.frames}) == 6
    found = head_systems(tmp_path)
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


class TestVerification:
    """A data set is what was written, or the fault and the way back are named."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        for number in range(3):
            write_dataset(tmp_path / f"{number:03d}", items(np.random.default_rng(number)), ["Al", "Cu"], "deepmd/npy")
        return tmp_path

    def test_what_was_written_is_verified(self, path: Path) -> None:
        assert [len(manifest.frames) for manifest in verified_manifests(path)] == [5, 5, 5]
        manifest = verify(path / "000")
        assert set(manifest.files) == {
            str(file.relative_to(path / "000")) for file in (path / "000" / "systems").rglob("*") if file.is_file()
        }

    def test_labels_have_a_hash(self, path: Path) -> None:
        labeled = [item.labeled for item in read_dataset(path / "000")]
        assert labels_hash(labeled) == read_manifest(path / "000").labels
        first = labeled[0]
        other = Labels(first.labels.energy + 1e-9, first.labels.forces, first.labels.virial)
        assert labels_hash([LabeledFrame(first.frame, other), *labeled[1:]]) != labels_hash(labeled)

    def test_a_data_set_that_is_gone(self, path: Path) -> None:
        known = read_manifest(path / "001")
        verify_as_known(path / "001", known)
        shutil.rmtree(path / "001")
        with pytest.raises(StateError, match="001: this data set of the run is missing; put it back"):
            verify_as_known(path / "001", known)
        assert len(verified_manifests(path)) == 2, "an iteration that labeled nothing has no data set"
        shutil.rmtree(path / "000")
        with pytest.raises(StateError, match="000: this data set of the run is missing; put it back"):
            verified_manifests(path)

    def test_no_data_sets_at_all(self, tmp_path: Path) -> None:
        with pytest.raises(StateError, match="there are no data sets"):
            verified_manifests(tmp_path)

    def test_a_file_that_is_gone(self, path: Path) -> None:
        next(path.glob("001/systems/*/set.000/force.npy")).unlink()
        with pytest.raises(StateError, match=r"force.npy: this file of a data set is missing; put it back"):
            verified_manifests(path)

    def test_an_energy_that_was_edited(self, path: Path) -> None:
        file = next(path.glob("001/systems/*/set.000/energy.npy"))
        np.save(file, np.load(file) + 1e-3)
        with pytest.raises(StateError, match=r"energy.npy: changed since the data set was written"):
            read_dataset(path / "001")

    def test_a_system_that_was_added(self, path: Path) -> None:
        system = next(path.glob("000/systems/*"))
        shutil.copytree(system, system.with_name("more"))
        with pytest.raises(StateError, match="does not belong to the data set"):
            verify(path / "000")

    def test_a_manifest_that_is_cut(self, path: Path) -> None:
        file = path / "000" / "manifest.json"
        file.write_text(file.read_text()[:100])
        with pytest.raises(StateError, match=r"manifest.json: no Manifest document"):
            verify(path / "000")

    def test_a_manifest_of_an_earlier_version_has_no_hashes(self, path: Path) -> None:
        file = path / "000" / "manifest.json"
        old = {key: value for key, value in json.loads(file.read_text()).items() if key not in ("files", "labels")}
        file.write_text(json.dumps(old))
        assert len(read_dataset(path / "000")) == 5

    def test_the_index_knows_another_data_set(self, path: Path) -> None:
        known = read_manifest(path / "000")
        verify_as_known(path / "000", known)
        shutil.rmtree(path / "000")
        shutil.copytree(path / "001", path / "000")
        with pytest.raises(StateError, match="not the data set that the run's index knows"):
            verify_as_known(path / "000", known)
