"""What a study takes from other runs: looked up, checked and hashed once, when a run begins."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lamflow.config.cleaning import Source
from lamflow.config.engines import EngineSettings
from lamflow.config.kinds import kind_named
from lamflow.config.labeled import Heldout, Start
from lamflow.config.pods import Cluster
from lamflow.config.pretrained import PretrainedModel
from lamflow.config.references import RunData
from lamflow.config.remote import RemoteData
from lamflow.config.schema import DataStudy, TrainingStudy
from lamflow.config.section import rebuilt
from lamflow.data.files import content_hash, file_hash
from lamflow.data.layout import FILES, HELDOUT, INPUT, MODELS, TRAIN, iteration_key
from lamflow.data.results import Iteration, ModelResult
from lamflow.data.run import Reference
from lamflow.driver.remote_data import SOURCES, brought, looked_for, reference
from lamflow.driver.run_location import RunLocation, mirror
from lamflow.driver.rundir import RunDirectory
from lamflow.errors import InputError, StateError

ENDED = ("converged", "ended")


def resolved(
    study: DataStudy, begun: RunDirectory | None = None, *, only_if_here: bool = False
) -> tuple[DataStudy, list[Reference]]:
    """`study` with files in the place of references to runs and of addresses of data, and what they were.

    begun  the run that goes on with the study: what it took when it began it keeps, whatever became of its source
    only_if_here  data at addresses are looked for, and left where they are

    Raises InputError for a run that is missing, that has not ended, or that has not what is wanted.
    """
    references: list[Reference] = []
    known = {(item.run, item.wanted): item for item in begun.run().references} if begun is not None else {}
    engine = ""  # of the section that the model belongs to

    def change(value: Any) -> Any:
        nonlocal engine
        if isinstance(value, EngineSettings):
            engine = value.engine
        if isinstance(value, PretrainedModel) and value.run is not None:
            before = known.get((value.run, f"model: {value.model}"))
            kept = _kept(value, before, begun) if begun is not None and before is not None else None
            model, reference = kept or _model(value, value.run, engine)
            references.append(reference)
            return model
        if isinstance(value, Source):
            files, taken = _source(value, study.cluster, known, only_if_here)
            references.extend(taken)
            return value.model_copy(update={"data": files})
        if isinstance(value, Start | Heldout) and any(isinstance(item, RunData) for item in value.data):
            data: list[Any] = []
            for item in value.data:
                if not isinstance(item, RunData):
                    data.append(item)
                    continue
                reference = known.get((item.run, f"data: {item.data}")) or _data(item)
                data += map(Path, reference.folders)
                references.append(reference)
            return value.model_copy(update={"data": data})
        return None

    changed: DataStudy = rebuilt(study, change)
    return changed, references


def _source(
    source: Source, cluster: Cluster, known: Mapping[tuple[str, str], Reference], only_if_here: bool
) -> tuple[list[Any], list[Reference]]:
    """The data of a source with files in the place of addresses, and what these were."""
    files, taken = list[Any](), list[Reference]()
    for item in source.data:
        if not isinstance(item, RemoteData) or only_if_here:
            files.append(item)
            if isinstance(item, RemoteData):
                looked_for(item, cluster)
            continue
        one = known.get((item.address, SOURCES)) or reference(item, brought(item, cluster))
        files += map(Path, one.folders)
        taken.append(one)
    return files, taken


def _kept(model: PretrainedModel, before: Reference, begun: RunDirectory) -> tuple[PretrainedModel, Reference] | None:
    """The copy of a model that the run made when it began, if it is still whole."""
    copies = (begun.path / INPUT / FILES).glob("*/*")
    file = next((copy for copy in copies if copy.is_file() and file_hash(copy) == before.sha256), None)
    if file is None or model.sha256 not in (None, before.sha256):
        return None
    return PretrainedModel(file=file.absolute(), head=model.head, sha256=before.sha256), before


def _model(model: PretrainedModel, run: str, engine: str) -> tuple[PretrainedModel, Reference]:
    """The file of a model that a run has trained, for an engine that must be the one that trained it."""
    directory = _ended(run)
    study = directory.config()
    if not isinstance(study, TrainingStudy):
        raise InputError(f"{run}: a run of workflow {study.workflow} has no models")
    name = study.train.model_file_name
    if name is None:
        raise InputError(f"{run}: its models are of engine {study.train.engine!r}, and nothing can start from them")
    if study.train.engine != engine:
        raise InputError(f"{run}: its models are of engine {study.train.engine!r}, and {engine!r} cannot read them")
    number, result = _chosen(run, directory.iterations(), model.model)
    key = f"{iteration_key(number)}/{MODELS}/{result.index}"
    file = _brought(run, directory, f"{key}/") / key / name
    if not file.is_file():
        raise InputError(f"{run}: model {result.index} of iteration {number} has no {name}: it is lost or incomplete")
    sha256 = file_hash(file)
    if model.sha256 is not None and model.sha256 != sha256:
        raise InputError(f"{run}: the sha256 of {key}/{name} is {sha256}, not {model.sha256} as wanted")
    found = PretrainedModel(file=file, head=model.head, sha256=sha256)
    what, wanted = f"model {result.index} of iteration {number}", f"model: {model.model}"
    return found, Reference(run=run, what=what, sha256=sha256, wanted=wanted, moments=result.moments)


def _chosen(run: str, iterations: list[Iteration], wanted: str | int) -> tuple[int, ModelResult]:
    """Number of the newest iteration with models, and the model of it that is wanted."""
    last = next((item for item in reversed(iterations) if item.models), None)
    if last is None:
        raise InputError(f"{run}: the run has trained no models")
    usable = [model for model in last.models if not model.failed]
    if isinstance(wanted, int):
        match = [model for model in usable if model.index == wanted]
        if not match:
            raise InputError(f"{run}: there is no usable model {wanted}; there are {[m.index for m in usable]}")
        return last.number, match[0]
    judged = [model for model in usable if model.errors and (not last.variant or model.variant == last.variant)]
    if not judged:
        raise InputError(f"{run}: no model of iteration {last.number} is usable")
    return last.number, min(judged, key=lambda model: model.errors.force_rmse if model.errors else 0.0)


def _data(reference: RunData) -> Reference:
    """The data sets of a run."""
    directory = _ended(reference.run)
    key = TRAIN if reference.data == "train" else HELDOUT
    folder = _brought(reference.run, directory, f"{key}/") / key
    folders = [part for part in sorted(folder.glob("[0-9]*")) if any(part.rglob("type.raw"))]
    if not folders:
        raise InputError(f"{reference.run}: the run has no data to {'train on' if key == TRAIN else 'hold out'}")
    digest = hashlib.sha256("".join(content_hash(part) for part in folders).encode()).hexdigest()
    what = f"data: {reference.data}"
    return Reference(run=reference.run, what=what, sha256=digest, wanted=what, folders=[str(part) for part in folders])


def _ended(run: str) -> RunDirectory:
    """The folder of a run, or the mirror of one that lives in an object store. Raises InputError."""
    try:
        if run.startswith("s3://"):
            cache = Path(os.environ.get("LAMFLOW_CACHE") or Path.home() / ".cache" / "lamflow") / "runs"
            directory = RunDirectory(cache / hashlib.sha256(run.encode()).hexdigest()[:16])
            mirror(directory, RunLocation.at(run, directory.path).store())
        else:
            directory = RunDirectory(Path(run))
        record = directory.run()
    except StateError as error:
        raise InputError(f"{run}: {error}") from error
    if record.state not in ENDED:
        raise InputError(
            f"{run}: this run is {record.state}, and only what a run has come to in the end can be taken from it; "
            "finish it with `lamflow resume`, or name a file of it"
        )
    kind_named(record.workflow)
    return directory


def _brought(run: str, directory: RunDirectory, key: str) -> Path:
    """The folder of a run with all that lies below `key`."""
    if run.startswith("s3://"):
        mirror(directory, RunLocation.at(run, directory.path).store(), key, whole=True)
    return directory.path
