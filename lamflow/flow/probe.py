"""A Workflow that does nothing with the pods that a run would have: can they start, and can they store an artifact?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from dflow import OutputArtifact, Outputs, PythonScriptOPTemplate, S3Artifact, Steps
from dflow import Step as DflowStep

from lamflow.config.schema import DataStudy
from lamflow.data.graph import Graph, Step
from lamflow.data.layout import JOB_OUTPUTS, POD
from lamflow.flow.manifest import LamWorkflow, image_of, offline

SCRIPT = """\
import pathlib
folder = pathlib.Path("/tmp/outputs/probe")
folder.mkdir(parents=True)
(folder / "STEP").write_text("lamflow doctor")
import lamflow
print("lamflow", lamflow.__version__)
"""


def probed(settings: DataStudy, graphs: Iterable[Graph]) -> list[Step]:
    """A step for each kind of pods and each image that the graphs ask for; no two have the same name.

    Raises InputError for a step whose engines lie in different images.
    """
    found: dict[tuple[str, str], Step] = {}
    names = Counter[str]()
    for step in (step for graph in graphs for step in graph.steps):
        if settings.pods.site_of(step.resources) is not None:
            continue
        kind = step.resources, image_of(settings, step)
        if kind not in found:
            names[step.name] += 1
            name = step.name if names[step.name] == 1 else f"{step.name}-{names[step.name]}"
            found[kind] = step.model_copy(update={"name": name})
    return list(found.values())


def probe_manifest(settings: DataStudy, name: str, steps: Sequence[Step]) -> dict[str, Any]:
    """The Workflow called `name`: a pod for each of `steps`, all at the same time; none is tried again."""
    offline()
    group = Steps(name=name)
    pods = []
    for step in steps:
        artifact = OutputArtifact(
            path=f"{POD}/{JOB_OUTPUTS}/probe",
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
