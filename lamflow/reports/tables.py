"""Tables of a run: the same rows in the terminal, in Markdown and in the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from lamflow.config.heads import Head
from lamflow.config.structures import StructureSet
from lamflow.data.packed import PackedFrames
from lamflow.data.results import Cost, Errors, Iteration, Merged, ModelResult, mean_force_rmse
from lamflow.data.spent import Spent

COLUMNS = (
    "iteration", "stage", "trained on", "held-out force RMSE (eV/Å)", "energy RMSE (meV/atom)", "explored", "accurate",
    "candidates", "failed", "labels", "wall (s)", "then",
)  # fmt: skip
ACTIONS = {
    "label": "label",
    "ramp": "next level",
    "explore": "failed properties",
    "advance": "next stage",
    "stop": "stop",
}


def iteration_row(iteration: Iteration) -> list[str]:
    """The cells of one iteration, in the order of COLUMNS; empty where there is nothing to say."""
    selected, merged = iteration.selected, iteration.merged
    errors = [model.errors for model in iteration.models if model.errors]
    added = sum(each.added for each in (merged, iteration.merged_late) if each is not None)
    trained = str(iteration.models[0].training_frames) if iteration.models else ""
    energy = f"{1000 * sum(e.energy_rmse for e in errors) / len(errors):.2f}" if errors else ""
    force = f"{iteration.force_rmse:.4f}" if iteration.force_rmse is not None else ""
    found = ["", "", "", ""]
    then = "train"
    if selected is not None:
        found = [
            str(selected.explored), f"{selected.accurate_fraction:.1%}", str(selected.candidates), str(selected.failed)
        ]  # fmt: skip
        then = ACTIONS[selected.decision]
    elif iteration.number:
        failed, models = len(iteration.failed_models), len(iteration.models)
        then = "done" if not failed else "failed" if failed == models else f"{failed} of {models} failed"
    labels = f"{iteration.labels} (+{added})" if added else str(iteration.labels)
    labels += f", {iteration.late} late" if iteration.late else ""
    return [
        str(iteration.number), iteration.stage, trained, force, energy, *found, labels, f"{iteration.seconds:.0f}", then
    ]  # fmt: skip


def model_row(model: ModelResult, chosen: str) -> list[str]:
    """One model: its name, errors, steps, training time and speed; empty where nothing was measured."""
    name = f"{model.index + 1}" + (f" · {model.variant}" if model.variant else "")
    errors = model.errors
    return [
        name + (" (chosen)" if chosen and model.variant == chosen else ""),
        f"{errors.force_rmse:.4f}" if errors else model.failed or "",
        f"{1000 * errors.energy_rmse:.2f}" if errors else "",
        str(model.steps),
        "taken over" if model.reused else f"{model.seconds:.0f}",
        f"{model.speed:,.0f}" if model.speed else "",
    ]


def head_rows(heads: Sequence[Head], before: Mapping[str, Errors], models: Sequence[ModelResult]) -> list[list[str]]:
    """Each head: what it starts from, its weight, and its held-out errors before any training and now."""
    rows = []
    for head in heads:
        now = [model.heads[head.name] for model in models if head.name in model.heads]
        force = mean_force_rmse(models, head=head.name)
        was = before[head.name].force_rmse if head.name in before else None
        start = head.pretrained_head or ("itself: replayed" if was is not None else "random weights")
        rows.append(
            [
                head.name,
                start,
                f"{head.weight:g}",
                f"{was:.4f}" if was is not None else "",
                f"{force:.4f}" if force is not None else "",
                f"{force / was:.2f}" if force is not None and was else "",
                f"{1000 * sum(errors.energy_rmse for errors in now) / len(now):.2f}" if now else "",
            ]
        )
    return rows


def run_sentence(iterations: Sequence[Iteration]) -> str:
    """How far a run is, in one sentence."""
    if not iterations:
        return "Nothing has finished yet."
    last = iterations[-1]
    words = [f"Iteration {last.number} ({last.stage}) has finished"]
    if last.force_rmse is not None:
        words.append(f"held-out force RMSE {last.force_rmse:.4f} eV/Å")
    if last.selected is not None:
        words.append(f"{last.selected.accurate_fraction:.1%} of {last.selected.explored} frames accurate")
    words.append(f"{last.labels} labels")
    return f"{'; '.join(words)}{f' · {last.ended}' if last.ended else ''}."


def dropped_rows(iterations: Sequence[Iteration]) -> list[tuple[str, str, int]]:
    """Iteration, reason and number of frames that a filter refused or that failed to be labeled."""
    rows = []
    for iteration in iterations:
        if iteration.selected is not None:
            rows += [(str(iteration.number), reason, n) for reason, n in iteration.selected.dropped.items()]
            if iteration.selected.known:
                rows.append((str(iteration.number), "in the data already", iteration.selected.known))
        if iteration.merged is not None:
            for outcome in iteration.merged.failed:
                rows.append((str(iteration.number), f"label failed: {outcome.failed}", 1))
            if iteration.merged.duplicates:
                rows.append((str(iteration.number), "label of a frame that was known", iteration.merged.duplicates))
    return rows


SPENT_COLUMNS = (
    "iteration", "step", "core-seconds", "physics", "judging", "start-up", "data", "lamflow", "waiting",
)  # fmt: skip


def spent_rows(iterations: Sequence[Iteration]) -> list[list[str]]:
    """Where the core-seconds went: each iteration, the steps of the last one, and all; shares of the row's total."""
    timed = [iteration for iteration in iterations if iteration.spent.total]
    rows = [_spent_row(str(iteration.number), iteration.stage, iteration.spent) for iteration in timed]
    rows += [_spent_row(str(timed[-1].number), step.name, step.spent) for step in timed[-1].steps] if timed else []
    whole = sum((iteration.spent for iteration in timed), Spent())
    return [*rows, _spent_row("all", "", whole)] if timed else []


