"""What a study of transport says: who moves, how long, and what is asked of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lamflow.config.engines import DynamicsSettings, EngineSettings, ExplorerSettings
from lamflow.config.installed import ChosenByEngine
from lamflow.config.properties import PropertiesStudy, Relaxing
from lamflow.config.section import Element
from lamflow.units import Fraction, Kelvin, Length


class TransportStudy(PropertiesStudy):
    """Ions move in many independent simulations; how far they come says how they diffuse and conduct."""

    workflow: str = "transport"
    relax: Relaxing = Relaxing(cell=False, fmax=0.05, steps=300)
    """Before the simulations: atoms, and the cell where it is asked for."""
    simulate: Annotated[ExplorerSettings, ChosenByEngine("explore")]
    """Molecular dynamics by any explorer, at each of its temperatures and pressures. `every` must be so short that no
    atom moves half a cell between two frames."""
    repeats: int = Field(4, ge=1, le=1000)
    """Independent simulations of each structure at each condition."""
    equilibration: Fraction = 0.1
    """Of each simulation, thrown away."""
    mobile: Element
    """The element that diffuses."""
    charges: dict[Element, Annotated[float, Field(ge=-20, le=20)]] = Field(default_factory=dict)
    """Charges of the ions in e; needed for conductivities. Elements that are not named carry none."""
    jump: Length = 1.5
    """An ion that is so far from where it rested has jumped, and rests where it is now; somewhat less than the distance
    between neighbouring sites."""
    method: Literal["auto", "kinisi", "least-squares"] = "auto"
    """How the diffusion coefficient is estimated: `auto` asks kinisi where it is installed."""
    extrapolate: list[Kelvin] = [300.0]
    """Temperatures that the Arrhenius fit is asked for."""
    error: Annotated[float, Field(gt=0, le=1)] | None = None
    """Further rounds of simulations until the relative error of every diffusion coefficient is below."""
    rounds: int = Field(1, ge=1, le=100)
    """Most rounds."""

    @property
    def dynamics(self) -> DynamicsSettings:
        """How atoms move."""
        assert isinstance(self.simulate, DynamicsSettings)  # noqa: S101  the validator has looked
        return self.simulate

    @property
    def engines(self) -> list[EngineSettings]:
        """See DataStudy."""
        return [*super().engines, self.simulate]

    def _heads_fit(self) -> None:
        super()._heads_fit()
        if self.properties:
            raise ValueError("properties: a study of transport has none; write a study of workflow properties for them")
        for potential in self.potentials:
            if potential.evaluate is None:
                raise ValueError(f"potentials.{potential.name}: dynamics needs an engine that plays `evaluate`")
        if not isinstance(self.simulate, DynamicsSettings) or not self.simulate.temperatures:
            raise ValueError(f"simulate: {self.simulate.engine} moves no atoms by temperature; give `temperatures`")
        if 0 in self.simulate.temperatures:
            raise ValueError("simulate.temperatures: nothing diffuses at 0 K")
        for where, element in [("mobile", self.mobile), *(("charges", element) for element in self.charges)]:
            if element not in self.elements:
                raise ValueError(f"{where}: {element} is not in elements {self.elements}")
        if self.charges and not self.charges.get(self.mobile):
            raise ValueError(f"charges: give the charge of {self.mobile}, which is the mobile ion")
        if self.error is not None and self.rounds == 1:
            raise ValueError("error: with one round nothing can be run longer; raise `rounds`")

    def _used_structures(self) -> list[tuple[str, str]]:  # type: ignore[override]
        return [*super()._used_structures(), *(("simulate.structures", name) for name in self.dynamics.structures)]
