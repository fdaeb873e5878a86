"""Slurm (manual: slurm.schedmd.com). No accounting database is needed: jobs leave files, and sacct is not asked."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from lamflow.batch.system import Element, Request, Seen, State, System, optional

STATES: dict[str, State] = {
    **dict.fromkeys(("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "POWER_UP_NODE"), "waiting"),
    **dict.fromkeys(("REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"), "held"),
    **dict.fromkeys(
        ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "LAUNCH_FAILED", "NODE_FAIL", "OUT_OF_MEMORY",
         "PREEMPTED", "RECONFIG_FAIL", "REVOKED", "TIMEOUT"), "over"
    ),
}  # fmt: skip
"""By squeue's words; those of jobs that run, and words that are not known, are not here."""


class Slurm(System):
    """See System."""

    name = "Slurm"
    programs = ("sbatch", "squeue", "scancel", "sinfo")
    index, job = "$SLURM_ARRAY_TASK_ID", "${SLURM_ARRAY_JOB_ID}"
    full = (  # Slurm says "job submit limit, user's size and/or time limits" for all of them; newer ones name the limit
        r"MaxSubmit|MaxJobs|GrpSubmit|GrpJobs|Slurm temporarily unable|"
        r"(?s:^(?!.*(?:(?:QOS|Assoc)(?:Max|Min|Grp)|exceeds)).*Job violates accounting/QOS policy)"
    )
    outage = (
        r"Unable to contact slurm|Socket timed out|Connection (refused|timed out)|slurm_load_jobs error: Zero Bytes|"
        r"[Mm]unge|Protocol authentication error|Transport endpoint|Unexpected message|backup controller"
    )
    gone = r"Invalid job id"
    advice = {
        r"[Ii]nvalid partition": "`queue` under `batch:` names no partition of this cluster; it has QUEUES",
        r"[Ii]nvalid ?account|AccountNotAllowed": "`account` under `batch:` is not one that you may use; "
        "`sacctmgr show assoc user=$USER` lists yours",
        r"[Ii]nvalid ?qos|InvalidQOS|QOSNotAllowed": "`qos` under `batch:` is not one that this account may use; "
        "`sacctmgr show assoc user=$USER format=account,qos` lists them",
        r"time limit is|timelimit|TimeLimit|WallDuration": "`wall_time` under `batch:`, or `timeout` under `pods:` "
        "without it, is longer than partition, account or qos allow; `sinfo -o '%P %l'` says how long a partition lets "
        "jobs run",
        r"BadConstraints|generic resource|Requested node configuration|gres": "no node of the partition has the "
        "GPUs (`gpus`, `gpu_type`), CPUs and memory that `pods:` asks for; `sinfo -o '%P %G %c %m'` says what there is",
        r"CPU count|[Mm]emory specification|More processors|Node count": "no node of the partition has as many CPUs "
        "or as much memory as `pods:` asks for; `sinfo -o '%P %c %m'` says what there is",
        r"(QOS|Assoc)Grp\w+Minutes": "the hours of this account or qos are used up, or fewer are left than these jobs "
        "may take: name another `account` or `qos` under `batch:`, or a shorter `wall_time`; `sshare -l` says what was "
        "used",
        r"(QOS|Assoc)(Max|Min|Grp)\w+|Max\w+PerJob|violates accounting": "this account or qos has a limit for that: "
        "`sacctmgr show qos` and `sacctmgr show assoc user=$USER` say how much it allows, `pods:` what is asked for",
        r"feature": "`constraint` under `batch:` names a feature that no node has",
        r"array": "`array_size` under `batch:` is larger than the cluster allows; `scontrol show config | grep "
        "MaxArraySize` says how many",
    }
    usual = r"Priority|Resources|JobArrayTaskLimit|None|BeginTime|Prolog|Cleaning"
    never_begins = (
        r"PartitionTimeLimit|PartitionNodeLimit|BadConstraints|InvalidAccount|InvalidQOS|AccountNotAllowed|QOSNotAllowed|"
        r"Max\w+PerJob|MaxMemPerLimit"
    )
    longest = 60

    def header(self, request: Request) -> list[str]:
        """See System."""
        ask, limit = request.allocation, f"%{request.at_once}" if request.at_once else ""
        words = [
            f"--job-name={request.name}", f"--array=0-{request.elements - 1}{limit}",
            f"--output={request.output.replace('INDEX', '%a')}", "--open-mode=append", "--requeue",
            f"--nodes={request.nodes}", f"--ntasks-per-node={request.processes}", f"--cpus-per-task={request.threads}",
            f"--mem={request.memory}M", f"--time={request.clock}",
            *optional(f"--gres=gpu:{ask.gpu_type + ':' if ask.gpu_type else ''}{{}}", request.gpus),
            *optional("--partition={}", ask.queue), *optional("--account={}", ask.account),
            *optional("--qos={}", ask.qos), *optional("--constraint={}", ask.constraint and f'"{ask.constraint}"'),
        ]  # fmt: skip
        return [f"#SBATCH {word}" for word in words]

    def submit(self, script: str, request: Request) -> str:
        """See System."""
        del request
        return f"sbatch --parsable {shlex.quote(script)}"

    def rehearse(self, script: str) -> str:
        """See System. Limits under which a job would wait are not looked at."""
        return f"sbatch --test-only {shlex.quote(script)}"

    def submitted(self, answer: str) -> str:
        """See System. A federation adds the name of the cluster."""
        found = re.search(r"^(\d+)(;\S+)?$", answer, re.MULTILINE)
        return found[1] if found else ""

    def ask(self, arrays: Sequence[str]) -> str:
        """See System."""
        return f"squeue -h -r -t all -o '%F|%K|%T|%r' -j {','.join(arrays)}"

    def seen(self, answer: str, arrays: Sequence[str]) -> dict[Element, Seen]:
        """See System."""
        found = {}
        for line in answer.splitlines():
            array, index, word, reason = [*line.split("|"), "", "", ""][:4]
            if array in arrays and index.isdigit():
                state = "held" if "requeued held" in reason else STATES.get(word, "running")
                said = word if reason in ("", "None") else f"{word} ({reason})"
                found[array, int(index)] = Seen(state, said)
        return found

    def cancel(self, arrays: Sequence[str]) -> str:
        """See System."""
        return f"scancel {' '.join(arrays)}"

    def find(self, name: str) -> str:
        """See System."""
        return f'squeue -h -t all -u "$(id -un)" -n {shlex.quote(name)} -o %F'

    def named(self, answer: str) -> list[str]:
        """See System."""
        return list(dict.fromkeys(answer.split()))

    def queues(self) -> str:
        """See System."""
        return "sinfo -h -o %R"
