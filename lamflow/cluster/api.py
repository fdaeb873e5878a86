"""One HTTP client for Kubernetes and for Argo's server: authentication, TLS, retries, errors that say what to do."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import urllib3
from kubernetes import client
from kubernetes.client import ApiClient, ApiException, Configuration
from kubernetes.config import ConfigException, list_kube_config_contexts, load_incluster_config, load_kube_config

from lamflow.cluster.retry_policy import RetryPolicy, is_stale
from lamflow.config.pods import Cluster
from lamflow.errors import ClusterError, OutageError

SECONDS = 30.0
"""How long one answer may take; a stream may be silent for as long as it is asked to last."""
BUSY = {408, 429, 500, 502, 503, 504}
MERGE_PATCH = "application/merge-patch+json"


class NotFoundError(ClusterError):
    """The object does not exist."""


class AlreadyExistsError(ClusterError):
    """An object of this name exists."""


class GoneError(ClusterError):
    """The server no longer knows the version that a watch wants to go on from."""


class Api:
    """Requests to one server.

    name  of the server as messages call it
    """

    def __init__(self, api: ApiClient, name: str, retry: RetryPolicy) -> None:
        self.api, self.name, self.retry = api, name, retry

    def request(
        self, method: str, path: str, body: Any = None, query: Mapping[str, str] | None = None, kind: str | None = None
    ) -> dict[str, Any]:
        """The JSON answer, tried again through outages. Raises ClusterError, or OutageError when retry ends.

        kind  content type of `body`, if it is not plain JSON
        """

        def once() -> dict[str, Any]:
            with closing(self._call(method, path, body, query, kind, SECONDS)) as response:
                try:
                    return json.loads(response.data or b"{}")  # type: ignore[no-any-return]
                except urllib3.exceptions.HTTPError as error:
                    raise OutageError(f"{self.name} broke off its answer ({error})") from error
                except ValueError as error:
                    raise ClusterError(f"{self.name} does not answer in JSON; is that the right address?") from error

        return self.retry.call(once)

    def header(self, path: str, name: str) -> str:
        """A header of the answer; empty if it has none."""

        def once() -> str:
            with closing(self._call("GET", path, None, None, None, SECONDS)) as response:
                return str(response.headers.get(name, ""))

        return self.retry.call(once)

    def lines(self, path: str, query: Mapping[str, str] | None = None, seconds: float = SECONDS) -> Iterator[str]:
        """The lines of a streamed answer, as they come. Raises OutageError when the connection breaks."""
        with closing(self._call("GET", path, None, query, None, seconds + SECONDS)) as response:
            rest = b""
            try:
                for chunk in response.stream(65536):
                    *whole, rest = (rest + chunk).split(b"\n")
                    yield from (line.decode(errors="replace") for line in whole if line.strip())
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise OutageError(f"{self.name} broke off its answer ({error})") from error
            if rest.strip():
                yield rest.decode(errors="replace")

    def _call(
        self, method: str, path: str, body: Any, query: Mapping[str, str] | None, kind: str | None, seconds: float
    ) -> urllib3.HTTPResponse:
        headers = {"Accept": "*/*", **({"Content-Type": kind} if kind else {})}
        try:
            response: urllib3.HTTPResponse = self.api.call_api(
                path, method, query_params=list((query or {}).items()), header_params=headers, body=body,
                auth_settings=["BearerToken"], _preload_content=False, _return_http_data_only=True,
                _request_timeout=(10.0, seconds),
            )  # fmt: skip
        except ApiException as error:
            raise self._error(error, f"{method} {path}") from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            stale = is_stale(error)
            if stale:
                self.api.rest_client.pool_manager.clear()  # others that were kept open as long are closed as well
            raise OutageError(f"{self.name} does not answer ({_reason(error)})", stale=stale) from error
        return response

    def _error(self, error: ApiException, request: str) -> ClusterError | OutageError:
        """What the server's refusal means, and what to do."""
        message = _message(error).removeprefix("SSLError\n")
        if not error.status and "CERTIFICATE_VERIFY_FAILED" not in message:
            return OutageError(f"{self.name} broke off the connection ({message})")
        if not error.status:
            return ClusterError(
                f"{self.name}: no safe connection: {message}; install the server's certificate authority, or set "
                "cluster.verify_tls to false if you know the server"
            )
        if error.status in BUSY:
            asked = (error.headers or {}).get("Retry-After", "")
            wait = float(asked) if str(asked).isdigit() else 0.0
            return OutageError(f"{self.name} is busy or failing ({error.status}: {message})", wait)
        if error.status == 401:
            return ClusterError(f"{self.name} does not accept the token or certificate ({message}); log in again")
        if error.status == 403:
            return ClusterError(f"{self.name} refuses: {message or request}; {_fix_for_forbidden(message)}")
        known = {404: NotFoundError, 409: AlreadyExistsError, 410: GoneError}
        return known.get(error.status, ClusterError)(f"{self.name}: {request}: {error.status}: {message}")


