"""DeePMD-kit's input for one training: the user's, with everything that lamflow knows filled in."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lamflow.config.pretrained import RANDOM
from lamflow.config.section import expand
from lamflow.config.seeds import child_seed
from lamflow.engines.deepmd.card import DPA4, aliases_of, branches, chosen_head, is_dpa4, read_definition
from lamflow.engines.deepmd.catalogue import same_head
from lamflow.engines.deepmd.curve import LCURVE
from lamflow.engines.deepmd.phases import Phase
from lamflow.engines.deepmd.settings import DeepmdTraining
from lamflow.engines.protocol import TrainingJob
from lamflow.errors import EngineError, InputError

MODEL = "model.pt"
"""The trained model in its folder."""
COMPARED = 20
"""Checkpoints of a training that are kept where the best one becomes the model."""
PER_TYPE = {"se_e2_a", "se_a", "se_e2_r", "se_r", "se_e3", "se_t", "se_at", "se_a_3be", "hybrid",
            *DPA4}  # fmt: skip
"""Descriptors whose type map DeePMD-kit cannot change: those with a network for each element, and DPA-4."""
DPA4_KEYS = ("type", "use_compile", "enable_tf32", "bridging_method", "bridging_r_inner", "bridging_r_outer")
"""Keys of a DPA-4 model that fine-tuning keeps."""
Spec = dict[str, Any]


@dataclass(frozen=True)
class Beginning:
    """What a training starts from.

    path        a model file, or None for random weights
    head        of that file, RANDOM for a new one, None where it has one head
    definition  the file's section `model`
    """

    how: Literal["scratch", "init", "finetune", "as_is"]
    path: Path | None = None
    head: str | None = None
    definition: Spec | None = None

    @property
    def branches(self) -> dict[str, Spec]:
        """The definition's heads by name; one without a name where it has no others."""
        return branches(self.definition or {})

    def spelled(self, head: str | None) -> str | None:
        """A head as the file calls it; what it does not have, and RANDOM, as it is."""
        if head is None or head == RANDOM:
            return head
        return same_head(head, list(self.branches), aliases_of(self.definition or {})) or head


def beginning(settings: DeepmdTraining, job: TrainingJob) -> Beginning:
    """What `job` starts from, by the phase that holds for it. Raises EngineError for a model that does not fit."""
    phase = settings.phase(job.iteration, job.index)
    if phase.start_from == "scratch":
        return Beginning("scratch")
    if phase.start_from == "init" and job.previous is not None:
        return Beginning("init", job.previous / MODEL, None, read_definition(job.previous / MODEL))
    source = settings.source(phase)
    if source is None or source.file is None:
        raise EngineError(f"iteration {job.iteration}: there is no pre-trained model to {phase.start_from} from")
    path = expand(source.file)
    try:
        definition = read_definition(path)
        heads, random = list(branches(definition)), phase.start_from == "finetune"
        head = (
            chosen_head(path, heads, source.head, random=random, aliases=aliases_of(definition))
            if not job.heads
            else None
        )
    except InputError as error:
        raise EngineError(str(error)) from error
    return Beginning(phase.start_from, path, head, definition)


