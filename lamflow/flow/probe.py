"""A Workflow that does nothing with the pods that a run would have: can they start, and can they store an artifact?"""

from __future__ import annotations

from typing import Any

from dflow import OutputArtifact, Outputs, PythonScriptOPTemplate, S3Artifact, Step, Steps

from lamflow.config.schema import Config
from lamflow.flow.manifest import LamWorkflow, offline

STEPS = ("train", "explore", "label", "select")
SCRIPT = """\
import pathlib
folder = pathlib.Path("/tmp/outputs/probe")
folder.mkdir(parents=True)
(folder / "STEP").write_text("lamflow doctor")
import lamflow
print("lamflow", lamflow.__version__)
"""


def probe_manifest(settings: Config, name: str) -> dict[str, Any]:
    """The Workflow called `name`: a pod each of the kinds of `settings`, at the same time; none is tried again."""
    offline()
    steps = Steps(name=name)
    pods = []
    for step in STEPS:
        artifact = OutputArtifact(
            path="/tmp/outputs/probe",  # noqa: S108  a volume of the pod's own
            archive=None,
            save=[S3Artifact(key=f"{settings.cluster.prefix}{name}/{step}")],
        )
        template = PythonScriptOPTemplate(
            name=step, image="lamflow", command=["python3"], script=SCRIPT.replace("STEP", step),
            outputs=Outputs(artifacts={"probe": artifact}),
        )  # fmt: skip
        pods.append(Step(step, template=template))
    steps.add(pods)
    made: dict[str, Any] = LamWorkflow(settings, 0, name=name, id=name, steps=steps).to_dict()
    for each in made["spec"]["templates"]:
        each.pop("retryStrategy", None)
        each.pop("metrics", None)
    made["spec"].pop("metrics")
    made["metadata"]["labels"]["lamflow/run"] = name
    made["metadata"]["annotations"]["workflows.argoproj.io/title"] = "lamflow doctor"
    return made
