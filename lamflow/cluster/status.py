"""How a Workflow and its pods stand, read from the object that Kubernetes keeps."""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Manifest = dict[str, Any]
FINISHED = ("Succeeded", "Failed", "Error")


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
            number=int(values.get("job") or 0),
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
    return datetime.fromisoformat(text).timestamp()
