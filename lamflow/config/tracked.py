"""What a study of learning says of the properties that its models are asked for in every iteration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Protocol

from pydantic import Field, model_validator

from lamflow.config.properties import (
    Gate,
    PropertiesStudy,
    PropertySettings,
    References,
    Relaxing,
    named_properties,
)
from lamflow.config.schema import DataStudy
from lamflow.config.section import Distinct, Name, Section
from lamflow.errors import StateError
from lamflow.units import Count, Length

FAILED_PROPERTIES = "failed-properties"
"""Name of the structure set that holds frames of properties that the models got wrong."""


class AskedProperties(Protocol):
    """What a study asks of potentials, whatever its kind."""

    @property
    def set_names(self) -> Sequence[str]:
        """Structure sets whose properties are asked for."""

    @property
    def potential_names(self) -> Sequence[str]:
        """In the order of their numbers."""

    @property
    def relax(self) -> Relaxing:
        """How crystals and frames are relaxed."""

    @property
    def reference(self) -> References | None:
        """What values are compared with."""

    @property
    def gates(self) -> Sequence[Gate]:
        """What values must be."""

    def named_properties(self) -> Iterator[tuple[str, PropertySettings]]:
        """Each property with the name of its results."""


class TrackedProperties(Section):
    """Properties that the models of every iteration are asked for, before it is decided what is labeled."""

    structures: Annotated[list[Name], Distinct] = Field(min_length=1)
    """Names of the structure sets whose properties are asked for."""
    measure: list[PropertySettings] = Field(default_factory=list)
    """Which properties, as in a study of workflow properties; relaxed structures alone if there are none."""
    models: Count = 1
    """So many of the models are asked, each for itself; of several architectures those of the one that is chosen."""
    head: Name | None = None
    """In a study with several heads, the one that is asked; the first that explores if absent."""
    relax: Relaxing = Relaxing()
    reference: References | None = None
    gates: list[Gate] = Field(default_factory=list)
    """The last stage, and with it the run, has converged only when all of them hold."""
    explore_failed: bool = False
    """Frames of properties that failed, or whose gates do not hold, are start structures of the next iteration: every
    group that begins with structures takes `starts` of them at each of its conditions."""
    explore_size: Length = 8.0
    """Those frames are repeated until opposite faces are at least so far apart."""
    explore_atoms: int = Field(200, ge=2, le=100_000)
    """Frames that have more atoms then are left out."""

    @model_validator(mode="after")
    def _references_are_given(self) -> TrackedProperties:
        if self.relax.method == "native":
            raise ValueError("relax.method: native is for first-principles codes; models are relaxed by lbfgs or fire")
        if self.reference is not None and self.reference.potential is not None:
            raise ValueError("reference.potential: models of a run have no other potential beside them; give a `file`")
        return self

    @property
    def set_names(self) -> Sequence[str]:
        """See AskedProperties."""
        return self.structures

    @property
    def potential_names(self) -> Sequence[str]:
        """See AskedProperties."""
        return ["model"] if self.models == 1 else [f"model-{number + 1}" for number in range(self.models)]

    def named_properties(self) -> Iterator[tuple[str, PropertySettings]]:
        """See AskedProperties."""
        return named_properties(self.measure)


def asked_of(study: DataStudy) -> AskedProperties:
    """The properties that a study asks for. Raises StateError for one that asks for none."""
    if isinstance(study, PropertiesStudy):
        return study
    tracked = getattr(study, "properties", None)
    if not isinstance(tracked, TrackedProperties):
        raise StateError(f"the study {study.name} asks for no properties")
    return tracked
