"""Steps of an iteration of learning that ask its models for properties, before it is decided what is labeled."""

from __future__ import annotations

from typing import Any

from lamflow.config.learning import Config
from lamflow.config.tracked import FAILED_PROPERTIES
from lamflow.data import layout
from lamflow.data.graph import EngineUse, Key, Step
from lamflow.data.layout import INPUT, STRUCTURES, iteration_key
from lamflow.ops.properties import answer, expand, reduce, relax_structures
from lamflow.policy.jobs import jobs_needed
from lamflow.superops.properties import FRAMES_PER_JOB, FRAMES_PER_PROPERTY
from lamflow.superops.state import RunState
from lamflow.superops.steps import TOOLS, add


def tracked_steps(study: Config, number: int, state: RunState) -> list[Step]:
    """Crystals relaxed by the models, their frames made and evaluated, and values; none where none are asked for."""
    if study.properties is None:
        return []
    folder, names = iteration_key(number), study.properties.potential_names
    relaxed, expanded = Key(key=f"{folder}/{layout.RELAXED}"), Key(key=f"{folder}/{layout.EXPANDED}")
    answers, found = f"{folder}/{layout.ANSWERS}", f"{folder}/{layout.PROPERTIES}"
    crystals = sum(state.structures[name] for name in study.properties.structures)
    frames = max(1, crystals * len(study.properties.measure) * FRAMES_PER_PROPERTY)
    common: dict[str, Any] = {
        "resources": "explore", "engines": [EngineUse(role="train", name=study.train.engine)],
        "input": Key(key=INPUT), "models": Key(key=f"{folder}/{layout.MODELS}"),
    }  # fmt: skip
    relaxing, answering, several = _jobs(study, state, crystals), _jobs(study, state, frames), len(names) > 1
    return [
        *(
            add(
                f"crystals{index}" if several else "crystals", relax_structures,
                writes={"relaxed": f"{relaxed.key}/{name}"},
                records=[f"{relaxed.key}/{name}/*/{layout.SAMPLES_RECORD}"],
                structures=Key(key=STRUCTURES), potential=index, **relaxing, **common,
            )
            for index, name in enumerate(names)
        ),
        add(
            "expand", expand, writes={"expanded": expanded.key}, image=TOOLS,
            records=[f"{expanded.key}/{name}/{layout.SAMPLES_RECORD}" for name in names],
            input=Key(key=INPUT), relaxed=relaxed,
        ),
        *(
            add(
                f"evaluate{index}" if several else "evaluate", answer,
                writes={"answers": f"{answers}/{name}"}, records=[f"{answers}/{name}/*/{layout.ANSWERS_RECORD}"],
                expanded=expanded, potential=index, **answering, **common,
            )
            for index, name in enumerate(names)
        ),
        add(
            "reduce", reduce, writes={"properties": found}, records=[f"{found}/{layout.PROPERTIES_RECORD}"],
            image=TOOLS, input=Key(key=INPUT), relaxed=relaxed, expanded=expanded, answers=Key(key=answers),
        ),
    ]  # fmt: skip


def _jobs(study: Config, state: RunState, work: int) -> dict[str, int]:
    """How many jobs share so many frames."""
    pod = study.pods.explore
    jobs = jobs_needed(-(-work // FRAMES_PER_JOB), state.capacity.slots("explore", pod), pod.work_per_job)
    return {"jobs": jobs, "most_jobs": jobs, "work": work}


def failed_starts(study: Config, state: RunState) -> dict[str, int]:
    """How many frames of failed properties the next iteration begins with, as a structure set; empty for none."""
    last = state.finished[-1].tracked if state.finished else None
    wanted = study.properties is not None and study.properties.explore_failed
    return {FAILED_PROPERTIES: last.starts} if wanted and last is not None and last.starts else {}
