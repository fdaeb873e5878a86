"""What goes to Argo."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from lamflow.config import Config, load, parse
from lamflow.config.schema import DataStudy
from lamflow.driver.plan import plan, planned_graph, planned_graphs
from lamflow.driver.render import render
from lamflow.flow.probe import probe_manifest, probed
from lamflow.flow.run import run_manifest
from lamflow.flow.workflow import manifest
from lamflow.superops.capacity import ClusterCapacity
from tests.conftest import ROOT, STUDY, examples

VALIDATOR = ROOT.parent / "shared" / "argo" / "validate_manifest.py"


def pods(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    return [template for template in manifest["spec"]["templates"] if "script" in template]


@pytest.mark.parametrize("file", examples(), ids=lambda file: file.stem)
def test_every_workflow_renders_to_its_golden_manifest(file: Path) -> None:
    golden = yaml.safe_load(file.with_suffix(".golden.yaml").read_text())
    assert render(load(file, DataStudy, files=False), 1) == golden, "run `make golden` and read the difference"


HERA = """
import sys, yaml
from hera.shared import _pydantic as hp
hp.APIBaseModel.model_config["extra"] = "forbid"
hp.APIBaseModel.model_config["populate_by_name"] = False
from hera.workflows.models import Workflow
for document in yaml.safe_load_all(sys.stdin):
    Workflow.model_validate(document)
"""


def every_kind(names: bool = False) -> list[dict[str, Any]]:
    """Manifests of the start, of iterations whole and in part, of the run, and of the probe, with all that can be set."""
    config = parse(rich(names))
    half = planned_graph(config, 2, ClusterCapacity()).model_copy(
        update={"attempt": 2, "completed": {"train": [0, 1, 2], "explore": [1]}}
    )
    late = half.model_copy(
        update={
            "completed": {**half.completed, "explore": [0, 1], "select": [0], "label": [0, 4]},
            "outputs": {"select": {"decision": "label", "batches": "5"}},
        }
    )
    throttled = parse(
        rich().replace("parallel: 3}", "parallel: 3, work_per_job: 1}").replace("name: tiny", "name: two")
    )
    return [
        *(render(config, number) for number in (0, 1, 2)),
        *(manifest(config, graph) for graph in (half, late)),
        *(render(throttled, number) for number in (0, 1)),
        run_manifest(config, "s3://b/p/tiny", "p/tiny/"),
        probe_manifest(config, "lamflow-doctor-1", probed(config, planned_graphs(config, ClusterCapacity()))),
    ]


def test_heras_models_take_every_kind_of_workflow() -> None:
    text = yaml.safe_dump_all(every_kind())
    done = subprocess.run([sys.executable, "-c", HERA], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not VALIDATOR.is_file(), reason="the schemas of Argo are not beside this checkout")
@pytest.mark.parametrize(("names", "versions"), [(False, []), (True, ["v3.7.18"]), (True, ["v4.1.2"])])
def test_argo_takes_every_kind_of_workflow(tmp_path: Path, names: bool, versions: list[str]) -> None:
    files = []
    for number, made in enumerate(every_kind(names)):
        files.append(tmp_path / f"{number}.yaml")
        files[-1].write_text(yaml.safe_dump(made))
    only = [word for version in versions for word in ("--argo", version)]
    found = subprocess.run([sys.executable, VALIDATOR, *files, *only], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


def rich(names: bool = False) -> str:
    """The study with everything that pods can be given; `names` of their own in Argo's UI need Argo 3.7."""
    return (
        STUDY.split("pods:")[0]
        + """
pods:
  train: {gpus: 2, memory: 32Gi, shared_memory: 8Gi, node_selector: {gpu: a100}, retries: 3,
    tolerations: [{key: gpu, operator: Exists, effect: NoSchedule}], volumes: [{claim: models, path: /models}],
    environment: {DP_COMPILE_INFER: "1"},
    affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms:
      [{matchExpressions: [{key: zone, operator: In, values: [a]}]}]}}}}
  label: {image: "registry.local/mine:1", cpu: 500m, parallel: 3}
cluster: {namespace: science, artifact_repository: s3, image_pull_secrets: [pull], priority_class: low,
  host_network: true, display_names: NAMES}
""".replace("NAMES", str(names).lower())
    )


def test_pods_get_what_the_file_says() -> None:
    made = render(parse(rich(names=True)), 1)
    train, label = (next(pod for pod in pods(made) if pod["name"] == name) for name in ("train", "label"))
    assert train["script"]["resources"]["limits"] == {"memory": "32Gi", "nvidia.com/gpu": "2"}
    assert train["nodeSelector"] == {"gpu": "a100"}
    assert train["retryStrategy"]["limit"] == "3"
    assert {"name": "DP_COMPILE_INFER", "value": "1"} in train["script"]["env"]
    assert {mount["mountPath"] for mount in train["script"]["volumeMounts"]} == {
        "/tmp", "/models", "/dev/shm", "/etc/lamflow/s3"
    }  # fmt: skip
    assert label["script"]["image"] == "registry.local/mine:1"
    assert label["script"]["resources"]["requests"]["cpu"] == "500m"
    assert made["metadata"]["namespace"] == "science"
    assert made["spec"]["podPriorityClassName"] == "low"
    assert made["spec"]["hostNetwork"] is True
    assert train["annotations"] == {
        "workflows.argoproj.io/display-name": (
            "iteration-1-train-{{=asInt(inputs.parameters.job) + 1}}-of-{{inputs.parameters.jobs}}"
        )
    }


