"""Labeled data from outside as they are: every format, every dialect, and what is broken counted with its reason."""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.io import write

from lamflow.config.cleaning import Source, SourceUnits
from lamflow.data.ase_labels import ase_with_labels
from lamflow.data.dataset import Item, Origin, read_dataset, write_dataset
from lamflow.data.extxyz import write_images
from lamflow.data.frames import Frame, LabeledFrame, Labels
from lamflow.data.io import read_source
from lamflow.data.mixed import write_mixed
from lamflow.data.npy import systems_below
from lamflow.data.shards import Shard, SourceFrame
from lamflow.data.sources import Dialect, Scale, source_frames
from lamflow.data.sources.dialect import force_units, unit_factor
from lamflow.data.sources.files import ase_frame
from lamflow.data.steps import UNREAD_STRESS
from lamflow.data.writers import write_lmdb, write_parquet, write_xyz
from lamflow.engines.registry import evaluator
from lamflow.engines.spin_lattice import SpinLatticeLabels, iron_frames
from lamflow.errors import InputError
from lamflow.policy.sources import dialect_of


def frames(count: int = 4) -> list[LabeledFrame]:
    """Copper-gold of two sizes, labeled by EMT."""
    made = []
    for number in range(count):
        atoms = bulk("Cu", "fcc", a=3.7, cubic=True).repeat((1 + number % 2, 1, 1))
        atoms.symbols[0] = "Au"
        atoms.rattle(0.1, seed=number)
        atoms.calc = EMT()
        frame = Frame.from_ase(atoms)
        labels = Labels.from_stress(atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress(), frame.volume)
        made.append(LabeledFrame(frame, labels))
    return made


def items(count: int = 4) -> list[Item]:
    return [Item(item, Origin(iteration=0, source=f"a#{n}", head="pbe")) for n, item in enumerate(frames(count))]


def read(path: Path, **how: Any) -> list[SourceFrame]:
    return list(source_frames(path, Dialect(**how)))


def same(one: LabeledFrame, other: LabeledFrame, exact: float = 1e-9) -> bool:
    order = [np.argsort(item.frame.numbers, kind="stable") for item in (one, other)]
    assert one.labels.virial is not None
    assert other.labels.virial is not None
    return bool(
        np.allclose(one.frame.positions[order[0]], other.frame.positions[order[1]], atol=exact)
        and np.isclose(one.labels.energy, other.labels.energy, atol=exact)
        and np.allclose(one.labels.forces[order[0]], other.labels.forces[order[1]], atol=exact)
        and np.allclose(one.labels.virial, other.labels.virial, atol=1e-6)
    )


@pytest.mark.parametrize("kind", ["extxyz", "parquet", "lmdb", "npy"])
def test_what_is_written_is_read(kind: str, tmp_path: Path) -> None:
    given = items()
    path = tmp_path / f"set.{kind}"
    if kind == "parquet":
        pytest.importorskip("pyarrow", reason="parquet needs pyarrow")
        write_parquet(path, given)
    elif kind == "lmdb":
        pytest.importorskip("lmdb", reason="LMDB needs lmdb")
        write_lmdb(path, given, ["Cu", "Au"])
    elif kind == "npy":
        write_mixed(path, given, ["Cu", "Au"])
    else:
        write_xyz(path, given)
    back = [item.labeled for item in read(path)]
    assert len(back) == 4
    for item in given:
        assert any(
            same(item.labeled, other, 1e-7)
            for other in back
            if other and len(other.frame.numbers) == item.labeled.frame.natoms
        )


def test_a_mixed_data_set_is_verified_when_it_is_read(tmp_path: Path) -> None:
    manifest = write_mixed(tmp_path / "set", items(), ["Au", "Cu"])
    assert sorted({record.system for record in manifest.frames}) == ["systems/pbe/000004", "systems/pbe/000008"]
    back = read_dataset(tmp_path / "set")
    assert [item.origin.head for item in back] == ["pbe"] * 4
    with pytest.raises(InputError, match="79 is not in elements"):
        write_mixed(tmp_path / "other", items(), ["Cu"])


