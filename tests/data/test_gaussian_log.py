"""Logs of Gaussian as sources: recorded from Gaussian 16, with lines that other methods and charges would have."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from lamflow.data.io import read_source
from lamflow.data.shards import SourceFrame
from lamflow.data.sources import Dialect, source_frames
from lamflow.errors import InputError

METHANE = Path(__file__).parents[1] / "engines" / "outputs" / "gaussian-16-methane.log.gz"
BY_BOTH = pytest.mark.parametrize("format", [None, "gaussian/log"])


def log(folder: Path, charge: int = 0, after_scf: str = "") -> Path:
    """The recorded log with another charge and a line after each energy."""
    lines = (
        gzip.decompress(METHANE.read_bytes())
        .decode()
        .replace("Charge =  0 Multiplicity = 1", f"Charge =  {charge} Multiplicity = 2")
    )
    file = folder / "run.log"
    file.write_text("".join(
        line + (f" {after_scf}\n" if after_scf and "SCF Done" in line else "") for line in lines.splitlines(keepends=True)
    ))  # fmt: skip
    return file


def read(file: Path, format: str | None) -> list[SourceFrame]:
    return list(source_frames(file, Dialect(format=format)))


@BY_BOTH
def test_charge_and_multiplicity_stay_with_the_frames_and_are_said(tmp_path: Path, format: str | None) -> None:
    made = read(log(tmp_path, charge=1), format)
    assert made
    assert all(tuple(item.state) == (1, 2) for item in made)
    assert all(any(line.startswith("charge is nothing that models see") for line in item.unread) for item in made)
    assert any("charge is nothing" in note for note in read_source(tmp_path / "run.log", format).notes)


@BY_BOTH
def test_an_excited_state_has_not_the_energy_after_scf_done(tmp_path: Path, format: str | None) -> None:
    file = log(tmp_path, after_scf="Total Energy, E(TD-HF/TD-DFT) =  -40.1234567890")
    [item] = read(file, format)
    assert item.labeled is None
    assert "schema: E(TD-HF/TD-DFT): its forces are those of this energy" in item.problem
    with pytest.raises(InputError, match=r"run\.log: E\(TD-HF/TD-DFT\)"):
        read_source(file, format)


def test_perturbation_theory_is_read_where_its_energy_is(tmp_path: Path) -> None:
    file = log(tmp_path, after_scf="E2 =    -0.2000000000D+00 EUMP2 =    -0.40123456789000D+02")
    assert [item.labeled for item in read(file, "gaussian/log")] == [None]
    made = read(file, None)
    assert made
    assert made[0].labeled is not None
    assert made[0].labeled.labels.energy == pytest.approx(-40.123456789 * 27.211386, abs=1e-3)
