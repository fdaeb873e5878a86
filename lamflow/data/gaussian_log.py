"""What a log of Gaussian says and its readers leave out: charge and multiplicity, and energies that are not theirs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamflow.data.steps import lines_of

CORRELATED = re.compile(r"\bEUMP2\s*=|\bE2\s*\(\w+\)\s*=|\bE\(CORR\)\s*=|E\(TD-HF/TD-DFT\)|\bE\(CI\)\s*=")
"""What methods print of their energy whose forces are not those of the energy after `SCF Done`."""
UNKNOWN_TO_ASE = re.compile(r"E\(TD-HF/TD-DFT\)|\bE\(CI\)\s*=")
"""Those of them that ASE takes the energy after `SCF Done` for, too; it reads the others."""
STATE = re.compile(r"^\s*Charge\s*=\s*(-?\d+)\s+Multiplicity\s*=\s*(\d+)\s*$")


@dataclass(frozen=True, slots=True)
class GaussianLog:
    """What a log says.

    problem  why no frame of it is a label; empty for none
    state    `charge` and `multiplicity`; empty if it says none, or its runs differ
    """

    problem: str
    state: dict[str, Any]


NO_LOG = GaussianLog("", {})


def gaussian_log(path: Path, format: str) -> GaussianLog:
    """What a file in a format of ASE's or dpdata's says if that is one of Gaussian's logs."""
    if format not in ("gaussian-out", "gaussian/log") or not path.is_file():
        return NO_LOG
    wrong = UNKNOWN_TO_ASE if format == "gaussian-out" else CORRELATED
    problem, states = "", set[tuple[str, ...]]()
    for line in lines_of(path):
        if (found := wrong.search(line)) is not None and not problem:
            problem = (
                f"{found[0].rstrip(' =')}: its forces are those of this energy, and its reader takes the energy after "
                "SCF Done; convert it with a reader that knows the method"
            )
        if (state := STATE.match(line)) is not None:
            states.add(state.groups())
    if len(states) != 1:
        return GaussianLog(problem, {})
    [(charge, multiplicity)] = states
    return GaussianLog(problem, {"charge": int(charge), "multiplicity": int(multiplicity)})
