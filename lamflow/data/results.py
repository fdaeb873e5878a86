"""What steps say about their work: JSON between pods, and the record of a run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import Field

from lamflow.data.calibration import CalibrationPoint, RiskCheck
from lamflow.data.comparisons import TrackedValues
from lamflow.data.dataset import Origin
from lamflow.data.document import Entry, Result
from lamflow.data.frames import Attempt, FailureKind
from lamflow.data.hulls import FoundStructure
from lamflow.data.job_record import JobRecord
from lamflow.data.label_work import LabelCost, LabelWork
from lamflow.data.moments import TrainedMoments
from lamflow.data.provenance import Provenance
from lamflow.data.selected import Selected
from lamflow.data.spent import Spent, StepTime


class Errors(Entry):
    """Errors on held-out data.

    force_rmse, force_mae   eV/Å over all components
    force_size              root mean square of the reference force components, eV/Å
    energy_rmse             eV/atom
    virial_rmse             eV/atom over all components, None without reference virials
    magnetic_force_rmse     eV/μB over the components of all magnetic atoms, None without reference magnetic forces
    magnetic_force_size     root mean square of these components of the reference, eV/μB
    """

    force_rmse: float
    force_mae: float
    force_size: float
    energy_rmse: float
    virial_rmse: float | None = None
    magnetic_force_rmse: float | None = None
    magnetic_force_size: float | None = None
    frames: int

    @property
    def are_finite(self) -> bool:
        """Every error is a number; JSON has no others."""
        return all(math.isfinite(value) for value in self.model_dump().values() if value is not None)


class ModelResult(JobRecord):
    """One trained model."""

    index: int
    variant: str = ""
    """Name of its architecture, where several are tried."""
    seed: int
    data_hash: str
    """Hash of the training data and settings that made it."""
    training_frames: int
    moments: TrainedMoments | None = None
    """Magnetic moments of the training data, for models that see them."""
    steps: int
    seconds: float
    errors: Errors | None = None
    """On the held-out data of the heads that are explored, or of all if none is."""
    heads: dict[str, Errors] = Field(default_factory=dict)
    """On the held-out data of each head."""
    baseline: dict[str, Errors] = Field(default_factory=dict)
    """Of the pre-trained model by head, its name empty in a study without heads: zero-shot, with its energies shifted
    to the training data, and of a head that is replayed as it was."""
    speed: float | None = None
    """Atoms × evaluations of energy, forces and virial a second, one frame at a time, measured where it was trained."""
    failed: str | None = None
    """Why it cannot be used: the last lines of its training, or what is wrong with its errors."""
    files: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of each file of the model itself, by its path in the model's folder."""
    reused: bool = False
    """Nothing had changed since the iteration before, so its model was taken over."""


def mean_force_rmse(models: Sequence[ModelResult], variant: str = "", head: str = "") -> float | None:
    """Mean held-out force RMSE of the models of an architecture, or of all, eV/Å; on one head's data if it is named."""
    alike = [model for model in models if not variant or model.variant == variant]
    errors = [model.heads.get(head) if head else model.errors for model in alike]
    rmse = [error.force_rmse for error in errors if error is not None]
    return sum(rmse) / len(rmse) if rmse else None


def mean_magnetic_force_rmse(models: Sequence[ModelResult], variant: str = "") -> float | None:
    """Mean held-out RMSE of magnetic forces of the models of an architecture, or of all, eV/μB; None without spins."""
    errors = [model.errors for model in models if model.errors and variant in ("", model.variant)]
    found = [error.magnetic_force_rmse for error in errors if error.magnetic_force_rmse is not None]
    return sum(found) / len(found) if found else None


class SimulationResult(Entry):
    """One simulation or search, or what one job has done of it."""

    number: int
    name: str
    group: str
    structure: str
    start: int
    condition: dict[str, float]
    head: str = ""
    """The head that explored."""
    model: int = 0
    """The model that explored, from 0."""
    seed: int
    frames: int
    beyond: int = 0
    """Frames whose magnetic moments are unlike all that the models were trained on."""
    dropped: dict[str, int] = Field(default_factory=dict)
    """Frames that a filter refused, by reason."""
    failed: str | None = None
    log: str = ""
    seconds: float = 0.0


