"""Files that DeePMD-kit before 3.2 has frozen: DeepPot loads them and calls them by arguments that they do not have."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamflow.data.frames import Floats, Ints


def is_old(potential: Any) -> bool:
    """A frozen model that knows no `charge_spin`, which DeePMD-kit 3.2 gives to every model that it evaluates."""
    deep_eval = potential.deep_eval
    if not str(getattr(deep_eval, "model_path", "")).endswith(".pth"):
        return False
    module = deep_eval.dp.model["Default"]
    schema = getattr(getattr(module, "forward_common_lower", None), "schema", None)
    return schema is not None and "charge_spin" not in [argument.name for argument in schema.arguments]


class OldPotential:
    """What DeepPot does, through TorchScript's own `forward`; LAMMPS cannot use such a file without DeePMD-kit 3.1.

    Forces agree with finite differences of the energy (tests/engines/test_dpa4.py).
    """

    has_spin = False

    def __init__(self, potential: Any) -> None:
        self._potential = potential
        self._module = potential.deep_eval.dp.model["Default"]

    def get_type_map(self) -> list[str]:
        """See DeepPot."""
        return list(self._potential.get_type_map())

    def get_dim_fparam(self) -> int:
        """See DeepPot."""
        return int(self._potential.get_dim_fparam())

    def has_default_fparam(self) -> bool:
        """No such file has defaults. See DeepPot."""
        return False

    def eval(
        self, positions: Floats, cells: Floats | None, types: Ints, *, mixed_type: bool, fparam: Floats | None = None
    ) -> tuple[Floats, Floats, Floats]:
        """Energies (F, 1) in eV, forces (F, N, 3) in eV/Å and virials (F, 9) in eV, one frame at a time."""
        import torch

        device = next((p.device for p in self._module.parameters()), torch.device("cpu"))

        def tensor(value: Floats | Ints | None, *shape: int) -> Any:
            return None if value is None else torch.as_tensor(value, device=device).reshape(1, *shape)

        answers = []
        for index, coordinates in enumerate(positions):
            kinds = tensor(types[index] if mixed_type else types, -1).long()
            box = tensor(None if cells is None else cells[index], 9)
            parameters = tensor(None if fparam is None else fparam[index], -1)
            answers.append(self._module.forward(tensor(coordinates, -1, 3), kinds, box, parameters))
        energies, forces, virials = (
            np.concatenate([answer[key].detach().cpu().numpy() for answer in answers])
            for key in ("energy", "force", "virial")
        )
        return energies, forces, virials.reshape(len(positions), 9)
