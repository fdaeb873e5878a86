"""A trained DeePMD model: evaluated in batches here, used by LAMMPS through its plug-in."""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from lamflow.data import Frame, Labels
from lamflow.data.fields import FORCE_MAG
from lamflow.data.frames import Floats, Ints
from lamflow.data.spent import spending
from lamflow.engines.deepmd import light
from lamflow.engines.deepmd.card import magnetic_elements
from lamflow.engines.deepmd.old import OldPotential, is_old
from lamflow.engines.protocol import BatchSession, Evaluator, LammpsPotential
from lamflow.errors import EngineError


class DeepmdModel:
    """Evaluator over a DeePMD file (.pt checkpoint or .pth frozen).

    exported  the same model for LAMMPS
    head    of a model that has several
    uses_electronic_temperature     it was trained with an electronic temperature
    beside  files that it needs beside it in LAMMPS
    """

    def __init__(
        self, path: Path, exported: Path | None = None, head: str | None = None, *,
        uses_electronic_temperature: bool = False, beside: Sequence[Path] = (),
    ) -> None:  # fmt: skip
        self.path, self.exported, self.head, self.uses_electronic_temperature, self.beside = (
            path,
            exported,
            head,
            uses_electronic_temperature,
            tuple(beside),
        )

    @cached_property
    @spending("startup")
    def _potential(self) -> Any:
        light.prepare()
        try:
            from deepmd.infer import DeepPot
        except ImportError as error:
            raise EngineError(f'DeePMD-kit does not work here ({error}); pip install "lamflow[deepmd]"') from error
        logger = logging.getLogger("deepmd")
        level = logger.level
        logger.setLevel(logging.ERROR)  # it recommends numbers of threads whenever a model is loaded
        try:
            given = {"head": self.head} if self.head else {}
            potential = DeepPot(str(self.path), **given, **_as_it_is(self.path))
            return OldPotential(potential) if is_old(potential) else potential
        except Exception as error:
            raise EngineError(f"{self.path}: DeePMD-kit cannot load this model: {error}") from error
        finally:
            logger.setLevel(level)

    @cached_property
    def elements(self) -> tuple[str, ...]:
        """The model's type map."""
        return tuple(self._potential.get_type_map())

    @property
    def finds_neighbours(self) -> bool:
        """The model looks for neighbours itself (DPA-4, and files frozen before 3.2), so that they cannot be kept."""
        return not hasattr(self._potential, "deep_eval") or self._potential.deep_eval._uses_edge_schema

    def evaluate(self, frames: Sequence[Frame]) -> list[Labels]:
        """See Evaluator. Frames with the same number of atoms are evaluated together, whatever their elements."""
        for index, frame in enumerate(frames):
            reason = self._unsupported(frame)
            if reason:
                raise EngineError(f"frame {index}: {reason}")
        labels: dict[int, Labels] = {}
        for members in _alike(frames):
            labels |= zip(members, self._evaluate_alike([frames[i] for i in members]), strict=True)
        return [labels[index] for index in range(len(frames))]

    def embed(self, frames: Sequence[Frame], features: str) -> list[Floats]:
        """See EmbedsAtoms. Frames with the same number of atoms are evaluated together."""
        found: dict[int, Floats] = {}
        for members in _alike(frames):
            positions, cells, types, mixed = self._arrays([frames[index] for index in members])
            given = self._frame_parameters([frames[index] for index in members])
            try:
                descriptor, last, _ = self._potential.eval_embedding(positions, cells, types, mixed_type=mixed, **given)
            except (AttributeError, NotImplementedError) as error:
                raise EngineError(f"{self.path}: this model cannot say its features of atoms: {error}") from error
            wanted = np.asarray(descriptor if features == "descriptor" else last, dtype=np.float64)
            found |= zip(members, wanted, strict=True)
        return [found[index] for index in range(len(frames))]

    def _unsupported(self, frame: Frame) -> str | None:
        """Why the model cannot evaluate a frame; None if it can."""
        try:
            self._types(frame)
            self._frame_parameters([frame])
            self._spins([frame])
        except EngineError as error:
            return str(error)
        return None

    def _evaluate_alike(self, frames: list[Frame]) -> list[Labels]:
        pbc = frames[0].pbc
        positions, cells, types, mixed = self._arrays(frames)
        inputs = self._frame_parameters(frames) | self._spins(frames)
        answers = self._potential.eval(positions, cells, types, mixed_type=mixed, **inputs)
        energies, forces, virials, *magnetic = (np.asarray(answer, dtype=np.float64) for answer in answers)
        tensors = virials.reshape(-1, 3, 3)
        if self.magnetic_elements:  # turning the lattice alone changes its energy; a strain without rotation is meant
            tensors = (tensors + tensors.transpose(0, 2, 1)) / 2
        return [
            Labels(
                float(energies[i, 0]),
                forces[i],
                tensors[i] if pbc else None,
                others={FORCE_MAG: magnetic[0][i] * magnetic[1][i]} if magnetic else {},
            )
            for i in range(len(frames))
        ]

    @cached_property
    def magnetic_elements(self) -> tuple[str, ...]:
        """Elements whose magnetic moments the model sees; none for a model without spins."""
        if not self._potential.has_spin:
            return ()
        return magnetic_elements({**self._potential.deep_eval.get_model_def_script(), "type_map": self.elements})

    def _spins(self, frames: list[Frame]) -> dict[str, Any]:
        """Moments as the model takes them. Raises EngineError where the two do not fit."""
        if not self.magnetic_elements:
            if any(frame.spins is not None for frame in frames):
                raise EngineError(f"{self.path}: this model knows no spins, and a frame has magnetic moments")
            return {}
        for frame in frames:
            if frame.spins is None and set(frame.symbols) & set(self.magnetic_elements):
                raise EngineError(
                    f"{self.path}: this model needs the magnetic moments of {', '.join(self.magnetic_elements)}, and a "
                    "frame has none"
                )
        given = [np.zeros((frame.natoms, 3)) if frame.spins is None else frame.spins for frame in frames]
        return {"spin": np.stack(given).reshape(len(frames), -1)}

    def _arrays(self, frames: list[Frame]) -> tuple[Floats, Floats | None, Ints, bool]:
        """Positions (F, N, 3), cells (F, 3, 3) and types of frames that are alike: (N,), or (F, N) if they differ."""
        types = np.stack([self._types(frame) for frame in frames])
        cells = np.stack([frame.cell for frame in frames]) if frames[0].pbc else None
        mixed = bool((types != types[0]).any())
        return np.stack([frame.positions for frame in frames]), cells, types if mixed else types[0], mixed

    def _frame_parameters(self, frames: list[Frame]) -> dict[str, Any]:
        """The electronic temperatures as the model takes them. Raises EngineError where the two do not fit."""
        given = [frame.electronic_temperature for frame in frames]
        width = self._potential.get_dim_fparam()
        if width > 1 and not self._potential.has_default_fparam():
            needed = f"{width} frame parameters (charge and spin, in most such models)"
            raise EngineError(f"{self.path}: this model needs {needed}, and frames have none")
        if width != 1:
            if any(temperature is not None for temperature in given):
                raise EngineError(f"{self.path}: this model knows no electronic temperature, and a frame has one")
            return {}
        if any(temperature is None for temperature in given):
            raise EngineError(f"{self.path}: this model needs an electronic temperature, and a frame has none")
        return {"fparam": np.array(given, dtype=np.float64).reshape(-1, 1)}

    @cached_property
    def _rank(self) -> Ints:
        """Place of each atomic number in the type map; -1 for what is not in it."""
        rank = np.full(len(chemical_symbols), -1)
        for place, symbol in enumerate(self.elements):
            if symbol in atomic_numbers:
                rank[atomic_numbers[symbol]] = place
        return rank

    def _types(self, frame: Frame) -> Ints:
        types: Ints = self._rank[frame.numbers]
        if (types < 0).any():
            unknown = sorted(set(frame.symbols) - set(self.elements))
            raise EngineError(f"{self.path}: the model knows {list(self.elements)}, not {unknown}")
        return types

    def open_session(self, starts: Sequence[Frame], others: Sequence[Evaluator]) -> BatchSession | None:
        """See SessionModel. Models of another kind or of other elements do without."""
        from lamflow.engines.deepmd.session import DeepmdSession

        alike = [model for model in others if isinstance(model, DeepmdModel) and model.elements == self.elements]
        if len(alike) < len(others) or self.magnetic_elements:
            return None
        if any(model.finds_neighbours for model in (self, *alike)):
            return None
        types = np.stack([self._types(frame) for frame in starts])
        fparam = self._frame_parameters(list(starts)).get("fparam")
        return DeepmdSession([self._potential, *(model._potential for model in alike)], types, starts[0].pbc, fparam)

    def lammps(self) -> LammpsPotential:
        """See Model."""
        if self.exported is None or not self.exported.is_file():
            raise EngineError(
                f"{self.path}: LAMMPS needs a frozen model, and there is none; DPA-4 is frozen (.pt2, minutes) only "
                "in studies that explore with LAMMPS"
            )
        return LammpsPotential(
            style="deepspin" if self.magnetic_elements else "deepmd",
            model=self.exported.name,
            coefficients="* *",
            files={self.exported.name: self.exported, **{path.name: path for path in self.beside}},
            environment=_plugin_environment(),
            deviations="out_freq {every} out_file {file}",
            electronic_temperature="fparam {temperature}" if self.uses_electronic_temperature else None,
        )


