"""What is lost or damaged of a run, made again from what is left of it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from lamflow.config.installed import engine_packages
from lamflow.config.read import SETTINGS
from lamflow.config.schema import DataStudy
from lamflow.data.dataset import Manifest
from lamflow.data.files import write_whole
from lamflow.data.graph import Graph
from lamflow.data.layout import (
    FILES,
    HELDOUT,
    HELDOUT_MANIFEST,
    HISTORY,
    INDEX,
    INPUT,
    LATE,
    MANIFEST,
    MODEL,
    RECORD,
    TRAIN,
    WORK,
)
from lamflow.data.manifest import WAY_BACK
from lamflow.data.packed import PackedFrames
from lamflow.data.provenance import PACKAGES, versions
from lamflow.data.results import Iteration
from lamflow.data.run import Run
from lamflow.data.trained import verify_model
from lamflow.data.walk import files_below
from lamflow.driver.executor import Executor
from lamflow.driver.loop import run_state
from lamflow.driver.prepare import fingerprint, snapshot
from lamflow.driver.pretrained import fetched
from lamflow.driver.references import resolved
from lamflow.driver.rundir import RunDirectory
from lamflow.driver.structures import frames_of
from lamflow.driver.survey import Damage, damages, lost_rounds
from lamflow.errors import REPAIR, InputError, LamflowError, StateError
from lamflow.flow.kinds import kind_of
from lamflow.ops.merge import merge
from lamflow.ops.operation import Context
from lamflow.superops.gather import Timing

STOPPED = "repaired; go on with `lamflow resume`"


def repair(
    directory: RunDirectory, executor: Executor, study: DataStudy | None = None, *, redo: bool = False
) -> list[str]:
    """Make again what is lost or damaged of a run, and return a line for each thing that was made.

    study  what its file says, from which lost settings come
    redo   throw away the newest round where it cannot be mended otherwise, for `resume` to do it again

    Raises StateError that names what remains, and what can be done about it. Nothing that can be read is changed.
    """
    with executor.locked():
        executor.bring_all()
        mending = _Mending(directory, executor, study)
        for _ in range(2):  # what one thing needs may itself be made again only after another
            mending.mend()
        if redo:
            mending.redo()
        left = damages(directory, whole=True)
        if left:
            raise StateError("\n  ".join([*mending.made, *_ways(directory, left), *mending.problems]))
        return mending.made


def _ways(directory: RunDirectory, left: list[Damage]) -> list[str]:
    """What remains damaged, and what a person can do."""
    said = dict.fromkeys(damage.message.removesuffix(f"; {REPAIR}").removesuffix(f"; {WAY_BACK}") for damage in left)
    if any(damage.kind == "settings" for damage in left):
        way = f"`lamflow repair {directory.path} --file FILE` takes the settings from the study's file"
    elif (number := _first(left)) is not None:
        way = (
            f"`lamflow repair {directory.path} --redo` throws everything from iteration {number} on away, and "
            "`lamflow resume` does it again; labels come from the label cache"
        )
    else:
        way = "put these files back from a copy, or begin the run anew in another folder (--dir): its labels are cached"
    return [*said, way]


def _first(left: list[Damage]) -> int | None:
    """The first of the rounds that damages belong to; None where doing rounds again does not help."""
    if not left or {damage.kind for damage in left} & {"run", "settings", "structures", "start"}:
        return None
    return min(damage.round for damage in left)


@dataclass
class _Mending:
    """What has been made again so far, and why other things could not be."""

    directory: RunDirectory
    executor: Executor
    study: DataStudy | None
    made: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def mend(self) -> None:
        """Mend part after part: each may be needed by the next."""
        self.problems.clear()
        ways: dict[str, Callable[[Damage], Path | None]] = {
            "settings": self._settings, "run": self._run, "structures": self._structures, "graph": self._graph,
            "data": self._data, "record": self._record, "model": self._model, "picture": self._picture,
        }  # fmt: skip
        left = self._damages()
        for part, way in ways.items():
            found = {(damage.path, damage.round): damage for damage in left if damage.kind == part}
            for damage in found.values():
                try:
                    made = way(damage)
                except (LamflowError, OSError, ValueError) as error:
                    if str(error) != damage.message:
                        self.problems.append(f"{damage.path} cannot be made again: {error}")
                    continue
                if made is not None:
                    self._keep(made)
            left = self._damages() if found else left

    def _damages(self) -> list[Damage]:
        return damages(self.directory, whole=True)

    def _keep(self, made: Path) -> None:
        said = f"{made}: made again"
        if said not in self.made:
            self.made.append(said)
        files = [made] if made.is_file() else [file for file in sorted(made.rglob("*")) if file.is_file()]
        self.executor.persist(files)

    def _settings(self, _: Damage) -> Path | None:
        """Settings and the files that they name, from the study's file."""
        if self.study is None:
            return None
        study, references = resolved(fetched(self.study))
        has_record = not any(damage.kind == "run" for damage in damages(self.directory))
        if has_record and self.directory.run().fingerprint != fingerprint(study, references):
            raise InputError("the file describes a run with other elements, seed, structures or start data")
        folder = self.directory.path / INPUT
        shutil.rmtree(folder / FILES, ignore_errors=True)
        write_whole(folder / SETTINGS, snapshot(study, self.directory))
        return folder

    def _run(self, _: Damage) -> Path:
        """run.json, from the settings."""
        study = self.directory.config()
        references = resolved(fetched(self.study))[1] if self.study is not None else []
        begun = (self.directory.path / INPUT / SETTINGS).stat().st_mtime
        Run(
            workflow=study.workflow,
            name=study.name,
            created=datetime.fromtimestamp(begun, UTC).isoformat(timespec="seconds"),
            fingerprint=fingerprint(study, references),
            versions=versions((*PACKAGES, *engine_packages())),
            references=references,
            state="stopped",
            message=STOPPED,
        ).save(self.directory.record)
        return self.directory.record

    def _structures(self, damage: Damage) -> Path:
        """Start structures, which the settings and the seed determine."""
        study = self.directory.config()
        [settings] = [each for each in study.structures if each.name == damage.path.stem]
        PackedFrames.of(frames_of(settings, study)).save(damage.path)
        return damage.path

    def _graph(self, damage: Damage) -> Path | None:
        """The graph of a round; that of one which has not finished is made when it goes on."""
        if damage.round >= self.directory.finished_rounds():
            damage.path.unlink()
            self.made.append(f"{damage.path}: is made again when the run goes on")
            return None
        study = self.directory.config()
        state = run_state(self.directory, self.executor, self._records_before(damage.round))
        graph: Graph | None = kind_of(study).next_graph(study, state)
        if graph is None:
            raise StateError(f"round {damage.round} cannot be planned again")
        graph.save(damage.path)
        return damage.path

    def _records_before(self, number: int) -> list[Iteration]:
        kind = kind_of(self.directory.config())
        return [kind.record.read(self.directory.round(before) / RECORD) for before in range(number)]

    def _data(self, damage: Damage) -> Path | None:
        """The data sets of a round, or of labels that were late in the one before, from these labels."""
        graph, root = self.directory.graph(damage.round), self.directory.path
        merges = [step for step in graph.steps if step.op == merge.reference]
        step = next((step for step in merges if root / step.writes["known"] == damage.path), None)
        if step is None:
            return None
        reads = {port: root / key.key for port, key in step.reads.items()}
        gone = [path for port, path in reads.items() if port in ("labeled", "start_data") and not path.is_dir()]
        if gone:
            raise StateError(f"{gone[0]} is gone, too")
        inputs = {port: reads[port] if port in reads and reads[port].is_dir() else None for port in merge.inputs}
        late = self.directory.round(damage.round + 1) / LATE
        if inputs["before"] is None and late.is_dir():
            inputs["before"] = late  # what was late in this round came with the next one
        with TemporaryDirectory(dir=root / WORK if (root / WORK).is_dir() else None) as folder:
            out = Path(folder) / "out"
            context = Context(0, 1, "merge-0", Path(folder), Path(folder), out)
            done = merge(context, **{**inputs, "iteration": damage.round})
            self._refuse_others(damage.path.name, done.known)
            for port in ("train", "heldout", "known"):
                target = root / step.writes[port]
                shutil.rmtree(target, ignore_errors=True)
                shutil.copytree(out / port, target)
                self._keep(target)
        return None

    def _refuse_others(self, part: str, known: Path) -> None:
        """Raise StateError when data that were made again are not those that a manifest or a data set still knows."""
        for key, name in ((TRAIN, MANIFEST), (HELDOUT, HELDOUT_MANIFEST)):
            now = Manifest.read(known / name)
            for file in (self.directory.path / INDEX / part / name, self.directory.path / key / part / MANIFEST):
                try:
                    before = Manifest.read(file)
                except StateError:
                    continue
                if (before.frames, before.labels) != (now.frames, now.labels):
                    raise StateError(f"{file}: the labels that are left make other data than these were")

    def _record(self, damage: Damage) -> Path:
        """The record of a round, from what its steps have left; how long they took is lost."""
        study, graph = self.directory.config(), self.directory.graph(damage.round)
        if not graph.is_complete(self.directory.path):
            raise StateError("its steps have not left all their records")
        past = self._records_before(damage.round)
        record: Iteration = kind_of(study).gather(study, graph, self.directory.path, past, Timing({}, 0.0))
        record.save(damage.path)
        return damage.path

    def _model(self, damage: Damage) -> Path | None:
        """The record of a model, from that of its round. The model itself can only be trained again."""
        record = kind_of(self.directory.config()).record.read(self.directory.round(damage.round) / RECORD)
        [model] = [model for model in record.models if str(model.index) == damage.path.name]
        if damage.round == self.directory.finished_rounds() - 1:
            verify_model(damage.path, model)
        model.save(damage.path / MODEL)
        return damage.path / MODEL

    def _picture(self, damage: Damage) -> None:
        """What only reports show goes: without it they show less."""
        self.executor.discard(damage.path)
        self.made.append(f"{damage.path}: was damaged and is thrown away; reports show less without it")

    def redo(self) -> None:
        """Throw away everything from the first round on that is still damaged."""
        number = _first(self._damages())
        if number is None:
            return
        study = self.directory.config()
        for later, entry in lost_rounds(self.directory, number):
            for folder in (self.directory.path / key / entry.name for key in (TRAIN, HELDOUT, INDEX)):
                for file in files_below(folder):
                    self.executor.discard(file)
                shutil.rmtree(folder, ignore_errors=True)
            self.made.append(f"{entry}: thrown away with its data; `lamflow resume` does round {later} again")
        for later in reversed(range(number, self.directory.finished_rounds() + 1)):
            if self.directory.has_graph(later):
                self.executor.reset(study, self.directory.graph(later))
                shutil.rmtree(self.directory.round(later) / HISTORY, ignore_errors=True)
                with contextlib.suppress(OSError):  # what was prepared for the round stays
                    self.directory.round(later).rmdir()
                self.made.append(f"{self.directory.round(later)}: thrown away; `lamflow resume` does it again")
        self.directory.run().model_copy(update={"state": "stopped", "message": STOPPED}).save(self.directory.record)
        self.executor.persist([self.directory.record])