class Explored(JobRecord):
    """What one job has explored; its frames lie beside it in frames.npz, structures of searches in found.npz.

    A search's generations are documents of their own, each with its part of the result.
    """

    simulations: list[SimulationResult]
    structures: list[FoundStructure] = Field(default_factory=list)


NEAR_HULL = "near the convex hull"
"""How the rule begins by which a structure of a search is labeled whatever its deviation."""


AUDIT = "accurate by its score, drawn at random"
"""How the rule begins by which a frame is labeled to see whether accurate frames are accurate."""


class LabelOutcome(LabelWork):
    """One label: paid for, and good or not."""

    hash: str
    origin: Origin
    energy: float | None = None
    """eV"""
    error: float | None = None
    """Largest error of the force on an atom that the models predicted before they knew this label, eV/Å."""
    errors: dict[str, float] = Field(default_factory=dict)
    """The same of each quantity of which the origin has a score, in its unit."""
    seconds: float = 0.0
    net_force: float | None = None
    """Length of the sum of all forces over the root of the number of atoms, eV/Å: at least so noisy are they."""
    cached: bool = False
    """Somebody has paid for it before: it comes from the label cache."""
    attempts: list[Attempt] = Field(default_factory=list)
    """Every try, if there were several."""
    failed: str | None = None
    kind: FailureKind | None = None
    """Class of the failure."""
    log: str = ""


class Labeled(JobRecord):
    """One label job's outcomes; the good ones lie beside it as a data set."""

    outcomes: list[LabelOutcome]
    role: Literal["train", "heldout"] = "train"


class Merged(JobRecord):
    """What an iteration added to the data."""

    added: int
    heldout: int
    duplicates: int
    failed: list[LabelOutcome]
    labels: int = 0
    """Good labels."""
    cached: int = 0
    """Those of them that came from the label cache."""
    jobs: list[int] = Field(default_factory=list)
    """The label jobs whose outcomes these are."""
    remedied: list[LabelOutcome] = Field(default_factory=list)
    """Good labels that took more than one try."""
    seconds: float
    """Time that all labels of the iteration took together, in s."""


class Round(Result):
    """The record of one finished round of any kind of workflow."""

    number: int
    stage: str
    steps: list[StepTime] = Field(default_factory=list)
    seconds: float = 0.0
    spent: Spent = Field(default_factory=Spent)
    """Where the time of the cores went, from the beginning of the round to its end."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Of what the driver runs with."""
    provenance: dict[str, list[Provenance]] = Field(default_factory=dict)
    """By step: what its jobs ran with, as they say it; what several jobs say alike stands once."""

    @property
    def ended(self) -> str | None:
        """Why the run ends with this round, or None."""
        return None

    @property
    def converged(self) -> bool:
        """The run ends because it has reached what it was for."""
        return False


class Cost(Entry):
    """What a kind of step has taken: seconds of its codes times the cores, and times the GPUs, of its pods."""

    core_hours: float
    gpu_hours: float


NET_FORCE = 0.05
"""eV/Å; what the sum of all forces is over the root of the number of atoms, where labels are good."""


