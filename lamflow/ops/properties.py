"""Properties: structures relaxed by a potential, frames of properties made, labeled, and turned into values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field, JsonValue

from lamflow.config import stored
from lamflow.config.properties import Relaxing as RelaxSettings
from lamflow.config.schema import DataStudy
from lamflow.config.seeds import child_seed
from lamflow.config.tracked import AskedProperties, TrackedProperties, asked_of
from lamflow.data import Frame, Labels
from lamflow.data.arrays import read_arrays
from lamflow.data.document import Entry
from lamflow.data.job_record import JobRecord
from lamflow.data.layout import (
    ANSWERS,
    ANSWERS_RECORD,
    EXPANDED,
    FRAMES,
    LABELS,
    PROPERTIES,
    PROPERTIES_RECORD,
    RELAXED,
    SAMPLES_RECORD,
)
from lamflow.data.packed import PackedFrames
from lamflow.data.properties import RELAXATION, PropertyResult, PropertyValues, Reduced
from lamflow.data.provenance import Provenance
from lamflow.data.spent import spending, take
from lamflow.engines import registry
from lamflow.errors import EngineError, LamflowError
from lamflow.ops.operation import Context, op
from lamflow.ops.potentials import asked_potential
from lamflow.ops.reference_files import references_of
from lamflow.ops.relaxed import (
    RelaxedEntry,
    RelaxedStructures,
    crystals,
    named_structures,
    relaxation_results,
    relaxed_structures,
)
from lamflow.policy.element_tables import single_elements, tabulated
from lamflow.policy.gates import checked, failed_properties, start_frames
from lamflow.policy.jobs import indices_of_job
from lamflow.policy.references import compared, unmatched
from lamflow.science.properties.cells import space_group
from lamflow.science.properties.sample import Answer, Crystal, Relax, Sample
from lamflow.science.properties.table import PROPERTIES as TABLE
from lamflow.science.properties.table import answered
from lamflow.science.relaxation import Freedom
from lamflow.science.symmetry import SpaceGroup
from lamflow.units import BAR_IN_EV_PER_A3, EV_PER_A3_IN_GPA


class SampleEntry(Entry):
    """A sample without its frame."""

    structure: str
    property: str
    relax: Relax
    about: dict[str, JsonValue] = Field(default_factory=dict)


class Samples(JobRecord):
    """What properties ask of a potential; refused: why a structure has no such property, by both names."""

    potential: str
    samples: list[SampleEntry]
    refused: dict[str, dict[str, str]]


class AnswerEntry(Entry):
    """What became of a sample, by its number. series: of one that has moved, see `simulated` and `curie`"""

    number: int
    converged: bool
    failure: str | None
    series: dict[str, list[float]] = Field(default_factory=dict)


class Answers(JobRecord):
    """What one job has labeled; frames and labels lie beside it in the same order."""

    potential: str
    answers: list[AnswerEntry]


class Relaxing(NamedTuple):
    """relaxed: one folder a job."""

    relaxed: Path


class Expanding(NamedTuple):
    """expanded: one folder a potential."""

    expanded: Path


class Answering(NamedTuple):
    """answers: one folder a job."""

    answers: Path


class Reducing(NamedTuple):
    """properties: properties.json; the number is what Argo's UI shows."""

    properties: Path
    failed: int


@op
def relax_structures(
    context: Context, *, input: Path, structures: Path, models: Path | None = None, potential: int
) -> Relaxing:
    """Relax structures job, job + jobs, … by one potential, all together."""
    study = stored(input, DataStudy)
    asked, chosen = asked_of(study), asked_potential(study, potential, models, context)
    named = named_structures(asked, structures)
    mine = [named[index] for index in indices_of_job(len(named), context.jobs, context.job)]
    folder = context.out / RELAXED / str(context.job)
    folder.mkdir(parents=True)
    paths = chosen.relax(
        [frame for _, frame in mine], settings=asked.relax, pressure=asked.relax.pressure * BAR_IN_EV_PER_A3,
        free=[_freedom(asked.relax, frame) for _, frame in mine],
    ) if mine else []  # fmt: skip
    entries = []
    for (name, start), path in zip(mine, paths, strict=True):
        stress = path.labels.stress(path.frame.volume) if path.frame.pbc and path.labels.virial is not None else None
        failed = path.failure or (None if path.converged else f"it did not converge in {asked.relax.steps} steps")
        entries.append(
            RelaxedEntry(
                structure=name, energy=None if failed else path.labels.energy, converged=path.converged,
                steps=len(path.steps) - 1, before=space_group(start), after=space_group(path.frame), failed=failed,
                pressure=None if stress is None else -float(np.trace(stress)) / 3 * EV_PER_A3_IN_GPA,
            )
        )  # fmt: skip
        context.say(f"{name}: {failed or f'relaxed in {len(path.steps) - 1} steps'}")
    PackedFrames.of([path.frame for path in paths]).save(folder / FRAMES)
    made_by = registry.provenance(chosen.engine)
    RelaxedStructures(potential=chosen.name, structures=entries, provenance=made_by, spent=take()).save(
        folder / SAMPLES_RECORD
    )
    return Relaxing(context.out / RELAXED)


