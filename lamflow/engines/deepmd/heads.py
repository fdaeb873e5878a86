"""Heads of a checkpoint: one of them taken out, or the heads of a new file copied from those of an old one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lamflow.engines.deepmd.card import aliases_of, branches, chosen_head, read_definition
from lamflow.errors import InputError

ONLY = "Default"
"""What DeePMD-kit calls the head of a model with one."""


def extract_head(path: Path, head: str | None, output: Path) -> None:
    """Write one head of the checkpoint at `path`, or all if it is None, as weights without an optimizer's state."""
    import torch

    state = _weights(path)
    params = state["_extra_state"]["model_params"]
    if head is not None:
        extra = {**state["_extra_state"], "model_params": params["model_dict"][head]}
        mine = f"model.{head}."
        state = {
            "_extra_state": extra,
            **{key.replace(mine, f"model.{ONLY}.", 1): state[key].clone() for key in state if key.startswith(mine)},
        }
    torch.save(state, output)


def with_heads(path: Path, heads: Mapping[str, str | None], output: Path) -> None:
    """Write a checkpoint with these heads, each a copy of a head of the one at `path`; others are left out.

    heads  by their new names: the head that each is a copy of, None for that of a model with one

    Raises InputError for a head that is not there.
    """
    import torch

    definition = read_definition(path)
    known = branches(definition)
    if not heads or ONLY in heads:
        raise InputError(f"{path}: give the heads names of their own, other than {ONLY}")
    state = _weights(path)
    models: dict[str, Any] = {}
    made: dict[str, Any] = {}
    for name, source in heads.items():
        old = chosen_head(path, list(known), source, aliases=aliases_of(definition))
        models[name] = {**json.loads(json.dumps(known[old or ""])), "model_branch_alias": []}
        prefix = f"model.{old or ONLY}."
        made |= {f"model.{name}.{key.removeprefix(prefix)}": state[key] for key in state if key.startswith(prefix)}
    extra = {**state["_extra_state"], "model_params": {"model_dict": models}}
    torch.save({"model": {"_extra_state": extra, **made}}, output)


def _weights(path: Path) -> dict[str, Any]:
    import torch

    loaded = torch.load(path, map_location="cpu", weights_only=True)
    state: dict[str, Any] = loaded.get("model", loaded)
    return state
