"""One helper adds a step from an OP by keyword; one type says where an artifact lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dflow import LocalArtifact, OutputParameter, S3Artifact, Step, Steps, argo_range

from lamflow.config.pods import Pod, TrainPod
from lamflow.ops._op import Operation

ITEM = "{{item}}"


@dataclass(frozen=True)
class Stored:
    """An artifact by its key in the run's store.

    each  every pod of the step gets the folder below the key that is called like its number
    """

    key: str
    each: bool = False

    @property
    def sub_path(self) -> str | None:
        """The folder below the key that a pod gets."""
        return ITEM if self.each else None


@dataclass(frozen=True)
class Place:
    """Where the run's store is: a folder on this machine, or a prefix in the cluster's artifact repository."""

    folder: Path | None = None
    prefix: str = ""

    def key(self, key: str) -> str:
        """The full key of an output."""
        return key if self.folder is not None else f"{self.prefix}{key}"

    def artifact(self, stored: Stored) -> Any:
        """The artifact as dflow takes it."""
        if self.folder is None:
            return S3Artifact(key=self.key("/".join(filter(None, [stored.key, stored.sub_path]))))
        artifact = LocalArtifact(str(self.folder / stored.key))
        artifact._sub_path = stored.sub_path  # dflow fills the item into a source's sub-path
        return artifact


def step(  # noqa: PLR0913  what a step needs, by keyword
    group: Steps, name: str, operation: Operation, pod: Pod, place: Place, *,
    pods: int | OutputParameter = 1, left: list[int] | None = None, outputs: dict[str, str], when: str | None = None,
    checkpoints: str | None = None, labels: str | None = None, **inputs: Any,
) -> Step:  # fmt: skip
    """Add a step of `pods` pods to `group`; `outputs` are the keys of its artifacts.

    Of the pods only those `left` run, all if it is None. On a cluster a pod's scratch folder is kept below
    `checkpoints`, and `labels` is the key of the label cache. Inputs that are None are left out, Stored ones are
    artifacts, the others parameters.
    """
    artifacts = {key: place.artifact(value) for key, value in inputs.items() if isinstance(value, Stored)}
    parameters = {key: value for key, value in inputs.items() if value is not None and not isinstance(value, Stored)}
    fans_out = not (isinstance(pods, int) and pods == 1)  # dflow's parameters overload `==`
    items = (list(range(pods)) if left is None else left) if isinstance(pods, int) else argo_range(pods)
    kept = None
    if checkpoints is not None and place.folder is None and isinstance(pod, TrainPod):
        kept = place.key(checkpoints), pod.checkpoint
    added = Step(
        name,
        template=operation.template(
            name=name, keys={output: place.key(key) for output, key in outputs.items()},
            threads=pod.threads, timeout=pod.timeout, gpus=pod.gpus,
            checkpoints=kept, labels=None if place.folder is not None else labels,
        ),
        parameters={**parameters, "pod": ITEM if fans_out else 0, "pods": pods},
        artifacts=artifacts,
        with_param=items if fans_out else None,
        key=f"{name}-{ITEM}" if fans_out else name,
        when=when,
    )  # fmt: skip
    group.add(added)
    return added
