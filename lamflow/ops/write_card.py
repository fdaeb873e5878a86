"""The data card: what the cleaned data are, what became of everything else, and a training study on them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase.data import chemical_symbols

from lamflow.config import stored
from lamflow.config.cleaning import CleaningStudy
from lamflow.data.arrays import read_arrays
from lamflow.data.cleaning import Card, CheckRecord, HeadCard, Range, ReadFile, ReadRecord, SourceCard
from lamflow.data.features import Features
from lamflow.data.fields import Floats
from lamflow.data.layout import (
    CARD,
    CARD_ARRAYS,
    CARDS,
    CHECKED_RECORD,
    FEATURES,
    READ_RECORD,
    SHARD,
    TRAINING_STUDY,
    VERDICTS,
    WRITTEN_RECORD,
)
from lamflow.data.shards import About, shards_below
from lamflow.ops.operation import Context, op
from lamflow.ops.write_frames import WrittenRecord
from lamflow.policy.audits import cards_of_heads
from lamflow.policy.heads import training_study

BINS = 60
QUANTITIES = {
    "energy": "eV/atom", "force_max": "eV/Å", "volume": "Å³/atom", "pressure": "GPa", "distance": "of covalent radii",
    "natoms": "atoms",
}  # fmt: skip


class CardWritten(NamedTuple):
    """card: card.json, the numbers of its figures, and training.yaml if one was asked for."""

    card: Path


@op
def write_card(context: Context, *, input: Path, shards: Path, checked: Path, cleaned: Path) -> CardWritten:
    """Sum up what was read, found and written."""
    study, record = stored(input, CleaningStudy), CheckRecord.read(checked / CHECKED_RECORD)
    folders, verdicts = shards_below(shards), read_arrays(checked / VERDICTS)
    features = Features.concatenate([Features.read(folder / FEATURES) for folder in folders])
    kept = verdicts["state"] == 0
    files = [file for path in sorted(shards.glob(f"*/{READ_RECORD}")) for file in ReadRecord.read(path).files]
    written = [WrittenRecord.read(path) for path in sorted(cleaned.glob(f"*/{WRITTEN_RECORD}"))]
    again = [Features.read(path) for path in sorted(cleaned.glob(f"*/{FEATURES}"))]
    data = Features.concatenate([features.subset(kept), *again])
    frames = {role: sum(part.frames[role] for part in written) for role in ("train", "heldout")}
    heads = _heads(study, data, verdicts, kept)
    used = data.formulas[data.formula] > 0
    card = Card(
        name=study.name, created=datetime.now(UTC).isoformat(timespec="seconds"),
        sources=_sources(study, files, folders, kept), counts=record.counts, audits=record.audits, heads=heads,
        elements={chemical_symbols[z]: int(n) for z, n in enumerate(used.sum(axis=0)) if n},
        ranges=_ranges(data), frames=sum(frames.values()), **frames,
        relabeled=sum(part.relabeled for part in written),
        quarantined=record.quarantined, dropped=record.dropped,
        digests={key: digest for part in written for key, digest in part.digests.items()}, notes=record.notes,
        curve=record.curve,
    )  # fmt: skip
    folder = context.out / CARDS
    folder.mkdir(parents=True)
    card.save(folder / CARD)
    if study.training is not None:
        (folder / TRAINING_STUDY).write_text(training_study(study, heads, record.elements), encoding="utf-8")
    np.savez(folder / CARD_ARRAYS, **_histograms(data, features.subset(~kept)))  # type: ignore[arg-type]  # only a keyword is typed
    return CardWritten(folder)


def _heads(
    study: CleaningStudy, data: Features, verdicts: Mapping[str, np.ndarray], kept: np.ndarray
) -> list[HeadCard]:
    """What each head has of `data`: the frames that are kept, and then those that were labeled again."""
    methods = dict(zip(verdicts["heads"].tolist(), verdicts["methods"].tolist(), strict=True))
    again, head, heldout = len(data) - int(kept.sum()), verdicts["head"][kept], verdicts["heldout"][kept]
    if again:
        assert study.relabel is not None and study.label is not None  # noqa: S101, PT018  who else has labeled them
        methods.setdefault(study.relabel.into, study.label.engine)
        head = np.concatenate([head, np.full(again, list(methods).index(study.relabel.into))])
        heldout = np.concatenate([heldout, np.zeros(again, dtype=np.int64)])
    return cards_of_heads(data, head, heldout, methods)


def _sources(study: CleaningStudy, files: list[ReadFile], folders: list[Path], kept: np.ndarray) -> list[SourceCard]:
    methods: dict[str, dict[str, None]] = {}
    left: dict[str, int] = {}
    start = 0
    for folder in folders:
        about = About.read(folder / SHARD)
        methods.setdefault(about.source, {}).update(dict.fromkeys(filter(None, about.methods)))
        left[about.source] = left.get(about.source, 0) + int(kept[start : start + about.frames].sum())
        start += about.frames
    cards = []
    for source in study.sources:
        mine = [file for file in files if file.source == source.name]
        cards.append(
            SourceCard(
                name=source.name, files=[file.original for file in mine], sha256=[file.sha256 for file in mine],
                licence=source.licence, doi=source.doi, software=source.software,
                methods=list(methods.get(source.name, {})), read=sum(file.frames for file in mine),
                unreadable=sum(item.frames for file in mine for item in file.unreadable),
                kept=left.get(source.name, 0),
            )
        )  # fmt: skip
    return cards


def _ranges(features: Features) -> dict[str, Range]:
    found = {}
    for name, unit in QUANTITIES.items():
        values: Floats = getattr(features, name)
        known = values[np.isfinite(values)]
        if len(known):
            least, median, most = (float(f(known)) for f in (np.min, np.median, np.max))
            found[name] = Range(least=least, median=median, most=most, unit=unit)
    return found


def _histograms(data: Features, rest: Features) -> dict[str, Floats]:
    """Edges and counts of each quantity, of what is written and of the rest, from the first to the last permille."""
    arrays: dict[str, Floats] = {}
    for name in QUANTITIES:
        parts = [np.asarray(getattr(part, name), dtype=np.float64) for part in (data, rest)]
        known = [values[np.isfinite(values)] for values in parts]
        if not sum(map(len, known)):
            continue
        low, high = np.quantile(np.concatenate(known), [0.001, 0.999])
        edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
        arrays[f"{name}-edges"] = edges
        for part, values in zip(("kept", "rest"), known, strict=True):
            arrays[f"{name}-{part}"] = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0]
    return arrays
