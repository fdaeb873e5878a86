"""A stand-in for Argo's controller and executor: carries out the manifests that lamflow makes, pod by pod, as processes
of this machine, with their artifacts in a real object store. It knows only what those manifests use."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from minio.error import S3Error

from tests.stand_ins.kubernetes import Kubernetes, Object
from tests.stand_ins.s3 import ACCESS, SECRET, S3Server

BATCHES = re.compile(r"steps\['([^']+)'\]\.outputs\.parameters\['([^']+)'\]")


class PodLostError(Exception):
    """A pod failed and is not tried again."""


class Argo:
    """Carries out every Workflow that appears in a stand-in cluster."""

    def __init__(self, cluster: Kubernetes, store: S3Server, bucket: str, folder: Path, kubeconfig: Path) -> None:
        self.cluster, self.store, self.bucket, self.folder, self.kubeconfig = cluster, store, bucket, folder, kubeconfig
        self.secret = folder / "secret"
        self.secret.mkdir()
        (self.secret / "access_key").write_text(ACCESS)
        (self.secret / "secret_key").write_text(SECRET)
        self.ssh_secret: Path | None = None
        """Folder that is the Secret with a key and known hosts, for drivers that mount one."""
        self.seen: set[str] = set()
        """UIDs of the Workflows that were begun: a name may be deleted and made again between two looks."""
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.ignored: set[str] = set()
        """Workflows whose pods never start."""
        self.pods: list[str] = []
        self.doomed: list[str] = []
        """Beginnings of the names of pods that lose their node as soon as they start, once each."""
        self.failing: list[str] = []
        """Beginnings of the names of pods whose disk is full, once each."""
        self.greedy: list[str] = []
        """Beginnings of the names of pods that are killed for their memory, always."""
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _watch(self) -> None:
        while not self.cluster.closing:
            for name, workflow in list(self.cluster.workflows.items()):
                if name in self.ignored and workflow["spec"].get("shutdown") and not workflow.get("status"):
                    self._status(name, phase="Failed")
                    continue
                uid = workflow["metadata"]["uid"]
                if uid not in self.seen and name not in self.ignored and not workflow.get("status"):
                    self.seen.add(uid)
                    threading.Thread(target=self._carry_out, args=(workflow,), daemon=True).start()
            time.sleep(0.05)

    def _carry_out(self, workflow: Object) -> None:
        name = workflow["metadata"]["name"]
        self._status(name, phase="Running", startedAt=_now())
        templates = {template["name"]: template for template in workflow["spec"]["templates"]}
        try:
            self._steps(name, templates, templates[workflow["spec"]["entrypoint"]], {})
            phase, message = "Succeeded", ""
        except PodLostError as error:
            phase, message = "Failed", str(error)
        except Exception:  # noqa: BLE001  a fault of the stand-in must not look like a run that takes long
            phase, message = "Error", traceback.format_exc()
        self._status(name, phase=phase, message=message, finishedAt=_now())

    def _steps(self, name: str, templates: dict[str, Object], group: Object, scope: dict[str, str]) -> None:
        outputs: dict[str, dict[str, str]] = {}
        for step in (step for together in group["steps"] for step in together):
            if "when" in step:
                left, right = _filled(step["when"], scope, outputs).split(" == ")
                if left != right:
                    continue
            template = templates[step["template"]]
            items = json.loads(_filled(step["withParam"], scope, outputs)) if "withParam" in step else [None]
            if "steps" in template:
                given = {
                    p["name"]: _filled(p["value"], scope, outputs)
                    for p in step.get("arguments", {}).get("parameters", [])
                }
                self._steps(
                    name, templates, template, {f"inputs.parameters.{key}": value for key, value in given.items()}
                )
                continue
            resolved = [
                json.loads(_filled(json.dumps(step.get("arguments", {})), scope, outputs, item)) for item in items
            ]
            with ThreadPoolExecutor(group.get("parallelism", 2)) as pool:
                done = list(pool.map(lambda given, t=template, s=step: self._pod(name, s["name"], t, given), resolved))
            if any(item is None for item in done):
                raise PodLostError(f"step {step['name']} failed")
            outputs[step["name"]] = done[0] or {}

    def _pod(self, workflow: str, step: str, template: Object, given: Object) -> dict[str, str] | None:
        """Every try of a pod; its output parameters, or None when the last one failed."""
        retry = template.get("retryStrategy", {})
        codes = [int(code) for code in re.findall(r"-?\d+", retry.get("expression", "").split("in ")[-1])]
        parameters = {p["name"]: str(p.get("value", "")) for p in given.get("parameters", [])}
        name = f"{workflow}-{template['name']}-{parameters.get('job', '0')}"
        for attempt in range(int(retry.get("limit", "0")) + 1):
            code, _, outputs = self._try(workflow, f"{name}-{attempt}", template, given, parameters)
            self.pods.append(f"{name}: {code}")
            if code == 0:
                return outputs
            stopped = self.cluster.workflows.get(workflow, {}).get("spec", {}).get("shutdown")
            if code not in codes or stopped:
                return None
            time.sleep(0.2)
        return None

    def _try(
        self, workflow: str, name: str, template: Object, given: Object, parameters: dict[str, str]
    ) -> tuple[int, str, dict[str, str]]:
        sandbox = self.folder / name
        if sandbox.exists():
            sandbox = self.folder / f"{name}-{time.monotonic_ns()}"
        (sandbox / "tmp").mkdir(parents=True)
        node: Object = {
            "id": name, "name": name, "type": "Pod", "templateName": template["name"], "phase": "Running",
            "startedAt": _now(), "inputs": {"parameters": [{"name": k, "value": v} for k, v in parameters.items()]},
        }  # fmt: skip
        self._node(workflow, node)
        problem = self._download(template, given, sandbox)
        code, message = (64, problem) if problem else self._execute(workflow, name, template, parameters, sandbox)
        outputs: dict[str, str] = {}
        for parameter in template.get("outputs", {}).get("parameters", []):
            file = _inside(sandbox, parameter["valueFrom"]["path"])
            outputs[parameter["name"]] = file.read_text() if file.is_file() else parameter["valueFrom"]["default"]
        if code != 64:
            code, message = self._upload(template, sandbox, code, message)
        node |= {
            "phase": "Succeeded" if code == 0 else "Error" if code == 64 else "Failed", "finishedAt": _now(),
            "message": "" if code == 0 else f"main: Error (exit code {code}): {message}", "progress": "1/1",
            "outputs": {"exitCode": str(code), "parameters": [{"name": k, "value": v} for k, v in outputs.items()]},
        }  # fmt: skip
        self._node(workflow, node)
        self.cluster.logs[name] = (sandbox / "log").read_text() if (sandbox / "log").is_file() else ""
        return code, message, outputs

    def _download(self, template: Object, given: Object, sandbox: Path) -> str:
        wanted = {artifact["name"]: artifact for artifact in template.get("inputs", {}).get("artifacts", [])}
        for artifact in given.get("artifacts", []):
            key, target = artifact["s3"]["key"], _inside(sandbox, wanted[artifact["name"]]["path"])
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                self.store.client.fget_object(self.bucket, key, str(target))
                continue
            except S3Error:
                pass
            found = list(self.store.client.list_objects(self.bucket, prefix=f"{key}/", recursive=True))
            for item in found:
                assert item.object_name is not None
                self.store.client.fget_object(
                    self.bucket, item.object_name, str(target / item.object_name[len(key) + 1 :])
                )
            if not found and not wanted[artifact["name"]].get("optional"):
                return f"artifact {artifact['name']}: no key {key}"
            target.mkdir(exist_ok=True)  # as Argo leaves an optional artifact that is not there
        return ""

    def _upload(self, template: Object, sandbox: Path, code: int, message: str) -> tuple[int, str]:
        for artifact in template.get("outputs", {}).get("artifacts", []):
            source = _inside(sandbox, artifact["path"])
            if not source.exists():
                if code == 0 and not artifact.get("optional"):
                    return 64, f"output artifact {artifact['name']} is missing"
                continue
            if source.is_file():
                self.store.client.fput_object(self.bucket, artifact["s3"]["key"], str(source))
            for file in sorted(path for path in source.rglob("*") if path.is_file()):
                key = f"{artifact['s3']['key'].rstrip('/')}/{file.relative_to(source).as_posix()}"
                self.store.client.fput_object(self.bucket, key, str(file))
        return code, message

    def _execute(
        self, workflow: str, name: str, template: Object, parameters: dict[str, str], sandbox: Path
    ) -> tuple[int, str]:
        source = template["script"]["source"]
        for key, value in parameters.items():
            source = source.replace(f"{{{{inputs.parameters.{key}}}}}", value)
        script = sandbox / "script.py"
        script.write_text(source.replace("/tmp", str(sandbox / "tmp")))
        last_word = sandbox / "termination-log"
        last_word.touch()
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "KUBE", "LAMFLOW", "ARGO"))
        }
        environment |= {item["name"]: item["value"] for item in template["script"]["env"]}
        environment |= {
            "HOME": str(sandbox / "tmp"), "LAMFLOW_TERMINATION_LOG": str(last_word), "OMP_NUM_THREADS": "1",
            "ARGO_PROGRESS_FILE": str(sandbox / "progress"),
        }  # fmt: skip
        if any(mount["name"] == "s3" for mount in template["script"]["volumeMounts"]):
            environment["LAMFLOW_S3_SECRET"] = str(self.secret)
        if any(mount["name"] == "ssh" for mount in template["script"]["volumeMounts"]):
            environment["LAMFLOW_SSH_SECRET"] = str(self.ssh_secret)
        if template["name"] == "driver":
            environment["KUBECONFIG"] = str(self.kubeconfig)
        with (sandbox / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, script], env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=sandbox / "tmp",
                start_new_session=True,
            )  # fmt: skip
        self.running[name] = process
        doomed, failing = _taken(self.doomed, name), _taken(self.failing, name)
        greedy = any(name.startswith(beginning) for beginning in self.greedy)
        if doomed or failing or greedy:
            _signal(process, signal.SIGKILL)
        told = False
        while process.poll() is None:
            time.sleep(0.05)
            if not told and self.cluster.workflows.get(workflow, {}).get("spec", {}).get("shutdown"):
                told = True
                _signal(process, signal.SIGTERM)
        self.running.pop(name, None)
        code = process.returncode
        if failing:
            return 1, "NodeError: the disk is full"
        return (code if code >= 0 else 128 - code), "OOMKilled" if greedy else last_word.read_text()

    def kill(self, step: str) -> bool:
        """Kill the running pods of a step, as a node does that loses its power."""
        found = [process for name, process in list(self.running.items()) if f"-{step}-" in name]
        for process in found:
            _signal(process, signal.SIGKILL)
        return bool(found)

    def _node(self, workflow: str, node: Object) -> None:
        def change(found: Object) -> None:
            found["status"].setdefault("nodes", {})[node["id"]] = node

        self.cluster.update(workflow, change)

    def _status(self, name: str, **fields: Any) -> None:
        self.cluster.update(name, lambda found: found.setdefault("status", {}).update(fields))


def _filled(text: str, scope: dict[str, str], outputs: dict[str, dict[str, str]], item: Any = None) -> str:
    """The text with Argo's tags filled in."""
    for key, value in scope.items():
        text = text.replace(f"{{{{={key}}}}}", value).replace(f"{{{{{key}}}}}", value).replace(key, value)
    text = re.sub(r"\{\{=steps\['([^']+)'\]\.outputs\.parameters\['([^']+)'\]\}\}", lambda m: outputs[m[1]][m[2]], text)
    text = BATCHES.sub(lambda m: outputs[m[1]][m[2]], text)
    text = re.sub(r"\{\{steps\.([^.}]+)\.outputs\.parameters\.([^}]+)\}\}", lambda m: outputs[m[1]][m[2]], text)
    counted = re.fullmatch(r"\{\{=toJson\(sprig\.untilStep\(0, sprig\.atoi\((\d+)\), 1\)\)\}\}", text)
    if counted:
        text = json.dumps(list(range(int(counted[1]))))
    if item is not None:
        text = text.replace("{{item}}", str(item))
    assert "{{" not in text, f"a tag that the stand-in does not know: {text}"
    return text


def _taken(beginnings: list[str], name: str) -> bool:
    """One of `beginnings` is that of a name; it is used up by it."""
    found = next((beginning for beginning in beginnings if name.startswith(beginning)), None)
    if found is not None:
        beginnings.remove(found)
    return found is not None


def _inside(sandbox: Path, path: str) -> Path:
    return sandbox / path.lstrip("/")


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
