"""What made a record: versions, image and machine, as the job that wrote it sees them."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lamflow.data.document import Entry
from lamflow.errors import StateError

PACKAGES = ("lamflow", "pydflow", "ase", "dpdata", "numpy")
IMAGE = "LAMFLOW_IMAGE"
"""The variable in which a pod finds the name of its image."""


class Provenance(Entry):
    """What made a record.

    engines  version of each engine that worked, by its name
    image    of the container; empty outside of one
    cpu, gpu names of the processor and of the first GPU that the job could use; empty where there is none
    """

    lamflow: str
    engines: dict[str, str] = {}
    packages: dict[str, str] = {}
    image: str = ""
    cpu: str = ""
    gpu: str = ""

    @classmethod
    def of_this_job(cls, engines: dict[str, str] | None = None) -> Provenance:
        """What this process runs on; `engines` are the versions of the codes that it has run."""
        return cls(
            lamflow=version("lamflow"), engines=engines or {}, packages=versions(), image=os.environ.get(IMAGE, ""),
            cpu=_cpu(), gpu=_gpu(),
        )  # fmt: skip

    def title(self, engine: str) -> str:
        """Version of an engine, lamflow, image and machine on one line."""
        words = [f"{engine} {self.engines[engine]}" if engine in self.engines else "", f"lamflow {self.lamflow}"]
        words += [f"image {self.image}" if self.image else "", self.gpu or self.cpu]
        return ", ".join(filter(None, words))


def made_with(record: Path) -> Provenance | None:
    """What made a record, of whatever class it is; None if it does not say. Raises StateError if it cannot be read."""
    try:
        made_by = json.loads(record.read_bytes()).get("provenance")
        return None if made_by is None else Provenance.model_validate(made_by)
    except (OSError, ValueError, AttributeError) as error:
        raise StateError(f"{record}: this record of the run cannot be read: {error}") from error


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Versions of Python and of those packages that are installed."""
    installed = {"python": platform.python_version()}
    for package in packages:
        with contextlib.suppress(PackageNotFoundError):
            installed[package] = version(package)
    return installed


@functools.cache
def _cpu() -> str:
    """Name of the processor, as Linux says it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.machine()


@functools.cache
def _gpu() -> str:
    """Name of the first GPU that NVIDIA's driver shows and CUDA_VISIBLE_DEVICES does not hide."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all") in ("", "-1"):
        return ""
    for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        with contextlib.suppress(OSError):
            for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
                name, _, value = line.partition(":")
                if name.strip() == "Model":
                    return value.strip()
    return ""
