"""PBS Professional and OpenPBS (manual: PBS Professional Reference Guide, qsub, qstat)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from lamflow.batch.system import Element, Request, Seen, State, System, optional

STATES: dict[str, State] = {
    **dict.fromkeys("QHWTM", "waiting"), **dict.fromkeys("RESUB", "running"), **dict.fromkeys("FXC", "over"),
}  # fmt: skip


class Pbs(System):
    """See System."""

    name = "PBS"
    programs = ("qsub", "qstat", "qdel", "qselect")
    index, job = "${PBS_ARRAY_INDEX:-0}", "${PBS_ARRAY_ID:-$PBS_JOBID}"
    full = r"would exceed .*limit|Maximum number of jobs"
    outage = r"cannot connect to server|Connection refused|Connection timed out|No Permission.*daemon|Premature end"
    gone = r"Unknown Job Id|Job has finished|has finished, use -x"
    advice = {
        r"Unknown queue": "`queue` under `batch:` names no queue of this cluster; it has QUEUES",
        r"[Aa]ccount|project": "`account` under `batch:` is not one that you may use",
        r"walltime|(violates|exceeds) queue (and/or server )?resource|all possible destinations": "`wall_time`, CPUs, "
        "memory or GPUs are beyond the limits of the queue; `qstat -Qf QUEUE` says what they are",
        r"Unknown resource": "this cluster does not know a resource that is asked for; if that is `ngpus`, give its "
        "own line under `header`",
        r"array": "`array_size` under `batch:` is larger than the cluster allows (max_array_size)",
    }
    usual, never_begins = r"[QWTM]", r"(?!)"
    longest = 15

    def header(self, request: Request) -> list[str]:
        """See System. An array of PBS has two elements or more."""
        ask, cores = request.allocation, request.processes * request.threads
        chunk = f"{request.nodes}:ncpus={cores}:mpiprocs={request.processes}:ompthreads={request.threads}"
        gpus = f":ngpus={request.gpus}" if request.gpus else ""
        limit = f"%{request.at_once}" if request.at_once else ""
        words = [
            f"-N {request.name}", *([f"-J 0-{request.elements - 1}{limit}"] if request.elements > 1 else []),
            f"-o {request.output.replace('INDEX', '^array_index^' if request.elements > 1 else '0')}", "-j oe", "-r y",
            f"-l select={chunk}:mem={request.memory}mb{gpus}", f"-l walltime={request.clock}",
            *optional("-q {}", ask.queue), *optional("-A {}", ask.account),
        ]  # fmt: skip
        return [f"#PBS {word}" for word in words]

    def submit(self, script: str, request: Request) -> str:
        """See System."""
        del request
        return f"qsub {shlex.quote(script)}"

    def submitted(self, answer: str) -> str:
        """See System."""
        found = re.search(r"^(\d+(\[\])?(\.\S+)?)$", answer, re.MULTILINE)
        return found[1] if found else ""

    def ask(self, arrays: Sequence[str]) -> str:
        """See System."""
        return f"qstat -x -t {' '.join(map(shlex.quote, arrays))}"

    def seen(self, answer: str, arrays: Sequence[str]) -> dict[Element, Seen]:
        """See System. The table cuts the name of the server off, so numbers are compared."""
        numbers = {array.partition("[")[0].partition(".")[0]: array for array in arrays}
        found = {}
        for line in answer.splitlines():
            words = line.split()
            row = re.match(r"(\d+)(\[(\d*)\])?(\.|$)", words[0]) if len(words) >= 5 else None
            if row is not None and row[1] in numbers and row[2] != "[]":
                letter = words[-2]
                found[numbers[row[1]], int(row[3] or 0)] = Seen(STATES.get(letter, "running"), letter)
        return found

    def cancel(self, arrays: Sequence[str]) -> str:
        """See System."""
        return f"qdel {' '.join(map(shlex.quote, arrays))}"

    def find(self, name: str) -> str:
        """See System."""
        return f"qselect -x -N {shlex.quote(name)}"

    def named(self, answer: str) -> list[str]:
        """See System."""
        return list(dict.fromkeys(answer.split()))

    def queues(self) -> str:
        """See System."""
        return "qstat -Q | awk 'NR > 2 {print $1}'"
