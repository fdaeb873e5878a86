"""What dpgen2 and PFD-kit say of the steps of their workflows."""

from __future__ import annotations

import re

from lamflow.migrate.keys import Keys, is_comment
from lamflow.migrate.machines import dispatcher
from lamflow.migrate.paths import Spec

SITE = (
    "dflow_config",
    "dflow_s3_config",
    "bohrium_config",
    "default_step_config",
    "upload_python_packages",
    "upload_python_package",
    "parallelism",
    "lebesgue_context_config",
)
SAID = ("template_slice_config", "continue_on_success_ratio")
"""Keys of a step's configuration that have notes of their own."""


def tolerated(keys: Keys) -> dict[str, float]:
    """Fractions of labels (fp) and explorations that may fail, by the success ratios of their steps."""
    steps = keys.raw.get("step_configs")
    fractions: dict[str, float] = {}
    for name, to in (("fp", "budget.failed_labels"), ("explore", "select.max_failed")):
        config = steps.get(f"run_{name}_config") if isinstance(steps, dict) else None
        ratio = config.get("continue_on_success_ratio") if isinstance(config, dict) else None
        if ratio is not None:
            fractions[name] = round(1 - float(ratio), 10)
            key = f"step_configs.run_{name}_config.continue_on_success_ratio"
            keys.notes.add(
                "changed", key, to, f"{float(ratio):g} must succeed there: {fractions[name]:g} may fail here"
            )
    return fractions


def where(keys: Keys) -> Spec:
    """What step_configs say of pods that lamflow can say too, and the batch systems that they name as sites."""
    sites: dict[str, Spec] = {}
    pods = _pods(keys, sites)
    for kind in sites:
        pods.setdefault(kind, {})["site"] = kind
    return {"pods": pods, "sites": sites}


def _pods(keys: Keys, systems: dict[str, Spec]) -> Spec:
    made: Spec = {}
    steps = keys.section("step_configs")
    for name in list(steps.raw):
        if is_comment(name):
            continue
        kind = next(
            (k for word, k in (("train", "train"), ("explore", "explore"), ("fp", "label")) if word in name), None
        )
        config = steps.raw[name] if isinstance(steps.raw[name], dict) else {}
        steps.used.add(name)
        pod: Spec = {}
        template, slices = config.get("template_config") or {}, config.get("template_slice_config") or {}
        if kind and name.startswith("run"):
            if slices.get("group_size") and kind != "train":
                pod["work_per_job"] = int(slices["group_size"])
            if template.get("timeout"):
                pod["timeout"] = float(template["timeout"])
            found, ask = dispatcher(config.get("executor"), steps.enter({}, name), kind)
            if found:
                systems[kind] = found
                pod = ask | pod
            text = str(config.get("executor"))
            gpu = re.search(r"(\d*)\s*\*?\s*NVIDIA", text)
            if gpu and kind != "label":
                pod["gpus"] = int(gpu.group(1) or 1)
        if pod and kind:
            made[kind] = pod
            steps.notes.add("translated", f"step_configs.{name}", f"pods.{kind}: {', '.join(pod)}")
        said = (*SAID, "executor") if kind in systems and name.startswith("run") else SAID
        left = [key for key in config if not is_comment(key) and key not in said]
        if left:
            steps.notes.add(
                "lost",
                f"step_configs.{name}.{{{', '.join(left)}}}",
                why="images and machines are for `pods:` and `cluster:`",
            )
    return made
