"""A study as one of another kind of workflow: learning as a training, either of them as an evaluation."""

from __future__ import annotations

from pathlib import Path

from lamflow.config.heads import Head
from lamflow.config.installed import engine_named
from lamflow.config.pretrained import RANDOM, PretrainedModel
from lamflow.config.schema import DataStudy, EvaluationStudy, LabelBudget, TrainingStudy
from lamflow.errors import InputError


def as_training(study: DataStudy) -> TrainingStudy:
    """A study of learning as one that trains once on its data. Raises InputError for one that trains nothing."""
    if not isinstance(study, TrainingStudy):
        raise InputError(f"workflow: a study of workflow {study.workflow} has no section `train`; it trains nothing")
    kept = {name: getattr(study, name) for name in TrainingStudy.model_fields if name not in ("workflow", "budget")}
    kept["filters"] = study.frame_filters
    budget = LabelBudget(labels=study.budget.labels, failed_labels=study.budget.failed_labels)
    return TrainingStudy.model_construct(workflow="training", budget=budget, **kept)


def as_evaluation(study: DataStudy, model: Path | None = None, head: str | None = None) -> EvaluationStudy:
    """A study as one that judges its pre-trained model, or the file `model`, on its labeled data.

    Structure sets are labeled for this by engines that take milliseconds, others are left out. Raises InputError when
    there is no model or no data.
    """
    if isinstance(study, EvaluationStudy) and model is None and head is None:
        return study
    if not isinstance(study, TrainingStudy):
        raise InputError("--model, --head: the file says itself what is judged; change its section `evaluate`")
    source = PretrainedModel(file=model.absolute()) if model is not None else study.train.pretrained_model
    if source is None:
        raise InputError("there is no model to judge: give train.pretrained in the file, or --model PATH")
    head = head or (None if study.heads or model is not None else source.head)
    if head == RANDOM:
        raise InputError("a RANDOM head predicts nothing before it is trained; name a head with --head")
    settings = study.train.evaluator_settings(source.model_copy(update={"head": head}))
    if settings is None:
        raise InputError(f"engine {study.train.engine!r} has no models that can be judged by themselves")
    parts = [_judged_data(part) for part in study.all_heads]
    kept = {name: getattr(study, name) for name in DataStudy.model_fields if name != "workflow"}
    kept["filters"] = study.frame_filters
    if study.heads:
        kept["heads"] = parts
    else:
        kept |= {"start": parts[0].start, "heldout": parts[0].heldout}
    evaluation = EvaluationStudy.model_construct(workflow="evaluation", evaluate=settings, **kept)
    if all(part.start.is_empty and part.heldout.is_empty for part in parts):
        raise InputError(
            "there are no labeled data to judge on: give start.data or heldout.data; structure sets "
            "are labeled for this by engines like deepmd, ase and emt only"
        )
    if study.heads and all(evaluation.evaluator(part.name) is None for part in parts):
        raise InputError(f"{settings.title}: the model has no head for any task of this file; name one with --head")
    return evaluation


def _judged_data(part: Head) -> Head:
    """A part of a study with what is cheap to label, nothing held out."""
    cheap = part.label is not None and "evaluate" in engine_named(part.label.engine).roles
    update: dict[str, object] = {}
    for role in ("start", "heldout"):
        data = getattr(part, role)
        update[role] = data.model_copy(update={"label": data.label if cheap else []})
    update["heldout"] = update["heldout"].model_copy(update={"fraction": 0.0})  # type: ignore[attr-defined]
    return part.model_copy(update=update)
