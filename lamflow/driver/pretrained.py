"""Models that a configuration names by address or by name, fetched once and checked."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from lamflow.config.pods import Cluster
from lamflow.config.pretrained import PretrainedModel
from lamflow.config.schema import DataStudy
from lamflow.config.section import expand, rebuilt
from lamflow.data.files import file_hash
from lamflow.data.layout import MODELS
from lamflow.engines import registry
from lamflow.errors import InputError, OutageError

NAMES = "LAMFLOW_MODELS"
"""The variable that names the list of models; `~/.config/lamflow/models.yaml` without it."""
CHUNK = 1 << 20
"""Bytes."""


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


def model_list() -> Mapping[str, PretrainedModel]:
    """The user's names for models. Raises InputError for a list that cannot be read."""
    path = list_file()
    if not path.is_file():
        if os.environ.get(NAMES):
            raise InputError(f"{path}: no such file; {NAMES} should name a list of models")
        return {}
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        found = TypeAdapter(dict[str, PretrainedModel]).validate_python(raw, context={"root": path.parent})
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    for name, model in found.items():
        if model.name is not None:
            raise InputError(f"{path}: {name}: a name must say where the file is: file, url or s3")
    return found


def downloaded() -> dict[str, Path]:
    """Models that an engine knows by name and has downloaded already."""
    return registry.downloaded_models()


def _fetched(model: PretrainedModel, cluster: Cluster, only_if_here: bool) -> PretrainedModel:
    if model.name is not None:
        named = _named(model.name)
        model = named.model_copy(update={"head": model.head or named.head, "sha256": model.sha256 or named.sha256})
    if model.file is not None:
        try:
            path = expand(model.file)
        except ValueError as error:
            raise InputError(str(error)) from error
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        _check(path, model.sha256)
        return model
    address = model.url or model.s3 or ""
    folder = Path(os.environ.get("LAMFLOW_CACHE") or Path.home() / ".cache" / "lamflow") / MODELS
    unchecked = hashlib.sha256(address.encode()).hexdigest()[:16]
    name = re.sub(r"[^-A-Za-z0-9_.]", "_", address.split("?")[0].rsplit("/", 1)[-1]) or "model.pt"
    path = folder / (model.sha256 or unchecked) / name
    here = path.is_file() and model.sha256 is not None
    if only_if_here and not here:
        return model
    if here:
        _check(path, model.sha256)
    if not here:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{name}.{os.getpid()}.partial")
        try:
            if model.url is not None:
                _download(model.url, partial)
            else:
                _from_s3(address, partial, cluster)
            _check(partial, model.sha256, address)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    return PretrainedModel(file=path, head=model.head, sha256=model.sha256)


def _named(name: str) -> PretrainedModel:
    known = model_list()
    if name in known:
        return known[name]
    here = downloaded()
    if name in here:
        return PretrainedModel(file=here[name])
    listed = ", ".join(sorted({*known, *here})) or "none"
    raise InputError(
        f"there is no model called {name!r}; known here are: {listed}. "
        "`lamflow models list` shows where names come from"
    )


def _check(path: Path, sha256: str | None, address: str = "") -> None:
    if sha256 is None:
        return
    found = file_hash(path)
    if found != sha256:
        raise InputError(f"{address or path}: its sha256 is {found}, not {sha256} as wanted; this is another file")


def _download(url: str, target: Path) -> None:
    import urllib3

    tries = urllib3.Retry(total=4, backoff_factor=1.0, status_forcelist=(429, 500, 502, 503, 504))
    try:
        with urllib3.PoolManager(retries=tries, timeout=urllib3.Timeout(connect=20, read=60)) as pool:
            answer = pool.request("GET", url, preload_content=False)
            if answer.status != 200:
                raise InputError(f"{url}: the server answers {answer.status}")
            with target.open("wb") as stream:
                for chunk in answer.stream(CHUNK):
                    stream.write(chunk)
    except urllib3.exceptions.HTTPError as error:
        raise OutageError(f"{url}: cannot be fetched: {error}") from error


def _from_s3(address: str, target: Path, cluster: Cluster) -> None:
    from lamflow.cluster.store import Store

    bucket, _, key = address.removeprefix("s3://").partition("/")
    store = Store.of(cluster.model_copy(update={"s3": cluster.s3.model_copy(update={"bucket": bucket})}), "")
    if not store.exists(key):
        raise InputError(f"{address}: there is no such object")
    store.get(key, target)
