from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lamflow.engines.lammps.dump import read_dump
from lamflow.engines.lammps.potential import _overlays
from lamflow.engines.lammps.settings import LammpsExploration
from lamflow.errors import EngineError

GOOD = {"engine": "lammps", "structures": ["x"], "temperatures": [300, 600], "steps": 100}


def snapshot(step: int, cell: np.ndarray, positions: np.ndarray, order: np.ndarray) -> str:
    """One snapshot as LAMMPS writes it, for a lower triangular cell."""
    xy, xz, yz = cell[1, 0], cell[2, 0], cell[2, 1]
    bounds = [
        (min(0, xy, xz, xy + xz), cell[0, 0] + max(0, xy, xz, xy + xz), xy),
        (min(0, yz), cell[1, 1] + max(0, yz), xz),
        (0.0, cell[2, 2], yz),
    ]
    lines = [
        "ITEM: TIMESTEP", str(step), "ITEM: NUMBER OF ATOMS", str(len(positions)),
        "ITEM: BOX BOUNDS xy xz yz pp pp pp", *(" ".join(f"{x:.12g}" for x in row) for row in bounds),
        "ITEM: ATOMS id type x y z",
        *(f"{i + 1} {1 + i % 2} " + " ".join(f"{x:.12g}" for x in positions[i]) for i in order),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 2**31), st.integers(0, 400))
def test_a_dump_is_read_back_however_it_ends(
    tmp_path_factory: pytest.TempPathFactory, natoms: int, frames: int, seed: int, cut: int
) -> None:
    rng = np.random.default_rng(seed)
    cells = np.tril(rng.uniform(-2, 2, (frames, 3, 3)))
    cells[:, [0, 1, 2], [0, 1, 2]] = rng.uniform(5, 9, (frames, 3))
    positions = rng.uniform(0, 5, (frames, natoms, 3))
    snapshots = [snapshot(7 * n, cells[n], positions[n], rng.permutation(natoms)) for n in range(frames)]
    text = "".join(snapshots)
    path = tmp_path_factory.mktemp("dump") / "dump"
    path.write_text(text[: len(text) - cut] if cut < len(text) else "")
    kept = len(text) - cut
    whole = sum(sum(map(len, snapshots[: n + 1])) <= kept for n in range(frames))
    if whole == 0:
        with pytest.raises(EngineError, match="no whole snapshot"):
            read_dump(path)
        return
    dump = read_dump(path)
    assert dump.steps.tolist() == [7 * n for n in range(whole)]
    assert dump.types.tolist() == [1 + i % 2 for i in range(natoms)]
    np.testing.assert_allclose(dump.positions, positions[:whole], atol=1e-9)
    np.testing.assert_allclose(dump.cells, cells[:whole], atol=1e-9)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"ensemble": "npt"}, "pressures are needed by ensemble npt"),
        ({"pressures": [0]}, "did you mean 'npt'"),
        ({"every": 1000}, "no frame would be kept"),
        ({"variables": {"a": [1]}}, "give a template"),
    ],
)
def test_settings_that_make_no_sense(change: dict[str, object], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        LammpsExploration.model_validate({**GOOD, **change})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("read_data {{ structure }}\n{{ potential }}\nrun 1\n", r"has no \{\{ trajectory \}\}"),
        ("{{ structure }}{{ potential }}{{ trajectory }}{{ temprature }}", "did you mean 'temperature'"),
        ("{{ structure }}{{ potential }}{{ trajectory }}{{ damp }}", "give its values under variables"),
        ("{{ structure }\n", "line 1"),
        ("{{ structure }}{{ potential }}{{ trajectory }}{{ pressure }}", "has no value; give pressures"),
    ],
)
def test_templates_are_read_before_anything_runs(text: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "in.lammps").write_text(text)
    with pytest.raises(ValidationError, match=expected):
        LammpsExploration.model_validate({**GOOD, "template": tmp_path / "in.lammps"})


def test_frames_before_atoms_were_lost_are_read(tmp_path: Path) -> None:
    cell, rng = np.eye(3) * 5, np.random.default_rng(1)
    whole = [snapshot(step, cell, rng.uniform(0, 5, (4, 3)), np.arange(4)) for step in (10, 20)]
    lost = [snapshot(step, cell, rng.uniform(0, 5, (3, 3)), np.arange(3)) for step in (30, 40, 50)]
    (tmp_path / "lost.dump").write_text("".join(whole + lost))
    assert read_dump(tmp_path / "lost.dump").steps.tolist() == [10, 20]


def test_an_overlay_of_other_elements_is_left_out() -> None:
    overlay = {"style": "lj/cut 4.0", "coefficients": ["{Cu} {Al} 0.1 2.5"]}
    given = LammpsExploration.model_validate({**GOOD, "overlays": [overlay]})
    assert _overlays(given, ["Cu"]) == []
    assert _overlays(given, ["Al", "Cu"]) == [("lj/cut 4.0", ["{Cu} {Al} 0.1 2.5"])]


def test_conditions_are_a_product() -> None:
    made = LammpsExploration.model_validate({**GOOD, "ensemble": "npt", "pressures": [0, 1000]})
    assert len(made.conditions()) == 4
    assert made.conditions()[1] == {"temperature": 300.0, "pressure": 1000.0}


def test_a_box_that_is_periodic_in_some_directions_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.lammps"
    path.write_text("boundary p p f  # a slab\nread_data {{ structure }}\n{{ potential }}\ndump d {{ trajectory }}\n")
    with pytest.raises(ValidationError, match=r"boundary p p f: frames are periodic in all directions or in none"):
        LammpsExploration.model_validate(
            {"engine": "lammps", "structures": ["x"], "temperatures": [300], "steps": 10, "template": path}
        )


def test_a_dump_says_its_boundaries(tmp_path: Path) -> None:
    path = tmp_path / "x.dump"
    text = snapshot(0, np.eye(3) * 4, np.ones((2, 3)), np.array([0, 1]))
    path.write_text(text)
    assert read_dump(path).periodic == (True, True, True)
    path.write_text(text.replace("pp pp pp", "pp fs sm"))
    assert read_dump(path).periodic == (True, False, False)
    path.write_text(text + text.replace("pp pp pp", "ff ff ff"))
    with pytest.raises(EngineError, match="boundaries of the box change"):
        read_dump(path)
