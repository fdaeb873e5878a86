"""How a Workflow and its pods stand, read from the object that Kubernetes keeps."""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Manifest = dict[str, Any]
Job = tuple[str, int]
"""Step and number."""
FINISHED = ("Succeeded", "Failed", "Error")


@dataclass(frozen=True)
class Pod:
    """One try of a job of a Workflow: its step, its number, how it ended, and what it said.

    node       Argo's name of the try
    of         how many jobs share the step's work, earlier Workflows of the round included
    exit_code  of its container, None if it never ended
    start, end  seconds since the epoch, 0 if it has not come to that
    """

    node: str
    step: str
    number: int
    of: int
    phase: str
    message: str
    exit_code: int | None
    progress: str
    start: float
    end: float


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


def is_offloaded(workflow: Manifest) -> bool:
    """Its nodes lie in a database of Argo's, and are not here."""
    status = workflow.get("status") or {}
    return bool(status.get("offloadNodeStatusVersion")) and not nodes(workflow)


def tries(workflow: Manifest) -> dict[Job, list[Pod]]:
    """Every try of every job of a Workflow, by step and number; the last one last."""
    found: dict[Job, list[Pod]] = {}
    for key, node in nodes(workflow).items():
        if node.get("type") == "Pod":
            pod = _pod(key, node)
            found.setdefault((pod.step, pod.number), []).append(pod)
    return {job: sorted(found[job], key=lambda pod: pod.start) for job in sorted(found)}


def pods(workflow: Manifest) -> list[Pod]:
    """The last try of every job of a Workflow, by step and number."""
    return [its[-1] for its in tries(workflow).values()]


def _pod(key: str, node: Manifest) -> Pod:
    values = {p["name"]: p.get("value", "") for p in (node.get("inputs") or {}).get("parameters") or []}
    return Pod(
        node=key,
        step=str(node.get("templateName", "")),
        number=int(values.get("job") or 0),
        of=int(values.get("jobs") or 1),
        phase=str(node.get("phase", "")),
        message=str(node.get("message", "")),
        exit_code=_code((node.get("outputs") or {}).get("exitCode")),
        progress=str(node.get("progress", "")),
        start=_time(node.get("startedAt")),
        end=_time(node.get("finishedAt")),
    )


def _code(text: str | None) -> int | None:
    try:
        return int(text) if text is not None else None
    except ValueError:
        return None


def _time(text: str | None) -> float:
    """Seconds since the epoch of a time as Kubernetes writes it; 0 if there is none."""
    if not text:
        return 0.0
    return datetime.fromisoformat(text).timestamp()
