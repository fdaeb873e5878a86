"""Where jobs run, as DP-GEN's machine.json and dpgen2's dispatcher executors say it (dpdispatcher's schema)."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator
from typing import Any

from lamflow.migrate.keys import Keys
from lamflow.migrate.paths import Spec

SYSTEMS = {"slurm": "slurm", "slurmjobarray": "slurm", "pbs": "pbs", "torque": "pbs", "openpbs": "pbs", "lsf": "lsf",
           "sge": "sge"}  # fmt: skip
FLAGS = {
    "slurm": {"--time": "wall_time", "-t": "wall_time", "--account": "account", "-A": "account", "--qos": "qos",
              "-q": "qos", "--constraint": "constraint", "-C": "constraint"},
    "pbs": {"-l walltime": "wall_time", "-A": "account"},
    "lsf": {"-W": "wall_time"},
    "sge": {"-l h_rt": "wall_time"},
}  # fmt: skip
"""Options in `custom_flags` that have a word of their own, by system."""
PLAIN_TIME = {"slurm": 60, "lsf": 60, "pbs": 1, "sge": 1}
"""Seconds in the unit of a wall time that is one number."""


def system(machine: Keys, to: str) -> Spec:
    """The batch system of a section `machine`; empty for a shell, and for those that lamflow does not know."""
    kind = str(machine.raw.get("batch_type") or "").lower()
    if kind not in SYSTEMS:
        return {}
    made: Spec = {"system": SYSTEMS[kind]}
    machine.take("batch_type", to=f"{to}.system")
    profile = machine.section("remote_profile")
    if "ssh" in str(machine.take("context_type", to=to, default="")).lower() and profile.raw.get("hostname"):
        user = profile.take("username", to=f"{to}.host")
        host = profile.take("hostname", to=f"{to}.host")
        made["host"] = f"{user}@{host}" if user else str(host)
        made["root"] = str(machine.take("remote_root", to=f"{to}.root", default="lamflow"))
        if profile.raw.get("port") not in (None, 22):
            made["port"] = int(profile.take("port", to=f"{to}.port"))
        if profile.raw.get("key_filename"):
            made["identity"] = str(profile.take("key_filename", to=f"{to}.identity"))
        profile.lose("password", "passphrase", "totp_secret", why="ssh asks for nothing: use a key, and ssh-agent")
        profile.lose("proxy_command", "execute_command", why="say it in ~/.ssh/config, or as `jump` under `batch:`")
    machine.lose("remote_root", "local_root", why="the run's folder is seen by the nodes")
    machine.lose("clean_asynchronously", "retry_count", why="jobs are tried again by `retries` and `losses`")
    profile.lose("port", "timeout", "look_for_keys", "tar_compress", "username", "hostname", "key_filename")
    return made


def needs(resources: Keys, kind: str, system: str | None) -> Spec:
    """GPUs, processors and work of the jobs of a kind of step, and what they ask of a batch system if there is one."""
    made: Spec = {}
    gpus = resources.take("gpu_per_node", to=f"pods.{kind}.gpus")
    if gpus:
        made["gpus"] = int(gpus)
    if resources.raw.get("cpu_per_node"):
        made["cpu"] = _cores_of_a_job(resources, kind)
    if system and (ask := allocation(resources, f"pods.{kind}", system)):
        made["batch"] = ask
    if system and resources.raw.get("envs"):
        envs = resources.take("envs", to=f"pods.{kind}.environment")
        made["environment"] = {str(key): str(value) for key, value in envs.items()}
    if kind != "train" and resources.raw.get("group_size"):
        made["work_per_job"] = int(resources.take("group_size", to=f"pods.{kind}.work_per_job"))
    resources.lose("group_size", why="trainings are spread over their jobs; see pods.train.work_per_job")
    return made


def _cores_of_a_job(resources: Keys, kind: str) -> str:
    """The cores of a node, which `para_deg` jobs share there."""
    together, to = int(resources.raw.get("para_deg") or 1), f"pods.{kind}.cpu"
    why = "" if together == 1 else f"{together} jobs run together and share them; `cpu` is of each"
    return str(math.ceil(int(resources.take("cpu_per_node", to=to, why=why)) / together))


def allocation(resources: Keys, to: str, kind: str) -> Spec:
    """What a section `resources` asks of a batch system of this kind, beside CPUs and GPUs."""
    made: Spec = {}
    names = {"queue_name": "queue", "module_list": "modules", "source_list": "source", "prepend_script": "before",
             "append_script": "after"}  # fmt: skip
    for key, name in names.items():
        if resources.raw.get(key):
            made[name] = resources.take(key, to=f"{to}.batch.{name}")
    if int(resources.raw.get("number_node") or 1) > 1:
        made["nodes"] = int(resources.take("number_node", to=f"{to}.batch.nodes"))
    if int(resources.raw.get("para_deg") or 1) > 1:
        made["together"] = int(resources.take("para_deg", to=f"{to}.batch.together"))
    header = [] if not resources.raw.get("custom_flags") else resources.take("custom_flags", to=f"{to}.batch")
    for line in [header] if isinstance(header, str) else header:
        for name, value in _flags(str(line), kind):
            made[name] = [*made.get(name, []), value] if name == "header" else value
    resources.lose("number_node", "para_deg", "queue_name", "custom_flags", why="it is what is asked for anyway")
    resources.lose("strategy", "wait_time", "kwargs", "module_purge", "module_unload_list")
    return made


def _flags(line: str, system: str) -> Iterator[tuple[str, Any]]:
    """What a line of `custom_flags` says by its words, and what has none as lines of the header."""
    try:
        prefix, *words = shlex.split(line[:2] + line[2:].partition(" # ")[0])
    except ValueError:
        prefix, words = "", []
    if not re.match(r"#\w*[$A-Z]$", prefix) or not words or not words[0].startswith("-"):
        yield "header", line
        return
    options: list[list[str]] = []
    for word in words:
        if re.fullmatch(r"-[tW]\d\S*|-l\w+=\S*", word):  # a value may follow its option at once
            options.append([word[:2], word[2:]])
        elif word.startswith("-"):
            options.append([word])
        else:
            options[-1].append(word)
    told = [one for option in options for one in _option(prefix, option, system)]
    yield from told if any(name != "header" for name, _ in told) else [("header", line)]


def _option(prefix: str, option: list[str], system: str) -> Iterator[tuple[str, Any]]:
    """One option with its value, as one of ours or as a line of the header."""
    text = " ".join(option)
    if option[0] == "-l" and len(option) == 2 and "," in option[1]:
        for part in option[1].split(","):
            yield from _option(prefix, ["-l", part], system)
        return
    name, _, value = text.partition("=") if "=" in text else text.partition(" ")
    key = FLAGS[system].get(name)
    said: Any = _seconds(value.strip(), system) if key == "wall_time" else value.strip()
    if key is None or not said:
        yield "header", f"{prefix} {shlex.join(option)}"
    else:
        yield key, said


def _seconds(text: str, system: str) -> float | None:
    """A wall time; None for what is none.

    Slurm: minutes, m:s, h:m:s, d-h, d-h:m, d-h:m:s. LSF: minutes, h:m. PBS and SGE: seconds, m:s, h:m:s.
    """
    found = re.fullmatch(r"(?:(\d+)-)?(\d+(?:\.\d+)?)(?::(\d+))?(?::(\d+))?", text)
    if found is None:
        return None
    days, first, *others = (float(part) if part else None for part in found.groups())
    numbers = [first or 0.0, *(one for one in others if one is not None)]
    if days is not None:
        return days * 86400 + sum(one * unit for one, unit in zip(numbers, (3600, 60, 1), strict=False))
    if len(numbers) == 1:
        return numbers[0] * PLAIN_TIME[system]
    units = (3600, 60) if system == "lsf" else (3600, 60, 1)[-len(numbers) :]
    return sum(one * unit for one, unit in zip(numbers, units, strict=False))


def placed(study: Spec, systems: dict[str, Spec]) -> None:
    """Write the batch systems of each kind of step into a study: the first as `batch`, others as `sites`."""
    named: dict[str, Spec] = {}
    for kind, found in systems.items():
        if not found:
            continue
        if "batch" not in study:
            study["batch"] = found
        if found != study["batch"]:
            name = next((name for name, there in named.items() if there == found), kind)
            named[name] = found
            study["pods"].setdefault(kind, {})["site"] = name
    if named:
        study["sites"] = named
    for kind, found in systems.items():
        if "batch" in study and not found:
            study["pods"].setdefault(kind, {})["site"] = "here"


def dispatcher(executor: Any, keys: Keys, kind: str) -> tuple[Spec, Spec]:
    """The batch system and the needs of a kind of step in dflow's DispatcherExecutor; empty for any other executor."""
    if not isinstance(executor, dict) or executor.get("type") != "dispatcher":
        return {}, {}
    machine = dict(executor.get("machine_dict") or {})
    profile = {
        "hostname": executor.get("host"), "username": executor.get("username"), "port": executor.get("port"),
        "key_filename": executor.get("private_key_file"),
    } | dict(machine.get("remote_profile") or {})  # fmt: skip
    machine = {
        "batch_type": "Slurm", "context_type": "SSHContext", "remote_root": executor.get("remote_root") or "lamflow",
    } | machine | {"remote_profile": {key: value for key, value in profile.items() if value is not None}}  # fmt: skip
    resources = {"queue_name": executor.get("queue_name")} | dict(executor.get("resources_dict") or {})
    inner = keys.enter({"machine": machine, "resources": resources}, "executor")
    there, asked = system(inner.section("machine"), f"sites.{kind}"), inner.section("resources")
    pod = needs(asked, kind, there.get("system"))
    return there, pod
