"""CALYPSO's files, its settings, and lamflow's own search in its place."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from ase.data import chemical_symbols
from pydantic import ValidationError

from lamflow.data import Frame, Labels, Relaxed
from lamflow.engines.calypso.exchange import SENTINEL, Exchange, read_outcar, read_poscar, write_outcar, write_poscar
from lamflow.engines.calypso.folder import CalypsoFolder
from lamflow.engines.calypso.input import CalypsoInput, input_of, parse_toml, settings_of, toml_of
from lamflow.engines.calypso.settings import CalypsoSearch
from lamflow.engines.emt import Emt
from lamflow.engines.protocol import SearchJob
from lamflow.engines.registry import evaluator, searcher
from lamflow.errors import EngineError, InputError
from lamflow.science.relaxation import relax

pytest.importorskip("pyxtal", reason='PyXtal is missing: pip install "lamflow[calypso]"')
CUAU = {"engine": "calypso", "ranges": {"Cu": [0, 4], "Au": [0, 4]}, "max_atoms": 4, "population": 6, "generations": 3}


def settings(**more: object) -> CalypsoSearch:
    return CalypsoSearch.model_validate({**CUAU, **more})


def labeled(frame: Frame) -> Labels:
    return evaluator(Emt()).evaluate([frame])[0]


def crystal(seed: int = 1) -> Frame:
    from lamflow.engines.calypso.crystals import random_crystal

    return random_crystal(settings(), {"Cu": 3, "Au": 1}, np.random.default_rng(seed))


class TestFiles:
    def test_a_poscar_is_read_as_it_was_written(self) -> None:
        frame = crystal()
        again = read_poscar(write_poscar(frame))
        assert (again.numbers == frame.numbers).all()
        assert again.cell == pytest.approx(frame.cell, abs=1e-10)
        apart = np.linalg.solve(frame.cell.T, (again.positions - frame.positions).T).T
        assert apart - np.rint(apart) == pytest.approx(np.zeros(apart.shape), abs=1e-10)

    def test_ase_reads_the_poscar(self, tmp_path: Path) -> None:
        from ase.io import read

        (tmp_path / "POSCAR_1").write_text(write_poscar(crystal()))
        assert sorted(read(tmp_path / "POSCAR_1", format="vasp").numbers) == sorted(crystal().numbers)

    @pytest.mark.parametrize("pressure", [0.0, 0.3])
    def test_an_outcar_is_read_as_it_was_written(self, pressure: float) -> None:
        frame = crystal()
        given = labeled(frame)
        ended, found = read_outcar(write_outcar(frame, given, pressure))
        assert found is not None
        assert found.energy == pytest.approx(given.energy, abs=1e-7)
        assert found.forces == pytest.approx(given.forces, abs=1e-9)
        assert found.virial == pytest.approx(given.virial, abs=1e-5)
        assert ended.cell == pytest.approx(frame.cell, abs=1e-9)

    def test_a_failure_has_the_sentinel(self) -> None:
        text = write_outcar(crystal(), None)
        assert f"{SENTINEL:.8f}" in text
        assert read_outcar(text)[1] is None

    def test_a_pair_of_files_that_do_not_belong_together(self, tmp_path: Path) -> None:
        exchange, frame = Exchange(tmp_path), crystal()
        exchange.write_generation([frame], 1)
        exchange.write_relaxed("_1", Relaxed(frame, labeled(frame)), 0.0)
        assert exchange.relaxed(1).labels is not None
        other = Frame(frame.numbers[::-1] * 0 + 79, frame.positions, frame.cell, True)
        (tmp_path / "OUTCAR_1").write_text(write_outcar(other, labeled(other)))
        with pytest.raises(EngineError, match=r"OUTCAR_1 is of another structure: it has Au4, and POSCAR_1 has AuCu3"):
            exchange.relaxed(1)
        grown = Frame(frame.numbers, frame.positions * 1.1, frame.cell * 1.1, True)
        (tmp_path / "OUTCAR_1").write_text(write_outcar(grown, labeled(grown)))
        with pytest.raises(EngineError, match="different cells"):
            exchange.relaxed(1)

    @pytest.mark.parametrize("name", ["POSCAR_1", "CONTCAR_1", "OUTCAR_1"])
    def test_a_file_that_is_cut_off_or_missing(self, tmp_path: Path, name: str) -> None:
        exchange, frame = Exchange(tmp_path), crystal()
        exchange.write_generation([frame], 1)
        exchange.write_relaxed("_1", Relaxed(frame, labeled(frame)), 0.0)
        text = (tmp_path / name).read_text()
        (tmp_path / name).write_text(text[: len(text) * 3 // 5])
        with pytest.raises(EngineError, match=rf"{name}: cut off, or not what its name says"):
            exchange.relaxed(1)
        (tmp_path / name).unlink()
        with pytest.raises(EngineError, match=rf"{name}: this file of the exchange with CALYPSO is missing"):
            exchange.relaxed(1)

    def test_a_foreign_file_is_no_structure(self, tmp_path: Path) -> None:
        (tmp_path / "POSCAR_1").write_text("this is a\nletter\n" * 6)
        with pytest.raises(InputError, match="POSCAR cannot be read"):
            CalypsoFolder(tmp_path).structures()
        with pytest.raises(InputError, match="neither POSCAR_1"):
            CalypsoFolder(tmp_path / "nothing").structures()


class TestInput:
    @pytest.mark.parametrize(
        "more",
        [
            {},
            {"ranges": {}, "formula": {"Al": 1, "Cu": 2}, "formula_units": [2, 3], "max_atoms": 9},
            {"pressures": [500_000], "swarm": "global", "distances": {"Cu-Au": 2.5}, "space_groups": [75, 194]},
            {"ranges": {}, "formula": {"Cu": 1}, "volumes": {"Cu": 12.5}},
        ],
    )
    def test_what_is_written_is_read_back_as_the_same_search(self, more: dict[str, object]) -> None:
        wanted = settings(**more)
        again = settings_of(CalypsoInput.parse(input_of(wanted, wanted.conditions()[0]).text()))
        for key in ("elements", "population", "generations", "space_groups", "swarm", "pressures", "pso_ratio"):
            assert getattr(again, key) == pytest.approx(getattr(wanted, key)) or key == "elements"
        assert again.compositions() == wanted.compositions()
        for one in wanted.elements:
            assert again.distance(one, one) == pytest.approx(wanted.distance(one, one), rel=1e-5)

    def test_keys_are_not_case_sensitive_and_comments_are_skipped(self) -> None:
        text = "systemNAME = MgB2  # a name\nnumberofatoms = 1 2\n\npsoratio=0.5\nVSC = .TRUE.\n@distanceofion\n1 2\n2 3\n@END\n"
        found = CalypsoInput.parse(text)
        assert found.values == {"SystemName": "MgB2", "NumberOfAtoms": [1, 2], "PsoRatio": 0.5, "VSC": True}
        assert found.matrices == {"DistanceOfIon": [[1, 2], [2, 3]]}
        assert found.get("PSORATIO") == 0.5

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("PopSize = ten", r"line 1: PopSize = ten"),
            ("PopSize", "neither `key = value`"),
            ("VSC = perhaps", "give T or F"),
            ("\n@DistanceOfIon\n1 2\n", r"line 2: @DistanceOfIon has no @End; the file is cut off"),
            ("@CtrlRange\n1 many\n@End", "not a row of numbers"),
        ],
    )
    def test_a_line_that_cannot_be_read_is_named(self, text: str, message: str) -> None:
        with pytest.raises(InputError, match=message):
            CalypsoInput.parse(text)

    def test_the_user_s_own_keys_are_kept(self) -> None:
        own = CalypsoInput.parse("LMC = T\nPopSize = 99\nMyKey = 7\n")
        text = input_of(settings(), {}, own).text()
        found = CalypsoInput.parse(text)
        assert found.get("LMC") is True
        assert found.get("PopSize") == 6
        assert found.values["MyKey"] == "7"

    def test_version_10(self) -> None:
        text = toml_of(settings(pressures=[100_000]), {"pressure": 100_000.0}, 5, '[CALYPSO]\nISim = 2\nMine = "x"\n')
        found = parse_toml(text)
        assert found["CALYPSO"]["IRunner"] == 2
        assert found["CALYPSO"]["Mine"] == "x"
        assert found["CALYPSO"]["ISim"] == 1
        assert found["GENERATOR"]["FormulaUnit"] == ["(Cu)0-4(Au)0-4"]
        assert found["OPT"]["Pstress"] == pytest.approx(10.0, rel=1e-6)
        with pytest.raises(InputError, match=r"no section \[CALYPSO\]"):
            parse_toml("a = 1")

    def test_the_folder_says_pressure_and_fmax(self, tmp_path: Path) -> None:
        (tmp_path / "input.dat").write_text("PSTRESS = 500\nfmax = 0.01\n")
        found = CalypsoFolder(tmp_path)
        assert (found.pressure, found.fmax) == (pytest.approx(500_000.0), 0.01)
        (tmp_path / "input.dat").unlink()
        (tmp_path / "input.toml").write_text("[CALYPSO]\n[CALYPSO.OPT]\nPstress = 50\n")
        found = CalypsoFolder(tmp_path)
        assert (found.pressure, found.fmax) == (pytest.approx(500_000.0), None)


class TestSettings:
    @pytest.mark.parametrize(
        ("more", "message"),
        [
            ({"formula": {"Cu": 1}}, "either formula or ranges"),
            ({"ranges": {"Cu": [4, 2]}}, "from low to high"),
            ({"ranges": {"Xx": [0, 2]}}, "'Xx' is not a chemical symbol"),
            ({"ranges": {"Cu": [0, 0]}}, "nothing to search"),
            ({"ranges": {"Cu": [5, 9]}}, r"smallest cell has 5 atoms, more than max_atoms \(4\)"),
            ({"ranges": {}, "formula": {"Cu": 9}}, "9 atoms, more than max_atoms"),
            ({"volumes": {"Cu": 3.0, "Au": 3.0}}, r"fill \d+% of the volume .* spheres cannot fill more than 74%"),
            ({"volumes": {"Fe": 3.0}}, "Fe is not in the composition"),
            ({"distances": {"Cu-Fe": 2.0}}, "Fe is not in the composition"),
            ({"space_groups": [230, 1]}, "from low to high"),
        ],
    )
    def test_what_cannot_be_is_refused(self, more: dict[str, object], message: str) -> None:
        with pytest.raises(ValidationError, match=message):
            settings(**more)

    def test_without_the_binary_the_built_in_search_is_named(self) -> None:
        found = settings(search="binary", command=["no-such-calypso.x"]).missing()
        assert found is not None
        assert "no-such-calypso.x" in found
        assert "search: pso" in found

    def test_constraints_that_no_crystal_holds(self, tmp_path: Path) -> None:
        impossible = settings(
            ranges={}, formula={"Cu": 4}, formula_units=[1, 1], distances={"Cu-Cu": 2.75}, volumes={"Cu": 15.0}
        )
        with pytest.raises(
            EngineError, match=r"no crystal of Cu4 in .* Å³ keeps the smallest distances \(Cu-Cu 2.75 Å\)"
        ):
            searcher(impossible).propose(SearchJob(tmp_path / "x", 1, {}, 1), [])
        narrow = settings(ranges={}, formula={"Cu": 3}, formula_units=[1, 1], space_groups=[230, 230])
        with pytest.raises(EngineError, match="no space group from 230 to 230 has Wyckoff positions for Cu3"):
            searcher(narrow).propose(SearchJob(tmp_path / "x", 1, {}, 1), [])


class TestCrystals:
    @pytest.mark.parametrize("number", range(1, 104))
    def test_every_element(self, number: int) -> None:
        from lamflow.engines.calypso.crystals import random_crystal, too_close

        element = chemical_symbols[number]
        other = "O" if element != "O" else "Si"
        wanted = CalypsoSearch.model_validate(
            {"engine": "calypso", "formula": {element: 1, other: 1}, "formula_units": [2, 2]}
        )
        found = random_crystal(wanted, wanted.compositions()[0], np.random.default_rng(number))
        assert Counter(found.symbols) == {element: 2, other: 2}
        assert not too_close(wanted, found)

    def test_a_primitive_cell_has_the_symmetry_it_was_made_with(self) -> None:
        from lamflow.engines.calypso.crystals import _crystal, fits
        from lamflow.science.similarity import space_group

        rng, wanted = (
            np.random.default_rng(0),
            settings(ranges={}, formula={"Cu": 4, "Au": 2}, formula_units=[1, 1], max_atoms=6),
        )
        checked = 0
        for number in range(75, 231):
            made = _crystal(wanted, {"Cu": 4, "Au": 2}, number, 100.0, rng) if fits(number, (4, 2)) else None
            if made is not None:
                assert space_group(made, 1e-3) >= 75, number
                checked += 1
        assert checked > 30

    def test_compositions_are_drawn_by_their_ratio(self) -> None:
        from lamflow.engines.calypso.crystals import random_counts

        rng = np.random.default_rng(1)
        drawn = Counter(tuple(sorted(random_counts(settings(), rng))) for _ in range(700))
        assert drawn[("Cu",)] == pytest.approx(100, abs=40)  # one ratio of seven, however many sizes it has


def relaxed_by_emt(frames: Sequence[Frame]) -> list[Relaxed]:
    from lamflow.config.engines import Relaxation

    return [path.relaxed for path in relax(frames, evaluator(Emt()).evaluate, Relaxation(steps=20))]


def searched(wanted: CalypsoSearch, folder: Path, seed: int = 1) -> list[list[Frame]]:
    """A whole search; the structures of each generation."""
    engine, generations, relaxed = searcher(wanted), [], list[Relaxed]()
    for generation in range(1, wanted.generations + 2):
        proposed = engine.propose(SearchJob(folder, generation, {}, seed), relaxed)
        if proposed:
            generations.append(proposed)
            relaxed = relaxed_by_emt(proposed)
    return generations


def same_structures(one: list[list[Frame]], other: list[list[Frame]]) -> bool:
    return [[f.content_hash() for f in g] for g in one] == [[f.content_hash() for f in g] for g in other]


class TestSearch:
    def test_generations_and_records(self, tmp_path: Path) -> None:
        found = searched(settings(), tmp_path / "search")
        assert [len(generation) for generation in found] == [6, 6, 6]
        names = {path.name for path in (tmp_path / "search" / "results").iterdir()}
        assert names == {
            "CALYPSO_input.dat", "struct.dat", "similar.dat",
            *(f"pso_{kind}_{number}" for kind in ("ini", "opt", "sor") for number in (1, 2, 3)),
        }  # fmt: skip
        rows = (tmp_path / "search" / "results" / "pso_sor_2").read_text().splitlines()
        enthalpies = [float(row.split()[1]) for row in rows]
        assert enthalpies == sorted(enthalpies)
        assert len((tmp_path / "search" / "results" / "struct.dat").read_text().splitlines()) == 18
        hull = (tmp_path / "search" / "test_qconvex.in").read_text().split()
        assert hull[:2] == ["2", "18"]

    def test_the_same_seed_makes_the_same_search(self, tmp_path: Path) -> None:
        one, two, other = (searched(settings(), tmp_path / name, seed) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
        assert same_structures(one, two)
        assert not same_structures(one, other)

    def test_a_generation_that_was_cut_off_is_proposed_again(self, tmp_path: Path) -> None:
        whole = searched(settings(), tmp_path / "whole")
        engine, folder = searcher(settings()), tmp_path / "cut"
        first = engine.propose(SearchJob(folder, 1, {}, 1), [])
        relaxed = relaxed_by_emt(first)
        engine.propose(SearchJob(folder, 2, {}, 1), relaxed)
        for name in ("POSCAR_4", "POSCAR_5", "generation.done"):  # as if killed while it wrote
            (folder / name).unlink()
        (folder / "generation.done").write_text(f"1 {len(first)}\n")
        (folder / "results" / "pso_ini_2").unlink()
        for number, frame in enumerate(first, 1):
            (folder / f"POSCAR_{number}").write_text(write_poscar(frame))
        assert same_structures([engine.propose(SearchJob(folder, 2, {}, 1), relaxed)], [whole[1]])
        again = engine.propose(SearchJob(folder, 2, {}, 1), relaxed)
        assert same_structures([again], [whole[1]])

    def test_failed_relaxations_are_recorded_and_never_followed(self, tmp_path: Path) -> None:
        engine, folder = searcher(settings()), tmp_path / "search"
        first = engine.propose(SearchJob(folder, 1, {}, 1), [])
        found = engine.propose(SearchJob(folder, 2, {}, 1), [Relaxed(frame, None) for frame in first])
        assert len(found) == 6
        assert f"{SENTINEL:.0f}" in (folder / "results" / "pso_sor_1").read_text()

    def test_relaxations_of_another_search(self, tmp_path: Path) -> None:
        engine, folder = searcher(settings()), tmp_path / "search"
        first = engine.propose(SearchJob(folder, 1, {}, 1), [])
        with pytest.raises(EngineError, match="6 structures were proposed and 2 have been relaxed"):
            engine.propose(SearchJob(folder, 2, {}, 1), relaxed_by_emt(first[:2]))

    def test_one_element_and_the_global_swarm(self, tmp_path: Path) -> None:
        wanted = settings(ranges={}, formula={"Cu": 1}, formula_units=[2, 4], swarm="global", generations=2)
        assert len(searched(wanted, tmp_path / "search")) == 2


@pytest.fixture
def calypso(tmp_path: Path) -> list[str]:
    """A stand-in for calypso.x, which nobody may pass on: it knows nothing but the files, as CALYPSO does."""
    program = tmp_path / "calypso.x"
    stand_in = Path(__file__).parents[1] / "stand_ins" / "calypso.py"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {stand_in} "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    return [str(program)]


class TestBinary:
    def test_it_is_driven_through_its_files(self, tmp_path: Path, calypso: list[str]) -> None:
        wanted = settings(search="binary", command=calypso, generations=2)
        found = searched(wanted, tmp_path / "search")
        assert [len(generation) for generation in found] == [6, 6]
        assert (tmp_path / "search" / "step").read_text().strip() == "3"
        assert (tmp_path / "search" / "results" / "pso_opt_2").is_file(), "the last generation was not fed back"

    def test_killed_in_the_middle_it_begins_its_generation_again(self, tmp_path: Path, calypso: list[str]) -> None:
        wanted = settings(search="binary", command=calypso, generations=2)
        whole = searched(wanted, tmp_path / "whole")
        engine, folder = searcher(wanted), tmp_path / "cut"
        first = engine.propose(SearchJob(folder, 1, {}, 1), [])
        shutil.copytree(folder, tmp_path / "cut.before")
        for name in ("POSCAR_1", "POSCAR_2", "step"):
            (folder / name).write_text("half writ")
        again = engine.propose(SearchJob(folder, 2, {}, 1), relaxed_by_emt(first))
        assert same_structures([again], [whole[1]])

    @pytest.mark.parametrize(
        ("script", "message"),
        [
            ("exit 3", "exited with 3"),
            ("echo nothing to do", r"left 0 structures .*, not POSCAR_1 to POSCAR_6"),
            ("for i in 1 2 3 4 5 6; do echo rubbish > POSCAR_$i; done", "POSCAR_1: cut off"),
        ],
    )
    def test_what_it_leaves_is_looked_at(self, tmp_path: Path, script: str, message: str) -> None:
        program = tmp_path / "calypso.x"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        with pytest.raises(EngineError, match=message):
            searcher(settings(search="binary", command=[str(program)])).propose(SearchJob(tmp_path / "s", 1, {}, 1), [])

    def test_structures_of_another_search_are_refused(self, tmp_path: Path, calypso: list[str]) -> None:
        program = tmp_path / "foreign.x"
        iron = Frame(np.full(2, 26), np.array([[0.0, 0, 0], [1.4, 1.4, 1.4]]), 2.8 * np.eye(3), True)
        (tmp_path / "iron").write_text(write_poscar(iron))
        program.write_text(f"#!/bin/sh\nfor i in 1 2 3 4 5 6; do cp {tmp_path}/iron POSCAR_$i; done; echo 1 > step\n")
        program.chmod(0o755)
        with pytest.raises(EngineError, match="atoms of number 26, which are not in the composition"):
            searcher(settings(search="binary", command=[str(program)])).propose(SearchJob(tmp_path / "s", 1, {}, 1), [])

    def test_a_binary_that_is_not_there(self, tmp_path: Path) -> None:
        assert os.access(tmp_path, os.W_OK)
        missing = settings(search="binary", command=[str(tmp_path / "calypso.x")])
        with pytest.raises(EngineError, match="search: pso"):
            searcher(missing).propose(SearchJob(tmp_path / "s", 1, {}, 1), [])