def training_input(settings: DeepmdTraining, job: TrainingJob, start: Beginning | None = None) -> Spec:
    """The input of one training: type map, data, seeds, steps and names of files filled in."""
    start = start or beginning(settings, job)
    phase = settings.phase(job.iteration, job.index)
    spec = settings.merged_input(job.index)
    spec["model"] = (_several_heads if job.heads else _one_head)(settings, job, start, spec["model"])
    _freeze(spec["model"], phase.freeze_descriptor)
    _compile_on_gpus_only(spec["model"])
    spec["loss"] = {**spec["loss"], **phase.loss}
    given = spec["training"].pop("training_data", {})  # of a whole input.json
    data = {**spec["training"].pop("data", {})}
    data = {"batch_size": given.get("batch_size", "auto"), **data}
    steps = training_steps(settings, phase, job, data["batch_size"])
    rate = spec["learning_rate"]
    if phase.start_lr is not None:
        rate["start_lr"] = phase.start_lr
    if rate.get("type", "exp") == "exp":
        rate.setdefault("decay_steps", max(1, steps // 40))
    training, last = spec["training"], settings.checkpoint == "last"
    if job.heads:
        spec["loss_dict"] = {part.name: spec["loss"] for part in job.heads}
        del spec["loss"]
        training["data_dict"] = {
            part.name: {"training_data": _data(data, part.systems, job.new, phase)} for part in job.heads
        }
        training["model_prob"] = {part.name: part.weight for part in job.heads}
    else:
        training["training_data"] = _data(data, job.systems, job.new, phase)
    training.update(
        numb_steps=steps,
        seed=child_seed(job.seed, "training"),
        disp_file=str(job.scratch / LCURVE),
        save_ckpt=str(job.scratch / "model.ckpt"),
        save_freq=min(max(settings.checkpoint_every, 1 if last else -(-steps // COMPARED)), steps),
        max_ckpt_keep=2 if last else COMPARED + 1,
    )
    training.setdefault("disp_freq", max(1, steps // 50))
    files = {file.name: str(expand(file)) for file in settings.files}
    spec["model"] = _with_paths(spec["model"], files)
    for key in ("validation_data", "data_dict") if not job.heads else ("validation_data",):
        training.pop(key, None)
    return spec


def _with_paths(value: Any, files: Mapping[str, str]) -> Any:
    """`value` with every word that is the name of a file replaced by where that file lies."""
    if isinstance(value, dict):
        return {key: _with_paths(item, files) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_paths(item, files) for item in value]
    return files.get(value, value) if isinstance(value, str) else value


def training_steps(settings: DeepmdTraining, phase: Phase, job: TrainingJob, batch_size: object) -> int:
    """Steps of a training. An epoch is one batch after the other through all frames, shared among the GPUs."""
    variant = settings.variants[job.index // settings.models].steps if settings.variants else None
    most = phase.steps or variant or settings.steps
    epochs = phase.epochs or (None if phase.steps else settings.epochs)
    if epochs is None:
        return most
    batches = 0
    for system in job.systems:
        natoms = len((system / "type.raw").read_text(encoding="utf-8").split())
        batches += math.ceil(_frames(system) / _batch(batch_size, natoms))
    return max(1, min(most, math.ceil(epochs * batches / max(1, job.gpus))))


def _frames(system: Path) -> int:
    return sum(len(np.load(file, mmap_mode="r")) for file in system.glob("set.*/energy.npy"))


def _batch(batch_size: object, natoms: int) -> int:
    """Frames of a batch as DeePMD-kit counts them: `auto` means at least 32 atoms, `auto:N` at least N."""
    if isinstance(batch_size, int):
        return batch_size
    if isinstance(batch_size, str):
        kind, _, number = batch_size.partition(":")
        size = int(number) if number.isdigit() else 32
        return max(1, size if kind == "mixed" else math.ceil(size / natoms))
    return 1


def _data(data: Spec, systems: Sequence[Path], new: Sequence[Path], phase: Phase) -> Spec:
    """The section of one data set. What the last iteration labeled comes last."""
    old, added = [path for path in systems if path not in new], [path for path in systems if path in new]
    made = {**data, "systems": [str(system) for system in (*old, *added)]}
    if phase.old_data_fraction is not None and old and added:
        fraction, count = phase.old_data_fraction, len(old)
        made["auto_prob"] = f"prob_sys_size;0:{count}:{fraction:g};{count}:{count + len(added)}:{1 - fraction:g}"
    return made


def _one_head(settings: DeepmdTraining, job: TrainingJob, start: Beginning, given: Spec) -> Spec:
    if start.how == "init" and start.definition is not None:
        return _copy(start.branches[start.head or next(iter(start.branches))])
    model = _copy(given)
    if start.how == "finetune" and settings.use_pretrain_script:
        model = {**_kind(start), **model}
        model["descriptor"] = _descriptor(start)
        model["fitting_net"] = _fitting(settings, start, start.head, given)
    model["type_map"] = _type_map(job, start, model["descriptor"])
    if settings.electronic_temperature:
        model["fitting_net"]["numb_fparam"] = 1
    _seed(model, job.seed)
    return model


def _several_heads(settings: DeepmdTraining, job: TrainingJob, start: Beginning, given: Spec) -> Spec:
    """One descriptor and type map for all heads, a fitting net for each."""
    pretrained = start.definition is not None and (start.how == "init" or settings.use_pretrain_script)
    descriptor = _descriptor(start) if pretrained else given["descriptor"]
    type_map = _type_map(job, start, descriptor)
    if start.how == "init":
        type_map = list(next(iter(start.branches.values()))["type_map"])
    heads: dict[str, Spec] = {}
    for part in job.heads:
        head = start.spelled(part.head) if start.how == "finetune" else None
        fitting = _fitting(settings, start, head or part.name, given) if pretrained else _copy(given["fitting_net"])
        branch = {"type_map": "type_map", "descriptor": "descriptor", "fitting_net": fitting}
        if pretrained:
            branch |= _kind(start)
        if settings.electronic_temperature:
            fitting["numb_fparam"] = 1
        _seed(branch, child_seed(job.seed, part.name))
        if start.how == "finetune" and head is not None:
            branch["finetune_head"] = head
        heads[part.name] = branch
    shared = {"type_map": type_map, "descriptor": descriptor}
    _seed(shared, job.seed)
    own = ("descriptor", "fitting_net", "type_map", "type") if pretrained else ("descriptor", "fitting_net", "type_map")
    rest = {key: value for key, value in given.items() if key not in own}
    return {**rest, "shared_dict": shared, "model_dict": heads}


def _kind(start: Beginning) -> Spec:
    """What a DPA-4 model says of itself beside descriptor, fitting net and type map: `type` above all."""
    first = next(iter(start.branches.values()))
    return {key: first[key] for key in DPA4_KEYS if first.get(key) is not None} if is_dpa4(first) else {}


def _compile_on_gpus_only(model: Spec) -> None:
    """Have DPA-4 trained as it is where there is no GPU: to compile its training takes minutes there."""
    import torch

    for branch in branches(model).values():
        if is_dpa4(branch) and not torch.cuda.is_available():
            branch["use_compile"] = False


def _freeze(model: Spec, frozen: bool) -> None:
    """Have the descriptor trained or not, whatever it was before."""
    descriptor = model.get("shared_dict", model).get("descriptor", {})
    for part in descriptor.get("list", [descriptor]):
        if frozen or "trainable" in part:
            part["trainable"] = not frozen


def _descriptor(start: Beginning) -> Spec:
    """The pre-trained model's descriptor; all of its heads share one. Raises EngineError for a model without any."""
    if "descriptor" not in next(iter(start.branches.values())):
        raise EngineError(f"{start.path}: a model without a descriptor of its own (linear, ZBL) cannot be started from")
    return _copy(next(iter(start.branches.values()))["descriptor"])


def _fitting(settings: DeepmdTraining, start: Beginning, head: str | None, given: Spec) -> Spec:
    """The fitting net of a head. A new one is what the user gave, or of the same shape as the pre-trained ones."""
    first = next(iter(start.branches.values()))
    if head in start.branches:
        return _copy(start.branches[head]["fitting_net"])
    asked = settings.input.get("model")
    if head == RANDOM and isinstance(asked, dict) and "fitting_net" in asked:
        return _copy(given["fitting_net"])
    return _copy(first["fitting_net"])


def _type_map(job: TrainingJob, start: Beginning, descriptor: Spec) -> list[str]:
    """The user's elements, or the whole type map of a pre-trained model whose descriptor cannot do with fewer."""
    if start.definition is not None and str(descriptor.get("type", "")).lower() in PER_TYPE:
        return list(next(iter(start.branches.values()))["type_map"])
    return list(job.elements)


def _seed(model: Spec, seed: int) -> None:
    for part in ("descriptor", "fitting_net"):
        if isinstance(model.get(part), dict):
            model[part]["seed"] = child_seed(seed, part)


def _copy(spec: Any) -> Spec:
    copied: Spec = json.loads(json.dumps(spec))
    return copied
