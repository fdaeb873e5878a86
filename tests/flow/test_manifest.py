"""What goes to Argo."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from lamflow.config import Config, load, parse
from lamflow.driver.render import render
from tests.conftest import ROOT, STUDY, examples

VALIDATOR = ROOT.parent / "shared" / "argo" / "validate_manifest.py"


def pods(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    return [template for template in manifest["spec"]["templates"] if "script" in template]


@pytest.mark.parametrize("file", examples(), ids=lambda file: file.stem)
def test_every_workflow_renders_to_its_golden_manifest(file: Path) -> None:
    golden = yaml.safe_load(file.with_suffix(".golden.yaml").read_text())
    assert render(load(file), 1) == golden, "run `make golden` and read the difference"


@pytest.mark.skipif(not VALIDATOR.is_file(), reason="the schemas of Argo are not beside this checkout")
def test_argo_takes_every_kind_of_iteration(tmp_path: Path) -> None:
    files = []
    for number in (0, 1, 2):
        files.append(tmp_path / f"{number}.yaml")
        files[-1].write_text(yaml.safe_dump(render(parse(rich()), number)))
    found = subprocess.run([sys.executable, VALIDATOR, *files], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


def rich() -> str:
    """The study with everything that pods can be given."""
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
cluster: {namespace: science, artifact_repository: s3, image_pull_secrets: [pull], priority_class: low}
"""
    )


def test_pods_get_what_the_file_says() -> None:
    manifest = render(parse(rich()), 1)
    train, label = (next(pod for pod in pods(manifest) if pod["name"] == name) for name in ("train", "label"))
    assert train["script"]["resources"]["limits"] == {"memory": "32Gi", "nvidia.com/gpu": "2"}
    assert train["nodeSelector"] == {"gpu": "a100"}
    assert train["retryStrategy"]["limit"] == "3"
    assert {"name": "DP_COMPILE_INFER", "value": "1"} in train["script"]["env"]
    assert {mount["mountPath"] for mount in train["script"]["volumeMounts"]} == {"/tmp", "/models", "/dev/shm"}
    assert label["script"]["image"] == "registry.local/mine:1"
    assert label["script"]["resources"]["requests"]["cpu"] == "500m"
    assert manifest["metadata"]["namespace"] == "science"
    assert manifest["spec"]["podPriorityClassName"] == "low"


def test_pods_have_no_more_rights_than_they_need() -> None:
    manifest = render(parse(STUDY), 1)
    assert manifest["spec"]["securityContext"]["runAsNonRoot"]
    for pod in pods(manifest):
        context = pod["script"]["securityContext"]
        assert not context["allowPrivilegeEscalation"]
        assert context["readOnlyRootFilesystem"]
        assert context["capabilities"] == {"drop": ["ALL"]}


def test_no_secret_reaches_a_manifest(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "DFLOW_S3_SECRET_KEY", "DFLOW_TOKEN", "ARGO_TOKEN"):
        monkeypatch.setenv(name, "planted-secret")
    code = (
        "import json\nfrom lamflow.config import parse\nfrom lamflow.driver.render import render\n"
        "from tests.conftest import STUDY\nprint(json.dumps(render(parse(STUDY), 1)))"
    )
    text = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "planted-secret" not in text
    assert "secret" not in text.lower()


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
    manifest = render(parse(text), 1)
    steps = {step[0]["name"]: step[0] for step in manifest["spec"]["templates"][0]["steps"]}
    fixed = sum(len(json.loads(step.get("withParam", "[0]"))) for name, step in steps.items() if name != "label")
    at_once = next(p["value"] for p in steps["select"]["arguments"]["parameters"] if p["name"] == "pods_at_once")
    assert fixed + int(at_once) <= 40


def test_the_graph_does_not_grow_with_the_iterations() -> None:
    config: Config = parse(STUDY.replace("iterations: 2", "iterations: 200"))
    assert abs(len(json.dumps(render(config, 2))) - len(json.dumps(render(config, 150)))) < 200
