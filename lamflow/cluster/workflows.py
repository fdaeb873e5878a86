"""Workflows on a cluster: make, look at, watch, stop and delete them, through Kubernetes' API or Argo's server."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from lamflow.cluster.api import MERGE_PATCH, AlreadyExistsError, Api, GoneError, NotFoundError, connect
from lamflow.cluster.pod_reasons import Reason, explained, pod_reasons
from lamflow.cluster.retry_policy import RetryPolicy
from lamflow.cluster.status import Manifest, finished, is_offloaded
from lamflow.config.pods import Cluster
from lamflow.errors import ClusterError, OutageError

WATCH = 60.0
"""s after which a watch begins anew by asking for the whole state: a connection that died in silence costs no more."""
ARGO = "/apis/argoproj.io/v1alpha1"
DELETING = 30.0
PAGE = "100"
"""Workflows of one answer."""
REPORT_LINK = "lamflow/page"
"""Annotation to which the chart has a link in Argo's UI lead."""
RUN_LABEL, ITERATION_LABEL, STORE = "lamflow/run", "lamflow/iteration", "lamflow/store"
"""Labels and annotation that tie a Workflow to its run."""


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
        query = {
            "listOptions.fieldSelector": f"metadata.name={name}", "listOptions.resourceVersion": version,
            "listOptions.timeoutSeconds": f"{WATCH:.0f}",
        }  # fmt: skip
        return f"/api/v1/workflow-events/{namespace}", query

    def event(self, line: str) -> dict[str, Any]:
        """See Paths. A line is JSON, or a server-sent event with JSON in it."""
        if not line.startswith(("{", "data:")):
            return {}
        data = json.loads(line.removeprefix("data:"))
        if "error" in data:
            return {"type": "ERROR", "object": data["error"]}
        return data.get("result", {})  # type: ignore[no-any-return]


