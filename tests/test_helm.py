"""The chart, rendered and linted by Helm itself, each object checked against Kubernetes' schemas."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import kubernetes_validate
import pytest
import yaml

from lamflow.config.pods import Cluster, ObjectStore
from tests.conftest import ROOT

CHART = ROOT / "helm" / "lamflow"
EVERYTHING = {
    "seaweedfs": {"enabled": True, "storageClass": "fast"},
    "argo-workflows": {"enabled": True},
    "users": [{"kind": "User", "name": "ada"}, {"kind": "ServiceAccount", "name": "bot"}],
    "modelCache": {"enabled": True},
    "resourceQuota": {"enabled": True, "hard": {"requests.nvidia.com/gpu": "8"}},
    "limitRange": {"enabled": True},
    "priorityClasses": {"enabled": True},
    "networkPolicy": {"enabled": True},
    "serviceMonitor": {"enabled": True},
}
OTHERS = {"argoproj.io/v1alpha1", "monitoring.coreos.com/v1"}
"""Objects that Kubernetes itself does not know."""
HELM = """
import json, sys
import helm_python as helm
from helm_python import _native
ask = json.load(sys.stdin)
if ask["what"] == "lint":
    found = helm.lint(ask["chart"], ask["values"], strict=True, with_subcharts=True, kube_version=ask["version"])
    print(json.dumps({"messages": [str(message) for message in found["messages"]], "errors": [str(e) for e in found["errors"]]}))
else:
    options = {"name": "lamflow", "namespace": "lamflow", "kube_version": ask["version"]}
    if ask["argo"]:
        options["api_versions"] = ["argoproj.io/v1alpha1", "argoproj.io/v1alpha1/WorkflowTemplate"]
    try:
        with helm.Chart.load(ask["chart"]) as chart:
            print(_native.call_string("helm_render", chart._raw(), json.dumps(ask["values"]), json.dumps(options)))
    except helm.HelmError as error:
        print(json.dumps({"error": str(error)}))
