"""From a graph to the dflow Workflow that carries it out, on this machine or on a cluster."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import Any

from dflow import (
    InputArtifact,
    InputParameter,
    Inputs,
    LocalArtifact,
    OutputArtifact,
    OutputParameter,
    Outputs,
    PythonScriptOPTemplate,
    S3Artifact,
    Steps,
    Workflow,
    argo_range,
)
from dflow import Step as DflowStep

from lamflow.config.pods import Pod, TrainPod
from lamflow.config.schema import DataStudy
from lamflow.data.graph import Graph, Key, Output, Step
from lamflow.data.layout import JOB_INPUTS, JOB_OUTPUTS, LATE, PACK, PACKED, POD, is_packed
from lamflow.flow.manifest import LamWorkflow, offline
from lamflow.ops.operation import Operation, load_operation

SCRIPT = """\
import os
os.environ.update(OMP_NUM_THREADS="{threads}", DP_INTRA_OP_PARALLELISM_THREADS="{threads}",
                  DP_INTER_OP_PARALLELISM_THREADS="1")
from {entry} import main
main({reference!r}, step={step!r}, root={root!r}, timeout={timeout!r}, gpus={gpus}, parameters={parameters}{more})
"""
ENTRY, STORE_ENTRY = "lamflow.ops.job", "lamflow.cluster.job"
"""Modules whose `main` a job begins with: plain, and for jobs that open the object store themselves."""
ITEM = "{{item}}"


@dataclass(frozen=True)
class StoreLocation:
    """Where the run's store is: a folder on this machine, or a prefix in the cluster's artifact repository."""

    folder: Path | None = None
    prefix: str = ""
    starters: Mapping[int, Sequence[str]] = field(default_factory=dict)
    """On this machine: what runs the script of jobs with so many threads, where that is not Python itself."""

    def full_key(self, key: str) -> str:
        """The key as the executor writes to it."""
        return key if self.folder is not None else f"{self.prefix}{key}"

    def ending(self, key: str) -> str:
        """How the name of what a job leaves ends."""
        return PACK if self.folder is None and is_packed(key) else ""

    def artifact(self, key: Key) -> Any:
        """The artifact as dflow takes it."""
        item = ITEM if key.per_job else None
        if self.folder is None:
            return S3Artifact(key=self.full_key("/".join(filter(None, [key.key, item]))))
        artifact = LocalArtifact(str(self.folder / key.key))
        artifact._sub_path = item  # dflow fills the item into a source's sub-path
        return artifact


def workflow(study: DataStudy, graph: Graph, location: StoreLocation) -> Workflow:
    """The Workflow of what remains of a round, on a cluster up to a step that runs elsewhere.

    Building it twice gives the same Workflow.
    """
    name = graph.workflow(study.name)
    steps = Steps(name=name)
    added: dict[str, DflowStep] = {}
    for step in graph.remaining() if location.folder is not None else next_piece(study, graph):
        added[step.name] = _Builder(study, graph, location, added).step(step)
        steps.add(added[step.name])
    return LamWorkflow(study, graph, name=name, id=name, steps=steps)


def next_piece(study: DataStudy, graph: Graph) -> list[Step]:
    """What of a round its next Workflow carries out: the steps that come next on the cluster, up to one elsewhere.

    A step that may be left while jobs run is a piece of its own, and one that waits for such jobs begins another.
    """

    def is_at_site(step: Step) -> bool:
        return study.pods.site_of(step.resources) is not None

    def goes_on(step: Step) -> bool:
        return not is_at_site(step) and step.enough == 1 and step.name != LATE

    steps = list(dropwhile(is_at_site, graph.remaining()))
    return [*steps[:1], *(takewhile(goes_on, steps[1:]) if steps and steps[0].enough == 1 else ())]


def manifests(study: DataStudy, graph: Graph) -> list[dict[str, Any]]:
    """The manifests of all Workflows of a round, as if each found what it needs; see `manifest`."""
    made = []
    while piece := next_piece(study, graph):
        made.append(manifest(study, graph))
        steps = graph.steps[[step.name for step in graph.steps].index(piece[-1].name) + 1 :]
        graph = graph.model_copy(update={"steps": steps, "attempt": graph.attempt + 1})
    return made


def manifest(study: DataStudy, graph: Graph) -> dict[str, Any]:
    """The Argo manifest of what remains of a round. No cluster and no store is asked, and no credential is in it.

    What steps elsewhere decide is known when it is submitted; until then their successors stand there as if they ran
    with as many jobs as they may have.
    """
    offline()
    prefix = f"{study.cluster.prefix}{study.name}/"
    made: dict[str, Any] = workflow(study, graph, StoreLocation(prefix=prefix)).to_dict()
    return made


@dataclass(frozen=True)
class _Builder:
    """Makes dflow's steps of a graph; `added` are those that exist."""

    study: DataStudy
    graph: Graph
    location: StoreLocation
    added: dict[str, DflowStep]

    def step(self, step: Step) -> DflowStep:
        """The step, with its jobs behind a limit where Argo has to keep one."""
        if self.location.folder is None and step.at_once is not None and step.is_shared:
            return self._limited(step)
        return self._plain(step, self._jobs(step), when=self._when(step))

    def _plain(self, step: Step, jobs: Any, when: str | None) -> DflowStep:
        """A step whose jobs Argo starts all at the same time. jobs: their number, or the parameter that says it"""
        shared = step.is_shared
        remaining = self.graph.remaining_jobs(step)
        key = f"{step.name}-{ITEM}" if shared else step.name
        return DflowStep(
            self._name(step),
            template=self._template(step),
            parameters={**step.parameters, "job": ITEM if shared else 0, "jobs": jobs},
            artifacts={port: self.location.artifact(key) for port, key in step.reads.items()},
            with_param=(remaining if remaining is not None else argo_range(jobs)) if shared else None,
            key=key,
            when=when,
        )

    def _limited(self, step: Step) -> DflowStep:
        """A step of its own template, which lets no more than `at_once` jobs run."""
        group, parameters = f"{step.name}-jobs", {}
        inputs = Inputs()
        jobs = self._jobs(step)
        if isinstance(step.jobs, Output):
            inputs.parameters[step.jobs.name] = InputParameter()
            parameters[step.jobs.name] = jobs
        steps = Steps(name=group, inputs=inputs, parallelism=step.at_once)
        inner = steps.inputs.parameters[step.jobs.name] if isinstance(step.jobs, Output) else jobs
        steps.add(self._plain(step, inner, when=None))
        return DflowStep(self._name(step), template=steps, parameters=parameters, when=self._when(step))

    def _name(self, step: Step) -> str:
        """What a person reads in Argo's UI; dflow's debug mode names folders by the step alone."""
        return step.name if self.location.folder is not None else f"{self.graph.name}-{step.name}"

    def _output(self, output: Output) -> Any:
        return self.added[output.step].outputs.parameters[output.name]

    def _jobs(self, step: Step) -> Any:
        if not isinstance(step.jobs, Output):
            return step.jobs
        return self._output(step.jobs) if step.jobs.step in self.added else step.most_jobs

    def _when(self, step: Step) -> str | None:
        if step.when is None or step.when.output.step not in self.added:
            return None
        return f"{self._output(step.when.output)} == {step.when.equals}"

    def _template(self, step: Step) -> PythonScriptOPTemplate:
        """The script that runs the step's operation, with its ports."""
        operation = load_operation(step.op)
        numbers = ["job", "jobs", *(port for port, (kind, _) in operation.inputs.items() if kind is not Path)]
        return PythonScriptOPTemplate(
            name=step.name,
            inputs=Inputs(
                parameters={name: InputParameter() for name in [*numbers, "dflow_key"]},
                artifacts={
                    port: InputArtifact(path=f"{POD}/{JOB_INPUTS}/{port}", optional=optional)
                    for port, (kind, optional) in operation.inputs.items()
                    if kind is Path
                },
            ),
            outputs=_outputs(step, operation, self.location),
            image="lamflow",  # flow/manifest.py puts the right one in
            command=self._command(getattr(self.study.pods, step.resources)),
            script=self._script(step, numbers),
        )

    def _command(self, pod: Pod) -> list[str]:
        """What runs the script."""
        if self.location.folder is None:
            return ["python3"]
        return list(self.location.starters.get(pod.threads, [sys.executable]))

    def _script(self, step: Step, numbers: list[str]) -> str:
        pod: Pod = getattr(self.study.pods, step.resources)
        entry, more = ENTRY, "" if self.location.folder is not None else _packs(step)
        if self.location.folder is None and step.talks_to_store:
            entry = STORE_ENTRY
            if step.checkpoints is not None and isinstance(pod, TrainPod):
                more += f", checkpoints=({self.location.full_key(step.checkpoints) + '/'!r}, {pod.checkpoint!r})"
            if step.label_cache is not None:
                more += f", labels={step.label_cache + '/'!r}"
        return SCRIPT.format(
            reference=step.op, step=step.name, threads=pod.threads, timeout=pod.timeout, gpus=pod.gpus, entry=entry,
            more=more,
            # A relative path where dflow would write the folder's name into the script.
            root="/tmp" if self.location.folder is None else "tmp",  # noqa: S108
            parameters="{" + ", ".join(f'"{name}": {{{{inputs.parameters.{name}}}}}' for name in numbers) + "}",
        )  # fmt: skip


def _outputs(step: Step, operation: Operation, location: StoreLocation) -> Outputs:
    """Output ports: parameters that the job writes as files, artifacts with their keys in the store."""
    return Outputs(
        parameters={
            port: OutputParameter(value_from_path=f"{POD}/{JOB_OUTPUTS}/{port}", type=kind, default=kind())
            for port, kind in operation.outputs.items()
            if kind is not Path
        },
        artifacts={
            port: OutputArtifact(
                path=f"{POD}/{JOB_OUTPUTS}/{port}{location.ending(step.writes[port])}",
                archive=None,
                save=[S3Artifact(key=location.full_key(step.writes[port] + location.ending(step.writes[port])))],
            )
            for port in operation.artifacts
        },
    )


def _packs(step: Step) -> str:
    """Arguments of a job that takes or leaves data sets as they lie in an object store."""
    given = [port for port, key in step.reads.items() if key.key in PACKED]
    left = {port: key.rsplit("/", 1)[1] for port, key in step.writes.items() if is_packed(key)}
    return f", packs={(given, left)!r}" if given or left else ""
