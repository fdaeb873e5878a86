"""The batch systems that lamflow knows, a row each."""

from __future__ import annotations

from collections.abc import Mapping

from lamflow.batch.lsf import Lsf
from lamflow.batch.pbs import Pbs
from lamflow.batch.sge import Sge
from lamflow.batch.shell import Shell
from lamflow.batch.slurm import Slurm
from lamflow.batch.system import System
from lamflow.config.batch import SystemName

SYSTEMS: Mapping[SystemName, System] = {"slurm": Slurm(), "pbs": Pbs(), "lsf": Lsf(), "sge": Sge(), "shell": Shell()}
