"""An operation for tests: each job writes a file, and does what a file called `orders/JOB` says."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import NamedTuple

from lamflow.errors import EngineError, NodeError
from lamflow.ops.operation import Context, op


class Worked(NamedTuple):
    """result: a file for each job."""

    result: Path


@op
def work(context: Context, *, orders: Path | None) -> Worked:
    """Note that the job has run, follow its orders, and write what it is.

    Orders are words: `sleep SECONDS`, `wait FILE` (until it is there), `keep` a checkpoint, `fail`, `node` (a failure of the machine), `kill` (as for
    memory), `take MB` of memory and wait; `once` before them: only the first time. The file `ran` in the scratch folder counts the times.
    """
    ran = context.scratch / "ran.txt"
    times = int(ran.read_text()) if ran.is_file() else 0
    ran.write_text(f"{times + 1}")
    file = orders / f"{context.job}" if orders is not None else None
    words = file.read_text().split() if file is not None and file.is_file() else []
    context.say(f"runs for the {times + 1}. time")
    if words[:1] == ["once"]:
        words = words[1:] if times == 0 else []
    if words[:1] == ["keep"]:
        (context.scratch / "model.pt").write_text(f"{time.time()}")
        words = words[1:]
    match words:
        case ["sleep", seconds]:
            time.sleep(float(seconds))
        case ["wait", name]:
            while not Path(name).exists():
                time.sleep(0.1)
        case ["take", size]:
            taken = b"x" * (int(size) << 20)
            time.sleep(20)
            del taken
        case ["fail"]:
            raise EngineError("SCF did not converge")
        case ["node"]:
            raise NodeError("the disk is gone")
        case ["kill"]:
            os.kill(os.getpid(), signal.SIGKILL)
    folder = context.out / "result"
    folder.mkdir()
    (folder / f"{context.job}.txt").write_text(f"{context.job} of {context.jobs}")
    return Worked(folder)