def _spent_row(number: str, step: str, spent: Spent) -> list[str]:
    parts = (spent.physics, spent.judging, spent.startup, spent.data, spent.lamflow, spent.waiting)
    shares = [f"{part / spent.total:.1%}" if spent.total else "" for part in parts]
    return [number, step, f"{spent.total:.1f}", *shares]


STRUCTURE_COLUMNS = ("set", "made from", "structures", "atoms", "Å³/atom", "elements")


def structure_rows(sets: Sequence[StructureSet], frames: Mapping[str, PackedFrames]) -> list[tuple[str, ...]]:
    """What exploration starts from: a row for each structure set."""
    rows: list[tuple[str, ...]] = []
    for settings in sets:
        if settings.name not in frames:
            continue
        made = frames[settings.name]
        counts = Counter(chemical_symbols[number] for number in made.numbers.tolist())
        total = max(1, sum(counts.values()))
        volumes = np.abs(np.linalg.det(made.cells[made.pbc])) / made.natoms[made.pbc]
        rows.append(
            (
                settings.name,
                _made_from(settings),
                str(len(made)),
                _range(made.natoms, "d"),
                _range(volumes, ".2f") if len(volumes) else "isolated",
                ", ".join(f"{element} {count / total:.0%}" for element, count in sorted(counts.items())),
            )
        )
    return rows


def _made_from(settings: StructureSet) -> str:
    """A structure set in a few words."""
    if settings.crystal is not None:
        words = [f"{settings.crystal.lattice} {settings.crystal.formula}"]
    elif settings.generate is not None:
        words = [f"random by {settings.generate.engine}"]
    else:
        words = [", ".join(file.name for file in settings.files)]
    if settings.slab is not None:
        miller = " ".join(map(str, settings.slab.miller))
        words.append(f"({miller}) slab of {settings.slab.layers} layers, {settings.slab.vacuum:g} Å of vacuum")
    if settings.supercell != [1, 1, 1]:
        words.append("×".join(map(str, settings.supercell)))
    if settings.scale != [1.0]:
        words.append(f"scaled by {', '.join(f'{factor:g}' for factor in settings.scale)}")
    if settings.composition:
        words.append("random alloy")
    if settings.vacancies:
        words.append(f"{settings.vacancies} {'vacancy' if settings.vacancies == 1 else 'vacancies'}")
    words += [f"{count} interstitial {element}" for element, count in settings.interstitials.items()]
    if settings.strain:
        words.append(f"strain {settings.strain:g}")
    if settings.rattle:
        words.append(f"rattled by {settings.rattle:g} Å")
    if settings.electronic_temperature is not None:
        words.append(f"electrons at {settings.electronic_temperature:g} K")
    if settings.spins is not None:
        moments = ", ".join(f"{element} {moment:g} μB" for element, moment in settings.spins.moments.items())
        words.append(f"{' and '.join(settings.spins.orders)} moments ({moments})")
    return ", ".join(words)


