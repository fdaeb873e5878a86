"""The labeled data that a study begins with: read once, through the gate, with what a person should know of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lamflow.config.labeled import Heldout, Start
from lamflow.config.learning import Config
from lamflow.config.references import files_of
from lamflow.config.schema import DataStudy, TrainingStudy
from lamflow.config.section import expand
from lamflow.data import Frame, LabeledFrame
from lamflow.data.dataset import Item, Origin, frame_key
from lamflow.data.fields import FORCE_MAG, SPIN, field
from lamflow.data.gate import Reading, Repeats, repeats
from lamflow.data.io import read_source
from lamflow.errors import InputError, Problems
from lamflow.science.moment_range import beyond_trained
from lamflow.science.plausibility import GivenData, reference_warnings, summarize
from lamflow.science.split import blocks


@dataclass(frozen=True, eq=False)
class StartData:
    """Labeled frames of the user's, for training and held out, and the source of each."""

    items: dict[str, list[Item]]
    sources: list[tuple[str, str, str, Reading]]
    """Role, head, name in the file, and what was read."""

    def summary(self) -> GivenData:
        """What the sources look like, and what is to be said of them."""
        summaries, warnings = [], []
        for role, head, name, reading in self.sources:
            summary = summarize(reading.frames, name).model_copy(
                update={"role": role, "head": head, "left_out": reading.left_out}
            )
            summaries.append(summary)
            warnings += [f"{name}: {text}" for text in (*reading.notes, *summary.warnings)]
        repeated = {role: self._repeats(role) for role in self.items}
        for role, found in repeated.items():
            text = found.says([item.origin.source for item in self.items[role]])
            warnings += [f"{_where(role)}: {text}"] if text else []
        return GivenData(
            sources=summaries,
            repeated=sum(found.repeated for found in repeated.values()),
            conflicts=sum(found.conflicts for found in repeated.values()),
            warnings=[*warnings, *reference_warnings(summaries)],
        )

    def _repeats(self, role: str) -> Repeats:
        items = self.items[role]
        return repeats([item.key for item in items], [item.labeled for item in items])


def start_items(study: DataStudy) -> dict[str, list[Item]]:
    """Labeled data that the user brought, for training and held out. Raises InputError with all that cannot be used."""
    problems = Problems()
    data = read_sources(study, problems)
    problems.report()
    return data.items


def read_sources(study: DataStudy, problems: Problems) -> StartData:
    """What can be read of the files of `start.data` and `heldout.data`; what cannot be used is kept as problems."""
    data = StartData({"train": [], "heldout": []}, [])
    for part in study.all_heads:
        for role, section in (("train", part.start), ("heldout", part.heldout)):
            for index, file in enumerate(files_of(section.data)):
                with problems.collect(f"{_where(role, part.name)}[{index}]"):
                    reading = _read(study, section, file)
                    data.sources.append((role, part.name, str(file), reading))
                    data.items[role] += [
                        Item(labeled, Origin(iteration=0, source=f"{file}#{number}", head=part.name))
                        for number, labeled in zip(reading.index, reading.frames, strict=True)
                    ]
    return data


def _read(study: DataStudy, section: Start | Heldout, file: Path) -> Reading:
    reading = read_source(expand(file), section.format, {str(name): key for name, key in section.keys.items()})
    if section.spins == "ignore":
        reading = replace(reading, frames=[_without_spins(labeled) for labeled in reading.frames])
    _check_frames(study, str(file), reading)
    return reading


def _without_spins(labeled: LabeledFrame) -> LabeledFrame:
    others = {name: value for name, value in labeled.labels.others.items() if name != FORCE_MAG}
    return LabeledFrame(labeled.frame.with_fields(**{SPIN: None}), replace(labeled.labels, others=others))


def check_start(study: DataStudy, data: StartData, structures: Mapping[str, Sequence[Frame]]) -> None:
    """Raise InputError when the start data cannot be split, or are the held-out data.

    structures  those that are labeled first, as far as they have been built
    """
    _check_shared(study, data, structures)
    _check_range(study, data)
    for part in study.all_heads:
        items = [item for item in data.items["train"] if item.origin.head == part.name]
        groups = blocks(
            [item.origin.group for item in items], [item.origin.index for item in items], part.heldout.fraction
        )
        if part.heldout.fraction and not part.start.label and len(set(groups)) < 2:
            where = f"heads.{part.name}.heldout.fraction" if part.name else "heldout.fraction"
            raise InputError(
                f"{where}: all start data lie in one file, and a file is held out whole so that nothing leaks; "
                "split it into independent files, or give heldout.data or heldout.label"
            )


