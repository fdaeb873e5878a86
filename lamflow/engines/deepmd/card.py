"""What is written in a DeePMD model file. Checkpoints are opened with weights only: no code of theirs runs."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lamflow.config.pretrained import RANDOM
from lamflow.data.files import file_hash
from lamflow.engines.deepmd.catalogue import generation_of, same_head
from lamflow.engines.protocol import HeadCard, ModelCard
from lamflow.errors import InputError

CHECKPOINT, FROZEN = ".pt", ".pth"
COMPILED = ".pt2"
"""What freezing makes of DPA-4, which TorchScript cannot represent."""
OTHER_BACKENDS = {
    ".pb": "TensorFlow", ".pbtxt": "TensorFlow", ".savedmodel": "JAX", ".hlo": "JAX", ".jax": "JAX", ".json": "Paddle",
    ".pd": "Paddle", ".dp": "NumPy", ".yaml": "NumPy", ".yml": "NumPy", ".pte": "PyTorch exportable",
    ".pt2": "PyTorch exportable",
}  # fmt: skip
DPA4 = {"dpa4", "sezm"}
NO_WEIGHTS = ("_extra_state", "mean", "stddev", "davg", "dstd", "out_bias", "out_std", "bias_atom_e", "type_map",
              "buffer", "case_embd", "fparam", "aparam", "env_mat", "nbor", "exclude",
              "version_tensor", "rmsd", "sign_outer", "rescale_full", "balance_weight")  # fmt: skip
"""What a tensor's name has that training does not change."""


def read_card(path: Path) -> ModelCard:
    """The card of the model file at `path`. Raises InputError for a file that is no PyTorch model of DeePMD-kit."""
    definition, sizes = _open(path)
    several = "model_dict" in definition
    heads = tuple(_head(name, branch, sizes, several) for name, branch in branches(definition).items())
    kind = "frozen model" if path.suffix == FROZEN else "checkpoint"
    return ModelCard(path, f"DeePMD-kit {kind}", heads, path.stat().st_size, file_hash(path))


def read_definition(path: Path) -> dict[str, Any]:
    """The section `model` of the input that the model at `path` was trained with. Raises InputError."""
    return _open(path)[0]