def _range(values: Any, format: str) -> str:
    low, high = min(values.tolist()), max(values.tolist())
    shown = f"{low:{format}}", f"{high:{format}}"
    return shown[0] if shown[0] == shown[1] else f"{shown[0]} to {shown[1]}"


LABEL_COLUMNS = ("iteration", "good", "from the cache", "after remedies", "failed", "s/label", "net force (eV/Å)")


def label_rows(iterations: Sequence[Iteration]) -> list[tuple[str, ...]]:
    """What labels cost and how they failed: a row for each iteration that labeled."""
    rows: list[tuple[str, ...]] = []
    for iteration in iterations:
        pairs = [(str(iteration.number), iteration.merged), (f"{iteration.number}, late", iteration.merged_late)]
        rows += [
            (*_label_row(name, merged), "" if iteration.label_noise is None else f"{iteration.label_noise:.2g}")
            for name, merged in pairs
            if merged is not None and _labels(merged)
        ]
    return rows


def _labels(merged: Merged) -> int:
    return merged.labels + len(merged.failed)


def _label_row(name: str, merged: Merged) -> tuple[str, ...]:
    classes = Counter(outcome.kind or "stopped" for outcome in merged.failed)
    paid = _labels(merged) - merged.cached
    return (
        name, str(merged.labels), str(merged.cached), str(len(merged.remedied)),
        ", ".join(f"{count} {kind}" for kind, count in sorted(classes.items())) or "0",
        f"{merged.seconds / paid:.1f}" if paid > 0 and merged.seconds else "",
    )  # fmt: skip


COST_COLUMNS = ("kind", "core-hours", "GPU-hours")


def cost_rows(iterations: Sequence[Iteration]) -> list[tuple[str, ...]]:
    """What each kind of step has taken, and all together."""
    taken: dict[str, list[Cost]] = {}
    for iteration in iterations:
        for kind, cost in iteration.costs.items():
            taken.setdefault(kind, []).append(cost)
            taken.setdefault("together", []).append(cost)
    taken = dict(sorted(taken.items(), key=lambda item: item[0] == "together"))
    return [
        (kind, f"{sum(one.core_hours for one in paid):.3g}", f"{sum(one.gpu_hours for one in paid):.3g}")
        for kind, paid in taken.items()
    ]


def failed_simulations(iterations: Sequence[Iteration]) -> list[tuple[str, str, str, int]]:
    """Iteration, simulation, reason, and frames kept, of simulations that ended early."""
    return [
        (str(iteration.number), result.name, result.failed, result.frames)
        for iteration in iterations
        for result in iteration.simulations
        if result.failed
    ]


def provenance_rows(iterations: Sequence[Iteration]) -> list[tuple[str, str]]:
    """Step, and what its jobs ran with as they said it, each once: engines with versions, image, machine."""
    rows: dict[tuple[str, str], None] = {}
    for iteration in iterations:
        for step, records in iteration.provenance.items():
            for made_by in records:
                engines = ", ".join(f"{name} {version}" for name, version in made_by.engines.items())
                parts = [engines, f"lamflow {made_by.lamflow}", made_by.image, made_by.gpu or made_by.cpu]
                rows[step, " · ".join(filter(None, parts))] = None
    return list(rows)