def test_pods_have_no_more_rights_than_they_need() -> None:
    made = render(parse(STUDY), 1)
    assert made["spec"]["securityContext"]["runAsNonRoot"]
    for pod in pods(made):
        context = pod["script"]["securityContext"]
        assert not context["allowPrivilegeEscalation"]
        assert context["readOnlyRootFilesystem"]
        assert context["capabilities"] == {"drop": ["ALL"]}
        mounted = any(mount["name"] == "s3" for mount in pod["script"]["volumeMounts"])
        assert mounted is (pod["name"] == "train"), "only a pod that keeps checkpoints sees the store's credentials"


def test_more_pods_than_may_run_at_once_are_throttled() -> None:
    text = STUDY.replace(
        "label: {parallel: 1}", "label: {parallel: 2, work_per_job: 1}, explore: {parallel: 1, work_per_job: 1}"
    )
    templates = {template["name"]: template for template in render(parse(text), 1)["spec"]["templates"]}
    assert templates["label-jobs"]["parallelism"] == 2
    assert templates["explore-jobs"]["parallelism"] == 1
    steps = {step[0]["name"]: step[0] for step in templates["tiny-001"]["steps"]}
    assert steps["iteration-1-label"]["template"] == "label-jobs"
    assert steps["iteration-1-label"]["when"] == "{{steps.iteration-1-select.outputs.parameters.decision}} == label"
    assert steps["iteration-1-label"]["arguments"]["parameters"][0]["value"] == (
        "{{=steps['iteration-1-select'].outputs.parameters['batches']}}"
    )
    assert "inputs.parameters['batches']" in templates["label-jobs"]["steps"][0][0]["withParam"]


def test_another_attempt_leaves_out_what_is_done() -> None:
    config = parse(STUDY)
    graph = planned_graph(config, 1, ClusterCapacity())
    first = manifest(config, graph.model_copy(update={"attempt": 2, "completed": {"train": [0], "explore": [0]}}))
    assert first["metadata"]["name"] == "tiny-001-2"
    steps = {step[0]["template"]: step[0] for step in first["spec"]["templates"][0]["steps"]}
    assert "train" not in steps
    assert json.loads(steps["explore"]["withParam"]) == [1]
    assert "select" in steps
    update = {
        "attempt": 2, "completed": {"train": [0], "explore": [0, 1], "select": [0], "label": [2]},
        "outputs": {"select": {"decision": "label", "batches": "3"}},
    }  # fmt: skip
    later = manifest(config, graph.model_copy(update=update))
    steps = {step[0]["template"]: step[0] for step in later["spec"]["templates"][0]["steps"]}
    assert list(steps) == ["label", "merge"]
    assert json.loads(steps["label"]["withParam"]) == [0, 1]
    assert "when" not in steps["merge"]


def test_no_secret_reaches_a_manifest(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "DFLOW_S3_SECRET_KEY",
        "DFLOW_TOKEN",
        "ARGO_TOKEN",
    ):
        monkeypatch.setenv(name, "planted-secret")
    code = (
        "import json\nfrom lamflow.config import parse\nfrom lamflow.driver.render import render\n"
        "from lamflow.flow.run import run_manifest\nfrom tests.conftest import STUDY\nstudy = parse(STUDY)\n"
        "print(json.dumps([render(study, 0), render(study, 1), run_manifest(study, 's3://b/p', 'p/')]))"
    )
    text = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "planted-secret" not in text
    assert set(re.findall(r"[\w./-]*secret[\w./-]*", text.lower())) <= {"secret", "secretname"}


def test_a_thousand_tasks_need_at_most_forty_pods() -> None:
    text = (
        STUDY.split("pods:")[0]
        .replace("copies: 3", "copies: 1000")
        .replace("temperatures: [300, 900]", "temperatures: [300]")
    )
    text = (
        text.replace("limit: 6", "limit: 300")
        .replace("models: 3", "models: 4")
        .replace("steps: 40", "steps: 40, starts: 1000")
    )
    pods = plan(parse(text)).cluster
    assert pods == {"train": 4, "explore": 20, "select": 1, "label": 12, "merge": 1}
    assert sum(pods.values()) <= 40
    steps = {step[0]["template"]: step[0] for step in render(parse(text), 1)["spec"]["templates"][0]["steps"]}
    at_once = next(p["value"] for p in steps["select"]["arguments"]["parameters"] if p["name"] == "jobs_at_once")
    assert int(at_once) == pods["label"]


def test_the_graph_does_not_grow_with_the_iterations() -> None:
    config: Config = parse(STUDY.replace("iterations: 2", "iterations: 200"))
    assert abs(len(json.dumps(render(config, 2))) - len(json.dumps(render(config, 150)))) < 200
