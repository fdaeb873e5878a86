"""Many systems that move together: DeePMD-kit models on batches whose neighbours are looked up once in many steps.

`DeepPot.eval` looks for neighbours in every call, which costs as much as the model itself where systems are small. Here
neighbours within the cutoff and a skin are kept until an atom could have come through the skin, as in LAMMPS, and all
models of a committee share them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamflow.data.frames import Floats, Ints
from lamflow.errors import EngineError

SKIN = 1.0
"""Å"""
CPU_ATOMS = 768
"""Atoms of a batch on a CPU; larger ones leave its caches."""
GPU_ATOMS = 262_144
"""Atoms of a batch on a GPU to begin with; halved when its memory is too small."""
NEIGHBOURS = 256
"""Of an atom, to begin with."""


@dataclass(eq=False)
class _Batch:
    """Systems that are evaluated in one call, F of N atoms each, and the neighbours that were found for them.

    rows     (F,)       their numbers
    origin   (F, N, 3)  positions and (F, 3, 3) cells when neighbours were looked up
    wrap     (F, N, 3)  whole cells that each atom was away from its cell then
    image    (F, G)     the atom that each extended atom is an image of, and (F, G, 3) how many cells away
    types    (F, G)     of the extended atoms
    nearby   (F, N, K)  extended atoms around each atom; -1 where there are fewer
    """

    rows: Ints
    origin: Any = None
    cells: Any = None
    wrap: Any = None
    image: Any = None
    away: Any = None
    types: Any = None
    nearby: Any = None


class DeepmdSession:
    """Energies, forces and virials of systems with the same number of atoms, again and again while they move."""

    def __init__(self, potentials: Sequence[Any], types: Ints, pbc: bool, fparam: Floats | None) -> None:
        """potentials: DeePMD-kit's DeepPot of each model, the first one driving; types: (B, N); fparam: (B,) in K."""
        import torch

        self.torch = torch
        self.models = [_module(potential) for potential in potentials]
        self.device = next((p.device for p in self.models[0].parameters()), torch.device("cpu"))
        self.types = torch.as_tensor(types, dtype=torch.long, device=self.device)
        self.fparam = None if fparam is None else torch.as_tensor(fparam, device=self.device).reshape(-1, 1)
        self.pbc = pbc
        self.cutoff = max(float(model.get_rcut()) for model in self.models)
        self.most = CPU_ATOMS if self.device.type == "cpu" else GPU_ATOMS
        self.batches: list[_Batch] = []
        self.known: Ints = np.zeros(0, dtype=np.int64)

    def evaluate(
        self, positions: Floats, cells: Floats, numbers: Ints, models: int = 1, spins: Floats | None = None
    ) -> tuple[Floats, ...]:
        """See BatchSession. Models with spins are evaluated otherwise."""
        assert spins is None  # noqa: S101  see DeepmdModel.open_session
        count, natoms = positions.shape[:2]
        if not np.array_equal(numbers, self.known):
            self._deal(numbers, natoms)
        energies = np.empty((models, count))
        forces, virials = np.empty((models, count, natoms, 3)), np.empty((models, count, 3, 3))
        place = {int(number): row for row, number in enumerate(numbers)}
        todo = list(self.batches)
        while todo:
            batch = todo.pop(0)
            rows = [place[int(number)] for number in batch.rows]
            try:
                found = self._evaluate(batch, positions[rows], cells[rows], models)
            except self.torch.OutOfMemoryError as error:
                if len(batch.rows) == 1:
                    raise EngineError(f"one system of {natoms} atoms does not fit into the memory: {error}") from error
                self.torch.cuda.empty_cache()
                self.most = max(natoms, len(batch.rows) * natoms // 2)
                self._deal(numbers, natoms)
                todo = list(self.batches)
                continue
            energies[:, rows], forces[:, rows], virials[:, rows] = found
        return energies, forces, virials

    def _deal(self, numbers: Ints, natoms: int) -> None:
        """Deal systems out to batches as large as they may be."""
        size = max(1, self.most // natoms)
        parts = np.array_split(numbers, -(-len(numbers) // size)) if len(numbers) else []
        self.batches = [_Batch(np.asarray(part)) for part in parts]
        self.known = numbers.copy()

    def _evaluate(self, batch: _Batch, positions: Floats, cells: Floats, models: int) -> tuple[Floats, ...]:
        torch = self.torch
        here = torch.as_tensor(positions, device=self.device)
        box = torch.as_tensor(cells, device=self.device)
        if self._is_stale(batch, here, box):
            self._look(batch, here, box)
        inside = here + batch.wrap @ box
        pick = batch.image[:, :, None].expand(-1, -1, 3)
        extended = torch.gather(inside, 1, pick) + batch.away @ box
        energies, forces, virials = [], [], []
        fparam = None if self.fparam is None else self.fparam[torch.as_tensor(batch.rows, device=self.device)]
        for model in self.models[:models]:
            with torch.enable_grad():
                found = model.forward_lower(extended.detach(), batch.types, batch.nearby, batch.image, fparam=fparam)
            force = torch.zeros_like(here).scatter_add_(1, pick, found["extended_force"].to(here.dtype))
            energies.append(found["energy"].reshape(-1).detach().double().cpu().numpy())
            forces.append(force.detach().double().cpu().numpy())
            virials.append(found["virial"].reshape(-1, 3, 3).detach().double().cpu().numpy())
        return np.array(energies), np.array(forces), np.array(virials)

    def _is_stale(self, batch: _Batch, positions: Any, cells: Any) -> bool:
        """An atom, or the image of one, could have come through the skin since neighbours were looked up."""
        if batch.origin is None:
            return True
        moved = (positions - batch.origin).norm(dim=-1).amax(dim=1)
        strained = (batch.away.abs() @ (cells - batch.cells).abs()).norm(dim=-1).amax(dim=1)
        wrapped = (batch.wrap.abs() @ (cells - batch.cells).abs()).norm(dim=-1).amax(dim=1)
        return not bool((2 * (moved + wrapped) + strained < SKIN).all())

    def _look(self, batch: _Batch, positions: Any, cells: Any) -> None:
        """Look up images and neighbours within the cutoff and the skin."""
        from deepmd.pt.utils.nlist import build_neighbor_list, extend_coord_with_ghosts

        torch, reach = self.torch, self.cutoff + SKIN
        types = self.types[torch.as_tensor(batch.rows, device=self.device)]
        count, natoms = types.shape
        if self.pbc:
            batch.wrap = -torch.floor(
                torch.linalg.solve(cells.transpose(1, 2), positions.transpose(1, 2)).transpose(1, 2)
            )
            box = cells.reshape(count, 9)
        else:
            batch.wrap, box = torch.zeros_like(positions), None
        inside = positions + batch.wrap @ cells
        extended, kinds, image = extend_coord_with_ghosts(inside.reshape(count, -1), types, box, reach)
        extended = extended.reshape(count, -1, 3)
        possible, most = max(extended.shape[1] - 1, 1), NEIGHBOURS
        while True:
            most = min(most, possible)
            flat = extended.reshape(count, -1)
            nearby = build_neighbor_list(flat, kinds, natoms, reach, [most], distinguish_types=False)
            if most == possible or not bool((nearby[..., -1] >= 0).any()):
                break
            most *= 2
        used = int((nearby >= 0).sum(dim=-1).max()) if nearby.numel() else 0
        wanted = max(sum(model_sel) for model_sel in (list(model.get_sel()) for model in self.models)) + 1
        nearby = nearby[..., : max(used, 1)]
        if nearby.shape[-1] < wanted:  # more than the model takes, so that it sorts and cuts them itself
            filler = torch.full((count, natoms, wanted - nearby.shape[-1]), -1, dtype=nearby.dtype, device=self.device)
            nearby = torch.cat([nearby, filler], dim=-1)
        own = torch.gather(inside, 1, image[:, :, None].expand(-1, -1, 3))
        if self.pbc:
            fractions = torch.linalg.solve(cells.transpose(1, 2), (extended - own).transpose(1, 2)).transpose(1, 2)
            batch.away = torch.round(fractions)
        else:
            batch.away = torch.zeros_like(extended)
        batch.origin, batch.cells = positions.clone(), cells.clone()
        batch.image, batch.types, batch.nearby = image, kinds, nearby


def _module(potential: Any) -> Any:
    """The torch module of a DeepPot. Raises EngineError for a model that cannot be called so."""
    module = potential.deep_eval.dp.model["Default"]
    if not hasattr(module, "forward_lower"):
        raise EngineError("this model cannot be evaluated with neighbours that are given")
    return module