def connect(cluster: Cluster, retry: RetryPolicy | None = None) -> tuple[Api, bool]:
    """The server that `cluster` and the environment name, and whether it is Argo's own.

    Argo's server if ARGO_SERVER, or outside a pod `cluster.argo_server`, names one; else Kubernetes as a pod of it sees
    it, or as the kubeconfig says. Raises ClusterError when there is no way to find one.
    """
    retry = retry or RetryPolicy()
    in_a_pod = "KUBERNETES_SERVICE_HOST" in os.environ  # which has Kubernetes' token, and none of Argo's server
    url = os.environ.get("ARGO_SERVER") or (None if in_a_pod else cluster.argo_server)
    configuration = Configuration()
    if url:
        configuration.host = (url if "://" in url else f"https://{url}").rstrip("/")
        token = os.environ.get("ARGO_TOKEN", "").removeprefix("Bearer ").strip()
        if token:
            configuration.api_key = {"authorization": f"Bearer {token}"}
        name = f"Argo's server {configuration.host}"
    else:
        _kubernetes(configuration, cluster.context)
        name = f"Kubernetes at {configuration.host}"
    configuration.verify_ssl = configuration.verify_ssl and cluster.verify_tls
    configuration.ssl_ca_cert = configuration.ssl_ca_cert or os.environ.get("SSL_CERT_FILE")
    configuration.retries = False  # RetryPolicy does that
    if not configuration.verify_ssl:
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    return Api(client.ApiClient(configuration), name, retry), bool(url)


def _kubernetes(configuration: Configuration, context: str | None) -> None:
    where = os.environ.get("KUBECONFIG", str(Path.home() / ".kube" / "config"))
    try:
        if "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ:
            load_incluster_config(client_configuration=configuration)
        else:
            load_kube_config(config_file=where, context=context, client_configuration=configuration)
    except (ConfigException, OSError) as error:
        if context is not None and (there := _contexts(where)) and context not in there:
            raise ClusterError(
                f"cluster.context: {where} has no context {context}; it has {', '.join(there)}"
            ) from error
        raise ClusterError(
            f"no cluster: {where}: {error}; set KUBECONFIG to a kubeconfig, or cluster.context to one of its contexts"
        ) from error


def _contexts(where: str) -> list[str]:
    """Names of the contexts of a kubeconfig; none if it cannot be read."""
    try:
        return [str(item["name"]) for item in list_kube_config_contexts(where)[0]]
    except (ConfigException, OSError):
        return []


def _message(error: ApiException) -> str:
    """What the server said, in its own words."""
    body = error.body
    if body is None and error.headers is not None:
        body = ""
    try:
        parsed = json.loads(body or "")
        return str(parsed.get("message", body)) if isinstance(parsed, dict) else str(body)
    except (json.JSONDecodeError, TypeError):
        text = body.decode(errors="replace") if isinstance(body, bytes) else body
        return str(text or error.reason or "")[:500]


def _reason(error: BaseException) -> str:
    inner = getattr(error, "reason", None) or error
    return str(inner).split(": ", 1)[-1]


def _fix_for_forbidden(message: str) -> str:
    if "exceeded quota" in message:
        return "ask for less under `pods:`, run fewer pods at once with `parallel`, or have the ResourceQuota raised"
    return "have the Helm chart's Role lamflow-user bound to you; `lamflow doctor --cluster` lists what is missing"
