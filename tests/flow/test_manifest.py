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
from lamflow.driver.render import render_round
from lamflow.errors import InputError
from lamflow.flow.probe import probe_manifest, probed
from lamflow.flow.run import run_manifest
from lamflow.flow.workflow import manifest, next_piece
from lamflow.superops.capacity import ClusterCapacity
from lamflow.superops.steps import late_step
from tests.conftest import ROOT, STUDY, examples

VALIDATOR = ROOT.parent / "shared" / "argo" / "validate_manifest.py"


def render(study: DataStudy, number: int) -> dict[str, Any]:
    """The Workflow of a round that is one."""
    [made] = render_round(study, number)
    return made


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
  train: {gpus: 2, memory: 32Gi, memory_max: 64Gi, elsewhere: true, shared_memory: 8Gi, node_selector: {gpu: a100}, retries: 3,
    tolerations: [{key: gpu, operator: Exists, effect: NoSchedule}], volumes: [{claim: models, path: /models}],
    environment: {DP_COMPILE_INFER: "1"},
    affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms:
      [{matchExpressions: [{key: zone, operator: In, values: [a]}]}]}}}}
  label: {image: "registry.local/mine:1", cpu: 500m, parallel: 3, disk: 20Gi, priority_class: high, scheduler: volcano,
    labels: {kueue.x-k8s.io/queue-name: gpus}, annotations: {scheduling.volcano.sh/queue-name: gpus},
    runtime_class: gvisor, spread: {over: topology.kubernetes.io/zone, strict: true},
    pod_spec_patch: {terminationGracePeriodSeconds: 60}}
  driver: {node_selector: {pool: small}}
cluster: {namespace: science, artifact_repository: s3, image_pull_secrets: [pull], priority_class: low,
  host_network: true, display_names: NAMES, labels: {workflows.argoproj.io/controller-instanceid: lab},
  annotations: {team: alloys}, host_aliases: {10.0.0.7: [s3.lab]}}
