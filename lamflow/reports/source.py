"""What a report is made of: the records of a run, read from its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lamflow.config import stored
from lamflow.config.learning import Config
from lamflow.config.schema import TrainingStudy
from lamflow.data import Frame, layout
from lamflow.data.arrays import read_arrays
from lamflow.data.curves import Curve, read_curve
from lamflow.data.frames import Floats
from lamflow.data.layout import INPUT, STRUCTURES, iteration_key
from lamflow.data.packed import PackedFrames
from lamflow.data.results import Errors, Iteration, first_baseline
from lamflow.data.run import Run
from lamflow.science.deviation import committee_points

DRAWN = 6
"""Selected structures that are drawn."""


@dataclass(frozen=True, eq=False)
class Source:
    """A run as its report sees it.

    path      its folder
    energies  (F·M, 2)  predicted and reference energy of the held-out frames by the last models, eV/atom
    forces    (K, 2)    predicted and reference force components, eV/Å
    magnetic  (K, 2)    predicted and reference components of magnetic forces, eV/μB
    committee (F, 2)    largest force deviation of the last committee in each held-out frame, and largest error of its
                        mean force, eV/Å; no frames where there is one model
    drawn     some of the frames that were sent to be labeled last, with what was said of them
    curves    learning curves of the trainings that run now or ran last, by the number of the model
    starts    the structures that exploration starts from and that are labeled first, by the name of their set
    """

    path: Path
    run: Run
    config: TrainingStudy
    iterations: list[Iteration]
    energies: Floats
    forces: Floats
    magnetic: Floats
    committee: Floats
    drawn: list[tuple[Frame, str]]
    curves: dict[int, Curve]
    starts: dict[str, PackedFrames]

    @property
    def learning(self) -> Config | None:
        """The settings, if the run is one of learning."""
        return self.config if isinstance(self.config, Config) else None

    @property
    def baseline(self) -> dict[str, Errors]:
        """Errors of the pre-trained model by head, before any training; its name is empty in a study without heads."""
        return first_baseline(self.iterations)

    @property
    def zero_shot(self) -> Errors | None:
        """Those of the head that models are judged by; None where there are several, which the table of heads has."""
        judged_by = self.config.explored_heads or [part.name for part in self.config.all_heads]
        return self.baseline.get(judged_by[0]) if len(judged_by) == 1 else None

    @property
    def trained(self) -> list[Iteration]:
        """Iterations that trained."""
        return [iteration for iteration in self.iterations if iteration.models]

    @property
    def learned(self) -> list[Iteration]:
        """Iterations that trained and explored; the start is not among them."""
        return [iteration for iteration in self.iterations if iteration.selected is not None]


def read_source(path: Path) -> Source:
    """The run in folder `path`. Raises StateError when there is none."""
    run = Run.read(path / layout.RUN)
    config = stored(path / INPUT, TrainingStudy)
    iterations = [Iteration.read(file) for file in sorted(path.glob(f"{layout.ROUNDS}/*/{layout.RECORD}"))]
    energies, forces, magnetic = _predictions(path, iterations)
    starts = {file.stem: PackedFrames.load(file) for file in sorted((path / STRUCTURES).glob("*.npz"))}
    return Source(
        path,
        run,
        config,
        iterations,
        energies,
        forces,
        magnetic,
        _committee(path, iterations),
        _drawn(path, iterations),
        _curves(path, len(iterations)),
        starts,
    )


def _curves(path: Path, finished: int) -> dict[int, Curve]:
    """Of the iteration that runs, if its trainings have begun on this machine, else of the last one."""
    running = path.glob(f"{layout.WORK}/{layout.SCRATCH}/{layout.round_name(finished)}/train-*/[0-9]*/{layout.CURVE}")
    files = {int(file.parent.name): file for file in running if file.parent.name.isdigit()}
    if not files:
        models = path / iteration_key(finished - 1) / layout.MODELS
        files = {int(file.parent.name): file for file in models.glob(f"[0-9]*/{layout.CURVE}")}
    return {number: curve for number, file in sorted(files.items()) if len((curve := read_curve(file)).values)}


def _predictions(path: Path, iterations: list[Iteration]) -> tuple[Floats, Floats, Floats]:
    files = sorted((path / iteration_key(len(iterations) - 1)).glob(f"{layout.MODELS}/*/{layout.MODEL_PREDICTIONS}"))
    stored = [read_arrays(file) for file in files]
    energies, forces, magnetic = (
        np.concatenate([np.zeros((0, 2)), *(arrays[name] for arrays in stored if name in arrays)])
        for name in ("energy", "force", "magnetic")
    )
    return energies, forces, magnetic


def _committee(path: Path, iterations: list[Iteration]) -> Floats:
    """Of the models of the architecture that was chosen."""
    models = path / iteration_key(len(iterations) - 1) / layout.MODELS
    last = iterations[-1] if iterations else None
    members = [model.index for model in last.models if model.variant == last.variant and model.errors] if last else []
    files = [file for member in members if (file := models / str(member) / layout.MODEL_PREDICTIONS).is_file()]
    stored = [arrays for file in files if "natoms" in (arrays := read_arrays(file))]
    if len(stored) < 2:
        return np.zeros((0, 2))
    forces = np.stack([arrays["force"][:, 0] for arrays in stored])
    return committee_points(stored[0]["natoms"].astype(np.int64), forces, stored[0]["force"][:, 1])


def _drawn(path: Path, iterations: list[Iteration]) -> list[tuple[Frame, str]]:
    """The most uncertain frames of the last iteration that labeled any."""
    for iteration in reversed(iterations):
        if iteration.selected is None or not iteration.selected.chosen:
            continue
        said = {chosen.hash: chosen for chosen in iteration.selected.chosen}
        frames: list[tuple[float, Frame, str]] = []
        batches = path / iteration_key(iteration.number) / layout.SELECTED / layout.BATCHES
        for file in sorted(batches.glob(f"*/{layout.FRAMES}")):
            for frame in PackedFrames.load(file):
                origin = said[frame.content_hash()].origin
                text = f"{origin.source}, step {origin.step}: {origin.deviation:.3f}\n{frame.content_hash()[:12]}"
                frames.append((origin.deviation or 0.0, frame, text))
        frames.sort(key=lambda item: -item[0])
        return [(frame, text) for _, frame, text in frames[:DRAWN]]
    return []
