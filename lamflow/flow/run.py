"""The Workflow of a whole run: one small pod, the driver, which makes one Workflow an iteration."""

from __future__ import annotations

from typing import Any

from dflow import (
    OutputArtifact,
    OutputParameter,
    Outputs,
    PythonScriptOPTemplate,
    S3Artifact,
    Step,
    Steps,
)

from lamflow.config.schema import DataStudy
from lamflow.data.layout import JOB_OUTPUTS, POD, REPORT
from lamflow.flow.manifest import LamWorkflow, offline

SCRIPT = """\
from lamflow.driver.pod import main
main({url!r}, "/tmp/run", "/tmp/outputs")
"""
FIGURES = ("state", "force_rmse", "accurate_fraction", "labels")
"""What the driver's pod says at its end, for Argo's UI."""


def run_manifest(settings: DataStudy, url: str, prefix: str) -> dict[str, Any]:
    """The Argo manifest of the run whose store is at `url`, below `prefix` in the cluster's artifact repository."""
    offline()
    report = OutputArtifact(
        path=f"{POD}/{JOB_OUTPUTS}/{REPORT}", archive=None, save=[S3Artifact(key=f"{prefix}{REPORT}/")]
    )
    template = PythonScriptOPTemplate(
        name="driver",
        outputs=Outputs(
            parameters={
                name: OutputParameter(value_from_path=f"{POD}/{JOB_OUTPUTS}/{name}", type=str, default="")
                for name in FIGURES
            },
            artifacts={"report": report},
        ),
        image="lamflow",  # flow/manifest.py puts the right one in
        command=["python3"],
        script=SCRIPT.format(url=url),
    )
    steps = Steps(name=settings.name)
    steps.add(Step("driver", template=template))
    made: dict[str, Any] = LamWorkflow(settings, None, name=settings.name, id=settings.name, steps=steps).to_dict()
    for each in made["spec"]["templates"]:
        for artifact in each.get("outputs", {}).get("artifacts", []):
            artifact["optional"] = True  # a driver that ends before its first iteration has nothing to show
    return made
