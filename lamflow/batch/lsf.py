"""IBM Spectrum LSF (manual: bsub, bjobs). Elements of an array are counted from 1 there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from lamflow.batch.system import Element, Request, Seen, State, System, optional

STATES: dict[str, State] = {
    **dict.fromkeys(("PEND", "PSUSP", "WAIT"), "waiting"),
    **dict.fromkeys(("RUN", "USUSP", "SSUSP", "PROV", "UNKWN", "ZOMBI"), "running"),
    **dict.fromkeys(("DONE", "EXIT"), "over"),
}


class Lsf(System):
    """See System."""

    name = "LSF"
    programs = ("bsub", "bjobs", "bkill", "bqueues")
    index, job = "$((${LSB_JOBINDEX:-1} > 0 ? ${LSB_JOBINDEX:-1} - 1 : 0))", "${LSB_JOBID}"
    full = r"reached|limit .*(pending|slots)|[Pp]ending job threshold|Too many jobs"
    outage = r"LSF is down|Cannot connect to LSF|mbatchd|Connection refused|LIM is down|Please wait"
    gone = r"is not found|No matching job|No unfinished job"
    advice = {
        r"No such queue": "`queue` under `batch:` names no queue of this cluster; it has QUEUES",
        r"project": "`account` under `batch:` is not a project that you may use",
        r"RUNLIMIT|run limit": "`wall_time` under `batch:`, or `timeout` under `pods:` without it, is longer than the "
        "queue allows; `bqueues -l QUEUE` says how long that is",
        r"[Bb]ad resource requirement|GPU": "no host has the GPUs, CPUs and memory that `pods:` asks for",
        r"[Aa]rray": "`array_size` under `batch:` is larger than the cluster allows (MAX_JOB_ARRAY_SIZE)",
    }
    usual, never_begins = r"PEND$|WAIT$", r"(?!)"
    longest = 60

    def header(self, request: Request) -> list[str]:
        """See System."""
        ask, cores = request.allocation, request.processes * request.threads
        limit = f"%{request.at_once}" if request.at_once else ""
        kind = f":gmodel={ask.gpu_type}" if ask.gpu_type else ""
        words = [
            f'-J "{request.name}[1-{request.elements}]{limit}"', f"-o {request.output.replace('INDEX', '%I')}", "-r",
            f"-n {request.nodes * cores}", f'-R "span[ptile={cores}] rusage[mem={request.memory}MB]"',
            f"-W {-(-request.seconds // 60)}", *optional(f'-gpu "num={{}}{kind}"', request.gpus),
            *optional("-q {}", ask.queue), *optional("-P {}", ask.account),
        ]  # fmt: skip
        return [f"#BSUB {word}" for word in words]

    def submit(self, script: str, request: Request) -> str:
        """See System. bsub reads the lines of a script from its input."""
        del request
        return f"bsub < {shlex.quote(script)}"

    def submitted(self, answer: str) -> str:
        """See System."""
        found = re.search(r"Job <(\d+)>", answer)
        return found[1] if found else ""

    def ask(self, arrays: Sequence[str]) -> str:
        """See System."""
        return f"bjobs -a -noheader -o \"jobid jobindex stat exit_reason delimiter='|'\" {' '.join(arrays)}"

    def seen(self, answer: str, arrays: Sequence[str]) -> dict[Element, Seen]:
        """See System."""
        found = {}
        for line in answer.splitlines():
            array, index, word, reason = [*line.split("|"), "", "", ""][:4]
            if array in arrays and index.isdigit():
                said = word if reason in ("", "-") else f"{word} ({reason})"
                found[array, max(0, int(index) - 1)] = Seen(STATES.get(word, "running"), said)
        return found

    def called(self, index: int) -> str:
        """See System. It counts from 1."""
        return f"{index + 1}"

    def cancel(self, arrays: Sequence[str]) -> str:
        """See System."""
        return f"bkill {' '.join(arrays)}"

    def find(self, name: str) -> str:
        """See System."""
        return f"bjobs -a -noheader -o jobid -J {shlex.quote(name)}"

    def named(self, answer: str) -> list[str]:
        """See System."""
        return list(dict.fromkeys(re.findall(r"^\d+$", answer, re.MULTILINE)))

    def queues(self) -> str:
        """See System."""
        return "bqueues -noheader -o queue_name"