@op
def expand(context: Context, *, input: Path, relaxed: Path) -> Expanding:
    """Make the frames that properties ask for, for every potential from what it has relaxed itself."""
    study = stored(input, DataStudy)
    asked = asked_of(study)
    for potential in asked.potential_names:
        samples: list[tuple[SampleEntry, Frame]] = []
        refused: dict[str, dict[str, str]] = {}
        for crystal in crystals(relaxed_structures(relaxed, potential)):
            for name, settings in asked.named_properties():
                seed = child_seed(study.seed, "properties", name, crystal.name)
                try:
                    own = TABLE[settings.property].frames(
                        replace(crystal, seed=seed), **settings.model_dump(exclude={"property"})
                    )
                except (ValueError, LamflowError) as error:
                    refused.setdefault(crystal.name, {})[name] = str(error)
                    continue
                samples += [(_entry(crystal.name, name, sample), sample.frame) for sample in own]
        folder = context.out / EXPANDED / potential
        PackedFrames.of([frame for _, frame in samples]).save(folder / FRAMES)
        Samples(
            potential=potential, samples=[entry for entry, _ in samples], refused=refused,
            provenance=Provenance.of_this_job(), spent=take(),
        ).save(folder / SAMPLES_RECORD)  # fmt: skip
        context.say(f"{potential}: {len(samples)} frames")
    return Expanding(context.out / EXPANDED)


@op
def answer(context: Context, *, input: Path, expanded: Path, models: Path | None = None, potential: int) -> Answering:
    """Relax and label a share of the samples of one potential, all together: every job has as many that move as others
    have, as large as those."""
    study = stored(input, DataStudy)
    chosen = asked_potential(study, potential, models, context)
    seed = partial(child_seed, study.seed, "motion")
    _, samples = _samples(expanded / chosen.name)
    by_cost = sorted(range(len(samples)), key=lambda index: (samples[index].relax, samples[index].frame.natoms))
    mine = sorted(by_cost[index] for index in indices_of_job(len(samples), context.jobs, context.job))
    context.say(f"{len(mine)} of {len(samples)} frames by {chosen.engine.engine}")
    with spending("physics"):
        own = [samples[number] for number in mine]
        found = answered(own, chosen.evaluate, asked_of(study).relax, seed, chosen.open_session, chosen.relax)
    folder = context.out / ANSWERS / str(context.job)
    folder.mkdir(parents=True)
    PackedFrames.of([one.frame for one in found]).save(folder / FRAMES)
    _save_labels(folder / LABELS, found)
    records = [
        AnswerEntry(
            number=number, converged=one.converged, failure=one.failure, series=dict(one.series)
        )
        for number, one in zip(mine, found, strict=True)
    ]  # fmt: skip
    made_by = registry.provenance(chosen.engine)
    Answers(potential=chosen.name, answers=records, provenance=made_by, spent=take()).save(folder / ANSWERS_RECORD)
    return Answering(context.out / ANSWERS)


@op
def reduce(context: Context, *, input: Path, relaxed: Path, expanded: Path, answers: Path) -> Reducing:
    """Turn labels into values, and compare them with their references."""
    asked = asked_of(stored(input, DataStudy))
    results: list[PropertyResult] = []
    by_potential = {name: relaxed_structures(relaxed, name) for name in asked.potential_names}
    for name, structures in by_potential.items():
        results += relaxation_results(structures, name)
        entries, samples = _samples(expanded / name)
        found = _answers(answers / name, samples)
        refused = Samples.read(expanded / name / SAMPLES_RECORD).refused
        for crystal in crystals(structures):
            for title, settings in asked.named_properties():
                own = [
                    found[number]
                    for number, entry in enumerate(entries)
                    if (entry.structure, entry.property) == (crystal.name, title)
                ]
                about = {"structure": crystal.name, "potential": name, "property": title, "frames": len(own)}
                reason = refused.get(crystal.name, {}).get(title)
                results.append(_reduced(settings.property, crystal, own, about, reason))
    folder = context.out / PROPERTIES
    folder.mkdir(parents=True)
    known = {entry.structure: frame for structures in by_potential.values() for entry, frame in structures}
    references = [*references_of(asked, known), *tabulated(asked, single_elements(known))]
    comparisons = compared(results, asked.reference, references)
    gates = checked(asked.gates, comparisons, results)
    starts = _starts(asked, by_potential, expanded, failed_properties(gates, results))
    if starts:
        PackedFrames.of(starts).save(folder / FRAMES)
    record = PropertyValues(
        results=results,
        comparisons=comparisons,
        gates=gates,
        starts=len(starts),
        unmatched=unmatched(results, asked.reference),
        provenance=Provenance.of_this_job(),
        spent=take(),
    )
    record.save(folder / PROPERTIES_RECORD)
    return Reducing(folder, sum(result.failed is not None for result in results))


