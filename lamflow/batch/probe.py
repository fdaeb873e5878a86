"""What a node says of itself: `python -m lamflow.batch.probe FOLDER NUMBER INDEX LANE ID`, for `lamflow doctor`."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import time
from importlib.metadata import version
from pathlib import Path

from lamflow.batch.documents import SEEN
from lamflow.config.installed import engines
from lamflow.data.document import Result

PROBE = "probe.json"


class Probe(Result):
    """What a node is asked: the engines of each array, by its number."""

    engines: dict[int, list[str]]


class Answer(Result):
    """What it says.

    clock     s since 1970
    gpus      that programs may use
    problems  of engines, by name
    """

    host: str
    clock: float
    lamflow: str
    gpus: str
    free: int
    problems: dict[str, str]


def answer_file(folder: Path, number: int) -> Path:
    """Where the node writes its answer."""
    return folder / SEEN / f"{number}-0.json"


def main(folder: Path, number: int) -> None:
    """Write what this node says."""
    problems = {}
    for name in Probe.read(folder / PROBE).engines[number]:
        try:
            engines()[name].probe()
        except Exception as error:  # noqa: BLE001  whatever is wrong with an engine is what doctor is asked for
            problems[name] = str(error)
    Answer(
        host=socket.gethostname(), clock=time.time(), lamflow=version("lamflow"),
        gpus=os.environ.get("CUDA_VISIBLE_DEVICES", ""), free=shutil.disk_usage(folder).free, problems=problems,
    ).save(answer_file(folder, number))  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
