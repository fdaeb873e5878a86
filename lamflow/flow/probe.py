"""A Workflow that does nothing with the pods that a run would have: can they start, and can they store an artifact?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from dflow import OutputArtifact, Outputs, PythonScriptOPTemplate, S3Artifact, Steps
from dflow import Step as DflowStep

from lamflow.config.schema import DataStudy
from lamflow.data.graph import Graph, Step
from lamflow.flow.manifest import LamWorkflow, offline

SCRIPT = """\
import pathlib
folder = pathlib.Path("/tmp/outputs/probe")
folder.mkdir(parents=True)
(folder / "STEP").write_text("lamflow doctor")
import lamflow
print("lamflow", lamflow.__version__)
"""


def probed(graphs: Iterable[Graph]) -> list[Step]:
    """A step for each kind of resources and engines that the graphs ask for."""
    found: dict[tuple[str, str], Step] = {}
    for graph in graphs:
        for step in graph.steps:
            found.setdefault((step.resources, "".join(sorted(use.name for use in step.engines))), step)
    return list({step.name: step for step in found.values()}.values())


def probe_manifest(settings: DataStudy, name: str, steps: Sequence[Step]) -> dict[str, Any]:
    """The Workflow called `name`: a pod for each of `steps`, all at the same time; none is tried again."""
    offline()
    group = Steps(name=name)
    pods = []
    for step in steps:
        artifact = OutputArtifact(
            path="/tmp/outputs/probe",  # noqa: S108  a volume of the pod's own
            archive=None,
            save=[S3Artifact(key=f"{settings.cluster.prefix}{name}/{step.name}")],
        )
        template = PythonScriptOPTemplate(
            name=step.name, image="lamflow", command=["python3"], script=SCRIPT.replace("STEP", step.name),
            outputs=Outputs(artifacts={"probe": artifact}),
        )  # fmt: skip
        pods.append(DflowStep(step.name, template=template))
    group.add(pods)
    graph = Graph(kind=settings.workflow, round=0, name="start", stage="start", steps=list(steps))
    made: dict[str, Any] = LamWorkflow(settings, graph, name=name, id=name, steps=group).to_dict()
    for each in made["spec"]["templates"]:
        each.pop("retryStrategy", None)
        each.pop("metrics", None)
    made["spec"].pop("metrics")
    made["metadata"]["labels"]["lamflow/run"] = name
    made["metadata"]["annotations"]["workflows.argoproj.io/title"] = "lamflow doctor"
    return made