def test_an_lmdb_that_is_cut_off_is_refused_before_a_page_that_is_not_there_is_read(tmp_path: Path) -> None:
    pytest.importorskip("lmdb", reason="LMDB needs lmdb")
    write_lmdb(tmp_path / "set.lmdb", items(), ["Cu", "Au"])
    file = tmp_path / "set.lmdb" / "data.mdb"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=rf"cut off: it has {len(whole) // 2} of \d+ bytes; copy it again"):
        list(source_frames(tmp_path / "set.lmdb", Dialect()))


@pytest.mark.deepmd
def test_deepmd_reads_the_lmdb(tmp_path: Path) -> None:
    lmdb_data = pytest.importorskip("deepmd.dpmodel.utils.lmdb_data", reason="needs DeePMD-kit")
    write_lmdb(tmp_path / "set.lmdb", items(), ["Cu", "Au"])
    reader = lmdb_data.LmdbDataReader(str(tmp_path / "set.lmdb"), ["Cu", "Au"])
    assert len(reader) == 4
    assert np.allclose(reader[1]["energy"], items()[1].labeled.labels.energy)


@pytest.mark.deepmd
def test_moments_travel_through_the_lmdb(tmp_path: Path) -> None:
    """Under the names that DeePMD-kit's trainings look for, and back from these and from dpdata's."""
    lmdb_data = pytest.importorskip("deepmd.dpmodel.utils.lmdb_data", reason="needs DeePMD-kit")
    given = iron_frames()
    labels = evaluator(SpinLatticeLabels(engine="spin-lattice")).evaluate(given)
    magnets = [LabeledFrame(frame, label) for frame, label in zip(given, labels, strict=True)]
    write_lmdb(
        tmp_path / "set.lmdb",
        [Item(item, Origin(iteration=0, source=f"a#{n}")) for n, item in enumerate(magnets)], ["Fe"],
    )  # fmt: skip
    found = read(tmp_path / "set.lmdb")
    reader = lmdb_data.LmdbDataReader(str(tmp_path / "set.lmdb"), ["Fe"])
    for number, (item, back) in enumerate(zip(magnets, found, strict=True)):
        assert back.labeled is not None
        for name, value in {**item.frame.fields, **item.labels.fields}.items():
            np.testing.assert_array_equal({**back.labeled.frame.fields, **back.labeled.labels.fields}[name], value)
        decoded = reader[number]
        np.testing.assert_allclose(np.reshape(decoded["spin"], (-1, 3)), np.asarray(item.frame.spins))
        np.testing.assert_allclose(np.reshape(decoded["force_mag"], (-1, 3)), np.asarray(item.labels.force_mag))


def colabfit(path: Path, **changes: Any) -> None:
    """A parquet file with ColabFit's columns; `changes` replace the values of some of its two rows."""
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    two = frames(2)
    columns: dict[str, list[Any]] = {
        "positions": [item.frame.positions.tolist() for item in two],
        "atomic_numbers": [item.frame.numbers.tolist() for item in two],
        "cell": [item.frame.cell.tolist() for item in two],
        "pbc": [[True] * 3] * 2,
        "energy": [item.labels.energy for item in two],
        "atomic_forces": [item.labels.forces.tolist() for item in two],
        "cauchy_stress": [item.labels.stress(item.frame.volume).tolist() for item in two],  # type: ignore[union-attr]
        "cauchy_stress_volume_normalized": [False, False],
        "method": ["DFT-PBE"] * 2, "software": ["VASP"] * 2, "property_id": ["PO_1", "PO_2"],
    }  # fmt: skip
    parquet.write_table(arrow.table({**columns, **changes}), path)


def test_colabfit_parquet_of_both_kinds_of_missing_labels(tmp_path: Path) -> None:
    colabfit(tmp_path / "a.parquet")
    back = read(tmp_path / "a.parquet")
    assert [item.method for item in back] == ["VASP DFT-PBE"] * 2
    assert all(item.labeled and same(item.labeled, given) for item, given in zip(back, frames(2), strict=True))
    two = frames(2)
    colabfit(tmp_path / "b.parquet", atomic_forces=[two[0].labels.forces.tolist(), []], cauchy_stress=[None, None])
    back = read(tmp_path / "b.parquet")
    assert back[1].problem == "schema: it has no atomic_forces"
    assert back[0].labeled is not None
    assert back[0].labeled.labels.virial is None
    virials = [(-item.labels.virial).tolist() for item in two if item.labels.virial is not None]
    colabfit(tmp_path / "c.parquet", cauchy_stress=virials, cauchy_stress_volume_normalized=[True, True])
    back = read(tmp_path / "c.parquet")
    assert all(item.labeled and same(item.labeled, given) for item, given in zip(back, two, strict=True))


