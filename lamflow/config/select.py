"""Which explored frames are worth a label: filters, window, diversity, limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from lamflow.config.section import Section
from lamflow.units import Count, Degree, EvPerAngstrom, Fraction, Length, Unit

Volume = Annotated[float, Field(ge=0, le=1e9), Unit("Å³")]
Deviation = Literal[
    "force_max", "force_mean", "force_min", "force_max_relative", "virial_max", "energy", "magnetic_force_max",
    "magnetic_force_mean", "magnetic_force_max_relative",
]  # fmt: skip
UNITS = {
    "force_max_relative": "", "virial_max": "eV/atom", "energy": "eV/atom", "magnetic_force_max": "eV/μB",
    "magnetic_force_mean": "eV/μB", "magnetic_force_max_relative": "",
}  # fmt: skip
"""Of metrics that are not in eV/Å."""
Level = Annotated[float, Field(ge=0, le=1e4)]


class FixedWindow(Section):
    """Frames whose deviation lies between two fixed levels are candidates."""

    rule: Literal["fixed"] = "fixed"
    low: EvPerAngstrom = 0.10
    """Frames below this deviation are already well described."""
    high: EvPerAngstrom = 0.50
    """Frames above this are likely unphysical and are dropped."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(
                f"low ({self.low:g} eV/Å) must be below high ({self.high:g} eV/Å); "
                "as written no frame can ever be selected"
            )
        return self


class AdaptiveWindow(Section):
    """The most uncertain frames below `high` are candidates, however small their deviation."""

    rule: Literal["adaptive"]
    high: EvPerAngstrom = 0.50
    """Frames above this are likely unphysical and are dropped."""
    candidates: Count = 200
    """At least so many frames are candidates."""
    fraction: Fraction = 0.01
    """At least this fraction of all frames are candidates."""
    settled: Fraction = 0.05
    """A stage is done when the smallest deviation among the candidates has changed by less than this fraction in each
    of the last `over` iterations. With this window `converge.accurate` has no meaning and is not looked at."""
    over: int = Field(2, ge=1, le=1000)


class CalibratedWindow(Section):
    """Frames whose error may be too large are candidates, by what the labels paid so far say of the score.

    Labels tell which error a score stands for, so the levels are of errors and need not be guessed. A stage is done
    when at most the fraction `risk` of all explored frames is predicted to have an error above `error`, with what is
    not known counted as above; `converge.accurate` is not looked at. Until `1/risk` explored frames or so have labels,
    frames are judged by the held-out data where a committee scores forces or energies; otherwise all are candidates.
    """

    rule: Literal["calibrated"]
    error: EvPerAngstrom
    """Largest error of the force on any atom that a frame may have."""
    risk: float = Field(0.05, ge=0.001, le=0.5)
    """Fraction of the explored frames that may have a larger one; below 0.001 it takes more than a thousand labels to
    show. A frame whose own probability is smaller is accurate; the others are candidates."""
    unphysical: EvPerAngstrom = 10.0
    """Frames whose score stands for a larger error than this are dropped."""
    audit: float = Field(0.1, ge=0, le=0.5)
    """This fraction of the labels goes to accurate frames drawn at random: they show whether these are accurate, and
    teach the calibration what small scores stand for."""
    correlation: float = Field(0.2, ge=0, lt=1)
    """Smallest rank correlation of score and error over the newest labels with which the score counts. Below it the
    score is worthless, which is said: all frames are alike, and candidates are picked for their diversity."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if not 0 < self.error < self.unphysical:
            raise ValueError(
                f"error ({self.error:g} eV/Å) must be above 0 and below unphysical ({self.unphysical:g} eV/Å); "
                "as written no frame can ever be selected"
            )
        return self


class Channel(Section):
    """A further quantity that is looked at, in its own unit: with two levels of its deviation where the window is
    fixed, with the error that it may have where the window is calibrated."""

    metric: Deviation
    low: Level | None = None
    high: Level | None = None
    error: Level | None = None
    """Largest error of this quantity that a frame may have. The risk of the window is that any of its quantities has a
    larger one."""

    @property
    def unit(self) -> str:
        """Of the levels and of the error."""
        return UNITS.get(self.metric, "eV/Å")

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if self.error is None and (self.low is None or self.high is None):
            raise ValueError(f"{self.metric}: give low and high, or error with a calibrated window")
        if self.error is not None and not (self.low is None and self.high is None):
            raise ValueError(f"{self.metric}: error is for a calibrated window, low and high are for a fixed one")
        if self.error is not None and not self.error > 0:
            raise ValueError(
                f"{self.metric}: error ({self.error:g} {self.unit}) must be above 0; as written no frame is accurate"
            )
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"{self.metric}: low ({self.low:g}) must be below high ({self.high:g} {self.unit})")
        return self


def _rule(value: object) -> str:
    """The rule of a window, `fixed` if none is given."""
    return str(value.get("rule", "fixed") if isinstance(value, dict) else getattr(value, "rule", "fixed"))


Window = Annotated[
    Annotated[FixedWindow, Tag("fixed")]
    | Annotated[AdaptiveWindow, Tag("adaptive")]
    | Annotated[CalibratedWindow, Tag("calibrated")],
    Discriminator(_rule),
]


class Filters(Section):
    """Frames that no first-principles code should see. Each dropped frame is counted with its reason."""

    min_distance: Fraction = 0.55
    """Smallest distance allowed, as a fraction of the sum of the two covalent radii."""
    max_length_ratio: float = Field(5.0, ge=1, le=1e9)
    """Largest ratio of the longest to the shortest cell vector."""
    min_angle: Degree = 25.0
    """Smallest angle between two cell vectors."""
    volume_per_atom: tuple[Volume, Volume] = (2.0, 200.0)
    """Allowed volume of a periodic cell per atom, in Å³."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        low, high = self.volume_per_atom
        if not 0 <= low < high:
            raise ValueError(f"volume_per_atom: [{low:g}, {high:g}] Å³ must be a range from low to high")
        return self


