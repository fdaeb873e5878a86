"""A stand-in for Kubernetes' API server: keeps Workflows, streams watches, and fails on demand. Its answers have the
shapes that a real one gives."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import yaml

from tests.stand_ins.websocket import relay

WORKFLOWS = "/apis/argoproj.io/v1alpha1/namespaces/lamflow/workflows"
Object = dict[str, Any]
REASONS = {401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "AlreadyExists", 410: "Expired",
           429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable"}  # fmt: skip


CHART: dict[str, Any] = {
    f"/api/v1/namespaces/lamflow/{name}": (200, {})
    for name in (
        "serviceaccounts/lamflow", "serviceaccounts/lamflow-driver", "serviceaccounts/lamflow-executor",
        "secrets/lamflow-s3", "secrets/lamflow-s3-labels", "secrets/lamflow-executor.service-account-token",
        "secrets/lamflow-ssh",
    )
}  # fmt: skip
"""Answers of a namespace that has the chart."""


@dataclass
class Fault:
    """The next `times` requests whose line begins with `request` are answered with `status`; 0 drops the connection.

    event  instead: a watch gets this event and then the rest
    """

    request: str
    status: int = 0
    message: str = ""
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)
    event: Object | None = None
    after: int = 0
    """Events that a watch sends before it is dropped."""


class Kubernetes:
    """What the server knows, and what it was asked."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.version = 100
        self.workflows: dict[str, Object] = {}
        self.events: list[tuple[int, str, Object]] = []
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.bodies: list[Any] = []
        self.logs: dict[str, str] = {}
        self.answers: dict[str, Any] = dict(CHART)
        self.forwards: dict[str, int] = {}
        """Ports of this machine that pods stand for."""
        self.closing = False
        self.url = ""

    def put(self, workflow: Object, kind: str = "MODIFIED") -> None:
        """Keep a Workflow and tell the watches."""
        with self.changed:
            self.version += 1
            workflow = json.loads(json.dumps(workflow))
            workflow["metadata"]["resourceVersion"] = str(self.version)
            workflow["metadata"].setdefault("uid", str(uuid.uuid4()))
            name = workflow["metadata"]["name"]
            if kind == "DELETED":
                self.workflows.pop(name, None)
            else:
                self.workflows[name] = workflow
            self.events.append((self.version, kind, workflow))
            self.changed.notify_all()

    def update(self, name: str, change: Callable[[Object], None]) -> None:
        """Change a Workflow in place."""
        with self.changed:
            if name in self.workflows:
                workflow = json.loads(json.dumps(self.workflows[name]))
                change(workflow)
                self.put(workflow)

    def fault(self, line: str) -> Fault | None:
        """The fault that meets a request, used up by it."""
        with self.changed:
            for found in self.faults:
                if line.startswith(found.request) and found.times:
                    found.times -= 1
                    return found
        return None


def status(code: int, message: str) -> Object:
    """A Status as Kubernetes answers with."""
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
            "reason": REASONS.get(code, ""), "code": code}  # fmt: skip


