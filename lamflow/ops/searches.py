"""One structure search: propose, relax, score, learn; each generation is kept as soon as it is done."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from lamflow.config.engines import SearcherSettings
from lamflow.config.learning import Config
from lamflow.data import Frame, Labels, Relaxed
from lamflow.data.arrays import read_arrays
from lamflow.data.explored import GENERATION, FoundFrames
from lamflow.data.hulls import FoundStructure
from lamflow.data.layout import EXCHANGE, EXPLORED_RECORD, FOUND, FRAMES, RELAXED_FRAMES
from lamflow.data.packed import PackedFrames
from lamflow.data.results import Explored, SimulationResult
from lamflow.data.spent import spending, take
from lamflow.engines import registry
from lamflow.engines.protocol import SearchJob
from lamflow.ops.committees import Committees
from lamflow.ops.operation import Context
from lamflow.policy.committee import ScoredFrames, pack_candidates
from lamflow.policy.relaxations import relax_with, score_paths
from lamflow.policy.simulations import PlannedSimulation
from lamflow.science.relaxation import RelaxationPath


@dataclass(frozen=True, eq=False)
class Search:
    """One search: its plan and settings, the models that relax and score, and a folder for files that nobody keeps."""

    study: Config
    planned: PlannedSimulation
    settings: SearcherSettings
    committees: Committees
    work: Path

    def run(self, context: Context, output: Path, progress: Callable[[float], None]) -> None:
        """All generations, one folder each below `output`; goes on with what an earlier try left in scratch."""
        planned, settings = self.planned, self.settings
        memory = context.scratch / f"search-{planned.number:05d}"
        searcher = registry.searcher(settings)
        relaxed: list[Relaxed] = []
        for generation in range(1, settings.generations + 2):
            job = SearchJob(memory / EXCHANGE, generation, planned.condition, planned.seed, context.timeout)
            proposed = searcher.propose(job, relaxed)
            if not proposed:
                break
            done = memory / f"generation-{generation}"
            if not done.is_dir():
                partial_folder = memory / "partial"
                shutil.rmtree(partial_folder, ignore_errors=True)
                self.relax(generation, list(enumerate(proposed, 1)), partial_folder)
                partial_folder.rename(done)
            relaxed = read_relaxed(done / RELAXED_FRAMES)
            target = output / f"{planned.number}-{generation}"
            shutil.copytree(done, target, ignore=shutil.ignore_patterns(RELAXED_FRAMES))
            progress(generation / settings.generations)
        shutil.copytree(memory / EXCHANGE, output / f"{EXCHANGE}-{planned.number}")

    def relax(self, generation: int, proposed: Sequence[tuple[int, Frame]], folder: Path) -> None:
        """Relax structures of a generation, given with their numbers, score their paths, write it all to `folder`."""
        started, planned = time.monotonic(), self.planned
        head = self.study.explored(self.settings)
        committee, pressure = self.committees.committee(head), planned.condition.get("pressure", 0.0)
        with spending("physics"):
            paths = relax_with(committee, [frame for _, frame in proposed], self.settings.relax, pressure)
        score_all = partial(self.committees.score, head, planned.number, work=self.work, group=self.settings)
        with spending("judging"):
            scored, ends, dropped = score_paths(self.study.select, paths, self.settings.path_frames, score_all)
        numbered = [
            replace(frames, structure=generation * GENERATION + number)
            for frames, (number, _) in zip(scored, proposed, strict=True)
        ]
        result = SimulationResult(
            number=planned.number, name=planned.name, group=f"{planned.group}", structure="", start=0,
            condition=planned.condition, head=head, seed=planned.seed, frames=sum(map(len, numbered)),
            dropped=dict(dropped), seconds=time.monotonic() - started,
        )  # fmt: skip
        structures = [
            self._structure(generation, number, path, float(end.deviation[0]))
            for (number, _), path, end in zip(proposed, paths, ends, strict=True)
        ]
        folder.mkdir(parents=True)
        candidates = pack_candidates(self.study, numbered, planned.number, generation, proposed[0][0])
        candidates.save(folder / FRAMES)
        _save_paths(folder, paths, ends)
        Explored(
            simulations=[result],
            structures=structures,
            provenance=registry.provenance(planned.settings, self.study.train),
            spent=take(),
        ).save(folder / EXPLORED_RECORD)

    def _structure(self, generation: int, number: int, path: RelaxationPath, deviation: float) -> FoundStructure:
        natoms = path.frame.natoms
        return FoundStructure(
            search=self.planned.number,
            generation=generation,
            number=number,
            energy=path.labels.energy / natoms if path.failure is None else 0.0,
            volume=abs(float(np.linalg.det(path.frame.cell))) / natoms,
            converged=path.converged,
            deviation=deviation if np.isfinite(deviation) else None,
            failed=path.failure,
        )


def _save_paths(folder: Path, paths: Sequence[RelaxationPath], ends: Sequence[ScoredFrames]) -> None:
    """Write the relaxed structures, for the hull and for the search to learn from."""
    forces = np.concatenate([end.forces[0] for end in ends])
    FoundFrames(PackedFrames.of([path.frame for path in paths]), forces).save(folder / FOUND)
    save_relaxed(folder / RELAXED_FRAMES, [path.relaxed for path in paths])


def save_relaxed(path: Path, relaxed: Sequence[Relaxed]) -> None:
    """Write relaxed structures for the search to learn from."""
    unknown = np.full((3, 3), np.nan)
    labels = [one.labels or Labels(np.nan, np.full((one.frame.natoms, 3), np.nan)) for one in relaxed]
    np.savez(
        path,
        energy=np.array([one.energy for one in labels]),
        forces=np.concatenate([np.zeros((0, 3)), *(one.forces for one in labels)]),
        virial=np.array([unknown if one.virial is None else one.virial for one in labels]).reshape(-1, 3, 3),
        **PackedFrames.of([one.frame for one in relaxed]).arrays(),  # type: ignore[arg-type]
    )


def read_relaxed(path: Path) -> list[Relaxed]:
    """What `save_relaxed` wrote."""
    frames = PackedFrames.load(path)
    arrays = read_arrays(path)
    energies, virials, forces = arrays["energy"], arrays["virial"], frames.split(arrays["forces"])
    relaxed = []
    for frame, energy, force, virial in zip(frames, energies, forces, virials, strict=True):
        labels = Labels(float(energy), force, virial if np.isfinite(virial).all() else None)
        relaxed.append(Relaxed(frame, labels if np.isfinite(energy) else None))
    return relaxed
