"""Workflows on a cluster: make, look at, watch, stop and delete them, through Kubernetes' API or Argo's server."""

from __future__ import annotations

import base64
import gzip
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from lamflow.cluster.api import MERGE_PATCH, AlreadyExistsError, Api, GoneError, NotFoundError, connect
from lamflow.cluster.patience import Patience
from lamflow.config.pods import Cluster
from lamflow.errors import ClusterError, OutageError

Manifest = dict[str, Any]
WATCH = 60.0
"""s after which a watch begins anew by asking for the whole state: a connection that died in silence costs no more."""
ARGO = "/apis/argoproj.io/v1alpha1"
RUN_LABEL = "lamflow/run"
FINISHED = ("Succeeded", "Failed", "Error")


class Paths(Protocol):
    """What differs between the two servers that know Workflows."""

    def all(self, namespace: str) -> str:
        """Path of a namespace's Workflows."""
        ...

    def created(self, manifest: Manifest) -> Manifest:
        """The body that makes a Workflow."""
        ...

    def watched(self, namespace: str, name: str, version: str) -> tuple[str, dict[str, str]]:
        """Path and query of a stream of events of one Workflow."""
        ...

    def event(self, line: str) -> dict[str, Any]:
        """The event in a line of that stream; empty if the line has none."""
        ...


class KubernetesPaths:
    """Kubernetes' API."""

    def all(self, namespace: str) -> str:
        """See Paths."""
        return f"{ARGO}/namespaces/{namespace}/workflows"

    def created(self, manifest: Manifest) -> Manifest:
        """See Paths."""
        return manifest

    def watched(self, namespace: str, name: str, version: str) -> tuple[str, dict[str, str]]:
        """See Paths."""
        query = {
            "watch": "true", "fieldSelector": f"metadata.name={name}", "resourceVersion": version,
            "allowWatchBookmarks": "true", "timeoutSeconds": f"{WATCH:.0f}",
        }  # fmt: skip
        return self.all(namespace), query

    def event(self, line: str) -> dict[str, Any]:
        """See Paths."""
        return json.loads(line)  # type: ignore[no-any-return]


class ArgoPaths:
    """Argo's server."""

    def all(self, namespace: str) -> str:
        """See Paths."""
        return f"/api/v1/workflows/{namespace}"

    def created(self, manifest: Manifest) -> Manifest:
        """See Paths."""
        return {"workflow": manifest}

    def watched(self, namespace: str, name: str, version: str) -> tuple[str, dict[str, str]]:
        """See Paths."""
        query = {"listOptions.fieldSelector": f"metadata.name={name}", "listOptions.resourceVersion": version}
        return f"/api/v1/workflow-events/{namespace}", query

    def event(self, line: str) -> dict[str, Any]:
        """See Paths. Lines are server-sent events."""
        if not line.startswith("data:"):
            return {}
        data = json.loads(line.removeprefix("data:"))
        if "error" in data:
            return {"type": "ERROR", "object": data["error"]}
        return data.get("result", {})  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Pod:
    """One pod of a Workflow: its step, its number, how it ended, and what it said.

    exit_code  of its container, None if it never ended
    seconds    it ran; start and end are seconds since the epoch
    """

    step: str
    number: int
    phase: str
    message: str
    exit_code: int | None
    progress: str
    start: float
    end: float


