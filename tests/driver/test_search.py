"""Structure searches in the loop: in one pod, split, killed, on the stand-in cluster; and the other way round."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from lamflow.config import parse, stored
from lamflow.config.engines import Relaxation
from lamflow.data import Frame
from lamflow.data.results import Explored
from lamflow.data.selected import Selected
from lamflow.driver.loop import run
from lamflow.driver.relax import Request, folder_engine, relax_folder
from lamflow.driver.rundir import RunDirectory
from lamflow.engines.calypso.exchange import SENTINEL, read_outcar, write_poscar
from lamflow.errors import InputError, StateError
from lamflow.ops.committees import Committees
from lamflow.ops.operation import Context
from lamflow.ops.searches import Search
from lamflow.policy.simulations import plan_simulations
from lamflow.reports.html import write_report
from lamflow.reports.source import read_source
from lamflow.units import BAR_IN_EV_PER_A3
from tests.driver.test_remote import Place, frames_of, place  # noqa: F401  a fixture

pytest.importorskip("pyxtal", reason='PyXtal is missing: pip install "lamflow[calypso]"')
RANGES = "ranges: {Cu: [0, 3], Au: [0, 3]}, max_atoms: 4"
SEARCH = f"""\
name: tiny
seed: 3
elements: [Cu, Au]
structures:
  - {{name: random, generate: {{engine: calypso, {RANGES}, population: 16, min_distance: 0.85}}, copies: 2, rattle: 0.05}}
  - {{name: unseen, generate: {{engine: calypso, {RANGES}, population: 6, min_distance: 0.85}}, rattle: 0.05}}
start: {{label: [random]}}
heldout: {{label: [unseen]}}
train: {{engine: pair, models: 2}}
stages:
  - name: search
    explore:
      - {{engine: calypso, {RANGES}, population: 5, generations: 2, label_best: 3, pressures: [0, 50000],
          relax: {{steps: 15}}, mode: merge}}
select: {{window: {{low: 0.05, high: 20.0}}, limit: 10}}
label: {{engine: emt}}
converge: {{accurate: 1.0, hull_shift: 0.001, ground_state_error: 0.001}}
budget: {{iterations: 2}}
pods: {{train: {{parallel: 1}}, label: {{parallel: 1}}}}
"""


def split(text: str) -> str:
    return text.replace("mode: merge", "mode: split")


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run; not to be changed."""
    folder = tmp_path_factory.mktemp("merged") / "run"
    run(parse(SEARCH), folder)
    return folder


def selected(folder: Path, number: int) -> Selected:
    return Selected.read(folder / "iterations" / f"{number:03d}" / "selected" / "selected.json")


@pytest.mark.slow
class TestLoop:
    def test_the_hull_is_found_labeled_and_compared(self, merged: Path) -> None:
        first, second = selected(merged, 1), selected(merged, 2)
        assert [hull.condition["pressure"] for hull in first.hulls] == [0.0, 50_000.0]
        for hull in first.hulls:
            assert hull.structures == 10
            assert [each.structures for each in hull.generations] == [5, 5]
            assert hull.corners
            assert hull.entries == sorted(hull.entries, key=lambda entry: entry.above_hull)
        assert (first.hull_shift, first.ground_state_error) == (None, None)
        assert second.ground_state_error is not None
        near = [chosen for chosen in first.chosen if chosen.rule.startswith("near the convex hull")]
        assert 3 <= len(near) <= 6
        record = RunDirectory(merged).iterations()[1]
        assert set(record.hull_labels) == {chosen.hash for chosen in near}
        assert "shift of the hull" in second.reason

    def test_pressure_is_in_the_enthalpy(self, merged: Path) -> None:
        free, pressed = selected(merged, 2).hulls
        assert all(entry.enthalpy == entry.energy for entry in free.entries)
        for entry in pressed.entries:
            assert entry.enthalpy - entry.energy == pytest.approx(50_000 * BAR_IN_EV_PER_A3 * entry.volume)

    def test_split_finds_the_same_structures(self, merged: Path, tmp_path: Path) -> None:
        run(parse(split(SEARCH)), tmp_path / "run")
        assert frames_of(tmp_path / "run") == frames_of(merged)
        assert selected(tmp_path / "run", 2).hulls == selected(merged, 2).hulls
        spans = RunDirectory(tmp_path / "run").iterations()[1].steps
        assert {"propose1", "relax1", "propose2", "relax2", "propose3"} <= {step.name for step in spans}

    def test_split_on_a_cluster_finds_them_too(self, merged: Path, place: Place) -> None:  # noqa: F811
        place.submit(lambda _: split(SEARCH))
        assert place.end().state == "ended"
        assert place.frames() == frames_of(merged)

    def test_calypso_s_files_are_kept(self, merged: Path) -> None:
        folder = merged / "iterations" / "002" / "explored" / "exchange-1"
        assert "PSTRESS = 50" in (folder / "input.dat").read_text()
        assert (folder / "results" / "pso_opt_2").is_file()

    def test_the_report_shows_it(self, merged: Path, tmp_path: Path) -> None:
        page = write_report(read_source(merged), tmp_path / "report").read_text()
        assert "Convex hull" in page
        assert "Best structures: Cu-Au at 50000 bar" in page
        files = sorted((tmp_path / "report" / "best-structures").iterdir())
        assert {path.suffix for path in files} == {".cif", ".vasp"}
        from ase.io import read

        for path in files:
            atoms = read(path, format="cif" if path.suffix == ".cif" else "vasp")
            assert set(atoms.symbols) <= {"Cu", "Au"}