def _handler(cluster: Kubernetes) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def _answer(self, code: int, body: Any, headers: dict[str, str] | None = None) -> None:
            data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(code)
            for key, value in {"Content-Type": "application/json", **(headers or {})}.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _serve(self) -> None:
            parts = urlparse(self.path)
            query = {key: value[0] for key, value in parse_qs(parts.query).items()}
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"null")
            watch = self.command == "GET" and query.get("watch") == "true"
            line = f"{'WATCH' if watch else self.command} {parts.path}"
            with cluster.changed:
                cluster.requests.append(line + ("?dryRun" if "dryRun" in query else ""))
                cluster.bodies.append(body)
            fault = cluster.fault(line)
            if fault is not None and fault.event is None and not fault.after:
                if fault.status:
                    self._answer(fault.status, status(fault.status, fault.message), fault.headers)
                else:
                    self.close_connection = True
                    self.connection.shutdown(2)
                return
            if parts.path.endswith("/portforward") and parts.path.split("/")[-2] not in cluster.forwards:
                self._answer(404, status(404, "pods not found"))
            elif parts.path.endswith("/portforward"):
                relay(self, cluster.forwards[parts.path.split("/")[-2]], int(query["ports"]))
            elif parts.path in cluster.answers:
                answer = cluster.answers[parts.path]
                self._answer(*(answer(body) if callable(answer) else answer))
            elif watch:
                self._watch(query, fault)
            elif parts.path.startswith(WORKFLOWS):
                self._workflow(parts.path.removeprefix(WORKFLOWS).strip("/"), query, body)
            elif parts.path.endswith("/pods"):
                name = query.get("labelSelector", "").split("=")[-1]
                pods = [pod for pod in cluster.logs if pod.startswith(name)]
                self._answer(200, {"items": [{"metadata": {"name": pod}} for pod in pods]})
            elif parts.path.endswith("/log"):
                self._answer(200, cluster.logs[parts.path.split("/")[-2]])
            else:
                self._answer(404, status(404, f"the server could not find the requested resource: {parts.path}"))

        do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = _serve  # noqa: N815

        def _workflow(self, name: str, query: dict[str, str], body: Any) -> None:
            there = cluster.workflows.get(name or (body or {}).get("metadata", {}).get("name", ""))
            missing = status(404, f'workflows.argoproj.io "{name}" not found')
            if self.command == "GET" and not name:
                wanted = query.get("labelSelector", "=").split("=")
                items = [
                    w for w in cluster.workflows.values() if w["metadata"].get("labels", {}).get(wanted[0]) == wanted[1]
                ]
                self._answer(200, {"items": items, "metadata": {"resourceVersion": str(cluster.version)}})
            elif self.command == "POST" and there is not None:
                taken = body["metadata"]["name"]
                self._answer(409, status(409, f'workflows.argoproj.io "{taken}" already exists'))
            elif self.command == "POST":
                if "dryRun" not in query:
                    cluster.put({**body, "status": {}}, "ADDED")
                self._answer(201, body)
            elif there is None:
                self._answer(404, missing)
            elif self.command == "PATCH":

                def merge(old: Object, new: Object) -> None:
                    for key, value in new.items():
                        if isinstance(value, dict):
                            merge(old.setdefault(key, {}), value)
                        else:
                            old[key] = value

                cluster.update(name, lambda old: merge(old, body))
                self._answer(200, cluster.workflows[name])
            elif self.command == "DELETE":
                cluster.put(there, "DELETED")
                self._answer(200, status(200, "deleted"))
            else:
                self._answer(200, there)

        def _watch(self, query: dict[str, str], fault: Fault | None) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            name, seen, sent = query["fieldSelector"].split("=")[1], int(query["resourceVersion"] or 0), 0
            if fault is not None and fault.event is not None:
                self._chunk(json.dumps(fault.event) + "\n")
                self._chunk("")
                return
            while not cluster.closing:
                with cluster.changed:
                    cluster.changed.wait(timeout=0.2)
                    new = [
                        event for event in cluster.events if event[0] > seen and event[2]["metadata"]["name"] == name
                    ]
                for version, kind, workflow in new:
                    seen = version
                    text = json.dumps({"type": kind, "object": workflow}) + "\n"
                    try:
                        self._chunk(text[: len(text) // 2])  # an event may come in pieces
                        self._chunk(text[len(text) // 2 :])
                    except OSError:
                        return
                    sent += 1
                    if fault is not None and sent >= fault.after:
                        self.close_connection = True
                        self.connection.shutdown(2)
                        return
            self._chunk("")

        def _chunk(self, text: str) -> None:
            data = text.encode()
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()

    return Handler


@contextmanager
def kubernetes_server(folder: Path) -> Iterator[tuple[Kubernetes, Path]]:
    """The stand-in on loopback, and a kubeconfig for it in `folder`."""
    cluster = Kubernetes()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(cluster))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    cluster.url = f"http://127.0.0.1:{server.server_port}"
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1", "kind": "Config", "current-context": "test",
                "clusters": [{"name": "c", "cluster": {"server": cluster.url}}],
                "users": [{"name": "u", "user": {"token": "planted-token"}}],
                "contexts": [{"name": "test", "context": {"cluster": "c", "user": "u"}}],
            }
        )
    )  # fmt: skip
    try:
        yield cluster, kubeconfig
    finally:
        cluster.closing = True
        server.shutdown()
        server.server_close()