def _starts(
    asked: AskedProperties, relaxed: Mapping[str, Sequence[tuple[RelaxedEntry, Frame]]], expanded: Path,
    failed: set[tuple[str, str]],
) -> list[Frame]:  # fmt: skip
    """What the next iteration begins with, where it explores failed properties: their frames, before relaxation."""
    if not isinstance(asked, TrackedProperties) or not asked.explore_failed:
        return []
    frames: list[Frame] = []
    for name, structures in relaxed.items():
        frames += [frame for entry, frame in structures if (entry.structure, RELAXATION) in failed]
        entries, samples = _samples(expanded / name)
        frames += [
            sample.frame
            for entry, sample in zip(entries, samples, strict=True)
            if (entry.structure, entry.property) in failed
        ]
    return start_frames(frames, asked.explore_size, asked.explore_atoms)


def _freedom(settings: RelaxSettings, frame: Frame) -> Freedom:
    """What of a structure relaxes before its properties are asked for."""
    group = SpaceGroup.of(frame) if settings.symmetry and frame.pbc else None
    return Freedom(cell=settings.cell_changes if settings.cell and frame.pbc else "none", group=group)


def _reduced(
    kind: str, crystal: Crystal, answers: Sequence[Answer], about: Mapping[str, Any], reason: str | None
) -> PropertyResult:
    """One property of one crystal; a failure is a result with its reason."""
    if reason is None:
        try:
            made = TABLE[kind].reduce(crystal, answers)
            _finite(made)
            return PropertyResult(**about, **dict(made))
        except (ValueError, LamflowError) as error:
            reason = str(error)
    return PropertyResult(**about, values=[], failed=reason)


def _finite(found: Reduced) -> None:
    """Raise ValueError for a value that is no number."""
    for value in found.values:
        if not np.isfinite(value.value):
            raise ValueError(f"{value.name} {value.where}: no finite number came of it")


def _entry(structure: str, title: str, sample: Sample) -> SampleEntry:
    return SampleEntry(structure=structure, property=title, relax=sample.relax, about=dict(sample.about))


def _samples(folder: Path) -> tuple[list[SampleEntry], list[Sample]]:
    entries = Samples.read(folder / SAMPLES_RECORD).samples
    frames = PackedFrames.load(folder / FRAMES)
    samples = [Sample(frame, entry.relax, entry.about) for entry, frame in zip(entries, frames, strict=True)]
    return entries, samples


def _save_labels(file: Path, answers: Sequence[Answer]) -> None:
    """Energies (F,), forces of all atoms (ΣN, 3) and virials (F, 3, 3); NaN where a frame has none."""
    nothing = [Labels(np.nan, np.full((one.frame.natoms, 3), np.nan)) for one in answers]
    labels = [one.labels or none for one, none in zip(answers, nothing, strict=True)]
    virials = [np.full((3, 3), np.nan) if one.virial is None else one.virial for one in labels]
    np.savez(
        file, energies=np.array([one.energy for one in labels]),
        forces=np.concatenate([np.zeros((0, 3)), *(one.forces for one in labels)]),
        virials=np.array(virials).reshape(-1, 3, 3),
    )  # fmt: skip


def _answers(folder: Path, samples: Sequence[Sample]) -> dict[int, Answer]:
    """Answers of all jobs by the number of their sample. Raises EngineError when a job has left some out."""
    found: dict[int, Answer] = {}
    for job in sorted(folder.iterdir()):
        frames, arrays = PackedFrames.load(job / FRAMES), read_arrays(job / LABELS)
        forces = frames.split(arrays["forces"])
        for row, (entry, frame) in enumerate(zip(Answers.read(job / ANSWERS_RECORD).answers, frames, strict=True)):
            virial = arrays["virials"][row]
            labels = Labels(float(arrays["energies"][row]), forces[row], None if np.isnan(virial).all() else virial)
            known = labels if np.isfinite(labels.energy) else None
            found[entry.number] = Answer(
                samples[entry.number], frame, known, entry.converged, entry.failure, entry.series
            )
    if len(found) != len(samples):
        raise EngineError(f"{len(samples) - len(found)} of {len(samples)} frames have no answer")
    return found
