"""The script of an array: what it asks for, the environment of its jobs, and the jobs."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

from lamflow.batch.system import Request, System
from lamflow.config.batch import Allocation

REFUSE = """\
refuse() {{ mkdir -p {seen}; printf '%s\\n' "$1" > {seen}/{number}-$index.refused; exit 3; }}
"""
LOAD = """\
for file in /etc/profile.d/modules.sh /etc/profile.d/lmod.sh; do
  command -v module >/dev/null || ! [ -r $file ] || . $file
done
load() {
  said=$(module load "$1" 2>&1 >/dev/null) && module load "$1" || refuse "module $1 cannot be loaded: $said"
  case "$said" in *[Ee][Rr][Rr][Oo][Rr]*|*"nable to locate"*) refuse "module $1 cannot be loaded: $said";; esac
}
"""
MPS = """\
export CUDA_MPS_PIPE_DIRECTORY=$(mktemp -d) CUDA_MPS_LOG_DIRECTORY=$(mktemp -d)
nvidia-cuda-mps-control -d || refuse "mps: nvidia-cuda-mps-control does not start on this node"
trap 'echo quit | nvidia-cuda-mps-control' EXIT
"""
CONTAINER = """\
container=$(command -v apptainer || command -v singularity) || refuse "no apptainer or singularity on this node"
"""
LANES = """\
status=0
for lane in $(seq 0 {last}); do
  {command} $index $lane "$element" &
done
for process in $(jobs -p); do wait $process || status=1; done
"""


def script(system: System, request: Request, folder: str, number: int, store: str, words: Sequence[str]) -> str:
    """The script of array `number` of the step in `folder`.

    folder, store  as the nodes see them
    words          the program of each lane, which is told the element's number, its own and the element's id, too
    """
    ask = request.allocation
    seen = shlex.quote(f"{folder}/seen")
    parts = [
        "#!/bin/bash -l", *system.header(request), *(ask.header or []),
        "export LAMFLOW_BEGAN=$(date +%s)", f"index={system.index}", f'element="{system.job}_$index"',
        REFUSE.format(seen=seen, number=number).rstrip(),
        f'cd {shlex.quote(folder)} || {{ echo "this node does not see {folder}"; exit 4; }}',
        *_environment(request),
        *(MPS.splitlines() if ask.mps else []), *(ask.before or []),
        *(CONTAINER.splitlines() if ask.container else []),
        LANES.format(last=(ask.together or 1) - 1, command=_container(request, store) + shlex.join(words)).rstrip(),
        *(ask.after or []), "exit $status",
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


def _environment(request: Request) -> list[str]:
    ask, threads = request.allocation, request.threads
    modules = [*LOAD.splitlines(), *(f"load {name}" for name in ask.modules)] if ask.modules else []
    files = [
        line for file in ask.source or []
        for line in (f'[ -r {_path(file)} ] || refuse "source: no {file} on this node"', f". {_path(file)}")
    ]  # fmt: skip
    fixed = {
        "OMP_NUM_THREADS": str(threads), "DP_INTRA_OP_PARALLELISM_THREADS": str(threads),
        "DP_INTER_OP_PARALLELISM_THREADS": "1", **request.environment,
    }  # fmt: skip
    return [*modules, *files, *(f"export {name}={shlex.quote(value)}" for name, value in fixed.items())]


def python(ask: Allocation) -> str:
    """The Python that has lamflow on the nodes."""
    return ask.python or ("python3" if ask.container else sys.executable)


def _container(request: Request, store: str) -> str:
    """What starts the container, in which the run's folder has the same name; nothing without one.

    Its options are those that Apptainer and Singularity share.
    """
    ask = request.allocation
    if ask.container is None:
        return ""
    gpus = ["--nv"] if request.gpus else []
    bound = ["exec", *gpus, "--bind", store, *(ask.container_options or []), ask.container]
    return f'"$container" {shlex.join(bound)} '


def _path(file: str) -> str:
    """A path in a shell, with its variables and its ~."""
    return file if file.startswith(("~", "$")) else shlex.quote(file)