class EmbeddingScore(Section):
    """How the error of a single model is bounded by how far an atom's surroundings are from the training data's."""

    features: Literal["descriptor", "last_layer"] = "descriptor"
    """How the model sees an atom: its descriptor, or the layer before its energy."""
    coverage: float = Field(0.9, gt=0, lt=1)
    """Fraction of the atoms whose error is below the bound; calibrated on the held-out data, so these should resemble
    what is explored."""


class CutOut(Section):
    """What is labeled of a chosen frame that is too large: the surroundings of the atom whose force is least certain.

    Of a periodic frame a smaller periodic box along the same lattice vectors, of an isolated one a cluster. Molecules
    of at most 50 atoms stay whole. Atoms keep their positions: nothing is relaxed and no bond is saturated, so networks
    of covalent bonds have dangling ones at the sides, and models learn these, too. Beyond the radius, atoms that stand
    too close across a side are left out.
    """

    above: int = Field(200, ge=2, le=1_000_000)
    """Frames of more atoms are cut; others are labeled whole."""
    radius: Length = 6.0
    """Everything at most this far from the atom is kept; not less than the models' cutoff, or its force is another."""


class Select(Section):
    """Which explored frames are sent to be labeled: filters, then window, then diversity, then limits."""

    window: Window = FixedWindow()
    score: Literal["committee", "teacher", "embedding"] = "committee"
    """What the window looks at: how far the models of the committee disagree, the true error of the model that
    explored, or a bound of it. `teacher` evaluates every explored frame with the label engine, one that costs
    milliseconds. `embedding` needs one model only: the farther the atoms are from those that it was trained on, in its
    own features, the larger the bound, calibrated on the held-out data so that it is in eV/Å."""
    embedding: EmbeddingScore = EmbeddingScore()
    """With `score: embedding`."""
    metric: Deviation = "force_max"
    """What the deviation is of: the forces (largest, mean or smallest over the atoms; relative to the force's size plus
    1 eV/Å), the virial per atom in eV, the energy per atom in eV, or the magnetic forces (eV/μB; relative to their size
    plus 0.1 eV/μB)."""
    channels: list[Channel] = Field(default_factory=list)
    """Further quantities with levels of their own. A frame is a candidate when any of them is between its levels, and
    has failed when any is above: each is put on the scale of the window, and the largest counts. With a calibrated
    window each has an `error` that it may have, in its own unit, and labels tell what its deviations stand for."""
    limit: Count = 50
    """Most frames labeled in one iteration."""
    enough: float = Field(1.0, gt=0, le=1)
    """On a batch system and on Kubernetes an iteration goes on when this fraction of its label jobs has ended. The
    others run on, and their labels join the data at the end of the next iteration. The last iteration of
    `budget.iterations` that labels waits for all. `lamflow run --on shell` does the same on this machine; without it,
    all labels of an iteration are waited for here."""
    per_group: Count | None = None
    """Most frames from one explore group of the stage."""
    pick: Literal["diverse", "uncertain", "informative", "economical", "random"] = "diverse"
    """`diverse`: farthest from the training set and from each other; `uncertain`: largest deviation first;
    `informative`: both, by the product of that distance and the error that a calibrated window expects, or the
    deviation with other windows; `economical`: the same by the seconds that a label is expected to take, as finished
    labels tell by atoms, volume, elements and magnetism, so small frames come first where they bring as much."""
    cut_out: CutOut | None = None
    """Label parts of large frames; the committee must be one that scores forces. Whole frames are labeled if absent."""
    pool: Count = 1000
    """Most candidates that one pod sends on, drawn at random from all of its candidates."""
    filters: Filters = Filters()
    max_failed: Fraction = 0.5
    """Stop with the reasons when more than this fraction of the simulations failed outright."""

    def with_levels(self, window: FixedWindow | None, channels: Sequence[Channel] | None) -> Select:
        """These settings with the levels of an explore group; those here hold where it has none of its own.

        Raises ValueError for levels that mean nothing.
        """
        own = {"window": window, "channels": channels}
        return Select.model_validate({**dict(self), **{key: value for key, value in own.items() if value is not None}})

    @property
    def levels(self) -> dict[Deviation, tuple[float, float]]:
        """Lower and upper level of each quantity that fixed levels are given for."""
        own = {self.metric: (self.window.low, self.window.high)} if isinstance(self.window, FixedWindow) else {}
        levels = {channel.metric: (channel.low, channel.high) for channel in self.channels}
        return {
            **own,
            **{name: (low, high) for name, (low, high) in levels.items() if low is not None and high is not None},
        }

    @property
    def allowed(self) -> dict[str, float]:
        """Error that each quantity of a calibrated window with channels may have, that of the window first."""
        if not isinstance(self.window, CalibratedWindow) or not self.channels:
            return {}
        return {self.metric: self.window.error, **{c.metric: c.error for c in self.channels if c.error is not None}}

    @property
    def metrics(self) -> list[Deviation]:
        """Every quantity that is looked at."""
        return [self.metric, *(channel.metric for channel in self.channels)]

    @model_validator(mode="after")
    def _bounds_are_of_forces(self) -> Self:
        unbounded = [metric for metric in self.metrics if not metric.startswith("force")]
        if self.score == "embedding" and unbounded:
            raise ValueError(f"metric: {unbounded[0]} has no bound; score: embedding bounds forces, so take force_max")
        return self

    @model_validator(mode="after")
    def _worst_atoms_are_known(self) -> Self:
        if self.cut_out is not None and self.score != "committee":
            raise ValueError(f"cut_out: a committee tells which atom is least certain, and score is {self.score}")
        return self

    @property
    def asks_models(self) -> bool:
        """The models are asked about the frames that are chosen."""
        return self.cut_out is not None or bool(self.allowed)

    @property
    def unit(self) -> str:
        """Of the deviation and of the window's levels."""
        return UNITS.get(self.metric, "eV/Å")

    @model_validator(mode="after")
    def _channels_fit(self) -> Self:
        if self.channels and self.window.rule == "adaptive":
            raise ValueError(
                "channels: their levels are put on the scale of a fixed or a calibrated window; set window.rule"
            )
        for channel in self.channels:
            if (channel.error is None) == isinstance(self.window, CalibratedWindow):
                wanted = "low and high" if channel.error is not None else "error"
                raise ValueError(f"channels: {channel.metric}: a {self.window.rule} window needs {wanted} of it")
        if self.allowed and self.score != "committee":
            raise ValueError(f"channels: a calibrated window looks at them by a committee, and score is {self.score}")
        if self.allowed and self.cut_out is not None:
            raise ValueError(
                "channels: labels of cut-outs do not tell the errors of whole frames; leave out cut_out or channels"
            )
        if len(set(self.metrics)) < len(self.metrics):
            raise ValueError(f"channels: every metric once; given are {', '.join(self.metrics)}")
        if self.channels and isinstance(self.window, FixedWindow) and not self.window.low:
            raise ValueError("channels: window.low must be above 0, so that other levels can be put on its scale")
        return self