def _as_it_is(path: Path) -> dict[str, Any]:
    """Have a checkpoint evaluated without TorchScript where there is no GPU.

    To compile it takes 0.3 s a model and process. It would gain 9 % of one frame of 32 atoms after another, and costs
    8 % of one of 864.
    """
    import torch

    return {"no_jit": True} if path.suffix == ".pt" and not torch.cuda.is_available() else {}


def _alike(frames: Sequence[Frame]) -> list[list[int]]:
    """Indices of frames with the same number of atoms and boundaries."""
    alike: dict[tuple[int, bool], list[int]] = {}
    for index, frame in enumerate(frames):
        alike.setdefault((frame.natoms, frame.pbc), []).append(index)
    return list(alike.values())


def _plugin_environment() -> dict[str, str]:
    """What LAMMPS's own binary needs to load the plug-in, without the wrapper that imports torch first."""
    folders = {name: _package(name) for name in ("deepmd", "torch", "nvidia")}
    libraries = [
        folders["deepmd"] / "lib",
        folders["torch"] / "lib",
        folders["nvidia"] / "cuda_runtime" / "lib",
    ]
    libraries.append(Path(sys.prefix) / "lib")
    return {
        "LAMMPS_PLUGIN_PATH": str(folders["deepmd"] / "lib"),
        "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
    }


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise EngineError(f'the package {name!r} is not installed; pip install "lamflow[deepmd]"')
    return Path(next(iter(spec.submodule_search_locations)))
