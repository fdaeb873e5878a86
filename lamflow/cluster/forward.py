"""A way from here to a Service inside the cluster, through Kubernetes' API: what `kubectl port-forward` does."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any
from urllib.parse import urlparse

from kubernetes.client import ApiClient, ApiException, CoreV1Api
from kubernetes.stream import portforward

from lamflow.cluster.api import Api, NotFoundError, connect
from lamflow.config.pods import Cluster
from lamflow.errors import ClusterError, LamflowError

CHUNK = 65536
INSIDE = re.compile(r"([a-z0-9][-a-z0-9]*)(\.([a-z0-9][-a-z0-9]*)(\.svc(\.cluster\.local)?)?)?")


@lru_cache
def forwarded(url: str, namespace: str, context: str | None, verify_tls: bool) -> str:
    """The URL on this machine that leads to the Service of `url`, as long as this process lives.

    Raises ClusterError when there is no such Service, or no pod behind it.
    """
    parts = urlparse(url)
    match = INSIDE.fullmatch(parts.hostname or "")
    if match is None:
        raise ClusterError(f"{url} does not name a Service of the cluster")
    where = match[3] or namespace
    api, argo = connect(Cluster(context=context, verify_tls=verify_tls))
    if argo:
        raise ClusterError(
            f"{url} cannot be reached through Argo's server; set AWS_ENDPOINT_URL to a way that leads there"
        )
    port = parts.port or (443 if parts.scheme == "https" else 80)
    find = partial(_target, api, where, match[1], port)
    pod = find()
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_accept, args=(listener, api, where, find, pod), daemon=True).start()
    return f"{parts.scheme}://127.0.0.1:{listener.getsockname()[1]}"


def _target(api: Api, namespace: str, service: str, port: int) -> tuple[str, int]:
    """A ready pod behind a Service, and the port that it listens at."""
    base = f"/api/v1/namespaces/{namespace}"
    try:
        found = api.request("GET", f"{base}/services/{service}")
    except NotFoundError as error:
        raise ClusterError(
            f"there is no Service {service} in namespace {namespace}; see cluster.s3.endpoint, or set AWS_ENDPOINT_URL"
        ) from error
    wanted: dict[str, Any] = next((item for item in found["spec"]["ports"] if item["port"] == port), {})
    selector = ",".join(f"{key}={value}" for key, value in (found["spec"].get("selector") or {}).items())
    for pod in api.request("GET", f"{base}/pods", query={"labelSelector": selector}).get("items") or []:
        conditions = {item["type"]: item["status"] for item in (pod.get("status") or {}).get("conditions") or []}
        if conditions.get("Ready") == "True":
            return pod["metadata"]["name"], _number(pod, wanted.get("targetPort", port))
    raise ClusterError(f"no pod is ready behind Service {service} in namespace {namespace}")


def _number(pod: dict[str, Any], target: str | int) -> int:
    """A port by its number or name."""
    named = [port for container in pod["spec"]["containers"] for port in container.get("ports") or []]
    return next((port["containerPort"] for port in named if port.get("name") == target), None) or int(target)


def _accept(
    listener: socket.socket, api: Api, namespace: str, find: Callable[[], tuple[str, int]], target: tuple[str, int]
) -> None:
    """Lead every connection to the pod, and to another one when it is gone."""
    while True:
        here, _ = listener.accept()
        try:
            there = _connected(api, namespace, *target)
        except ApiException:
            try:
                target = find()
                there = _connected(api, namespace, *target)
            except (ApiException, LamflowError):
                here.close()  # whoever wanted it tries again, or says that nothing answers
                continue
        for source, sink in ((here, there), (there, here)):
            threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _connected(api: Api, namespace: str, pod: str, port: int) -> Any:
    """A socket that leads to a port of a pod."""
    core = CoreV1Api(ApiClient(api.api.configuration))  # of its own: a forward changes its client for a moment
    forward = portforward(core.connect_get_namespaced_pod_portforward, pod, namespace, ports=str(port))
    there = forward.socket(port)
    there.setblocking(True)
    return there


def _pump(source: Any, sink: Any) -> None:
    """Copy until one side ends, then end the other."""
    with suppress(OSError):
        while data := source.recv(CHUNK):
            sink.sendall(data)
    for each in (source, sink):  # to close what another thread reads from would not end it
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):
            each.close()
