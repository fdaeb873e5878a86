"""lamflow from Python: a Study is what a file describes; a Run is what came of it, here or on a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lamflow.config.conversion import as_evaluation, as_training
from lamflow.config.kinds import kind_named
from lamflow.config.read import load as load_config
from lamflow.config.read import stored
from lamflow.config.schema import DataStudy, TrainingStudy
from lamflow.data.document import Entry
from lamflow.data.layout import INPUT
from lamflow.data.results import Iteration
from lamflow.data.run import Reference
from lamflow.driver.located import Located, located
from lamflow.driver.rundir import RunDirectory
from lamflow.errors import InputError, StateError

if TYPE_CHECKING:
    from ase import Atoms
    from pandas import DataFrame

    from lamflow.driver.listener import Listener
    from lamflow.driver.plan import Plan
    from lamflow.engines.protocol import Model


class RunStatus(Entry):
    """How a run stands.

    state     killed: it says that it runs, and nothing on this machine drives it; of a run on a cluster it is what its
              driver said last
    message   why it ended or failed
    process   id of the driver on this machine
    rounds    that have finished, the start included
    labels    paid for so far
    failures  a line for each model of the newest committee whose training failed
    """

    name: str
    workflow: str
    state: Literal["running", "killed", "stopped", "failed", "converged", "ended"]
    message: str
    process: int | None
    rounds: int
    labels: int
    failures: list[str]


@dataclass(frozen=True)
class Run:
    """A run in a folder, or on a cluster and mirrored in a folder. `Run.open` makes one."""

    _located: Located

    @classmethod
    def open(cls, run: str | Path) -> Run:
        """The run in a folder, or at s3://BUCKET/PREFIX/NAME, which is mirrored in runs/NAME.

        Raises StateError when there is none, and ClusterError when its store refuses.
        """
        opened = cls(located(str(run)))
        opened.refresh()
        return opened

    def refresh(self) -> None:
        """Bring the mirror of a run on a cluster up to date. Raises StateError when there is no run."""
        self._located.mirrored()
        self._directory.run()

    @property
    def path(self) -> Path:
        """Its folder."""
        return self._located.path

    @property
    def is_remote(self) -> bool:
        """It lives on a cluster."""
        return self._located.remote is not None

    @property
    def _directory(self) -> RunDirectory:
        return RunDirectory(self.path)

    @property
    def _is_queued(self) -> bool:
        """A job of a batch system drives it, or waits to."""
        from lamflow.driver import batch_runs

        directory = RunDirectory(self.path.resolve())
        return batch_runs.is_placed(directory.path) and batch_runs.is_driven(directory)

    @property
    def status(self) -> RunStatus:
        """How it stands now."""
        self.refresh()
        record, records, process = self._directory.run(), self.records, self._directory.driver()
        killed = record.state == "running" and process is None and not self.is_remote and not self._is_queued
        return RunStatus(
            name=record.name,
            workflow=record.workflow,
            state="killed" if killed else record.state,
            message=record.message,
            process=process,
            rounds=len(records),
            labels=records[-1].labels if records else 0,
            failures=self.failures,
        )

    @property
    def records(self) -> list[Iteration]:
        """Records of the finished iterations, the start first."""
        return self._directory.iterations()

    @property
    def iterations(self) -> DataFrame:
        """A row for each finished iteration, as `iteration_row` has it. Raises InputError without pandas."""
        try:
            import pandas
        except ImportError as error:
            raise InputError("a table of the iterations needs pandas: pip install pandas") from error
        rows = [iteration_row(record) for record in self.records]
        return pandas.DataFrame(rows).set_index("iteration") if rows else pandas.DataFrame()

    @property
    def failures(self) -> list[str]:
        """A line for each model of the newest committee whose training failed: which one, and why."""
        return next((record.failed_models for record in reversed(self.records) if record.models), [])

    def frames(self, role: Literal["train", "heldout"] = "train") -> list[Atoms]:
        """Every frame that is trained on, or held out, as Atoms with a SinglePointCalculator.

        Energy in eV, forces in eV/Å, stress in eV/Å³ with ASE's sign. `info` has the frame's `hash`, which `why` takes,
        and its `source`. Raises StateError when there are none yet.
        """
        from lamflow.data.ase_labels import ase_with_labels
        from lamflow.driver.contents import labeled_items

        if role not in ("train", "heldout"):
            raise InputError(f"{role!r}: frames are those of 'train' or 'heldout'")
        frames = []
        for item in labeled_items(self._located, role):
            atoms = ase_with_labels(item.labeled)
            atoms.info.update(hash=item.labeled.frame.content_hash(), source=item.origin.source)
            frames.append(atoms)
        return frames

    @property
    def model_folders(self) -> list[Path]:
        """Folders of the newest committee's models, without those whose training failed."""
        from lamflow.driver.contents import newest_models

        return newest_models(self._located)

    @property
    def best_folders(self) -> list[Path]:
        """Those of the architecture that was chosen; of all if only one was tried."""
        from lamflow.driver.contents import best_models

        return best_models(self._located)

    @property
    def models(self) -> Sequence[Model]:
        """The newest committee, loaded; each is an Evaluator, with the head of the first one that explores."""
        return self.models_of("")

    def models_of(self, head: str) -> Sequence[Model]:
        """The newest committee with a head; of the first that explores if it is empty."""
        from lamflow.engines import registry

        folders = self.model_folders
        if not folders:
            return []
        config = stored(self.path / INPUT, TrainingStudy)
        if config.heads and not head:
            head = next(iter(config.explored_heads), config.heads[0].name)
        trainer = registry.trainer(config.train)
        return [trainer.load(folder, head) for folder in folders]

    def why(self, frame: str) -> list[str]:
        """Which replica, step, score, rule and settings put a frame into the data, a line each.

        frame  the beginning of its hash, or SYSTEM#INDEX. Raises InputError when no frame, or several, are called so.
        """
        from lamflow.driver.story import frame_story

        return frame_story(self._directory, frame)

    def report(self, folder: Path | None = None) -> Path:
        """Write the report, beside the run if no folder is given, and return the path of its page.

        Raises StateError while there is nothing to show.
        """
        self._directory.require_rounds()
        page: Path | None = kind_named(self._directory.run().workflow).report(self.path, folder or self.path, True)
        if page is None:
            raise StateError(f"{self.path}: there is nothing to report yet; `lamflow resume` goes on with the run")
        return page

    def resume(self, listener: Listener | None = None) -> Run:
        """Go on with the settings that it has: here until it ends, or start its driver on the cluster again."""
        if self._located.remote is not None:
            from lamflow.driver import cluster_runs

            cluster_runs.resume(self.path, self._located.remote)
        else:
            from lamflow.driver import loop
            from lamflow.driver.batch_runs import executor_of

            loop.resume(self.path, listener, executor_of(RunDirectory(self.path.resolve())))
        return self

    def repair(self, study: Study | None = None, *, redo: bool = False) -> list[str]:
        """Make again what is lost or damaged, and return a line for each thing that was; `study` brings lost settings.

        `redo` throws the newest round away where nothing else helps. Raises StateError with what remains.
        """
        from lamflow.driver.batch_runs import executor_of
        from lamflow.driver.repair import repair

        directory = RunDirectory(self.path.resolve())
        config = study.config if study is not None else None
        if self._located.remote is None:
            return repair(directory, executor_of(directory), config, redo=redo)
        from lamflow.driver.argo_executor import ArgoExecutor

        return repair(directory, ArgoExecutor(directory, self._located.remote), config, redo=redo)

    def stop(self) -> None:
        """End its driver and wait until it is gone. Raises StateError when nothing drives it."""
        from lamflow.driver.stopping import stop

        stop(self._located)