def _check_range(study: DataStudy, data: StartData) -> None:
    """Raise InputError for held-out moments unlike all that are trained on, where no further labels come."""
    if not isinstance(study, TrainingStudy) or isinstance(study, Config):
        return
    for part in study.all_heads:
        trained, held = (
            [item.labeled.frame for item in data.items[role] if item.origin.head == part.name]
            for role in ("train", "heldout")
        )
        reason = None if part.start.label else beyond_trained(trained, held)
        if reason is not None:
            raise InputError(f"{_where('heldout', part.name)}: {reason}")


def _check_shared(study: DataStudy, data: StartData, structures: Mapping[str, Sequence[Frame]]) -> None:
    """Raise InputError when a frame is both trained on and held out."""
    held = {item.key for item in data.items["heldout"]}
    shared = sum(item.key in held for item in data.items["train"])
    if shared:
        raise InputError(f"start.data and heldout.data share {shared} frames; held-out data must never be trained on")
    for part in study.all_heads:
        both = set(part.start.label) & set(part.heldout.label)
        if both:
            raise InputError(
                f"start.label and heldout.label share {', '.join(sorted(both))}; held-out data must never be trained on"
            )
        first = _keys(part.start, part.name, data, "train", structures)
        shared = len(first & _keys(part.heldout, part.name, data, "heldout", structures))
        if shared:
            raise InputError(
                f"start and heldout share {shared} structures, labeled or to be labeled; held-out data must never be "
                "trained on"
            )


def _keys(
    section: Start | Heldout, head: str, data: StartData, role: str, structures: Mapping[str, Sequence[Frame]]
) -> set[str]:
    keys = {item.key for item in data.items[role] if item.origin.head == head}
    frames = [frame for name in section.label for frame in structures.get(name, ())]
    return keys | {frame_key(frame.content_hash(), head) for frame in frames}


def _check_frames(study: DataStudy, file: str, reading: Reading) -> None:
    """Raise InputError for frames that the models of the study cannot be trained on."""
    hot = not isinstance(study, TrainingStudy) or study.train.uses_electronic_temperature
    for number, labeled in zip(reading.index, reading.frames, strict=True):
        foreign = sorted(set(labeled.frame.symbols) - set(study.elements))
        if foreign:
            raise InputError(f"{file}: frame {number}: {', '.join(foreign)} is not in elements {study.elements}")
        temperature = labeled.frame.electronic_temperature
        if temperature is not None and not hot:
            raise InputError(
                f"{file}: frame {number} has an electronic temperature ({temperature:g} K), which the models do not "
                "learn; see train.electronic_temperature"
            )
        if isinstance(study, TrainingStudy):
            _check_spins(study.train.magnetic_elements, labeled, f"{file}: frame {number}")


def _check_spins(magnetic: Sequence[str], labeled: LabeledFrame, where: str) -> None:
    """Raise InputError for a frame with moments that models do not see, or without those that they need."""
    if labeled.frame.spins is not None and not magnetic:
        raise InputError(
            f"{where} has magnetic moments, which the models do not see; see train.spin, or set `spins: ignore` beside "
            "the data"
        )
    needed = sorted(set(labeled.frame.symbols) & set(magnetic))
    for name, value in ((SPIN, labeled.frame.spins), (FORCE_MAG, labeled.labels.force_mag)) if needed else ():
        if value is None:
            row = field(name)
            raise InputError(
                f"{where} has no {name} ({row.unit}) of its {', '.join(needed)}, which train.spin needs; data sets "
                f"have it as {row.deepmd}.npy, extended XYZ as {row.ase} or by keys: {{{name}: NAME}}"
            )


def _where(role: str, head: str = "") -> str:
    return (f"heads.{head}." if head else "") + ("start.data" if role == "train" else "heldout.data")
