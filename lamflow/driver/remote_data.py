"""Data of object stores and of the Hugging Face hub, copied to this machine once, object by object."""

from __future__ import annotations

import hashlib
import importlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamflow.config.pods import Cluster
from lamflow.config.remote import RemoteData
from lamflow.data.cache import cache_folder
from lamflow.data.files import content_hash
from lamflow.data.layout import DATA
from lamflow.data.run import Reference
from lamflow.errors import ClusterError, InputError

if TYPE_CHECKING:
    from lamflow.cluster.store import Store

SOURCES = "sources"
"""What a run takes from an address."""
WHERE = "LAMFLOW_CACHE"
"""The variable that names the folder of copies, see `cache_folder`."""


def brought(data: RemoteData, cluster: Cluster) -> list[Path]:
    """The files and folders that an address means, as copies on this machine.

    What is here already and has not changed is not copied again; an object is never in memory as a whole. Raises
    InputError where there are no keys, no bucket, no such object or too little room, OutageError for a store that does
    not answer.
    """
    root = _root(data)
    root.mkdir(parents=True, exist_ok=True)
    if data.location[0] == "hf":
        _from_hub(data, root)
    else:
        _from_store(data, root, cluster)
    found = data.files_in(root)
    if not found:
        raise InputError(f"{data.address}: there is nothing of this name")
    return found


def looked_for(data: RemoteData, cluster: Cluster) -> None:
    """Raise, as `brought` does, where an address means nothing; nothing is copied."""
    if data.location[0] == "hf":
        _hub(data)
    else:
        _listed(data, cluster)


def reference(data: RemoteData, files: Sequence[Path]) -> Reference:
    """What a run has taken from an address, with the hash of its content."""
    digest = hashlib.sha256("".join(content_hash(file) for file in files).encode()).hexdigest()
    return Reference(
        run=data.address, what=SOURCES, sha256=digest, wanted=SOURCES, folders=[str(file) for file in files]
    )


def _root(data: RemoteData) -> Path:
    kind, name, _ = data.location
    return cache_folder() / DATA / kind / name


def _store(data: RemoteData, cluster: Cluster) -> Store:
    """The bucket of an address in the cluster's object store."""
    from lamflow.cluster.store import Store

    bucket = cluster.s3.model_copy(update={"bucket": data.location[1]})
    return Store.of(cluster.model_copy(update={"s3": bucket}), "")


def _prefix(data: RemoteData) -> str:
    return f"{data.folder}/" if data.folder else ""


def _listed(data: RemoteData, cluster: Cluster) -> dict[str, int]:
    """Sizes in bytes of the objects that an address means, by their keys."""
    try:
        objects = _store(data, cluster).objects(_prefix(data))
        found = {item.key: item.size for item in objects if data.wants(item.key)}
    except ClusterError as error:
        raise InputError(f"{data.address}: {error}") from error
    if not found:
        bucket = data.location[1]
        raise InputError(f"{data.address}: bucket {bucket} has no object of this name, in this folder or like this")
    return found


def _from_store(data: RemoteData, root: Path, cluster: Cluster) -> None:
    sizes = _listed(data, cluster)
    lacking = sum(size for key, size in sizes.items() if not (root / key).is_file())
    free = shutil.disk_usage(root).free
    if lacking > free:
        raise InputError(
            f"{data.address}: {lacking / 1e9:.3g} GB are to be copied, and {root} has {free / 1e9:.3g} GB free; name "
            f"another folder in {WHERE}"
        )
    try:
        _store(data, cluster).pull(root, data.wants, _prefix(data), exact=True)
    except ClusterError as error:
        raise InputError(f"{data.address}: {error}") from error


def _hub(data: RemoteData) -> Any:
    """The package that talks to the hub. Raises InputError that says how to get it."""
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise InputError(
            f"{data.address}: the package huggingface_hub is needed: pip install huggingface_hub; or bring the data "
            f"here with `hf download --repo-type dataset {data.location[1]}` and name the files"
        ) from error


def _from_hub(data: RemoteData, root: Path) -> None:
    hub, (_, name, path) = _hub(data), data.location
    wanted = [path.strip("/"), f"{path.strip('/')}/**"] if path else None
    try:
        hub.snapshot_download(name, repo_type="dataset", allow_patterns=wanted, local_dir=root)
    except Exception as error:  # of its own, of requests, of the system
        raise InputError(
            f"{data.address}: the Hugging Face hub, which needs a network, did not give it: {error}"
        ) from error
