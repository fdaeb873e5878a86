"""A folder of CALYPSO's, seen by whoever relaxes: one POSCAR, or POSCAR_1, POSCAR_2, … of a whole generation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lamflow.data import Frame, Relaxed
from lamflow.engines.calypso.exchange import Exchange, read_poscar
from lamflow.engines.calypso.input import KILOBAR_IN_GPA, CalypsoInput, parse_toml
from lamflow.errors import InputError
from lamflow.units import BAR_IN_EV_PER_A3

GPA_IN_BAR = 10_000.0


class CalypsoFolder:
    """RelaxFolder of CALYPSO's split mode, and of the folder in which it starts its command for one structure."""

    def __init__(self, path: Path) -> None:
        self.exchange = Exchange(path)
        self.asked = _asked(path)

    @property
    def pressure(self) -> float | None:
        """See RelaxFolder. PSTRESS of input.dat is in kbar, Pstress of input.toml in GPa."""
        return self.asked.get("pressure")

    @property
    def fmax(self) -> float | None:
        """See RelaxFolder."""
        return self.asked.get("fmax")

    def structures(self) -> list[tuple[str, Frame]]:
        """See RelaxFolder."""
        folder = self.exchange.folder
        names = [f"_{number}" for number in self.exchange.numbers()]
        if not names and (folder / "POSCAR").is_file():
            names = [""]
        if not names:
            raise InputError(f"{folder}: there is neither POSCAR_1, POSCAR_2, … nor POSCAR to relax")
        try:
            return [(name, read_poscar((folder / f"POSCAR{name}").read_text(encoding="utf-8"))) for name in names]
        except (ValueError, IndexError, UnicodeDecodeError) as error:
            raise InputError(f"{folder}: a POSCAR cannot be read: {error}") from error

    def leave(self, name: str, relaxed: Relaxed, pressure: float) -> None:
        """See RelaxFolder."""
        self.exchange.write_relaxed(name, relaxed, pressure * BAR_IN_EV_PER_A3)


def _asked(folder: Path) -> dict[str, float]:
    """Pressure in bar and fmax in eV/Å, as CALYPSO's input says. Raises InputError for one that cannot be read."""
    found: dict[str, float] = {}
    if (folder / "input.dat").is_file():
        given = CalypsoInput.parse((folder / "input.dat").read_text(encoding="utf-8"), str(folder / "input.dat"))
        wanted = {"pressure": ("PSTRESS", KILOBAR_IN_GPA * GPA_IN_BAR), "fmax": ("fmax", 1.0)}
        found = {key: given.get(name) * scale for key, (name, scale) in wanted.items() if given.get(name) is not None}
    elif (folder / "input.toml").is_file():
        sections = parse_toml((folder / "input.toml").read_text(encoding="utf-8"), str(folder / "input.toml"))
        opt: dict[str, Any] = {key.lower(): value for key, value in sections.get("OPT", {}).items()}
        scales = {"pressure": ("pstress", GPA_IN_BAR), "fmax": ("fmax", 1.0)}
        found = {key: float(opt[name]) * scale for key, (name, scale) in scales.items() if name in opt}
    return found
