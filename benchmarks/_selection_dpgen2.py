"""dpgen2's side of selection.py: its own classes on the same files. Prints seconds as one line of JSON."""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from dpgen2.exploration.deviation import DeviManagerStd
from dpgen2.exploration.render import TrajRenderLammps
from dpgen2.exploration.report import (
    ExplorationReport,
    ExplorationReportAdaptiveLower,
    ExplorationReportTrustLevelsRandom,
)
from dpgen2.exploration.selector import ConfFilters, ConfSelectorFrames
from dpgen2.exploration.selector.distance_conf_filter import DistanceConfFilter


def manager(count: int) -> DeviManagerStd:
    """A million deviations as 1000 trajectories."""
    made = DeviManagerStd()
    for part in np.random.default_rng(0).exponential(0.1, count).reshape(1000, -1):
        for name in (
            made.MAX_DEVI_F,
            made.MIN_DEVI_F,
            made.AVG_DEVI_F,
            made.MAX_DEVI_V,
            made.MIN_DEVI_V,
            made.AVG_DEVI_V,
        ):
            made.add(name, part)
    return made


def reported(report: ExplorationReport, devi: DeviManagerStd) -> float:
    """Seconds of record and pick."""
    started = time.perf_counter()
    report.record(devi)
    report.get_candidate_ids(50)
    return time.perf_counter() - started


def main() -> None:
    """Measure."""
    files = Path(sys.argv[1]).absolute()
    dumps, devis = sorted(files.glob("*.dump")), sorted(files.glob("*.devi"))
    report = ExplorationReportTrustLevelsRandom(0.1, 0.5)
    selector = ConfSelectorFrames(TrajRenderLammps(), report, 50, ConfFilters().add(DistanceConfFilter()))
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        started = time.perf_counter()
        selector.select(dumps, devis, type_map=["Cu"])
        seconds = {"select": time.perf_counter() - started}
        os.chdir("/")
    devi = manager(1_000_000)
    seconds["fixed"] = reported(ExplorationReportTrustLevelsRandom(0.1, 0.5), devi)
    seconds["adaptive"] = reported(ExplorationReportAdaptiveLower(level_f_hi=0.5), devi)
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