def test_parquet_that_is_cut_off_or_another_says_so(tmp_path: Path) -> None:
    colabfit(tmp_path / "a.parquet")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-200])
    with pytest.raises(InputError, match=r"cut\.parquet: no parquet file, or one that is cut off"):
        read(tmp_path / "cut.parquet")
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table({"x": [1]}), tmp_path / "x.parquet")
    with pytest.raises(InputError, match="has no column positions"):
        read(tmp_path / "x.parquet")


def mptrj(path: Path) -> None:
    entries = {}
    for number, item in enumerate(frames(3)):
        sites = [
            {"species": [{"element": symbol, "occu": 1}], "abc": list(abc)}
            for symbol, abc in zip(item.frame.symbols, item.frame.positions @ np.linalg.inv(item.frame.cell), strict=True)
        ]  # fmt: skip
        stress = item.labels.stress(item.frame.volume)
        assert stress is not None
        entries[f"mp-{number}-0-0"] = {
            "structure": {"lattice": {"matrix": item.frame.cell.tolist()}, "sites": sites},
            "uncorrected_total_energy": item.labels.energy, "corrected_total_energy": item.labels.energy - 1,
            "force": item.labels.forces.tolist(), "stress": (-stress * 1602.176634).tolist(), "magmom": None,
        }  # fmt: skip
    document = {"mp-1": dict(list(entries.items())[:2]), "mp-2": dict(list(entries.items())[2:])}
    path.write_text(json.dumps(document), encoding="utf-8")


def test_mptrj_is_streamed_with_the_energy_that_was_chosen(tmp_path: Path) -> None:
    pytest.importorskip("ijson", reason="MPtrj needs ijson")
    mptrj(tmp_path / "m.json")
    with pytest.raises(InputError, match="MPtrj has two energies; say energy: uncorrected"):
        read(tmp_path / "m.json")
    back = read(tmp_path / "m.json", energy="uncorrected")
    assert [item.trajectory for item in back] == ["mp-1", "mp-1", "mp-2"]
    assert all(item.labeled and same(item.labeled, given, 1e-6) for item, given in zip(back, frames(3), strict=True))
    corrected = read(tmp_path / "m.json", energy="corrected")[0].labeled
    assert corrected is not None
    assert corrected.labels.energy == pytest.approx(frames(1)[0].labels.energy - 1)
    text = (tmp_path / "m.json").read_text()
    (tmp_path / "cut.json").write_text(text[: int(len(text) * 0.9)])
    cut = read(tmp_path / "cut.json", energy="uncorrected")
    assert [item.labeled is not None for item in cut] == [True, True, False]
    assert cut[-1].problem.startswith("cut off: nothing can be read after frame 1")


def test_ase_lmdb_of_omat24(tmp_path: Path) -> None:
    lmdb = pytest.importorskip("lmdb", reason="LMDB needs lmdb")
    with (
        lmdb.open(str(tmp_path / "data.0001.aselmdb"), subdir=False, map_size=1 << 24) as store,
        store.begin(write=True) as put,
    ):
        for number, item in enumerate(frames(3), start=1):
            stress = item.labels.stress(item.frame.volume)
            assert stress is not None
            row = {
                "numbers": item.frame.numbers.tolist(),
                "positions": {"__ndarray__": [[item.frame.natoms, 3], "float64", item.frame.positions.ravel().tolist()]},
                "cell": item.frame.cell.tolist(), "pbc": [True] * 3, "energy": item.labels.energy,
                "forces": item.labels.forces.tolist(), "stress": stress.ravel()[[0, 4, 8, 5, 2, 1]].tolist(),
                "data": {"sid": "agm-1"},
            }  # fmt: skip
            put.put(str(number).encode(), zlib.compress(json.dumps(row).encode()))
        put.put(b"4", b"no zlib")
        put.put(b"nextid", zlib.compress(b"5"))
    back = read(tmp_path / "data.0001.aselmdb")
    assert all(item.labeled and same(item.labeled, given) for item, given in zip(back[:3], frames(3), strict=True))
    assert back[0].trajectory == "agm-1"
    assert back[3].problem.startswith("schema: row 4 cannot be read")