def branches(definition: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The heads of a definition by name; one without a name where it has no others."""
    return dict(definition.get("model_dict") or {"": definition})


def is_dpa4(model: Mapping[str, Any]) -> bool:
    """The section `model` of an input, or a branch of it, is of the DPA-4 family, made and frozen in its own ways."""
    descriptor = model.get("descriptor")
    kind = descriptor.get("type", "") if isinstance(descriptor, Mapping) else ""
    return str(model.get("type", "")).lower() in DPA4 or str(kind).lower() in DPA4


def magnetic_elements(model: Mapping[str, Any]) -> tuple[str, ...]:
    """Elements whose magnetic moments a model sees, by the section `model` of its input or a branch of it."""
    used, elements = model.get("spin", {}).get("use_spin", []), model.get("type_map", [])
    if used and isinstance(used[0], bool):  # one flag for each element
        return tuple(element for element, flag in zip(elements, used, strict=False) if flag)
    return tuple(element for place, element in enumerate(elements) if element in used or place in used)


def aliases_of(definition: dict[str, Any]) -> dict[str, str]:
    """Other names of the heads of a definition, as the file itself says."""
    return {
        alias: name for name, branch in branches(definition).items() for alias in branch.get("model_branch_alias") or []
    }


def chosen_head(
    path: Path, heads: list[str], head: str | None, *, random: bool = False, aliases: dict[str, str] | None = None
) -> str | None:
    """The head of the model at `path` that `head` means; None for a model with one head, RANDOM where that is allowed.

    aliases  other names of the heads; capitals and the names of other generations are understood without

    Raises InputError that lists the heads when there is none of this name, or several and none was named.
    """
    if random and head == RANDOM:
        return RANDOM
    if heads == [""]:
        if head not in (None, "Default"):
            raise InputError(f"{path}: there is no head {head!r}: the model has one head only; leave `head` out")
        return None
    listed = ", ".join(heads) + (f", or {RANDOM} for a new one" if random else "")
    if head is None:
        raise InputError(f"{path}: the model has {len(heads)} heads; choose one with `head`: {listed}")
    found = same_head(head, heads, aliases)
    if found is None:
        generation = generation_of(head)
        other = f"; {head} is a head of {generation}" if generation else ""
        raise InputError(f"{path}: there is no head {head!r}; the model has {listed}{other}")
    return found


def _open(path: Path) -> tuple[dict[str, Any], dict[str, tuple[int, int]]]:
    """The model's definition, and the address and number of elements of each of its tensors."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.suffix in OTHER_BACKENDS:
        raise InputError(
            f"{path}: a model of DeePMD-kit's {OTHER_BACKENDS[path.suffix]} backend; lamflow uses the PyTorch backend: "
            "`dp convert-backend` makes a .pth file of it"
        )
    if path.suffix not in (CHECKPOINT, FROZEN):
        raise InputError(f"{path}: DeePMD-kit's PyTorch models end in {CHECKPOINT} (checkpoint) or {FROZEN} (frozen)")
    if not zipfile.is_zipfile(path):
        raise InputError(
            f"{path}: not a whole file that torch wrote: it is cut off, or a bare pickle, which is refused"
        )
    try:
        definition, state = (_checkpoint if path.suffix == CHECKPOINT else _frozen)(path)
        _ = [branch["type_map"] for branch in branches(definition).values()]
    except ImportError as error:
        raise InputError(f'{path}: to read it takes DeePMD-kit ({error}); pip install "lamflow[deepmd]"') from error
    except Exception as error:
        first = next((line for line in str(error).splitlines() if line.strip()), "")
        raise InputError(f"{path}: not a model of DeePMD-kit: {type(error).__name__}: {first}") from error
    tensors = {name: value for name, value in state.items() if hasattr(value, "numel") and value.is_floating_point()}
    return definition, {name: (tensor.data_ptr(), tensor.numel()) for name, tensor in tensors.items()}


def _checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    import torch

    loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    state = loaded.get("model", loaded)
    definition: dict[str, Any] = state["_extra_state"]["model_params"]
    return definition, state


def _frozen(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    import deepmd.pt.cxx_op  # noqa: F401  frozen models call operations of DeePMD-kit's own
    import torch

    model = torch.jit.load(path, map_location="cpu")
    definition: dict[str, Any] = json.loads(model.model_def_script)
    return definition, dict(model.state_dict())


def _head(name: str, branch: dict[str, Any], sizes: dict[str, tuple[int, int]], several: bool) -> HeadCard:
    descriptor = branch.get("descriptor", {})
    prefix = f"model.{name}." if several else ""
    counted = dict(  # DeePMD-kit stores networks under two names
        place
        for tensor, place in sizes.items()
        if tensor.startswith(prefix) and not any(word in tensor for word in NO_WEIGHTS)
    )
    cutoff, reach = reach_of(descriptor)
    return HeadCard(
        name=name,
        elements=tuple(branch["type_map"]),
        descriptor=str(descriptor.get("type", branch.get("type", "unknown"))),
        fitting=str(branch.get("fitting_net", {}).get("type", "ener")),
        cutoff=cutoff,
        receptive_field=reach,
        parameters=sum(counted.values()),
        aliases=tuple(branch.get("model_branch_alias") or ()),
        observed=tuple((branch.get("info") or {}).get("observed_type") or ()),
        inputs=_inputs(branch),
    )


def _inputs(branch: dict[str, Any]) -> tuple[str, ...]:
    """What a head needs beside a structure and an electronic temperature, and has no default for."""
    descriptor, fitting = branch.get("descriptor", {}), branch.get("fitting_net", {})
    needed = []
    if descriptor.get("add_chg_spin_ebd") and descriptor.get("default_chg_spin") is None:
        needed.append("charge and spin")
    if int(fitting.get("numb_fparam") or 0) > 1 and fitting.get("default_fparam") is None:
        needed.append(f"{fitting['numb_fparam']} frame parameters (charge and spin, in most such models)")
    if int(fitting.get("numb_aparam") or 0) and not fitting.get("use_aparam_as_mask"):
        needed.append(f"{fitting['numb_aparam']} parameters of each atom")
    return tuple(needed)


def reach_of(descriptor: dict[str, Any]) -> tuple[float, float]:
    """Cutoff and receptive field of a descriptor, in Å; zeros for one that is not known.

    Each layer that passes messages sees one cutoff further (D. Zhang et al., npj Comput. Mater. 10, 293 (2024)).
    """
    kind = descriptor.get("type", "")
    if kind == "hybrid":
        reaches = [reach_of(part) for part in descriptor.get("list", [])]
        return max((r[0] for r in reaches), default=0.0), max((r[1] for r in reaches), default=0.0)
    if kind == "dpa2":
        first, layers = descriptor.get("repinit", {}), descriptor.get("repformer", {})
        cutoff = float(first.get("rcut", 0.0))
        return cutoff, cutoff + float(layers.get("rcut", 0.0)) * int(layers.get("nlayers", 1))
    if kind == "dpa3":
        flow = descriptor.get("repflow", {})
        cutoff = float(flow.get("e_rcut", 6.0))
        return cutoff, cutoff * int(flow.get("nlayers", 6))
    cutoff = float(descriptor.get("rcut", 0.0))
    return cutoff, cutoff * int(descriptor.get("nlayers", descriptor.get("n_blocks", 1)))
