"""The chart, rendered and linted by Helm itself, each object checked against Kubernetes' schemas."""

from __future__ import annotations

import copy
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from minio import Minio
from minio.error import S3Error

from lamflow.cluster.store import Store
from lamflow.cluster.workflows import REPORT_LINK
from lamflow.config.pods import Cluster, ObjectStore
from lamflow.data.cache import CACHE
from lamflow.flow.manifest import ITERATION, RUN, STAGE
from tests.conftest import ROOT
from tests.stand_ins.s3 import s3_server

CHART = ROOT / "helm" / "lamflow"
KEYS = {"accessKey": "access", "secretKey": 'se"cret'}
"""A chart that is rendered without a cluster is given its keys."""
EVERYTHING = {
    "s3": KEYS,
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
    options["is_upgrade"] = ask["upgrade"]
    if ask["argo"]:
        options["api_versions"] = ["argoproj.io/v1alpha1", "argoproj.io/v1alpha1/WorkflowTemplate"]
    try:
        with helm.Chart.load(ask["chart"]) as chart:
            print(_native.call_string("helm_render", chart._raw(), json.dumps(ask["values"]), json.dumps(options)))
    except helm.HelmError as error:
        print(json.dumps({"error": str(error)}))
"""


def helm(
    what: str, values: dict[str, Any], kubernetes: str = "v1.30.0", *, argo: bool = True, upgrade: bool = False
) -> dict[str, Any]:
    """What Helm answers, asked in a process of its own: its library does not survive a fork.

    argo     the cluster knows Argo's objects
    upgrade  of a release that is there
    """
    ask = json.dumps(
        {"what": what, "chart": str(CHART), "values": values, "version": kubernetes, "argo": argo, "upgrade": upgrade}
    )
    done = subprocess.run([sys.executable, "-c", HELM], input=ask, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@lru_cache
def _rendered(values: str, kubernetes: str, argo: bool = True, upgrade: bool = False) -> str:
    return json.dumps(helm("render", json.loads(values), kubernetes, argo=argo, upgrade=upgrade))


def objects(
    values: dict[str, Any], kubernetes: str = "v1.30.0", *, argo: bool = True, upgrade: bool = False
) -> list[dict[str, Any]]:
    given = {**values, "s3": {**KEYS, **values.get("s3", {})}}
    files = json.loads(_rendered(json.dumps(given), kubernetes, argo, upgrade))
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
    assert "WorkflowTemplate" not in {item["kind"] for item in objects({}, argo=False)}


def test_names_are_those_that_the_configuration_has_by_default() -> None:
    found, cluster = objects({}), Cluster()
    for account in (cluster.service_account, cluster.driver_service_account, cluster.executor_service_account or ""):
        named(found, "ServiceAccount", account)
    token = named(found, "Secret", f"{cluster.executor_service_account}.service-account-token")
    assert token["metadata"]["annotations"] == {"kubernetes.io/service-account.name": cluster.executor_service_account}
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
    assert not [item for item in found if item["kind"] == "StatefulSet" or item.get("type") == "Opaque"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"s3": {"endpoint": "s3.example.org"}},
        {"seaweed": {"enabled": True}},
        {"users": [{"name": "ada"}]},
        {"argo-workflows": {"authMode": "none"}},
        {"argo-workflows": {"enable": True}},
        {"argo-workflows": {"server": {"enable": True}}},
        {"argo-workflows": {"controller": {"resources": {"memory": "1Gi"}}}},
        {"seaweedfs": {"storageclass": "fast"}},
        {"seaweedfs": {"resources": {"limits": {"memory": "1 GB"}}}},
        {"users": [{"kind": "User", "name": "ada", "role": "admin"}]},
        {"networkPolicy": {"dnsPorts": ["dns"]}},
        {"serviceMonitor": {"selector": {"app": 1}}},
    ],
)
def test_wrong_values_are_refused(wrong: dict[str, Any]) -> None:
    assert "schema" in helm("render", wrong)["error"]


def groups(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every object that a schema describes."""
    if schema.get("type") == "object":
        yield schema
    for inner in (*schema.get("properties", {}).values(), *schema.get("definitions", {}).values(), schema.get("items")):
        if isinstance(inner, dict):
            yield from groups(inner)


def test_unknown_keys_are_refused_everywhere() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    everything = list(groups(schema))
    assert len(everything) >= 20
    assert [group for group in everything if "additionalProperties" not in group] == [{"type": "object"}] * 2, "global"


def test_keys_are_never_random_where_nobody_can_look_for_those_before() -> None:
    assert "s3.existingSecret" in helm("render", {})["error"]
    own = {"seaweedfs": {"enabled": False}, "s3": {"endpoint": "https://s3.example.org", "bucket": "mine"}}
    said = helm("render", own)["error"]
    assert "https://s3.example.org is not this chart's object store" in said
    assert "s3.existingSecret" in said


def test_the_identity_of_the_object_store_is_no_administrator() -> None:
    secret = named(objects({"s3": {"bucket": "mine"}}), "Secret", "lamflow-s3")["stringData"]
    identity, _ = json.loads(secret["identities.json"])["identities"]
    assert identity["credentials"] == [{"accessKey": "access", "secretKey": 'se"cret'}]
    assert identity["actions"] == ["Read:mine", "Write:mine", "List:mine", "Tagging:mine"]
    store = named(objects({"s3": {"bucket": "mine"}}), "StatefulSet", "lamflow-s3")
    assert "-bucket=mine" in store["spec"]["template"]["spec"]["containers"][0]["args"]


def test_keys_of_pods_that_label_open_the_label_cache_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = objects({"s3": {"bucket": "mine"}})
    identities = json.loads(named(found, "Secret", "lamflow-s3")["stringData"]["identities.json"])["identities"]
    keys = named(found, "Secret", ObjectStore().label_secret)["stringData"]
    cache = f"{Cluster().prefix}{CACHE}/frame"
    with s3_server(tmp_path, identities) as server:
        server.client.make_bucket("mine")
        for key in (cache, "lamflow/run/record"):
            server.client.put_object("mine", key, io.BytesIO(b"1"), 1)
        client = Minio(
            server.endpoint.removeprefix("http://"),
            keys["access_key"],
            keys["secret_key"],
            secure=False,
            region="us-east-1",
        )
        assert client.get_object("mine", cache).read() == b"1"
        client.put_object("mine", f"{cache}-2", io.BytesIO(b"2"), 1)
        settings = ObjectStore(endpoint=server.endpoint, bucket="mine")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys["access_key"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys["secret_key"])
        store = Store(settings, f"{Cluster().prefix}{CACHE}/")
        assert [store.exists(key) for key in ("frame", "frame-2", "frame-3")] == [True, True, False]
        for refused in (
            lambda: client.get_object("mine", "lamflow/run/record"),
            lambda: client.put_object("mine", "lamflow/run/record", io.BytesIO(b"2"), 1),
            lambda: client.remove_object("mine", "lamflow/run/record"),
            lambda: client.put_object("other", cache, io.BytesIO(b"2"), 1),
            lambda: list(client.list_objects("mine")),
        ):
            with pytest.raises(S3Error, match="AccessDenied"):
                refused()


def test_keys_of_a_store_of_your_own_label_too() -> None:
    found = objects({"seaweedfs": {"enabled": False}, "s3": {"endpoint": "https://s3.example.org", **KEYS}})
    assert named(found, "Secret", ObjectStore().label_secret)["stringData"] == {
        "access_key": KEYS["accessKey"], "secret_key": KEYS["secretKey"],
    }  # fmt: skip


def test_new_keys_reach_the_object_store() -> None:
    def checksum(**keys: str) -> str:
        store = named(objects({"s3": keys}), "StatefulSet", "lamflow-s3")
        found: str = store["spec"]["template"]["metadata"]["annotations"]["checksum/keys"]
        return found

    assert checksum() == checksum()
    assert checksum(secretKey="another") != checksum()


def test_the_object_store_takes_a_secret_of_your_own() -> None:
    found = objects({"s3": {"existingSecret": "mine"}})
    assert not [item for item in found if item["kind"] == "Secret" and item["type"] == "Opaque"]
    store = named(found, "StatefulSet", "lamflow-s3")
    volumes = {item["name"]: item for item in store["spec"]["template"]["spec"]["volumes"]}
    assert volumes["identities"]["secret"]["secretName"] == "mine"
    assert named(found, "Role", "lamflow-keys")["rules"][0]["resourceNames"] == ["mine"]


def test_an_authority_of_your_own_is_trusted_by_argo() -> None:
    def repository(own: bool) -> dict[str, Any]:
        found = objects({"s3": {"ownAuthority": own}})
        text = named(found, "ConfigMap", "artifact-repositories")["data"]["lamflow"]
        s3: dict[str, Any] = yaml.safe_load(text)["s3"]
        return s3

    assert repository(True)["caSecret"] == {"name": "lamflow-s3", "key": "ca.crt"}
    assert "caSecret" not in repository(False)


def test_an_upgrade_that_switches_argo_on_brings_its_definitions() -> None:
    on = {"argo-workflows": {"enabled": True}}
    crds = [item for item in objects(on, argo=False, upgrade=True) if item["kind"] == "CustomResourceDefinition"]
    assert len(crds) == 8
    for crd in crds:
        kubernetes_validate.validate(crd, "1.30", strict=True)
        assert crd["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}, "Helm leaves them and all runs"
    kinds = {item["kind"] for item in objects(on, argo=False, upgrade=True)}
    assert "WorkflowTemplate" not in kinds, "Helm looks for its definition before it makes anything"
    assert "Deployment" in kinds
    for first, there in ((True, False), (True, True), (False, True)):
        kinds = {item["kind"] for item in objects(on, argo=there, upgrade=not first)}
        assert "CustomResourceDefinition" not in kinds, "those of crds/, or those that are there"
        assert "WorkflowTemplate" in kinds


def test_advice_about_argo_is_a_command_that_works() -> None:
    files = json.loads(_rendered(json.dumps({"s3": KEYS}), "v1.30.0", False))
    notes = next(text for name, text in files.items() if name.endswith("lamflow/templates/NOTES.txt"))
    advice = "helm upgrade lamflow helm/lamflow --namespace lamflow --reset-then-reuse-values --set argo-workflows.enabled=true"
    assert advice in notes
    assert " ".join(advice.split()[:3]) in (ROOT / "lamflow" / "cluster" / "checks.py").read_text()


def test_argo_as_clusters_need_it() -> None:
    found = objects({"argo-workflows": {"enabled": True}})
    controller = named(found, "Deployment", "workflow-controller")["spec"]["template"]["spec"]
    environment = {item["name"]: item.get("value") for item in controller["containers"][0]["env"]}
    assert environment["DEFAULT_REQUEUE_TIME"] == "2s"
    assert "hostNetwork" not in controller
    settings = named(found, "ConfigMap", "workflow-controller-configmap")["data"]
    assert [column["key"] for column in yaml.safe_load(settings["columns"])] == [RUN, ITERATION, STAGE]
    (link,) = yaml.safe_load(settings["links"])
    assert link["url"] == f"https://localhost:2746/${{metadata.annotations.{REPORT_LINK}}}"
    server = named(found, "Deployment", "argo-server")["spec"]["template"]["spec"]["containers"][0]
    windows = {item["name"]: item["value"] for item in server["env"]}
    assert windows == dict.fromkeys(("FIRST_TIME_USER_MODAL", "FEEDBACK_MODAL", "NEW_VERSION_MODAL"), "false")
    changed = {"enabled": True, "hostNetwork": True, "server": {"enabled": False, "address": "https://argo.lab"}}
    limits = {"limits": {"memory": "2Gi"}}
    found = objects({"argo-workflows": {**changed, "controller": {"resources": limits}}})
    controller = named(found, "Deployment", "workflow-controller")["spec"]["template"]["spec"]
    assert controller["hostNetwork"] is True
    assert controller["containers"][0]["resources"]["limits"] == {"memory": "2Gi"}
    assert not [item for item in found if item["metadata"]["name"] == "argo-server"]
    assert 'url: "https://argo.lab/$' in named(found, "ConfigMap", "workflow-controller-configmap")["data"]["links"]


def test_a_run_from_argos_ui_goes_to_the_namespace_and_the_store_of_the_release() -> None:
    s3 = {"endpoint": "https://s3.example.org", "bucket": "mine", "region": "eu-north-1", "existingSecret": "k"}
    changed = {
        "s3": s3, "seaweedfs": {"enabled": False}, "artifactRepository": {"default": False},
        "workflowTemplate": {"image": "registry.example.org/team/base:1"},
    }  # fmt: skip
    template = named(objects(changed), "WorkflowTemplate", "lamflow")
    text = template["spec"]["arguments"]["parameters"][0]["value"]
    cluster = Cluster.model_validate(yaml.safe_load(text)["cluster"])
    store = ObjectStore(endpoint="https://s3.example.org", bucket="mine", region="eu-north-1", secret="k")  # noqa: S106  a name
    assert cluster == Cluster(registry="registry.example.org/team", s3=store, artifact_repository="lamflow")
    plain = named(objects({}), "WorkflowTemplate", "lamflow")["spec"]["arguments"]["parameters"][0]["value"]
    assert Cluster.model_validate(yaml.safe_load(plain)["cluster"]) == Cluster()


def test_ports_of_the_network_policy_are_yours() -> None:
    found = objects({"networkPolicy": {"enabled": True, "ports": [16443], "dnsPorts": [53, 5353]}})
    (rule,) = named(found, "NetworkPolicy", "lamflow")["spec"]["egress"]
    assert {(item["protocol"], item["port"]) for item in rule["ports"]} == {
        ("UDP", 53), ("TCP", 53), ("UDP", 5353), ("TCP", 5353), ("TCP", 8333), ("TCP", 16443),
    }  # fmt: skip


def test_prometheus_and_the_controller_may_live_elsewhere() -> None:
    monitor = named(objects({"serviceMonitor": {"enabled": True}}), "ServiceMonitor", "lamflow")
    assert monitor["metadata"]["namespace"] == "lamflow"
    assert monitor["spec"]["namespaceSelector"] == {"matchNames": ["lamflow"]}
    away = {"enabled": True, "namespace": "monitoring", "controllerNamespace": "argo"}
    monitor = named(objects({"serviceMonitor": away}), "ServiceMonitor", "lamflow")
    assert monitor["metadata"]["namespace"] == "monitoring"
    assert monitor["spec"]["namespaceSelector"] == {"matchNames": ["argo"]}


def test_the_keys_are_handed_out_by_a_role_for_one_secret() -> None:
    users = [{"kind": "User", "name": "ada"}]
    found = objects({"users": users})
    assert named(found, "Role", "lamflow-keys")["rules"] == [
        {
            "apiGroups": [""],
            "resources": ["secrets"],
            "resourceNames": ["lamflow-s3", "lamflow-s3-labels"],
            "verbs": ["get"],
        }
    ]
    assert named(found, "RoleBinding", "lamflow-users-keys")["subjects"][0]["name"] == "ada"
    found = objects({"users": users, "s3": {"usersReadSecret": False}})
    assert not [item for item in found if "keys" in item["metadata"]["name"]]
    assert named(found, "RoleBinding", "lamflow-users")["subjects"][0]["name"] == "ada"


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
    assert "lamflow" not in {account for account, _ in bound}, "the programs of an iteration have no right at all"
    assert {
        ("lamflow-executor", "lamflow-executor"),
        ("lamflow-driver", "lamflow-driver"),
        ("ada", "lamflow-user"),
    } <= bound
    text = (CHART / "templates" / "roles.yaml").read_text()
    assert text.count("#") >= 7, "every verb has its reason beside it"


def test_every_container_runs_without_privileges() -> None:
    for container, pod in containers(objects(EVERYTHING)):
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, (
            "the standard `restricted` asks for it"
        )
        assert container["resources"]["limits"]["memory"], "a LimitRange would say it otherwise"
        if "fsGroup" in pod["securityContext"]:
            assert pod["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
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
    files = json.loads(_rendered(json.dumps({"s3": KEYS}), "v1.30.0"))
    notes = next(text for name, text in files.items() if name.endswith("lamflow/templates/NOTES.txt"))
    for command in (
        "AWS_SECRET_ACCESS_KEY",
        "lamflow doctor --cluster",
        "lamflow submit",
    ):
        assert command in notes


def test_people_may_see_what_submit_looks_at_first() -> None:
    rules = named(objects({}), "Role", "lamflow-user")["rules"]
    cluster = Cluster()
    accounts = next(rule for rule in rules if rule["resources"] == ["serviceaccounts"])
    assert accounts["resourceNames"] == [
        cluster.service_account, cluster.driver_service_account, cluster.executor_service_account,
    ]  # fmt: skip
    assert accounts["verbs"] == ["get"]
    assert next(rule for rule in rules if rule["resources"] == ["resourcequotas"])["verbs"] == ["list"]
