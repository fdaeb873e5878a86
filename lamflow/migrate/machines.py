"""Where jobs run, as DP-GEN's machine.json and dpgen2's dispatcher executors say it (dpdispatcher's schema)."""

from __future__ import annotations

import re
from typing import Any

from lamflow.migrate.keys import Keys
from lamflow.migrate.paths import Spec

SYSTEMS = {"slurm": "slurm", "slurmjobarray": "slurm", "pbs": "pbs", "torque": "pbs", "openpbs": "pbs", "lsf": "lsf",
           "sge": "sge"}  # fmt: skip
FLAGS = {
    "wall_time": r"(?:--time[= ]|-t |-l walltime=|-l h_rt=|-W )(\S+)",
    "account": r"(?:--account[= ]|-A )(\S+)",
    "qos": r"--qos[= ](\S+)",
    "constraint": r"(?:--constraint[= ]|-C )\"?([^\"]+)\"?$",
}
"""Lines of `custom_flags` that have a word of their own."""


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


def allocation(resources: Keys, to: str) -> Spec:
    """What a section `resources` asks of a batch system, beside CPUs and GPUs."""
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
        made |= _flag(str(line), made)
    resources.lose("number_node", "para_deg", "queue_name", "custom_flags", why="it is what is asked for anyway")
    resources.lose("strategy", "wait_time", "kwargs", "module_purge", "module_unload_list")
    return made


def _flag(line: str, made: Spec) -> Spec:
    """What a line of `custom_flags` says, or the line itself as one of the header."""
    for name, pattern in FLAGS.items():
        found = re.search(pattern, line.strip())
        if found is not None:
            value = _seconds(found[1]) if name == "wall_time" else found[1].strip()
            if value is not None:
                return {name: value}
    return {"header": [*made.get("header", []), line]}


def _seconds(text: str) -> float | None:
    """A wall time like 1-12, 1-12:30:00, 24:00:00 or 30 (minutes); None for what is none."""
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text)
    if found is None:
        return None
    days, first, second, third = (int(part) if part else None for part in found.groups())
    if days is not None:
        return float(days * 86400 + (first or 0) * 3600 + (second or 0) * 60 + (third or 0))
    if third is not None:
        return float((first or 0) * 3600 + (second or 0) * 60 + third)
    return float((first or 0) * 60 + (second or 0))


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


def dispatcher(executor: Any, keys: Keys, to: str) -> tuple[Spec, Spec]:
    """The batch system and the allocation of dflow's DispatcherExecutor; empty for any other executor."""
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
    return system(inner.section("machine"), f"sites.{to}"), allocation(inner.section("resources"), f"pods.{to}")
