"""`batch:` where and how jobs run on a batch system: Slurm, PBS, LSF, SGE, or processes of a plain machine."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from lamflow.config.section import Section
from lamflow.units import Count, Second

SystemName = Literal["slurm", "pbs", "lsf", "sge", "shell"]
"""`shell` starts processes, for a machine without a batch system."""
Word = Annotated[str, StringConstraints(pattern=r"^[^\s'\"`$;&|<>\\]+$")]
"""A word that needs no quotes in a shell."""
Host = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9_.-]+@)?[A-Za-z0-9][A-Za-z0-9_.:-]*$")]


class GridEngineNames(Section):
    """What Grid Engine calls things on this cluster: its operators choose."""

    environment: Word = "smp"
    """Parallel environment in which the slots of a job are on one node; `qconf -spl` lists them."""
    memory: Word | None = "h_vmem"
    """Resource of which each slot gets its share of a job's memory; null asks for none. `h_vmem` also limits
    the address space of each process, of which DeePMD-kit takes 3.6 GB, and tens of GB with CUDA."""
    gpus: Word = "gpu"
    """Resource of GPUs, of which a job has a number; `qconf -sc` lists them."""


class Allocation(Section):
    """What the jobs of a step ask of a batch system beside CPUs, memory and GPUs, which `pods:` says.

    Under `batch:` it holds for every kind of step, under `pods.KIND.batch` for one; what is said there wins.
    """

    queue: Word | None = None
    """Partition of Slurm, queue of PBS, LSF and SGE; the system's own default if absent."""
    account: Word | None = None
    """Account or project that pays."""
    qos: Word | None = None
    """Quality of service (Slurm)."""
    wall_time: Second | None = None
    """Wall time of an allocation. If absent, as long as its jobs may work, `pods.KIND.timeout` each, and five
    minutes."""
    nodes: Count | None = None
    """Nodes of an allocation, for programs that use MPI across several; one if absent."""
    gpu_type: Word | None = None
    """Which GPUs, as Slurm calls them: `a100`."""
    constraint: str | None = None
    """Features that nodes must have (Slurm)."""
    sge: GridEngineNames | None = None
    """Names of Grid Engine's resources."""
    together: Annotated[int, Field(ge=1, le=256)] | None = None
    """Jobs that share an allocation at the same time. Each has its own CPUs and memory; they share its GPUs."""
    mps: bool | None = None
    """Start NVIDIA's multi-process service, for several jobs on one GPU."""
    modules: list[Word] | None = None
    """Environment modules to load, in this order."""
    source: list[str] | None = None
    """Shell files to read, for example `/opt/intel/setvars.sh`."""
    header: list[str] | None = None
    """More lines for the batch system, whole: `#SBATCH --reservation=course`."""
    before: list[str] | None = None
    """Shell lines before the work."""
    after: list[str] | None = None
    """Shell lines after the work."""
    container: str | None = None
    """Image of Apptainer or Singularity in which the work is done: a `.sif` file, or `docker://…`."""
    container_options: list[Word] | None = None
    """More options of `apptainer exec`."""
    python: str | None = None
    """Python that has lamflow, as the nodes see it; the one that drives the run if absent, `python3` in a container."""

    def overridden(self, other: Allocation | None) -> Allocation:
        """With what `other` says instead."""
        mine = {name: getattr(self, name) for name in Allocation.model_fields}
        theirs = {} if other is None else {name: getattr(other, name) for name in Allocation.model_fields}
        return Allocation.model_construct(**mine | {key: value for key, value in theirs.items() if value is not None})


class BatchSystem(Allocation):
    """A batch system. The driver runs where its commands are, or reaches them over ssh."""

    system: SystemName = "slurm"
    host: Host | None = None
    """Login node, `USER@HOST`, reached with the ssh of this machine: its keys, agent, known hosts and
    `~/.ssh/config`. If absent, the commands of the batch system are here and nodes see the run's folder."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    identity: str | None = None
    """File of the private key; what ssh chooses if absent."""
    jump: list[Host] = Field(default_factory=list)
    """Hosts between here and `host`, in order."""
    root: Word | None = None
    """Folder on `host`, seen by its nodes, that holds a folder for each run."""
    login: list[str] = Field(default_factory=list)
    """Shell lines before each command on `host`, where its batch system is not on PATH without."""
    array_size: Count = 1000
    """Most elements of an array; more jobs than that share elements, one after the other. Slurm's own limit is 1001."""
    queued: Count | None = None
    """Most elements of this run in the queue at once, waiting or running; without limit if absent."""
    poll: Second = 10.0
    """How often the queue is asked."""
    outage: Second = 6 * 3600.0
    """How long a batch system or a host that does not answer, or a queue that is full, is asked again."""
    driver: Allocation = Allocation(wall_time=24 * 3600.0)
    """What the driver asks for where `lamflow submit` makes it a job; before its wall time ends it submits itself
    again."""

    @model_validator(mode="after")
    def _host_has_a_root(self) -> Self:
        if self.host is not None and self.root is None:
            raise ValueError("host needs root: a folder on that machine, seen by its nodes, for the runs")
        if self.host is None:
            for key in ("root", "port", "identity", "jump", "login"):
                if getattr(self, key):
                    raise ValueError(f"{key} is for a batch system that is reached over ssh; name its host, too")
        return self
