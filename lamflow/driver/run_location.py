"""Where a run lives that was submitted to a cluster, and the folder that mirrors what is read of it here."""

from __future__ import annotations

import fnmatch
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from lamflow.cluster import packs
from lamflow.cluster.retry_policy import RetryPolicy
from lamflow.cluster.store import Store
from lamflow.config import stored
from lamflow.config.pods import Cluster, ObjectStore
from lamflow.config.read import SETTINGS
from lamflow.config.schema import DataStudy
from lamflow.data.document import Result
from lamflow.data.graph import Graph
from lamflow.data.layout import (
    DRIVER_RECORDS,
    INDEX,
    INPUT,
    LOCK,
    PACKED,
    PREPARING,
    REMOTE,
    REPORT,
    RUN,
    STORED,
    WORK,
    is_packed,
)
from lamflow.driver.rundir import RunDirectory
from lamflow.errors import InputError, StateError


class RunLocation(Result):
    """remote.json: where a run lives. No credential is in it."""

    url: str
    cluster: Cluster

    @property
    def prefix(self) -> str:
        """What the run's keys begin with."""
        return self.url.removeprefix(f"s3://{self.cluster.s3.bucket}/") + "/"

    @classmethod
    def of(cls, config: DataStudy) -> RunLocation:
        """Where the run of `config` lives."""
        cluster = config.cluster
        return cls(url=f"s3://{cluster.s3.bucket}/{cluster.prefix}{config.name}", cluster=cluster)

    @classmethod
    def at(cls, url: str, folder: Path, retry: RetryPolicy | None = None) -> RunLocation:
        """The run at `url`; its settings come into `folder`. Raises InputError, StateError, ClusterError."""
        match = re.fullmatch(r"s3://([a-z0-9][-a-z0-9.]{1,61}[a-z0-9])/(.+?)/?", url)
        if match is None:
            raise InputError(f"{url}: a run on a cluster is named like s3://BUCKET/PREFIX/NAME")
        clean = f"s3://{match[1]}/{match[2]}"
        refuse_others(RunDirectory(folder), clean)
        store = Store.of(Cluster(s3=ObjectStore(bucket=match[1])), f"{match[2]}/", retry)
        store.pull(folder, lambda _: True, f"{INPUT}/")
        if not (folder / INPUT / SETTINGS).is_file():
            raise StateError(f"{clean}: there is no run here; start one with `lamflow submit FILE`")
        cluster = stored(folder / INPUT, DataStudy).cluster
        s3 = cluster.s3.model_copy(update={"bucket": match[1]})
        found = cls(url=clean, cluster=cluster.model_copy(update={"s3": s3, "context": None}))
        found.save(folder / REMOTE)
        return found

    def store(self, retry: RetryPolicy | None = None) -> Store:
        """Its objects."""
        return Store.of(self.cluster, self.prefix, retry)


def mirror(directory: RunDirectory, store: Store, key: str = "", *, whole: bool = False) -> None:
    """Bring the folder up to date: what drivers and reports read, or the `whole` of what lies below `key`.

    A folder that a driver on this machine works in is up to date.
    """
    if whole:
        pull_all(directory, store, lambda _: True, key)
    elif directory.driver() is None:
        pull_records(directory, store, key)


def pull_all(
    directory: RunDirectory, store: Store, wanted: Callable[[str], bool], key: str = "", *, strict: bool = True
) -> None:
    """Make the folder, below `key`, what the store holds of it: files that are `wanted`, and all data sets.

    strict  see packs.pull
    """
    store.pull(directory.path, lambda name: not is_packed(name) and wanted(name), key, exact=True)
    _pull_packs(directory, store, key, PACKED, strict=strict)


def _pull_packs(
    directory: RunDirectory, store: Store, key: str, folders: Sequence[str], *, strict: bool = True
) -> None:
    """Bring the data sets of those of `folders` that lie below `key`, or that it lies in."""
    for folder in folders:
        if f"{folder}/".startswith(key) or key.startswith(f"{folder}/"):
            packs.pull(store, directory.path, folder, strict=strict)


def pull_records(directory: RunDirectory, store: Store, key: str = "", *, exact: bool = False) -> None:
    """Copy what drivers and reports read, below `key`, from the store into the folder; see Store.pull.

    Models, trajectories and labels stay where they are.
    """
    before: list[str] | None = None
    while (named := _named_records(directory)) != before:  # graphs that have just come, or changed, name others
        store.pull(directory.path, _is_record(named), key, exact=exact)
        before = named
    _pull_packs(directory, store, key, [INDEX])


def _named_records(directory: RunDirectory) -> list[str]:
    """Patterns of the records that the graphs of a run name."""
    graphs = [graph for number in directory.graph_numbers() for graph in _readable(directory, number)]
    return [record for graph in graphs for record in graph.records]


def _is_record(patterns: Sequence[str]) -> Callable[[str], bool]:
    named = re.compile("|".join(map(fnmatch.translate, patterns)) or r"(?!)")
    return lambda key: DRIVER_RECORDS.fullmatch(key) is not None or named.match(key) is not None


def _readable(directory: RunDirectory, number: int) -> list[Graph]:
    """The graph of a round; none where it is damaged, which whoever needs it says."""
    try:
        return [directory.graph(number)]
    except StateError:
        return []


def refuse_others(directory: RunDirectory, url: str) -> None:
    """Raise StateError when the folder holds anything else than the mirror of the run at `url`."""
    path, file = directory.path, directory.path / REMOTE
    if file.is_file():
        there = RunLocation.read(file).url
        if there != url:
            raise StateError(f"{path} mirrors {there}, not {url}; give another folder with --dir")
        return
    found = [name for name in (RUN, *STORED, WORK) if (path / name).exists()]
    if found:
        what = "a run of this machine" if RUN in found else ", ".join(found)
        raise StateError(f"{path} holds {what}; give another folder with --dir to submit the run as a new one")


def clear(directory: RunDirectory) -> None:
    """Remove what a mirror holds, and the folder if nothing else is in it."""
    for name in (*STORED, REPORT, WORK):
        shutil.rmtree(directory.path / name, ignore_errors=True)
    for file in (directory.record, directory.path / REMOTE, directory.path / LOCK, directory.path / PREPARING):
        file.unlink(missing_ok=True)
    if directory.path.is_dir() and not any(directory.path.iterdir()):
        directory.path.rmdir()
