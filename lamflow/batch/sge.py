"""Grid Engine: SGE, Univa, Altair, Open Cluster Scheduler (manual: qsub, qstat). Tasks are counted from 1 there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from lamflow.batch.system import Element, Request, Seen, State, System, optional
from lamflow.config.batch import GridEngineNames

LOAD_VALUES = ("mem_free", "mem_total", "virtual_free", "virtual_total")
"""Resources that nodes measure; whether a job that asks for them could ever run, Grid Engine does not know before."""
ERROR = re.compile(r"^error reason\s+(\d+):\s+(?:\d\S+ \d\S+ \[\S+\]: )?(?:error: )?(.*\S)", re.MULTILINE)
"""Of `qstat -j`: the task and why it is in error."""


class Sge(System):
    """See System."""

    name = "SGE"
    programs = ("qsub", "qstat", "qdel", "qconf")
    index, job = "$((${SGE_TASK_ID:-1} - 1))", "${JOB_ID}"
    full = r"job rejected: (only|max).*jobs|too many jobs|exceeds.*limit of jobs"
    outage = r"unable to (contact|send message to) qmaster|commlib error|got no connection|Connection refused"
    gone = r"obs do not exist|job \"\d+\" (task \"\d+\" )?does not exist|already in deletion"
    advice = {
        r"[Qq]ueue .*does not exist|unknown queue": "`queue` under `batch:` names no queue "
        "of this cluster; it has QUEUES",
        r"project": "`account` under `batch:` is not a project that you may use; `qconf -sprjl` lists them",
        r"parallel environment": "this cluster has no such parallel environment; `sge: {environment: NAME}` under "
        "`batch:` names one that `qconf -spl` lists",
        r"no suitable queues": "no queue has the slots, memory (by slot), GPUs and wall time that `pods:` and `batch:` "
        "ask for: `qsub -w v` with that script says what is lacking, and submits nothing. If a line of `header` asks "
        "for what only a load sensor knows, add `#$ -w n`",
        r"unknown resource": "this cluster does not know that resource; `sge: {memory: NAME, gpus: NAME}` under "
        "`batch:` says what it calls them, and `qconf -sc` lists what it has",
        r"more than \d+ tasks": "`array_size` under `batch:` is larger than the cluster allows (max_aj_tasks)",
    }
    usual, never_begins = r"qw", r"(?!)"
    longest = 60

    def header(self, request: Request) -> list[str]:
        """See System. Memory is asked for by slot; what no queue could ever give is refused (`-w e`).

        Before the first colon of a path stands the host that it is for.
        """
        ask, cores = request.allocation, request.nodes * request.processes * request.threads
        names, memory = ask.sge or GridEngineNames(), -(-request.nodes * request.memory // cores)
        words = [
            f"-N {request.name}", f"-t 1-{request.elements}", *optional("-tc {}", request.at_once),
            f"-o :{request.output.replace('INDEX', '$TASK_ID')}", "-j y", "-cwd", "-r y",
            f"-w {'n' if names.memory in LOAD_VALUES else 'e'}", "-S /bin/bash",
            *([f"-pe {names.environment} {cores}"] if cores > 1 else []), f"-l h_rt={request.clock}",
            *([f"-l {names.memory}={memory}M"] if names.memory else []),
            *optional(f"-l {names.gpus}={{}}", request.gpus),
            *optional("-q {}", ask.queue), *optional("-P {}", ask.account),
        ]  # fmt: skip
        return [f"#$ {word}" for word in words]

    def submit(self, script: str, request: Request) -> str:
        """See System."""
        del request
        return f"qsub {shlex.quote(script)}"

    def rehearse(self, script: str) -> str:
        """See System. Not where a line of the script forbids it."""
        file = shlex.quote(script)
        return f"grep -q '^#$ -w n' {file} || qsub -w v {file}"

    def submitted(self, answer: str) -> str:
        """See System."""
        found = re.search(r"Your job(?:-array)? (\d+)", answer)
        return found[1] if found else ""

    def ask(self, arrays: Sequence[str]) -> str:
        """See System. It lists all jobs of the user."""
        del arrays
        return 'qstat -u "$(id -un)"'

    def seen(self, answer: str, arrays: Sequence[str]) -> dict[Element, Seen]:
        """See System. Tasks that wait share a line: `3-10:1`, or `3,5`."""
        found = {}
        for line in answer.splitlines():
            words = line.split()
            if len(words) >= 8 and words[0] in arrays:
                word = words[4]
                state: State = "held" if word.startswith("E") else "waiting" if "q" in word else "running"
                for index in _tasks(words[-1]):
                    found[words[0], index] = Seen(state, word)
        return found

    def explain(self, array: str) -> str:
        """See System. The file of accounts may be long, or not be there."""
        return f"qstat -j {array}; timeout 60 qacct -j {array}"

    def explained(self, answer: str) -> dict[int, str]:
        """See System."""
        held = {int(row[1]) - 1: row[2] for row in ERROR.finditer(answer)}
        records = [dict(re.findall(r"^(\w+) +(.*\S)", part, re.MULTILINE)) for part in re.split(r"(?m)^=+$", answer)]
        ends = {int(its["taskid"]) - 1: _end(its) for its in records if its.get("taskid", "").isdigit()}
        return {index: why for index, why in ends.items() if why} | held

    def called(self, index: int) -> str:
        """See System. It counts from 1."""
        return f"{index + 1}"

    def cancel(self, arrays: Sequence[str]) -> str:
        """See System."""
        ends = []
        for array in arrays:
            job, _, index = array.partition("_")
            ends.append(f"qdel {job} -t {int(index) + 1}" if index else f"qdel {job}")
        return "; ".join(ends)

    def find(self, name: str) -> str:
        """See System."""
        return f"qstat -j {shlex.quote(name)}"

    def named(self, answer: str) -> list[str]:
        """See System."""
        return list(dict.fromkeys(re.findall(r"^job_number:\s+(\d+)$", answer, re.MULTILINE)))

    def queues(self) -> str:
        """See System."""
        return "qconf -sql"


def _end(account: dict[str, str]) -> str:
    """Why a task ended, by what `qacct` says of it; empty if it did well."""
    number, _, failed = account.get("failed", "0").partition(":")
    status = account.get("exit_status", "0").split()[0]
    if number.strip() == status == "0":
        return ""
    limit, seconds = (
        re.search(r"h_rt=(\d+)(?![\d:])", account.get("category", "")),
        account.get("ru_wallclock", "0").rstrip("s"),
    )
    if limit is not None and float(seconds) >= float(limit[1]):
        failed = "its wall time was over"
    return f"{failed.strip() or 'FAILED'}, exit status {status}"


def _tasks(words: str) -> list[int]:
    """Numbers from 0 of the tasks that `3`, `3-10:1` or `3,5` name."""
    numbers: list[int] = []
    for part in words.split(","):
        row = re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", part)
        if row is not None:
            numbers += range(int(row[1]) - 1, int(row[2] or row[1]), int(row[3] or 1))
    return numbers