class Workflows:
    """The Workflows of one namespace."""

    def __init__(self, api: Api, paths: Paths, namespace: str) -> None:
        self.api, self.paths, self.namespace = api, paths, namespace
        self.blind = False

    @classmethod
    def of(cls, cluster: Cluster, retry: RetryPolicy | None = None) -> Workflows:
        """Those of the namespace that `cluster` names. Raises ClusterError when no cluster is to be found."""
        api, argo = connect(cluster, retry)
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

    def create_or_get(self, manifest: Manifest) -> Manifest:
        """Make a Workflow, or take the one of this name that the same run has made before.

        Raises ClusterError when it belongs to somebody else.
        """
        name = manifest["metadata"]["name"]
        try:
            return self.create(manifest)
        except AlreadyExistsError:
            return self.verify_owner(self.get(name), manifest)

    def verify_owner(self, workflow: Manifest, manifest: Manifest) -> Manifest:
        """`there`, which must belong to the run that `manifest` is of. Raises ClusterError if it does not."""
        for part, key in (("labels", RUN_LABEL), ("annotations", STORE)):
            mine = manifest["metadata"].get(part, {}).get(key)
            if (workflow["metadata"].get(part) or {}).get(key) != mine:
                raise ClusterError(
                    f"{self._object(workflow['metadata']['name'])} is not of the run that lies in "
                    f"{manifest['metadata'].get('annotations', {}).get(STORE)}; delete it, or give the run another name"
                )
        return workflow

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
        prefix, found, page = "listOptions." if self.argo else "", list[Manifest](), ""
        while True:
            query = {f"{prefix}labelSelector": f"{RUN_LABEL}={run}", f"{prefix}limit": PAGE}
            if page:
                query[f"{prefix}continue"] = page
            answer = self.api.request("GET", self.paths.all(self.namespace), query=query)
            found += answer.get("items") or []
            page = (answer.get("metadata") or {}).get("continue") or ""
            if not page:
                return found

    def explained(self, workflow: Manifest) -> Manifest:
        """The Workflow with what Kubernetes says of its pods that wait. Argo's server does not know more."""
        if not self.argo and not self.blind and is_offloaded(workflow):
            self.blind = True
            self.api.retry.say(
                f"{self._object(workflow['metadata']['name'])} keeps its nodes in Argo's database, which only Argo's "
                "server can read: set cluster.argo_server, or end Argo's nodeStatusOffLoad"
            )
        return explained(workflow, self.pod_reasons(workflow))

    def pod_reasons(self, workflow: Manifest) -> dict[str, Reason]:
        """Why pods of a Workflow do not start, by Argo's names of their tries; nothing where that may not be read."""
        if self.argo or self.blind:
            return {}
        try:
            return pod_reasons(self.api, self.namespace, workflow)
        except ClusterError as error:
            self.blind = True
            self.api.retry.say(f"why pods wait cannot be read: {error}")
            return {}

    def watch(self, name: str, every: float | None = None) -> Iterator[Manifest]:
        """A Workflow each time it changes, until it has finished; with `every`, again after so many s without a change.

        Goes on through broken connections, expired versions and outages. Raises NotFoundError when it is deleted.
        """
        return self._changes(name) if every is None else _repeated(self._changes(name), every)

    def _changes(self, name: str) -> Iterator[Manifest]:
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
            except (GoneError, OutageError) as error:
                self.api.retry.say(f"{error}; watching again")
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
        there = self.find(name)
        if there is None or finished(there):
            return
        try:
            if self.argo:
                self.api.request("PUT", f"{path}/terminate", {"name": name, "namespace": self.namespace})
            else:
                self.api.request("PATCH", path, {"spec": {"shutdown": "Terminate"}}, kind=MERGE_PATCH)
        except ClusterError:
            there = self.find(name)
            if there is not None and not finished(there):
                raise

    def describe(self, name: str, text: str, report: str | None = None) -> None:
        """Show `text` beside a Workflow in Argo's list. Argo's server cannot, so there this does nothing.

        report  path of the run's report on Argo's server
        """
        if not self.argo:
            annotations = {"workflows.argoproj.io/description": text, **({REPORT_LINK: report} if report else {})}
            patch = {"metadata": {"annotations": annotations}}
            self.api.request("PATCH", f"{self.paths.all(self.namespace)}/{name}", patch, kind=MERGE_PATCH)

    def delete(self, name: str) -> None:
        """Delete a Workflow with its pods, and wait until it is gone, or shown from Argo's archive only."""
        path = f"{self.paths.all(self.namespace)}/{name}"
        end = time.monotonic() + DELETING
        try:
            self.api.request("DELETE", path, query={"propagationPolicy": "Foreground"})
        except NotFoundError:
            return
        while self.find(name) is not None and time.monotonic() < end:
            time.sleep(0.5)

    def wait_until_finished(self, name: str, seconds: float) -> Manifest | None:
        """A Workflow when it has finished, or as it stands after so many seconds; None if it is not there."""
        end = time.monotonic() + seconds
        state = self.find(name)
        while state is not None and not finished(state) and time.monotonic() < end:
            time.sleep(1.0)
            state = self.find(name)
        return state

    def logs(self, name: str, *, follow: bool = False) -> Iterator[str]:
        """Lines of the main containers of a Workflow's pods, each with its pod's name before it."""
        if self.argo:
            query = {"logOptions.container": "main", "logOptions.follow": str(follow).lower()}
            for line in self.api.lines(f"{self.paths.all(self.namespace)}/{name}/log", query, 3600.0):
                found = self.paths.event(line)
                yield f"{found.get('podName', '')}: {found.get('content', '')}"
            return
        core = f"/api/v1/namespaces/{self.namespace}/pods"
        pods = self.api.request("GET", core, query={"labelSelector": f"workflows.argoproj.io/workflow={name}"})
        for pod in pods.get("items") or []:
            query = {"container": "main", "follow": str(follow).lower()}
            try:
                for line in self.api.lines(f"{core}/{pod['metadata']['name']}/log", query, 3600.0):
                    yield f"{pod['metadata']['name']}: {line}"
            except (ClusterError, OutageError) as error:
                yield f"{pod['metadata']['name']}: no more of the log ({error})"

    def _object(self, name: str) -> str:
        return f"Workflow {name} in namespace {self.namespace}"

    def _absent(self) -> str:
        return (
            f"namespace {self.namespace} is missing (kubectl create namespace {self.namespace}), or Argo Workflows is "
            "not installed there; see `lamflow doctor --cluster`"
        )


def _repeated(states: Iterator[Manifest], every: float) -> Iterator[Manifest]:
    """What `states` gives, each again and again until the next one comes."""
    queue, left = SimpleQueue[Manifest | BaseException | None](), threading.Event()

    def read() -> None:
        try:
            for state in states:
                queue.put(state)
                if left.is_set():
                    return
            queue.put(None)
        except Exception as error:  # noqa: BLE001  it is raised where the states are wanted
            queue.put(error)

    threading.Thread(target=read, daemon=True).start()
    last: Manifest | None = None
    try:
        while True:
            try:
                found = queue.get(timeout=every)
            except Empty:
                found = last
            else:
                if found is None:
                    return
            if isinstance(found, BaseException):
                raise found
            if found is not None:
                last = found
                yield found
    finally:
        left.set()
