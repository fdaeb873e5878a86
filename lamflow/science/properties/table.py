"""Every property by name, and how their samples are answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from lamflow.data.properties import RELAXATION, Reduced
from lamflow.errors import EngineError
from lamflow.science.properties import (
    coexistence,
    cohesive,
    curie,
    defects,
    dimer,
    elastic,
    eos,
    formation,
    gamma,
    magnets,
    melting,
    motion,
    phonon,
    quasiharmonic,
    surface,
    thermal,
    viscosity,
)
from lamflow.science.properties.sample import Answer, Crystal, Sample
from lamflow.science.properties.simulated import OpenSession, by_frames, simulated
from lamflow.science.properties.stressed import stressed
from lamflow.science.relaxation import Evaluate, RelaxationPath, RelaxationSettings, relax


@dataclass(frozen=True)
class Property:
    """One property.

    frames  (crystal, **settings) -> samples; raises ValueError for a crystal that has no such property
    reduce  (crystal, answers) -> values; raises ValueError where the answers do not give them
    """

    frames: Callable[..., list[Sample]]
    reduce: Callable[[Crystal, Sequence[Answer]], Reduced]


PROPERTIES: Mapping[str, Property] = {
    "eos": Property(eos.frames, eos.reduce),
    "elastic": Property(elastic.frames, elastic.reduce),
    "cohesive": Property(cohesive.frames, cohesive.reduce),
    "decohesive": Property(gamma.decohesive_frames, gamma.reduce_decohesive),
    "surface": Property(surface.frames, surface.reduce),
    "vacancy": Property(defects.vacancy_frames, defects.reduce),
    "interstitial": Property(defects.interstitial_frames, defects.reduce),
    "substitution": Property(defects.substitution_frames, defects.reduce),
    "gamma": Property(gamma.line_frames, gamma.reduce_line),
    "gamma-surface": Property(gamma.surface_frames, gamma.reduce_surface),
    "phonon": Property(phonon.frames, phonon.reduce),
    "quasiharmonic": Property(quasiharmonic.frames, quasiharmonic.reduce),
    "formation": Property(formation.frames, formation.reduce),
    "dynamics": Property(motion.frames, motion.reduce),
    "thermal-elastic": Property(thermal.frames, thermal.reduce),
    "melting": Property(melting.frames, melting.reduce),
    "melting-point": Property(coexistence.frames, coexistence.reduce),
    "viscosity": Property(viscosity.frames, viscosity.reduce),
    "dimer": Property(dimer.frames, dimer.reduce),
    "magnetic-order": Property(magnets.order_frames, magnets.reduce_orders),
    "exchange": Property(magnets.exchange_frames, magnets.reduce_exchange),
    "spin-spiral": Property(magnets.spiral_frames, magnets.reduce_spirals),
    "curie": Property(curie.frames, curie.reduce),
}


Relax = Callable[..., list[RelaxationPath]]
"""Takes what `relax` does, without what evaluates."""
ELASTIC: Mapping[str, str] = {
    "C[1-6][1-6]": "GPa", "B": "GPa", "G": "GPa", "E": "GPa", "poisson": "1", "universal_anisotropy": "1",
    "smallest_eigenvalue": "GPa",
}  # fmt: skip
UNITS: Mapping[str, Mapping[str, str]] = {
    RELAXATION: {"E": "eV/atom", "V": "Å³/atom", "a": "Å", "b": "Å", "c": "Å", "alpha": "°", "beta": "°", "gamma": "°"},
    "eos": {name: unit for name, unit, _ in eos.PARAMETERS},
    "elastic": ELASTIC,
    "thermal-elastic": {**ELASTIC, "V": "Å³/atom", "residual_stress": "GPa"},
    "melting": {"T_heating": "K", "T_cooling": "K", "T_m": "K", "latent_heat": "eV/atom"},
    "melting-point": {"T_m": "K", "pressure": "GPa", "melt_fraction": "1"},
    "viscosity": {"viscosity": "mPa s", "V": "Å³/atom"},
    "cohesive": {"E_coh": "eV/atom", "E_atom": "eV"},
    "decohesive": {"work_of_separation": "J/m²", "gamma_unrelaxed": "J/m²", "largest_stress": "GPa"},
    "surface": {"gamma(_unrelaxed)?": "J/m²"},
    "vacancy": {"E_f(_unrelaxed)?": "eV"},
    "interstitial": {"E_f(_unrelaxed)?": "eV"},
    "substitution": {"E_f(_unrelaxed)?": "eV"},
    "gamma": {f"gamma_{name}(_unrelaxed)?": "J/m²" for name in ("max", "end", "min")},
    "gamma-surface": {"gamma_max": "J/m²"},
    "phonon": {
        "frequency_max": "THz", "frequency_min": "THz", "imaginary_fraction": "1", r"mode_\d+": "THz", "F": "kJ/mol",
        "S": "J/K/mol", "Cv": "J/K/mol",
    },
    "quasiharmonic": {"V": "Å³/atom", "alpha_V": "1/K", "alpha_L": "1/K", "B_T": "GPa", "gruneisen": "1"},
    "formation": {"E_form": "eV/atom", "E_above_hull": "eV/atom"},
    "dynamics": {
        "stable_time": "ps", "E": "eV/atom", "T": "K", "displacement": "Å", "energy_drift": "meV/atom/ps",
        "energy_fluctuation": "meV/atom", "V": "Å³/atom", "a": "Å", "b": "Å", "c": "Å", "rdf_peak": "Å",
        "rdf_height": "1",
    },
    "dimer": {"r_min": "Å", "E_min": "eV", "E_shortest": "eV", "wiggles": "1", "force_error": "eV/Å"},
    "magnetic-order": {"E": "eV/atom", "moment_[A-Z][a-z]?": "μB"},
    "exchange": {"J": "meV/μB²", "fit_residual": "meV/atom", "T_C": "K"},
    "spin-spiral": {"D": "meV Å²", "E_max": "eV/atom", "q_min": "1/Å"},
    "curie": {"T_C": "K", "m": "μB"},
}  # fmt: skip
"""Units of the values of each property by their names, which are regular expressions where there are several."""


def answered(
    samples: Sequence[Sample], evaluate: Evaluate, settings: RelaxationSettings, seed: Callable[[str], int],
    open_session: OpenSession | None = None, relaxing: Relax | None = None,
) -> list[Answer]:  # fmt: skip
    """Every sample relaxed, sampled or moved as it asks for and labeled, all in one batch a step. One that fails says
    why.

    seed          of the random numbers of what moves by molecular dynamics, by its name
    open_session  the same potential for what moves by molecular dynamics, where it is faster so
    relaxing      how frames relax, where the potential does it by itself
    """
    open_session, relaxing = open_session or by_frames(evaluate), relaxing or partial(relax, evaluate=evaluate)
    places: dict[str, list[int]] = {"sampled": [], "motion": [], "stressed": [], "coexisting": [], "": []}
    for place, sample in enumerate(samples):
        places[sample.relax if sample.relax in places else ""].append(place)
    sampled, moved, pulled, beside, still = ([samples[place] for place in group] for group in places.values())
    answers = [
        *_sampled(sampled, evaluate), *simulated(moved, open_session, seed), *stressed(pulled, open_session, seed),
        *coexistence.coexisting(beside, open_session, seed),
        *_relaxed(still, relaxing, settings),
    ]  # fmt: skip
    found = dict(zip([place for group in places.values() for place in group], answers, strict=True))
    return [found[place] for place in range(len(samples))]


def _sampled(samples: Sequence[Sample], evaluate: Evaluate) -> list[Answer]:
    """Moments that move with a temperature, without labels."""
    try:
        series = curie.sampled(samples, evaluate)
    except EngineError as error:
        return [Answer(sample, sample.frame, None, False, str(error).splitlines()[0]) for sample in samples]
    return [Answer(sample, sample.frame, None, series=own) for sample, own in zip(samples, series, strict=True)]


def _relaxed(samples: Sequence[Sample], relaxing: Relax, settings: RelaxationSettings) -> list[Answer]:
    if not samples:
        return []
    try:
        paths = relaxing([one.frame for one in samples], settings=settings, free=[one.freedom for one in samples])
    except EngineError as error:
        reason = str(error).splitlines()[0]
        return [Answer(sample, sample.frame, None, False, reason) for sample in samples]
    return [
        Answer(sample, path.frame, None if path.failure else path.labels, path.converged, path.failure)
        for sample, path in zip(samples, paths, strict=True)
    ]