@pytest.mark.slow
def test_what_an_interrupted_search_had_done_is_not_done_again(
    merged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = stored(merged / "input")
    [task, *_] = plan_simulations(config.stages[0], {"random": 1, "unseen": 1}, 2, config.seed)
    models = Committees(config, merged / "iterations" / "002" / "models")
    done: list[int] = []
    relax = Search.relax

    def interrupted(self: Search, generation: int, proposed: Sequence[tuple[int, Frame]], folder: Path) -> None:
        if generation == 2 and done == [1]:
            done.append(0)
            folder.mkdir(parents=True)
            (folder / "frames.npz").write_bytes(b"half")
            raise KeyboardInterrupt
        done.append(generation)
        relax(self, generation, proposed, folder)

    monkeypatch.setattr(Search, "relax", interrupted)
    search = Search(config, task, config.stages[0].explore[0], models, tmp_path / "work")  # type: ignore[arg-type]
    context = Context(0, 1, "explore-0", tmp_path / "work", tmp_path / "scratch", tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        search.run(context, tmp_path / "out" / "first", lambda fraction: None)
    search.run(context, tmp_path / "out" / "second", lambda fraction: None)
    assert done == [1, 0, 2]
    for generation in (1, 2):
        mine = Explored.read(tmp_path / "out" / "second" / f"0-{generation}" / "explored.json").structures
        whole = Explored.read(
            merged / "iterations" / "002" / "explored" / f"0-{generation}" / "explored.json"
        ).structures
        assert mine == whole


@pytest.mark.slow
class TestRelax:
    @pytest.fixture
    def folder(self, merged: Path, tmp_path: Path) -> Path:
        """What calypso.x leaves: structures of a generation, one of them timed_out, and its input."""
        made = tmp_path / "calypso"
        made.mkdir()
        exchange = merged / "iterations" / "001" / "explored" / "exchange-0"
        for number in (1, 2, 3):
            shutil.copy(exchange / f"POSCAR_{number}", made)
        timed_out = Frame(np.array([29, 29]), np.array([[0.0, 0, 0], [0.05, 0, 0]]), 0.4 * np.eye(3), True)
        (made / "POSCAR_4").write_text(write_poscar(timed_out))
        (made / "input.dat").write_text("PSTRESS = 20\nfmax = 0.1\n")
        return made

    def test_every_structure_gets_its_pair_of_files(self, merged: Path, tmp_path: Path, folder: Path) -> None:
        shutil.copytree(merged, tmp_path / "run")
        found = relax_folder(tmp_path / "run", folder, folder_engine(None), Request(Relaxation(steps=30)))
        assert (found.pressure, found.fmax, found.iteration) == (pytest.approx(20_000.0), 0.1, 2)
        for number in (1, 2, 3, 4):
            assert (folder / f"CONTCAR_{number}").is_file()
            _, labels = read_outcar((folder / f"OUTCAR_{number}").read_text())
            assert (labels is None) == (number == 4)
        assert str(int(SENTINEL)) in (folder / "OUTCAR_4").read_text()
        assert json.loads((folder / "lamflow.json").read_text())["structures"][3]["failed"]

    def test_what_is_not_known_is_labeled_by_the_next_iteration(
        self, merged: Path, tmp_path: Path, folder: Path
    ) -> None:
        shutil.copytree(merged, tmp_path / "run")
        request = Request(Relaxation(steps=30))
        found = relax_folder(tmp_path / "run", folder, folder_engine("calypso"), request)
        assert sum(one.uncertain for one in found.structures) > 0
        [waiting] = (tmp_path / "run" / "queue").iterdir()
        assert waiting.name.isdigit()
        more = SEARCH.replace("iterations: 2", "iterations: 4").replace("limit: 10", "limit: 60")
        run(parse(more), tmp_path / "run")
        assert not list((tmp_path / "run" / "queue").iterdir())
        sources = [chosen.origin.source for number in (3, 4) for chosen in selected(tmp_path / "run", number).chosen]
        assert any(source.startswith("relax calypso") for source in sources)

    def test_one_structure_without_a_number(self, merged: Path, folder: Path) -> None:
        for path in folder.glob("POSCAR_[234]"):
            path.unlink()
        (folder / "POSCAR_1").rename(folder / "POSCAR")
        request = Request(Relaxation(steps=5), pressure=0.0, queue=False)
        found = relax_folder(merged, folder, folder_engine("calypso"), request)
        assert [one.name for one in found.structures] == [""]
        assert (folder / "CONTCAR").is_file()
        assert (folder / "OUTCAR").is_file()

    def test_what_cannot_be_relaxed(self, merged: Path, folder: Path, tmp_path: Path) -> None:
        request = Request(Relaxation())
        with pytest.raises(InputError, match="structures to relax are left by calypso"):
            folder_engine("emt")
        with pytest.raises(StateError, match="no run here"):
            relax_folder(tmp_path / "nothing", folder, folder_engine(None), request)
        iron = Frame(np.array([26]), np.zeros((1, 3)), 2.8 * np.eye(3), True)
        (folder / "POSCAR_2").write_text(write_poscar(iron))
        with pytest.raises(InputError, match=r"know \['Cu', 'Au'\], not Fe"):
            relax_folder(merged, folder, folder_engine(None), request)
        (folder / "POSCAR_2").write_text("cut")
        with pytest.raises(InputError, match="POSCAR cannot be read"):
            relax_folder(merged, folder, folder_engine(None), request)
        shutil.copytree(merged, tmp_path / "early", ignore=shutil.ignore_patterns("models"))
        (folder / "POSCAR_2").unlink()
        with pytest.raises(StateError, match="no trained models yet"):
            relax_folder(tmp_path / "early", folder, folder_engine(None), request)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("elements: [Cu, Au]", "elements: [Cu]", r"Au is not in elements \['Cu'\]"),
        (
            "engine: calypso, ",
            "engine: ase, structures: [random], method: relax, steps: 3, every: 1, ",
            "proposes none itself",
        ),
        ("mode: merge", "mode: both", "mode"),
        ("population: 5", "population: 1", "population"),
    ],
)
def test_bad_searches_are_refused(old: str, new: str, message: str) -> None:
    text = SEARCH.replace(old, new, 1)
    if "ase" in new:
        text = text.replace(f"{RANGES}, population: 16, min_distance: 0.85", "")
    with pytest.raises(InputError, match=message):
        parse(text)


def test_a_hull_needs_a_search() -> None:
    text = SEARCH.replace(
        f"{{engine: calypso, {RANGES}, population: 5, generations: 2, label_best: 3, pressures: [0, 50000],\n          relax: {{steps: 15}}, mode: merge}}",
        "{engine: ase, structures: [random], method: relax, steps: 3, every: 1}",
    )
    with pytest.raises(InputError, match="no stage searches structures"):
        parse(text)
