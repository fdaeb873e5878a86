"""A kind of workflow: how often each element occurs in the labeled data of a study."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from lamflow.config import stored
from lamflow.config.kinds import Kind
from lamflow.config.schema import DataStudy
from lamflow.data.dataset import read_dataset
from lamflow.data.document import Result
from lamflow.data.graph import Graph, Key
from lamflow.data.layout import INPUT, TRAIN, iteration_key
from lamflow.data.results import Iteration
from lamflow.ops.operation import Context, op
from lamflow.superops.gather import Timing, gather_round
from lamflow.superops.state import RunState
from lamflow.superops.steps import add, start_graph


class CensusStudy(DataStudy):
    """Atoms of the labeled data are counted."""

    workflow: str = "census"
    smallest: int = 1
    """Elements with fewer atoms are left out."""


class Count(Result):
    """Atoms of each element."""

    atoms: dict[str, int]


class Counted(NamedTuple):
    """counted: count.json."""

    counted: Path


@op
def count(context: Context, *, input: Path, train: Path) -> Counted:
    """Count the atoms of all data that are trained on."""
    study = stored(input, CensusStudy)
    items = [item for part in sorted(train.iterdir()) for item in read_dataset(part)]
    atoms = Counter(symbol for item in items for symbol in item.labeled.frame.symbols)
    kept = {element: number for element, number in sorted(atoms.items()) if number >= study.smallest}
    Count(atoms=kept).save(context.out / "counted" / "count.json")
    return Counted(context.out / "counted")


class Census(Iteration):
    """The record of a round: the start, or the count."""

    count: Count | None = None

    @property
    def ended(self) -> str | None:
        """See Round."""
        return None if self.count is None else f"{sum(self.count.atoms.values())} atoms counted"


def next_graph(study: CensusStudy, state: RunState) -> Graph | None:
    """The start, then the count."""
    return round_graph(study, state, len(state.finished), 0) if len(state.finished) < 2 else None


def round_graph(study: CensusStudy, state: RunState, number: int, stage: int) -> Graph:
    """See Kind."""
    del stage
    if number == 0:
        return start_graph(study, state)
    folder = iteration_key(1)
    step = add(
        "count", count, writes={"counted": f"{folder}/counted"}, records=[f"{folder}/counted/count.json"],
        input=Key(key=INPUT), train=Key(key=TRAIN),
    )  # fmt: skip
    return Graph(kind="census", round=1, name="census", stage="count", steps=[step])


def gather(study: CensusStudy, graph: Graph, folder: Path, finished: list[Census], timing: Timing) -> Census:
    """See Kind."""
    del study
    file = folder / iteration_key(1) / "counted" / "count.json"
    common = dict(gather_round(graph, folder, finished, timing))
    return Census(**common, count=Count.read(file) if graph.round else None)


def report(run: Path, folder: Path, embedded: bool) -> Path:
    """See Kind."""
    del embedded
    found = Count.read(run / iteration_key(1) / "counted" / "count.json")
    page = folder / "census.txt"
    page.write_text("\n".join(f"{element} {number}" for element, number in found.atoms.items()), encoding="utf-8")
    return page


KIND = Kind("census", CensusStudy, next_graph, round_graph, lambda study: ["count"], gather, Census, report)