class Workflows:
    """The Workflows of one namespace."""

    def __init__(self, api: Api, paths: Paths, namespace: str) -> None:
        self.api, self.paths, self.namespace = api, paths, namespace

    @classmethod
    def of(cls, cluster: Cluster, patience: Patience | None = None) -> Workflows:
        """Those of the namespace that `cluster` names. Raises ClusterError when no cluster is to be found."""
        api, argo = connect(cluster, patience)
        return cls(api, ArgoPaths() if argo else KubernetesPaths(), cluster.namespace)

    @property
    def argo(self) -> bool:
        """They are asked of Argo's server."""
        return isinstance(self.paths, ArgoPaths)

    def create(self, manifest: Manifest, *, rehearse: bool = False) -> Manifest:
        """Make a Workflow, or only have it checked to `rehearse`. Raises AlreadyExistsError and other ClusterErrors."""
        query, body = {}, self.paths.created(manifest)
        if rehearse and self.argo:
            body = {**body, "serverDryRun": True}
        elif rehearse:
            query = {"dryRun": "All"}
        try:
            return self.api.request("POST", self.paths.all(self.namespace), body, query)
        except NotFoundError as error:
            raise ClusterError(f"{error}; {self._absent()}") from error

    def ensure(self, manifest: Manifest) -> Manifest:
        """Make a Workflow, or take the one of this name that the same run has made before.

        Raises ClusterError when it belongs to somebody else.
        """
        name = manifest["metadata"]["name"]
        try:
            return self.create(manifest)
        except AlreadyExistsError:
            there = self.get(name)
            mine = manifest["metadata"]["labels"][RUN_LABEL]
            if there["metadata"].get("labels", {}).get(RUN_LABEL) != mine:
                raise ClusterError(
                    f"{self._object(name)} exists and is not of run {mine}; delete it, or give the run another name"
                ) from None
            return there

    def get(self, name: str) -> Manifest:
        """A Workflow as it stands. Raises NotFoundError."""
        return self.api.request("GET", f"{self.paths.all(self.namespace)}/{name}")

    def find(self, name: str) -> Manifest | None:
        """A Workflow as it stands, or None."""
        try:
            return self.get(name)
        except NotFoundError:
            return None

    def of_run(self, run: str) -> list[Manifest]:
        """Every Workflow of a run."""
        selector = f"{RUN_LABEL}={run}"
        key = "listOptions.labelSelector" if self.argo else "labelSelector"
        found = self.api.request("GET", self.paths.all(self.namespace), query={key: selector})
        return list(found.get("items") or [])

    def watch(self, name: str) -> Iterator[Manifest]:
        """A Workflow each time it changes, until it has finished.

        Goes on through broken connections, expired versions and outages. Raises NotFoundError when it is deleted.
        """
        while True:
            state = self.get(name)
            yield state
            if finished(state):
                return
            began = time.monotonic()
            try:
                for newer in self._events(name, state["metadata"].get("resourceVersion", "")):
                    yield newer
                    if finished(newer):
                        return
            except GoneError:
                continue
            except OutageError as error:
                self.api.patience.say(f"{error}; watching again")
            if time.monotonic() - began < 1.0:
                time.sleep(1.0)  # a server that ends every watch at once is not asked more often than this

    def _events(self, name: str, version: str) -> Iterator[Manifest]:
        path, query = self.paths.watched(self.namespace, name, version)
        for line in self.api.lines(path, query, WATCH):
            try:
                event = self.paths.event(line)
            except json.JSONDecodeError as error:
                raise OutageError(f"{self.api.name} broke off in the middle of an event") from error
            kind, state = event.get("type"), event.get("object", {})
            if kind == "ERROR":
                raise GoneError(f"{self.api.name}: {state.get('message', state)}")
            if kind == "DELETED":
                raise NotFoundError(f"{self._object(name)} was deleted while it ran")
            if kind in ("ADDED", "MODIFIED") and state["metadata"]["name"] == name:
                yield state

    def stop(self, name: str) -> None:
        """Have a Workflow end its pods and stop; one that has finished or is gone stays as it is."""
        path = f"{self.paths.all(self.namespace)}/{name}"
        try:
            if self.argo:
                self.api.request("PUT", f"{path}/terminate", {"name": name, "namespace": self.namespace})
            else:
                self.api.request("PATCH", path, {"spec": {"shutdown": "Terminate"}}, kind=MERGE_PATCH)
        except NotFoundError:
            return

    def describe(self, name: str, text: str) -> None:
        """Show `text`, Markdown, beside a Workflow in Argo's list. Argo's server cannot, so there this does nothing."""
        if not self.argo:
            patch = {"metadata": {"annotations": {"workflows.argoproj.io/description": text}}}
            self.api.request("PATCH", f"{self.paths.all(self.namespace)}/{name}", patch, kind=MERGE_PATCH)

    def delete(self, name: str) -> None:
        """Delete a Workflow with its pods, and wait until it is gone."""
        path = f"{self.paths.all(self.namespace)}/{name}"
        try:
            self.api.request("DELETE", path, query={"propagationPolicy": "Foreground"})
            while self.find(name) is not None:
                time.sleep(0.5)
        except NotFoundError:
            return

    def logs(self, name: str, *, follow: bool = False) -> Iterator[str]:
        """Lines of the main containers of a Workflow's pods, each with its pod's name before it."""
        if self.argo:
            query = {"logOptions.container": "main", "logOptions.follow": str(follow).lower()}
            for line in self.api.lines(f"{self.paths.all(self.namespace)}/{name}/log", query, 3600.0):
                found = json.loads(line).get("result", {})
                yield f"{found.get('podName', '')}: {found.get('content', '')}"
            return
        core = f"/api/v1/namespaces/{self.namespace}/pods"
        pods = self.api.request("GET", core, query={"labelSelector": f"workflows.argoproj.io/workflow={name}"})
        for pod in pods.get("items") or []:
            query = {"container": "main", "follow": str(follow).lower()}
            try:
                for line in self.api.lines(f"{core}/{pod['metadata']['name']}/log", query, 3600.0):
                    yield f"{pod['metadata']['name']}: {line}"
            except ClusterError as error:
                yield f"{pod['metadata']['name']}: no log ({error})"

    def _object(self, name: str) -> str:
        return f"Workflow {name} in namespace {self.namespace}"

    def _absent(self) -> str:
        return (
            f"namespace {self.namespace} is missing (kubectl create namespace {self.namespace}), or Argo Workflows is "
            "not installed there; see `lamflow doctor --cluster`"
        )


