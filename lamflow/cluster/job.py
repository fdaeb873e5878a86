"""The beginning of a job that talks to the object store itself.

Trainings keep their scratch folder there, so that another pod can go on from it; labels are kept for other runs.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from lamflow.cluster import scratch
from lamflow.cluster.store import Store
from lamflow.config import stored
from lamflow.config.schema import DataStudy
from lamflow.data.cache import LabelCache
from lamflow.data.layout import INPUT, JOB_INPUTS, SCRATCH
from lamflow.ops.job import exit_now, report_failure
from lamflow.ops.job import main as run


def main(  # noqa: PLR0913  what a manifest says of a job
    reference: str,
    *,
    step: str,
    root: str,
    timeout: float,
    gpus: int,
    parameters: dict[str, int],
    checkpoints: tuple[str, float] | None = None,
    labels: str | None = None,
    packs: tuple[Sequence[str], Mapping[str, str]] = ((), {}),
) -> NoReturn:
    """Run an operation as one job, as `lamflow.ops.job.main` does.

    With checkpoints the scratch folder begins with what an earlier try of this pod kept in the object store, and is
    kept there every so many seconds and when the pod is told to end.

    checkpoints  key of the folder for the step's pods, and s between two savings
    labels       key of the label cache
    packs        see `lamflow.ops.job.main`
    """
    name = f"{step}-{parameters['job']}"
    try:
        settings = stored(Path(root) / JOB_INPUTS / INPUT, DataStudy).cluster.s3
        cache = None if labels is None else LabelCache(_Objects(Store(settings, labels, scratch.FAREWELL_RETRY)))
        if checkpoints is not None:
            prefix, every = checkpoints
            folder = Path(root) / SCRATCH
            os.environ["LAMFLOW_SCRATCH"] = str(folder)
            scratch.keep(settings, f"{prefix}{name}/", folder, every)
    except Exception as error:  # noqa: BLE001  whatever happened, the exit status says it
        exit_now(report_failure(error, name, timeout))
    run(reference, step=step, root=root, timeout=timeout, gpus=gpus, parameters=parameters, labels=cache, packs=packs)


class _Objects:
    """Objects below a prefix as the files of a label cache. A store that does not answer for long costs labels."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def read(self, key: str) -> bytes | None:
        """See Files."""
        if not self.store.exists(key):
            return None
        with tempfile.TemporaryDirectory() as folder:
            self.store.get(key, Path(folder) / "object")
            return (Path(folder) / "object").read_bytes()

    def write(self, key: str, content: bytes) -> None:
        """See Files."""
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            self.store.put(key, Path(file.name))