"""


def helm(what: str, values: dict[str, Any], kubernetes: str = "v1.30.0", argo: bool = True) -> dict[str, Any]:
    """What Helm answers, asked in a process of its own: its library does not survive a fork."""
    ask = json.dumps({"what": what, "chart": str(CHART), "values": values, "version": kubernetes, "argo": argo})
    done = subprocess.run([sys.executable, "-c", HELM], input=ask, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@lru_cache
def _rendered(values: str, kubernetes: str) -> str:
    return json.dumps(helm("render", json.loads(values), kubernetes))


def objects(values: dict[str, Any], kubernetes: str = "v1.30.0") -> list[dict[str, Any]]:
    files = json.loads(_rendered(json.dumps(values), kubernetes))
    assert "error" not in files, files
    texts = [text for name, text in sorted(files.items()) if not name.endswith("NOTES.txt")]
    return [item for text in texts for item in yaml.safe_load_all(text) if item]


def named(found: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    return next(item for item in found if item["kind"] == kind and item["metadata"]["name"] == name)


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["default", "everything"])
def test_helm_has_nothing_to_complain_about(values: dict[str, Any]) -> None:
    found = helm("lint", values)
    assert found["errors"] == []
    assert not [message for message in found["messages"] if "icon" not in message]


@pytest.mark.parametrize("kubernetes", ["1.30", "1.34"])
@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["default", "everything"])
def test_kubernetes_would_take_every_object(values: dict[str, Any], kubernetes: str) -> None:
    found = objects(values, f"v{kubernetes}.0")
    assert len(found) >= (12 if not values else 30)
    for item in found:
        if item["apiVersion"] not in OTHERS:
            kubernetes_validate.validate(item, kubernetes, strict=True)


def test_the_definitions_of_argo_are_whole() -> None:
    crds = list(yaml.safe_load_all((CHART / "charts" / "argo-workflows" / "crds" / "argo.yaml").read_text()))
    assert len(crds) == 8
    for crd in crds:
        kubernetes_validate.validate(crd, "1.30", strict=True)
        assert crd["metadata"]["name"] == f"{crd['spec']['names']['plural']}.argoproj.io"


def test_the_workflow_template_is_one() -> None:
    code = (
        "import sys, yaml\nfrom hera.shared import _pydantic as hp\nhp.APIBaseModel.model_config['extra'] = 'forbid'\n"
        "hp.APIBaseModel.model_config['populate_by_name'] = False\n"
        "from hera.workflows.models import WorkflowTemplate\nWorkflowTemplate.model_validate(yaml.safe_load(sys.stdin))"
    )
    text = yaml.safe_dump(named(objects({}), "WorkflowTemplate", "lamflow"))
    done = subprocess.run([sys.executable, "-c", code], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_cluster_without_argo_takes_the_chart() -> None:
    files = helm("render", {}, argo=False)
    assert not any("WorkflowTemplate" in text for name, text in files.items() if not name.endswith("NOTES.txt"))


def test_names_are_those_that_the_configuration_has_by_default() -> None:
    found, cluster = objects({}), Cluster()
    for account in (cluster.service_account, cluster.driver_service_account):
        named(found, "ServiceAccount", account)
    assert set(named(found, "Secret", cluster.s3.secret)["stringData"]) >= {"access_key", "secret_key"}
    repository = yaml.safe_load(named(found, "ConfigMap", "artifact-repositories")["data"]["lamflow"])["s3"]
    assert f"http://{repository['endpoint']}" == cluster.s3.endpoint
    assert repository["bucket"] == cluster.s3.bucket
    assert repository["insecure"] is True
    service = named(found, "Service", "lamflow-s3")
    assert ObjectStore().endpoint == f"http://{service['metadata']['name']}:{service['spec']['ports'][0]['port']}"


def test_an_object_store_of_your_own() -> None:
    found = objects(
        {
            "seaweedfs": {"enabled": False},
            "s3": {"endpoint": "https://s3.example.org", "bucket": "mine", "existingSecret": "k"},
        }
    )
    repository = yaml.safe_load(named(found, "ConfigMap", "artifact-repositories")["data"]["lamflow"])["s3"]
    assert (repository["endpoint"], repository["bucket"], repository["insecure"]) == ("s3.example.org", "mine", False)
    assert repository["accessKeySecret"]["name"] == "k"
    assert repository["keyFormat"] == "lamflow-logs/{{workflow.name}}/{{pod.name}}"
    assert not [item for item in found if item["kind"] in ("Secret", "StatefulSet")]


@pytest.mark.parametrize(
    "wrong",
    [
        {"s3": {"endpoint": "s3.example.org"}},
        {"seaweed": {"enabled": True}},
        {"users": [{"name": "ada"}]},
        {"argo-workflows": {"authMode": "none"}},
    ],
)
def test_wrong_values_are_refused(wrong: dict[str, Any]) -> None:
    assert "schema" in helm("render", wrong)["error"]


@pytest.mark.parametrize("values", [{"s3": {"bucket": "mine"}}, {"s3": {"existingSecret": "mine"}}])
def test_values_that_do_not_go_together_are_refused(values: dict[str, Any]) -> None:
    assert "seaweedfs" in helm("render", values)["error"]


def test_no_account_may_do_more_than_it_has_a_reason_for() -> None:
    found = objects(EVERYTHING)
    assert named(found, "Role", "lamflow-executor")["rules"] == [
        {"apiGroups": ["argoproj.io"], "resources": ["workflowtaskresults"], "verbs": ["create", "patch"]}
    ]
    for role in (item for item in found if item["kind"] in ("Role", "ClusterRole")):
        assert role["kind"] == "Role", "nothing of this chart reaches beyond its namespace"
        for rule in role["rules"]:
            assert "*" not in [*rule["verbs"], *rule["resources"], *rule["apiGroups"]]
    bound = {
        (subject["name"], item["roleRef"]["name"])
        for item in found
        if item["kind"] == "RoleBinding"
        for subject in item["subjects"]
    }
    assert ("lamflow", "lamflow-driver") not in bound
    assert {("lamflow", "lamflow-executor"), ("lamflow-driver", "lamflow-driver"), ("ada", "lamflow-user")} <= bound
    text = (CHART / "templates" / "roles.yaml").read_text()
    assert text.count("#") >= 7, "every verb has its reason beside it"


def test_every_container_runs_without_privileges() -> None:
    for container, pod in containers(objects(EVERYTHING)):
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert re.search(r":[^:/]+$", container["image"]), "an image is pinned"


def containers(found: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for item in found:
        if item["kind"] in ("Deployment", "StatefulSet"):
            pod = item["spec"]["template"]["spec"]
            yield from ((container, pod) for container in pod["containers"])
        if item["kind"] == "WorkflowTemplate":
            yield item["spec"]["templates"][0]["script"], item["spec"]


def test_its_version_is_lamflows() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == version("lamflow")
    assert named(objects({}), "WorkflowTemplate", "lamflow")["spec"]["templates"][0]["script"]["image"] == (
        f"lamflow/base:{version('lamflow')}"
    )


def test_every_value_has_a_comment_or_a_plain_name() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert set(values) | {"global"} == set(schema["properties"])
    for key, section in copy.copy(values).items():
        if isinstance(section, dict):
            assert set(section) <= set(schema["properties"][key]["properties"]), key
    blocks = (CHART / "values.yaml").read_text().split("\n\n")
    for block in blocks[1:]:
        assert block.startswith("#"), f"no comment: {block.splitlines()[0]}"


def test_the_notes_say_what_comes_next() -> None:
    files = json.loads(_rendered(json.dumps({}), "v1.30.0"))
    notes = next(text for name, text in files.items() if name.endswith("lamflow/templates/NOTES.txt"))
    for command in (
        "AWS_SECRET_ACCESS_KEY",
        "lamflow doctor --cluster",
        "lamflow submit",
    ):
        assert command in notes