@dataclass(frozen=True)
class Study:
    """What a file describes, and what can be done with it. `Study.load` makes one."""

    config: DataStudy
    references: tuple[Reference, ...] = ()
    """What was taken from other runs for it already."""

    @classmethod
    def load(cls, file: str | Path) -> Study:
        """The study that a YAML file describes. Raises InputError with every problem and its line."""
        return cls(load_config(file, DataStudy))

    @property
    def folder(self) -> Path:
        """Where its run lies unless another folder is given."""
        return Path("runs") / self.config.name

    def as_training(self) -> Study:
        """The study that trains once on its data and explores nothing."""
        return Study(as_training(self.config))

    def as_evaluation(self, model: Path | None = None, head: str | None = None) -> Study:
        """The study that judges its pre-trained model, or the file `model`, on its labeled data.

        Fetches a model that is named by its address. Raises InputError when there is no model or no data.
        """
        from lamflow.driver.pretrained import fetched
        from lamflow.driver.references import resolved

        config, references = resolved(fetched(self.config))
        return Study(as_evaluation(config, model, head), tuple(references))

    def check(self) -> list[str]:
        """Read all data and structures, and return warnings. Raises InputError with what cannot be used."""
        from lamflow.driver.inspection import check_inputs

        return check_inputs(self.config)

    def plan(self, folder: Path | str | None = None) -> Plan:
        """Tasks, pods, labels and time, without running anything; times are measured where its run has begun."""
        from lamflow.driver.plan import plan

        directory = RunDirectory(Path(folder) if folder is not None else self.folder)
        return plan(self.config, directory.iterations() if directory.exists() else [])

    def run(
        self, folder: Path | str | None = None, listener: Listener | None = None, *, redo: bool = False,
        on: str | None = None,
    ) -> Run:  # fmt: skip
        """Run on this machine, or go on with what is in `folder`, until it converges or its budget is used up.

        on  the kind of batch system whose commands are here, or `here`; if absent, where the run is
        `redo` begins an unfinished iteration again with changed settings. Raises EngineError when every model failed;
        those of a committee that failed beside good ones are `failures` of the Run.
        """
        from lamflow.driver import batch_runs, loop

        place = located(str(folder) if folder is not None else str(self.folder))
        if place.remote is not None:
            raise StateError(f"{place.path} belongs to a run on a cluster; give another folder")
        config, executor = batch_runs.chosen(self.config, RunDirectory(place.path.resolve()), on)
        loop.run(config, place.path, listener, executor, redo=redo, references=self.references)
        return Run(place)

    def submit(self, folder: Path | str | None = None, *, redo: bool = False) -> Run:
        """Start its driver on the batch system that it names, or else on the cluster; `folder` mirrors that run.

        Raises StateError when a driver works on it.
        """
        from lamflow.driver import batch_runs, cluster_runs

        self.check()
        path = Path(folder) if folder is not None else self.folder
        if self.config.batch is not None:
            batch_runs.submit(self.config, path, redo=redo, references=self.references)
            return Run(Located(path, None))
        return Run(Located(path, cluster_runs.submit(self.config, path, redo=redo, references=self.references)))


def iteration_row(record: Iteration) -> dict[str, Any]:
    """Key figures of an iteration, None where there is none.

    force_rmse in eV/Å and energy_rmse in eV/atom are means over the models, on held-out data; accurate, candidates and
    failed count explored frames; seconds is wall time in s.
    """
    selected = record.selected
    energies = [model.errors.energy_rmse for model in record.models if model.errors]
    return {
        "iteration": record.number,
        "stage": record.stage,
        "models": len(record.models),
        "failed_models": len(record.failed_models),
        "force_rmse": record.force_rmse,
        "energy_rmse": sum(energies) / len(energies) if energies else None,
        "explored": selected.explored if selected else None,
        "accurate": selected.accurate if selected else None,
        "candidates": selected.candidates if selected else None,
        "failed": selected.failed if selected else None,
        "refused": selected.refused if selected else None,
        "decision": selected.decision if selected else None,
        "labels": record.labels,
        "training_frames": record.training_frames,
        "heldout_frames": record.heldout_frames,
        "seconds": record.seconds,
    }