""".replace("NAMES", str(names).lower())
    )


def test_pods_get_what_the_file_says() -> None:
    made = render(parse(rich(names=True)), 1)
    train, label = (next(pod for pod in pods(made) if pod["name"] == name) for name in ("train", "label"))
    assert train["script"]["resources"]["limits"] == {"memory": "32Gi", "nvidia.com/gpu": "2"}
    assert train["nodeSelector"] == {"gpu": "a100"}
    assert train["retryStrategy"]["limit"] == "10000", "the driver counts; see cluster/losses.py"
    assert train["retryStrategy"]["affinity"] == {"nodeAntiAffinity": {}}
    assert "affinity" not in label["retryStrategy"]
    [main] = json.loads(train["podSpecPatch"])["containers"]
    assert main["resources"]["limits"]["memory"] == "{{=lastRetry.message contains 'OOMKilled' ? '64Gi' : '32Gi'}}"
    assert {"name": "DP_COMPILE_INFER", "value": "1"} in train["script"]["env"]
    assert {mount["mountPath"] for mount in train["script"]["volumeMounts"]} == {
        "/tmp", "/models", "/dev/shm", "/etc/lamflow/s3"
    }  # fmt: skip
    assert label["script"]["image"] == "registry.local/mine:1"
    assert label["script"]["resources"]["requests"]["cpu"] == "500m"
    assert label["script"]["resources"]["requests"]["ephemeral-storage"] == "20Gi"
    assert (label["priorityClassName"], label["schedulerName"]) == ("high", "volcano")
    assert label["metadata"] == {
        "labels": {"kueue.x-k8s.io/queue-name": "gpus", "lamflow/step": "label"},
        "annotations": {"scheduling.volcano.sh/queue-name": "gpus"},
    }
    assert json.loads(label["podSpecPatch"]) == {
        "runtimeClassName": "gvisor", "terminationGracePeriodSeconds": 60,
        "topologySpreadConstraints": [{
            "topologyKey": "topology.kubernetes.io/zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"lamflow/run": "tiny", "lamflow/step": "label"}},
        }],
    }  # fmt: skip
    assert not any("podSpecPatch" in pod for pod in pods(made) if pod["name"] not in ("train", "label"))
    assert made["metadata"]["labels"]["workflows.argoproj.io/controller-instanceid"] == "lab"
    assert made["spec"]["podMetadata"]["annotations"] == {"team": "alloys"}
    assert made["spec"]["hostAliases"] == [{"ip": "10.0.0.7", "hostnames": ["s3.lab"]}]
    assert made["metadata"]["namespace"] == "science"
    assert made["spec"]["podPriorityClassName"] == "low"
    assert made["spec"]["hostNetwork"] is True
    assert train["annotations"] == {
        "workflows.argoproj.io/display-name": (
            "iteration-1-train-{{=asInt(inputs.parameters.job) + 1}}-of-{{inputs.parameters.jobs}}"
        )
    }


def environment(pod: dict[str, Any]) -> dict[str, str]:
    return {item["name"]: item["value"] for item in pod["script"]["env"]}


def test_the_driver_asks_for_little_whatever_else_is_said_of_it() -> None:
    (driver,) = pods(run_manifest(parse(rich()), "s3://b/p/tiny", "p/tiny/"))
    assert driver["script"]["resources"] == {"requests": {"cpu": "100m", "memory": "1Gi"}, "limits": {"memory": "1Gi"}}
    assert driver["nodeSelector"] == {"pool": "small"}


def test_a_pod_sees_the_gpus_that_it_asked_for() -> None:
    for pod in pods(render(parse(rich()), 1)):
        hidden = environment(pod).get("NVIDIA_VISIBLE_DEVICES")
        assert hidden == (None if pod["name"] == "train" else "void"), pod["name"]


def test_programs_of_an_iteration_have_no_token_of_kubernetes() -> None:
    spec = render(parse(rich()), 1)["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["executor"] == {"serviceAccountName": "lamflow-executor"}
    plain = parse(STUDY + "cluster: {executor_service_account: null}")
    assert not {"automountServiceAccountToken", "executor"} & set(render(plain, 1)["spec"])
    driver = run_manifest(plain, "s3://b/p/tiny", "p/tiny/")["spec"]
    assert "automountServiceAccountToken" not in driver, "it makes Workflows"


@pytest.mark.parametrize("key", ["lamflow/run", "app.kubernetes.io/name"])
def test_labels_that_say_whose_a_pod_is_are_lamflows(key: str) -> None:
    with pytest.raises(InputError, match="lamflow's own"):
        parse(STUDY + f"cluster: {{labels: {{{key}: other}}}}")


@pytest.mark.parametrize("file", examples(), ids=lambda file: file.stem)
def test_ranks_and_threads_fit_the_cpus_of_a_pod(file: Path) -> None:
    study = load(file, DataStudy, files=False)
    for part in study.all_heads:
        command = list(getattr(part.label, "command", []) or [])
        if "-np" in command:
            pod = study.pods.label
            assert int(command[command.index("-np") + 1]) * pod.threads <= int(pod.cpu or pod.threads)


def test_the_timeout_begins_with_the_work_and_argo_waits_longer() -> None:
    study = parse(STUDY.split("pods:")[0] + "pods: {train: {timeout: 7200}}")
    train = next(pod for pod in pods(render(study, 1)) if pod["name"] == "train")
    assert "timeout=7200.0" in train["script"]["source"]
    assert train["activeDeadlineSeconds"] >= 7200 + 1800, "an image of many GB is fetched meanwhile"


def test_pods_have_no_more_rights_than_they_need() -> None:
    made = render(parse(STUDY), 1)
    assert made["spec"]["securityContext"]["runAsNonRoot"]
    for pod in pods(made):
        context = pod["script"]["securityContext"]
        assert not context["allowPrivilegeEscalation"]
        assert context["readOnlyRootFilesystem"]
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert secrets(pod) == (["lamflow-s3"] if pod["name"] == "train" else []), (
            "only checkpoints need the store's keys"
        )


def test_codes_that_label_see_keys_of_the_label_cache_alone(study: Path) -> None:
    settings = "engine: qe, pseudopotentials: {Cu: tiny.yaml}, ecutwfc: 30"
    study.write_text(STUDY.replace("engine: emt", settings), encoding="utf-8")
    made = render(load(study), 1)
    (label,) = [pod for pod in pods(made) if pod["name"] == "label"]
    assert secrets(label) == ["lamflow-s3-labels"]


def secrets(pod: dict[str, Any]) -> list[str]:
    """The Secrets that a pod mounts, each of which its program sees."""
    names = [mount["name"] for mount in pod["script"]["volumeMounts"]]
    return [
        item["secret"]["secretName"] for item in pod.get("volumes", []) if "secret" in item and item["name"] in names
    ]


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
        "import json\nfrom lamflow.config import parse\nfrom lamflow.driver.render import render_round\n"
        "from lamflow.flow.run import run_manifest\nfrom tests.conftest import STUDY\nstudy = parse(STUDY)\n"
        "print(json.dumps([render_round(study, 0), render_round(study, 1), run_manifest(study, 's3://b/p', 'p/')]))"
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


def test_one_thing_alone_patches_the_container() -> None:
    patched = "pods: {train: {memory_max: 8Gi, pod_spec_patch: {containers: [{name: main, tty: true}]}}}\n"
    with pytest.raises(InputError, match=r"both patch the pod.s container"):
        parse(STUDY.split("pods:")[0] + patched)


def test_labels_that_may_be_late_have_a_workflow_of_their_own() -> None:
    text = STUDY.replace("limit: 6", "limit: 6\n  enough: 0.9").replace("iterations: 2", "iterations: 4")
    first, labels, last = render_round(parse(text), 1)
    steps = [[step[0]["template"] for step in made["spec"]["templates"][0]["steps"]] for made in (first, labels, last)]
    assert [step[-1] for step in steps] == ["select", "label", "merge"]
    assert (len(steps[1]), len(steps[2])) == (1, 1)
    assert [made["metadata"]["name"] for made in (first, labels, last)] == ["tiny-001", "tiny-001-2", "tiny-001-3"]
    assert len(render_round(parse(text), 3)) == 1, "the last iteration that labels waits for all"

    config = parse(text)
    graph = planned_graph(config, 2, ClusterCapacity())
    known = {"train": [0], "explore": [0, 1], "select": [0]}
    graph = graph.model_copy(update={"steps": [*graph.steps[:-1], late_step(2), graph.steps[-1]], "completed": known})
    decided = graph.model_copy(update={"outputs": {"select": {"decision": "label", "batches": "3"}}})
    assert [step.name for step in next_piece(config, decided)] == ["label"]
    left = decided.leaving(decided.remaining()[0])
    assert [step.name for step in next_piece(config, left)] == ["late", "merge"], "late labels are waited for first"
    stopped = graph.model_copy(update={"outputs": {"select": {"decision": "stop", "batches": "0"}}})
    assert [step.name for step in next_piece(config, stopped)] == ["late"]
