"""Who is told what happens in a run."""

from __future__ import annotations

import contextlib
import time

from lamflow.data.graph import Graph
from lamflow.data.results import Iteration
from lamflow.errors import printable


class Listener:
    """Is told what happens. A terminal overrides the methods, of which only one says anything by itself."""

    def resumes(self, done: list[Iteration]) -> None:
        """These iterations have finished before."""

    def begins(self, graph: Graph) -> None:
        """A round begins."""

    def progress(self, done: dict[str, float]) -> None:
        """Share of each step of the running iteration that is done."""

    def finished(self, iteration: Iteration) -> None:
        """An iteration has finished; what speaks against its labels is said."""
        if iteration.label_doubt:
            self.says(f"iteration {iteration.number} · {iteration.label_doubt}")

    def says(self, text: str) -> None:
        """Something that a person should know while they wait."""


class Lines(Listener):
    """Prints one line a step that begins, is done by another quarter, or has finished, and one an iteration."""

    def __init__(self) -> None:
        self.title, self.told = "", dict[str, int]()

    def begins(self, graph: Graph) -> None:
        """See Listener."""
        self.title, self.told = f"iteration {graph.round}", {}
        self.says(f"{self.title} · {graph.stage}")

    def progress(self, done: dict[str, float]) -> None:
        """See Listener."""
        for step, share in done.items():
            quarters = int(4 * share)
            if quarters > self.told.get(step, -1):
                self.told[step] = quarters
                said = "begins" if quarters == 0 else "done" if quarters >= 4 else f"{share:.0%}"
                self.says(f"{self.title} · {step} {said}")

    def finished(self, iteration: Iteration) -> None:
        """See Listener."""
        words = [f"iteration {iteration.number} · {iteration.stage} finished in {iteration.seconds:.0f} s"]
        if iteration.force_rmse is not None:
            words.append(f"held-out force RMSE {iteration.force_rmse:.4f} eV/Å")
        if iteration.selected is not None:
            words.append(f"{iteration.selected.accurate_fraction:.1%} of {iteration.selected.explored} frames accurate")
            if iteration.selected.refused:
                words.append(f"{iteration.selected.refused} refused by select.filters")
        if iteration.failed_models:
            words.append(f"{len(iteration.failed_models)} of {len(iteration.models)} models failed")
        if iteration.labels or iteration.training_frames:
            words.append(f"{iteration.labels} labels, {iteration.training_frames} frames to train on")
        self.says("; ".join(words))
        super().finished(iteration)

    def says(self, text: str) -> None:
        """See Listener."""
        with contextlib.suppress(OSError):  # nobody reads any more; the run goes on
            print(f"{time.strftime('%H:%M:%S')}  {printable(text)}", flush=True)