def test_units_of_files_and_of_the_study(tmp_path: Path) -> None:
    atoms = frames(1)[0].frame.to_ase()
    given = frames(1)[0]
    atoms.info |= {
        "energy_unit": "kcal/mol",
        "forces_unit": "Hartree/Bohr",
        "REF_energy": given.labels.energy / 0.0433641042,
    }
    atoms.arrays["REF_forces"] = given.labels.forces / (27.211386245988 / 0.529177210903)
    write(tmp_path / "a.extxyz", atoms, format="extxyz")
    back = read(tmp_path / "a.extxyz")[0].labeled
    assert back is not None
    assert back.labels.energy == pytest.approx(given.labels.energy, rel=1e-6)
    assert np.allclose(back.labels.forces, given.labels.forces, atol=1e-6)
    scaled = read(tmp_path / "a.extxyz", scale=Scale(energy=2.0, forces=3.0))[0].labeled
    assert scaled is not None
    assert scaled.labels.energy == pytest.approx(2 * given.labels.energy / 0.0433641042)
    assert unit_factor("Ha/bohr", force_units()) == pytest.approx(51.422, rel=1e-4)
    with pytest.raises(InputError, match="the unit 'furlong' is not known"):
        unit_factor("furlong", force_units())


def test_what_a_study_does_not_say_is_in_its_units_of_energy_and_length(tmp_path: Path) -> None:
    given = frames(1)[0]
    energy, length, volume = 27.211386245988, 0.529177210903, given.frame.volume
    atoms = given.frame.to_ase()
    atoms.set_cell(atoms.cell.array / length, scale_atoms=True)
    stress = given.labels.stress(volume)
    assert stress is not None
    atoms.info |= {"Energy": given.labels.energy / energy, "STRESS": stress.ravel() / (energy / length**3)}
    atoms.arrays["Forces"] = given.labels.forces / (energy / length)
    write_images(tmp_path / "a.extxyz", [atoms])
    source = Source(name="x", data=["a.extxyz"], units=SourceUnits(energy="Hartree", length="bohr"))
    [back] = source_frames(tmp_path / "a.extxyz", dialect_of(source))
    assert back.labeled is not None
    assert same(back.labeled, given)


def test_names_of_labels_are_found_in_any_case(tmp_path: Path) -> None:
    given = frames(1)[0]
    stress = given.labels.stress(given.frame.volume)
    assert stress is not None
    for number, name in enumerate(("Stress", "STRESS", "dft_stress", "VIRIAL", "REF_virials")):
        atoms = given.frame.to_ase()
        sign = -given.frame.volume if "vir" in name.lower() else 1.0
        atoms.info |= {"ENERGY": given.labels.energy, name: sign * stress.ravel()}
        atoms.arrays["FORCES"] = given.labels.forces
        write_images(tmp_path / f"{number}.extxyz", [atoms])
        [back] = read(tmp_path / f"{number}.extxyz")
        assert back.labeled is not None
        assert same(back.labeled, given), name
        assert back.unread == ()


def test_what_is_not_kept_is_said(tmp_path: Path) -> None:
    images = []
    for number, item in enumerate(frames(3)):
        atoms = ase_with_labels(replace(item, labels=replace(item.labels, virial=None)))
        atoms.info |= {"stress_tensor": np.eye(3).ravel(), "charge": number, "spin": 1, "origin": "a stressed one"}
        images.append(atoms)
    write_images(tmp_path / "a.extxyz", images)
    back = read(tmp_path / "a.extxyz")
    assert [len(item.unread) for item in back] == [1, 2, 2]
    assert "say keys: {stress: stress_tensor}" in back[0].unread[0]
    assert back[1].unread[1].startswith("charge is nothing that models see")
    images[0].info |= {7: [1, 2], "lists": [[1], [2, 3]]}
    assert len(ase_frame(images[0], 0, Dialect()).unread) == 1, "whatever ASE takes"
    notes = read_source(tmp_path / "a.extxyz").notes
    assert [note[:20] for note in notes] == ["3 of 3 frames: stres", "2 of 3 frames: charg"]