class Iteration(Round):
    """The record of one finished iteration of learning, or of a training."""

    models: list[ModelResult] = Field(default_factory=list)
    simulations: list[SimulationResult] = Field(default_factory=list)
    selected: Selected | None = None
    merged: Merged | None = None
    merged_late: Merged | None = None
    """What labels added that were late in the iteration before."""
    late: int = 0
    """Frames whose labels were still being computed when it ended; see `select.enough`."""
    variant: str = ""
    """The architecture that is chosen, where several are tried."""
    calibration: list[CalibrationPoint] = Field(default_factory=list)
    """How wrong the models were about the frames that were labeled."""
    risk_checks: dict[Literal["labels", "audit", "held-out data"], RiskCheck] = Field(default_factory=dict)
    """Of a calibrated window: of what was labeled in this iteration, of the accurate frames among it, and of the
    held-out data."""
    costs: dict[Literal["train", "explore", "label"], Cost] = Field(default_factory=dict)
    """By kind of step."""
    label_costs: list[LabelCost] = Field(default_factory=list)
    """Of each frame whose label was computed."""
    label_noise: float | None = None
    """Median over the labels of what their forces' noise is at least, eV/Å."""
    hull_labels: dict[str, float] = Field(default_factory=dict)
    """Energies by the labels, in eV, of structures near the convex hull, by the hash of their frames."""
    tracked: TrackedValues | None = None
    """What the models say of crystals, in a run of learning that asks for properties."""
    training_frames: int
    """Frames in the training set after this iteration."""
    heldout_frames: int
    labels: int
    """Labels paid for so far."""

    @property
    def ended(self) -> str | None:
        """Why the run ends with this iteration, or None."""
        if self.selected is not None:
            return self.selected.reason if self.selected.decision == "stop" else None
        if not self.number:
            return None
        count, failed = len(self.models), len(self.failed_models)
        poor = sum(model.errors.force_rmse > model.errors.force_size for model in self.models if model.errors)
        doubt = f"; on held-out data {poor} of {count} are worse than predicting no force at all" if poor else ""
        doubt += "".join(f"; {text}" for text in self._worse_than_before())
        return (f"the training of {failed} of {count} models failed" if failed else "the models are trained") + doubt

    def _worse_than_before(self) -> Iterator[str]:
        """Heads on whose held-out data fine-tuning has made the models worse."""
        for head, before in self.baseline.items():
            now = mean_force_rmse(self.models, self.variant, head)
            if now is not None and now > before.force_rmse:
                of = f" of {head}" if head else ""
                yield f"the held-out force RMSE{of} was {before.force_rmse:.4f} eV/Å before and is {now:.4f} eV/Å now"

    @property
    def label_doubt(self) -> str:
        """What speaks against the labels as a whole; empty for nothing."""
        if self.label_noise is None or self.label_noise < NET_FORCE:
            return ""
        return (
            f"the forces of the labels do not add up to zero: {self.label_noise:.2g} eV/Å times the root of the number "
            f"of atoms is left in the median ({NET_FORCE:g} at most is usual); look at the label engine's units and "
            "settings"
        )

    @property
    def failed_models(self) -> list[str]:
        """A line for each model whose training failed: which one, and why."""
        count = len(self.models)
        return [f"model {model.index + 1} of {count}: {model.failed}" for model in self.models if model.failed]

    @property
    def converged(self) -> bool:
        """See Round."""
        return self.selected is not None and self.selected.converged

    @property
    def baseline(self) -> dict[str, Errors]:
        """Errors of the pre-trained model by head, where this iteration measured them."""
        return next((model.baseline for model in self.models if model.baseline), {})

    @property
    def force_rmse(self) -> float | None:
        """Mean of the models' held-out force RMSE, eV/Å; of the chosen architecture's where several are tried."""
        return mean_force_rmse(self.models, self.variant)

    @property
    def magnetic_force_rmse(self) -> float | None:
        """Mean of the models' held-out RMSE of magnetic forces, eV/μB; None for models without spins."""
        return mean_magnetic_force_rmse(self.models, self.variant)


def first_baseline(iterations: Sequence[Iteration]) -> dict[str, Errors]:
    """Errors of the pre-trained model by head, by the first iteration, which measured them."""
    return next((errors for iteration in iterations if (errors := iteration.baseline)), {})


class History(Result):
    """The finished iterations, oldest first: all that a decision looks at."""

    iterations: list[Iteration]
    written: float = 0.0
    """When the iteration that looks at it began or was gone on with, in s since 1970; 0 where nobody has looked."""