def phase(workflow: Manifest) -> str:
    """How a Workflow stands; empty before its controller has seen it."""
    return str((workflow.get("status") or {}).get("phase") or "")


def finished(workflow: Manifest) -> bool:
    """It has ended, well or not."""
    return phase(workflow) in FINISHED


def message(workflow: Manifest) -> str:
    """What Argo says about a Workflow."""
    return str((workflow.get("status") or {}).get("message") or "")


def nodes(workflow: Manifest) -> dict[str, Any]:
    """The nodes of a Workflow by id; Argo packs them when they are many."""
    status = workflow.get("status") or {}
    if status.get("compressedNodes"):
        return json.loads(gzip.decompress(base64.b64decode(status["compressedNodes"])))  # type: ignore[no-any-return]
    return dict(status.get("nodes") or {})


def pods(workflow: Manifest) -> list[Pod]:
    """The last try of every pod of a Workflow, by step and number."""
    found: dict[tuple[str, int], Pod] = {}
    for node in nodes(workflow).values():
        if node.get("type") != "Pod":
            continue
        values = {p["name"]: p.get("value", "") for p in (node.get("inputs") or {}).get("parameters") or []}
        pod = Pod(
            step=str(node.get("templateName", "")),
            number=int(values.get("pod") or 0),
            phase=str(node.get("phase", "")),
            message=str(node.get("message", "")),
            exit_code=_code((node.get("outputs") or {}).get("exitCode")),
            progress=str(node.get("progress", "")),
            start=_time(node.get("startedAt")),
            end=_time(node.get("finishedAt")),
        )
        before = found.get((pod.step, pod.number))
        if before is None or before.start <= pod.start:
            found[pod.step, pod.number] = pod
    return [found[key] for key in sorted(found)]


def _code(text: str | None) -> int | None:
    try:
        return int(text) if text is not None else None
    except ValueError:
        return None


def _time(text: str | None) -> float:
    """Seconds since the epoch of a time as Kubernetes writes it; 0 if there is none."""
    if not text:
        return 0.0
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()