def test_what_databases_of_ase_and_deepmd_do_not_keep_is_said(tmp_path: Path) -> None:
    """Charges, and what else rows of a database have by name."""
    given = frames(2)
    with connect(tmp_path / "a.db") as database:
        for number, item in enumerate(given):
            pairs = {"mp_id": f"mp-{number}", "total_charge": 1, "dft_energy": float(item.labels.energy) - 1}
            database.write(ase_with_labels(item), key_value_pairs=pairs, data={"method": "PBE", "other": [1.0, 2.0]})
    back = read(tmp_path / "a.db", keys={"energy": "dft_energy"})
    assert [(item.trajectory, item.method) for item in back] == [("mp-0", "PBE"), ("mp-1", "PBE")]
    assert [item.labeled.labels.energy if item.labeled else 0 for item in back] == pytest.approx(
        [float(item.labels.energy) - 1 for item in given]
    )
    write_dataset(tmp_path / "npy", items(4)[::2], ["Cu", "Au"], "deepmd/npy")
    [system] = systems_below(tmp_path / "npy" / "systems")
    np.save(system / "set.000" / "charge_spin.npy", [[1.0, 2.0], [0.0, 1.0]])
    charged, neutral = read(tmp_path / "npy" / "systems")
    assert back[0].unread[0].startswith("total_charge is nothing that models see")
    assert charged.unread[0].startswith("charge is nothing that models see")
    assert neutral.unread == ()
    notes = read_source(tmp_path / "npy" / "systems").notes
    assert [note[:24] for note in notes] == ["1 of 2 frames: charge is", "1 of 2 frames: multiplic"]


@pytest.mark.parametrize("setting", ["keys", "trajectory", "energy", "scale"])
@pytest.mark.parametrize("kind", ["parquet", "lmdb", "npy", "mptrj"])
def test_settings_that_a_format_does_not_go_by_are_refused(kind: str, setting: str, tmp_path: Path) -> None:
    """Or used: of a parquet file any column may be the energy."""
    value = {"keys": {"energy": "other"}, "trajectory": "other", "energy": "corrected", "scale": Scale(energy=2.0)}
    if kind == "parquet":
        colabfit(tmp_path / "data.parquet", other=[-1.0, -2.0])
    elif kind == "mptrj":
        mptrj(tmp_path / "data.json")
    elif kind == "lmdb":
        write_lmdb(tmp_path / "data.lmdb", items(2), ["Cu", "Au"])
    else:
        write_dataset(tmp_path / "data", items(2), ["Cu", "Au"], "deepmd/npy")
    path = {"parquet": "data.parquet", "mptrj": "data.json", "lmdb": "data.lmdb", "npy": "data/systems"}[kind]
    heeded = {"parquet": ("keys", "trajectory", "scale"), "mptrj": ("energy",)}.get(kind, ("scale",))
    how = {"energy": "corrected"} if kind == "mptrj" else {}
    if setting in heeded:
        first = read(tmp_path / path, **{**how, setting: value[setting]})[0]
        assert first.labeled is not None
        if (kind, setting) == ("parquet", "keys"):
            assert first.labeled.labels.energy == -1.0
        if (kind, setting) == ("parquet", "trajectory"):
            assert first.trajectory == "-1.0"
    else:
        with pytest.raises(InputError, match=r"leave (keys|trajectory|energy|units) out"):
            read(tmp_path / path, **{**how, setting: value[setting]})


def test_names_that_no_frame_has_are_refused(tmp_path: Path) -> None:
    colabfit(tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"a\.parquet: it has no column formation_energy; its columns are positions"):
        read(tmp_path / "a.parquet", keys={"energy": "formation_energy"})
    write_images(tmp_path / "a.extxyz", [ase_with_labels(item) for item in frames(2)])
    with pytest.raises(InputError, match=r"a\.extxyz: trajectory: frame 0 has no nonsense; it has energy, forces"):
        read(tmp_path / "a.extxyz", trajectory="nonsense")


def test_the_energy_of_the_materials_project_is_chosen_in_any_file(tmp_path: Path) -> None:
    atoms = frames(1)[0].frame.to_ase()
    atoms.info |= {"corrected_total_energy": -1.0, "uncorrected_total_energy": -2.0}
    atoms.arrays["forces"] = frames(1)[0].labels.forces
    write(tmp_path / "a.extxyz", atoms, format="extxyz")
    for energy, value in (("corrected", -1.0), ("uncorrected", -2.0)):
        [back] = read(tmp_path / "a.extxyz", energy=energy)
        assert back.labeled is not None
        assert back.labeled.labels.energy == value


def test_a_system_with_a_damaged_file_does_not_take_the_others_with_it(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_dataset(tmp_path / "data" / name, items(6)[::2], ["Cu", "Au"], "deepmd/npy")
        [system] = systems_below(tmp_path / "data" / name)
        (tmp_path / "many").mkdir(exist_ok=True)
        system.rename(tmp_path / "many" / name)
    forces = tmp_path / "many" / "b" / "set.000" / "force.npy"
    np.save(forces, np.load(forces)[:2])
    back = read(tmp_path / "many")
    assert [item.labeled is not None for item in back] == [True] * 3 + [False] * 3
    assert back[-1].problem.startswith("unreadable: b/set.000/force.npy: shape (2, ")


def test_mptrj_as_it_is_passed_around(tmp_path: Path) -> None:
    """Compressed, indented, with numbers that JSON does not know, and with things that are no frames."""
    pytest.importorskip("ijson", reason="MPtrj needs ijson")
    mptrj(tmp_path / "m.json")
    document = json.loads((tmp_path / "m.json").read_text())
    document["mp-1"]["mp-0-0-0"] |= {"bandgap": float("nan"), "range": [float("-inf"), 1.0], "name": "NaN, [NaN3]"}
    with gzip.open(tmp_path / "m.json.gz", "wt", encoding="utf-8") as stream:
        json.dump({**document, "mp-3": None, "mp-4": [1]}, stream, indent=1)
    back = read(tmp_path / "m.json.gz", energy="uncorrected")
    assert [item.labeled is not None for item in back] == [True] * 3 + [False] * 2
    assert all(item.labeled and same(item.labeled, given, 1e-6) for item, given in zip(back, frames(3), strict=False))
    assert back[-1].problem.startswith("schema: ")
    whole = (tmp_path / "m.json.gz").read_bytes()
    (tmp_path / "cut.json.gz").write_bytes(whole[: int(0.8 * len(whole))])
    cut = read(tmp_path / "cut.json.gz", energy="uncorrected")
    assert cut[-1].problem.startswith("cut off: nothing can be read after frame ")


def test_parquet_with_lists_of_a_fixed_size(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    two = frames(2)
    triple = arrow.list_(arrow.list_(arrow.float64(), 3))
    colabfit(
        tmp_path / "a.parquet",
        positions=arrow.array([item.frame.positions.tolist() for item in two], triple),
        atomic_forces=arrow.array([item.labels.forces.tolist() for item in two], triple),
        cell=arrow.array([item.frame.cell.tolist() for item in two], arrow.list_(arrow.list_(arrow.float64(), 3), 3)),
    )
    back = read(tmp_path / "a.parquet")
    assert all(item.labeled and same(item.labeled, given) for item, given in zip(back, two, strict=True))


def test_two_names_for_one_label_must_be_told_apart(tmp_path: Path) -> None:
    atoms = frames(1)[0].frame.to_ase()
    atoms.info |= {"corrected_total_energy": -1.0, "uncorrected_total_energy": -2.0}
    atoms.arrays["forces"] = frames(1)[0].labels.forces
    write(tmp_path / "a.extxyz", atoms, format="extxyz")
    with pytest.raises(InputError, match=r"may both be its energy; say keys: \{energy: NAME\}"):
        read(tmp_path / "a.extxyz")
    back = read(tmp_path / "a.extxyz", keys={"energy": "uncorrected_total_energy"})[0].labeled
    assert back is not None
    assert back.labels.energy == -2.0


def test_one_frame_that_could_mean_two_things_is_counted(tmp_path: Path) -> None:
    """Unless it is the first of its file: then so are the others, most likely."""
    images = [ase_with_labels(item) for item in frames(3)]
    images[1].info["dft_energy"] = -1.0
    write_images(tmp_path / "a.extxyz", images)
    back = read(tmp_path / "a.extxyz")
    assert [item.labeled is not None for item in back] == [True, False, True]
    assert back[1].problem.startswith("schema: energy and dft_energy may both be its energy")


def test_magnetic_forces_have_the_unit_of_the_energy() -> None:
    [frame] = iron_frames()[:1]
    [labels] = evaluator(SpinLatticeLabels(engine="spin-lattice")).evaluate([frame])
    scaled = Scale(energy=2.0).applied(LabeledFrame(frame, labels), has_stress=False).labels
    np.testing.assert_allclose(np.asarray(scaled.force_mag), 2 * np.asarray(labels.force_mag))


def test_extxyz_that_is_cut_off_keeps_what_is_whole(tmp_path: Path) -> None:
    write_xyz(tmp_path / "a.extxyz", items())
    lines = (tmp_path / "a.extxyz").read_text().splitlines()
    (tmp_path / "cut.extxyz").write_text("\n".join(lines[:-3]) + "\n")
    back = read(tmp_path / "cut.extxyz")
    assert [item.labeled is not None for item in back] == [True, True, True, False]
    assert back[3].problem.startswith("cut off")


def test_a_compressed_file_that_is_cut_off_keeps_what_is_whole(tmp_path: Path) -> None:
    write_xyz(tmp_path / "a.extxyz", items(40))
    packed = gzip.compress((tmp_path / "a.extxyz").read_bytes())
    (tmp_path / "cut.extxyz.gz").write_bytes(packed[: 3 * len(packed) // 4])
    back = read(tmp_path / "cut.extxyz.gz")
    assert 20 < len(back) < 40
    assert all(item.labeled and same(item.labeled, given) for item, given in zip(back[:-1], frames(40), strict=False))
    assert back[-1].problem.startswith("cut off")
    (tmp_path / "none.extxyz.gz").write_bytes(packed[:12])
    [nothing] = read(tmp_path / "none.extxyz.gz")
    assert nothing.problem.startswith("cut off")


def test_a_compressed_file_with_a_wrong_byte_keeps_what_is_before_it(tmp_path: Path) -> None:
    write_images(tmp_path / "a.extxyz", [ase_with_labels(item) for item in frames(4) * 50])
    packed = bytearray(gzip.compress((tmp_path / "a.extxyz").read_bytes()))
    packed[int(0.9 * len(packed))] ^= 0xFF
    (tmp_path / "b.extxyz.gz").write_bytes(packed)
    back = read(tmp_path / "b.extxyz.gz")
    assert len(back) > 50
    assert sum(item.labeled is None for item in back) <= 2, "a frame with the wrong byte may still look like one"
    assert back[-1].problem.startswith("cut off")


def test_frames_that_no_gate_would_pass_are_counted_with_their_reason(tmp_path: Path) -> None:
    images = []
    for number, item in enumerate(frames()):
        atoms = item.frame.to_ase()
        forces = item.labels.forces.copy()
        if number == 1:
            forces[0, 0] = np.nan
        if number == 2:
            atoms.positions[1] = atoms.positions[0]
        if number == 3:
            atoms.pbc = [True, True, False]
        atoms.calc = SinglePointCalculator(atoms, energy=item.labels.energy, forces=forces)
        images.append(atoms)
    write(tmp_path / "a.extxyz", images, format="extxyz")
    problems = [item.problem for item in read(tmp_path / "a.extxyz")]
    assert problems[0] == ""
    assert "unusable: 1 atoms have a force that is not finite" in problems[1]
    assert "on top of each other" in problems[2]
    assert "periodic in some directions only" in problems[3]


def test_a_shard_gives_back_what_it_was_made_of(tmp_path: Path) -> None:
    given = [SourceFrame(number, item, "", f"t{number % 2}", "PBE") for number, item in enumerate(frames())]
    Shard.of("mine", "file", given).save(tmp_path / "shard")
    back = Shard.read(tmp_path / "shard")
    assert back.about.trajectories == ["t0", "t1"]
    assert back.trajectory.tolist() == [0, 1, 0, 1]
    assert all(same(one, other) for one, other in zip(back, frames(), strict=True))


@pytest.mark.parametrize("stress", ["", " STRESS| Analytical stress tensor [GPa]\n"])
def test_the_stress_of_cp2k_is_said_to_be_left_out(tmp_path: Path, stress: str) -> None:
    recorded = Path(__file__).parents[1] / "engines" / "outputs" / "cp2k-2023.1-converged.out.gz"
    (tmp_path / "cp2k.out").write_text(gzip.decompress(recorded.read_bytes()).decode() + stress)
    [item] = source_frames(tmp_path / "cp2k.out", Dialect(format="cp2k/output"))
    assert item.labeled is not None
    assert [*item.unread] == ([UNREAD_STRESS] if stress else [])
    notes = read_source(tmp_path / "cp2k.out", "cp2k/output").notes
    assert [*notes] == ([f"1 of 1 frames: {UNREAD_STRESS}"] if stress else [])
