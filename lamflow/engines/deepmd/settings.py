"""Settings of DeePMD-kit trainings."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, JsonValue, model_validator

from lamflow.config.engines import ExaminedStudy, LabelerSettings, TrainerSettings
from lamflow.config.pretrained import RANDOM, PretrainedModel
from lamflow.config.section import InputFile, expand
from lamflow.engines.deepmd.card import is_dpa4
from lamflow.engines.deepmd.catalogue import same_head
from lamflow.engines.deepmd.compression import check_compression
from lamflow.engines.deepmd.given import (
    LEARNING_RATE,
    LOSS,
    MODEL,
    SECTIONS,
    SPIN_MODEL,
    STEPS,
    not_a_mapping,
    read_input,
)
from lamflow.engines.deepmd.phases import Phase, Variant
from lamflow.engines.deepmd.spin import SPIN_LOSS, Spin
from lamflow.errors import InputError
from lamflow.units import Positive, Steps


class DeepmdTraining(TrainerSettings):
    """Train with DeePMD-kit's PyTorch backend (`dp --pt train`)."""

    model_file_name: ClassVar[str | None] = "model.pt"
    multitask: ClassVar[bool] = True
    offers: ClassVar[frozenset[str]] = frozenset({"lammps", "batched", "embedding"})
    engine: Literal["deepmd"]
    steps: Steps = 400_000
    """Training steps of a model."""
    epochs: Positive | None = None
    """How often training goes through the data, instead of a number of steps; `steps` is then the most."""
    input: dict[str, JsonValue] = Field(default_factory=dict)
    """DeePMD-kit's own input (`model`, `learning_rate`, `loss`, `optimizer`, `training`, `validating`). lamflow adds
    the type map, the data, the seeds, the number of steps and the names of files."""
    input_file: InputFile | None = None
    """The same as a JSON file, `input.json` of DeePMD-kit or of DP-GEN; `input` wins over it section by section."""
    pretrained: PretrainedModel | None = None
    """The model that `init`, `finetune` and `as_is` start from."""
    use_pretrain_script: bool = True
    """Take descriptor and fitting net from the pre-trained model instead of from `input`."""
    phases: list[Phase] = Field(default_factory=list)
    """How models start and for how long they are trained, by iteration; without any all start from scratch."""
    variants: list[Variant] = Field(default_factory=list)
    """Architectures to try; `models` of each are trained."""
    speed_tolerance: float = Field(1.2, ge=1, le=1e6)
    """Of several variants the fastest is chosen whose held-out force RMSE is at most so many times the best one's."""
    electronic_temperature: bool = False
    """Models learn an electronic temperature (DeePMD-kit's frame parameter, in K); every frame of the data has one."""
    spin: Spin | None = None
    """Models learn magnetic moments."""
    files: list[InputFile] = Field(default_factory=list)
    """Files that `input` names, a table of short-ranged repulsion for example; they travel with the models."""
    compress: bool = False
    """Compress the frozen model for exploration, for descriptors that allow it (`dp --pt compress`)."""
    checkpoint_every: Steps = 1000
    """Steps between checkpoints; a training that was killed goes on from the last one."""
    checkpoint: Literal["last", "best"] = "last"
    """Which checkpoint is the model: the last, or the one with the smallest held-out force RMSE (and RMSE of magnetic
    forces), in the geometric mean over heads: what one gains is weighed, in per cent, against what another loses.
    At most twenty are compared, and with them the model of one head that fine-tuning begins with. The held-out errors
    of a model that they have chosen are a little too small."""

    @model_validator(mode="after")
    def _no_data_in_input(self) -> Self:
        for key in ("training_data", "systems", "data_dict"):
            training = self.input.get("training")
            if isinstance(training, dict) and key in training:
                raise ValueError(f"input.training.{key}: lamflow supplies the data; remove this key")
        for given in (self.input, *(variant.input for variant in self.variants)):
            if flat := not_a_mapping(given):
                raise ValueError(f"input.{flat}: must be a mapping, as in DeePMD-kit's input")
            unknown = sorted(set(given) - SECTIONS)
            if unknown:
                raise ValueError(f"input: {', '.join(unknown)} is not a section of DeePMD-kit's input")
        return self

    @model_validator(mode="after")
    def _spins_fit(self) -> Self:
        for given in (self.input, *(variant.input for variant in self.variants)):
            sections: dict[str, Any] = given
            if "spin" in sections.get("model", {}):
                raise ValueError("input.model.spin: lamflow writes it; give `spin` beside `input`")
            loss = sections.get("loss", {}).get("type", "ener_spin")
            if self.spin is not None and loss != "ener_spin":
                raise ValueError(f"input.loss.type: {loss!r} knows no magnetic forces; with spin it is ener_spin")
        if self.spin is not None and self.compress:
            raise ValueError("compress: DeePMD-kit compresses no model with spins; leave it out")
        return self

    @model_validator(mode="after")
    def _phases_fit(self) -> Self:
        names = [variant.name for variant in self.variants]
        if len(set(names)) < len(names):
            raise ValueError(f"variants: names must differ; given are {', '.join(names)}")
        if self.pretrained is not None and not any(phase.start_from != "scratch" for phase in self.phases):
            raise ValueError("pretrained: no phase starts from it; add phases: [{start_from: finetune}]")
        for number, phase in enumerate(self.phases, start=1):
            if any(member > self.n_models for member in phase.members):
                raise ValueError(f"phases: number {number} is for model {max(phase.members)} of {self.n_models}")
        for index in range(self.n_models):
            for iteration in (1, *(phase.from_iteration for phase in self.phases)):
                phase = self.phase(iteration, index)
                needed = phase.start_from in ("finetune", "as_is") or (phase.start_from == "init" and iteration == 1)
                if needed and self.source(phase) is None:
                    raise ValueError(
                        f"phases: {phase.start_from} in iteration {iteration} needs a model to start from; "
                        "give pretrained"
                    )
        return self

    @property
    def n_models(self) -> int:
        """Models of all variants."""
        return self.models * max(1, len(self.variants))

    def variant(self, index: int) -> str:
        """See TrainerSettings."""
        return self.variants[index // self.models].name if self.variants else ""

    @property
    def tolerance(self) -> float:
        """See TrainerSettings."""
        return self.speed_tolerance

    def input_text(self, iteration: int, index: int) -> str:
        """See TrainerSettings. More steps on the same data are no other way."""
        phase = self.phase(iteration, index)
        source = self.source(phase)
        return f"as_is {source.model_dump_json()}" if phase.start_from == "as_is" and source else ""

    @property
    def pretrained_model(self) -> PretrainedModel | None:
        """See TrainerSettings."""
        return self.pretrained

    def evaluator_settings(self, model: PretrainedModel) -> DeepmdLabels:
        """See TrainerSettings."""
        return DeepmdLabels(engine="deepmd", model=model)

    def starts_from_a_model(self, index: int) -> bool:
        """See TrainerSettings."""
        phase = self.phase(1, index)
        source = self.source(phase)
        return phase.start_from != "scratch" and source is not None and source.head != RANDOM

    def phase(self, iteration: int, index: int) -> Phase:
        """How model `index`, from 0, is trained in an iteration."""
        fitting = (
            phase
            for phase in reversed(self.phases)
            if phase.from_iteration <= iteration and (not phase.members or index + 1 in phase.members)
        )
        return next(fitting, Phase())

    def source(self, phase: Phase) -> PretrainedModel | None:
        """The pre-trained model of a phase."""
        return phase.pretrained or self.pretrained

    def examine(self, study: ExaminedStudy) -> list[str]:
        """See EngineSettings: every architecture, the committee, heads and elements of the pre-trained models."""
        from lamflow.engines.deepmd import examine

        if self.missing():
            return []
        if self.spin is not None:
            examine.check_spin(self.spin, self.descriptors().values(), study)
        for index in self._first_models():
            if adapters := self.merged_input(index)["model"].get("lora"):
                examine.check_adapters(adapters, self._beginnings(), study)
        for index in filter(self.compresses, self._first_models()):
            check_compression(self._architecture(index), self.variant(index))
        from_input = [index for index in self._first_models() if self._made_from_input(index)]
        inputs = {self.variant(index): self.merged_input(index) for index in from_input}
        examine.check_inputs(inputs, study.elements)
        if from_input:
            examine.check_losses(self.phases, self.merged_input(from_input[0]), study.elements)
        if study.has_committee and self._all_alike():
            raise InputError(
                "train.phases: every model of the committee is the same pre-trained model as it is, so they can never "
                "disagree; fine-tune them, or give members other models or heads"
            )
        warnings = examine.check_pretrained(self._beginnings(), study, self.magnetic_elements)
        for index in self._first_models():
            path, model = self._architecture(index), self._given(index).get("model", {})
            if isinstance(path, Path) and isinstance(model.get("descriptor"), dict):
                warnings += examine.replaced_architecture(model["descriptor"], expand(path))
        return warnings

    def examine_data(self, study: ExaminedStudy, frames: Sequence[Any]) -> list[str]:
        """Whether atoms have more neighbours than the models look at."""
        from lamflow.engines.deepmd import examine

        if self.missing():
            return []
        doubled = self.spin is not None and self.spin.scheme == "deepspin"
        return examine.check_neighbours(self.descriptors().values(), study.elements, frames, doubled=doubled)

    def _first_models(self) -> range:
        """Indices of the first model of each architecture."""
        return range(0, self.n_models, self.models)

    def _made_from_input(self, index: int) -> bool:
        """Model `index` is made from the input, not from a pre-trained model."""
        return not self.starts_from_a_model(index) or "descriptor" in self.merged_input(index).get("model", {})

    def compresses(self, index: int) -> bool:
        """Whether model `index` is compressed."""
        own = self.variants[index // self.models].compress if self.variants else None
        return self.compress if own is None else own

    def _architecture(self, index: int) -> dict[str, Any] | Path | None:
        """The descriptor of model `index` in the input, or the file of a pre-trained model that has it."""
        phase = self.phase(1, index)
        source = self.source(phase) if phase.start_from != "scratch" and self.use_pretrain_script else None
        return self.descriptors()[self.variant(index)] if source is None else source.file

    def _all_alike(self) -> bool:
        """Every model begins as the same pre-trained model as it is."""
        phases = [self.phase(1, index) for index in range(self.n_models)]
        return all(phase.start_from == "as_is" for phase in phases) and len({str(self.source(p)) for p in phases}) == 1

    def _beginnings(self) -> Iterator[tuple[Phase, PretrainedModel]]:
        """The phases that begin with a pre-trained model, and that model."""
        for iteration in sorted({1, *(phase.from_iteration for phase in self.phases)}):
            for phase in (self.phase(iteration, index) for index in range(self.n_models)):
                source = self.source(phase)
                own_weights = phase.start_from == "scratch" or (phase.start_from == "init" and iteration > 1)
                if source is not None and not own_weights:
                    yield phase, source

    def descriptors(self) -> dict[str, dict[str, Any]]:
        """The descriptor of each architecture's input by its name, empty where it has none."""
        return {self.variant(n): self.merged_input(n)["model"].get("descriptor", {}) for n in self._first_models()}

    def missing(self) -> str | None:
        """DeePMD-kit and torch."""
        return _missing()

    def seconds(self) -> float:
        """From 0.03 s a step and 10 s to begin, as small models take on one core."""
        steps = self.phase(1, 0).steps
        return 10 + 0.03 * (steps or self.steps)

    @property
    def uses_electronic_temperature(self) -> bool:
        """As they are told; a pre-trained model may know one by itself."""
        return self.electronic_temperature or self.pretrained is not None

    @property
    def magnetic_elements(self) -> Sequence[str]:
        """See TrainerSettings."""
        return self.spin.elements if self.spin is not None else ()

    def _given(self, index: int) -> dict[str, Any]:
        """What the user says of the input of model `index`: its variant's over `input` over that of the file."""
        given: dict[str, Any] = {}
        if self.input_file is not None:
            given |= {key: value for key, value in read_input(self.input_file).items() if not key.startswith("_")}
        given |= self.input
        if self.variants:
            given |= self.variants[index // self.models].input
        return given

    def merged_input(self, index: int = 0) -> dict[str, Any]:
        """The input of model `index`: its variant's over the user's over that of the file over the defaults, section by
        section."""
        model, loss = (MODEL, LOSS) if self.spin is None else (SPIN_MODEL, SPIN_LOSS)
        merged: dict[str, Any] = {"model": model, "learning_rate": LEARNING_RATE, "loss": loss, "training": {}}
        merged |= self._given(index)
        copied: dict[str, Any] = json.loads(json.dumps(merged))
        for name in STEPS:
            copied["training"].pop(name, None)
        if self.spin is not None:
            copied["model"]["spin"] = self.spin.section()
            copied["loss"].setdefault("type", SPIN_LOSS["type"])
        if is_dpa4(copied["model"]):
            copied["model"].setdefault("type", "dpa4")
            copied["model"].setdefault("fitting_net", {}).setdefault("type", "dpa4_ener")
        return copied


class DeepmdLabels(LabelerSettings):
    """Labels by a DeePMD model, the teacher of a distillation; frames are evaluated together in large batches."""

    cached: ClassVar[bool] = False

    engine: Literal["deepmd"]
    model: PretrainedModel
    """The teacher: a checkpoint or a frozen model, with `head` where it has several."""

    @property
    def uses_electronic_temperature(self) -> bool:
        """Models that know no electronic temperature refuse it themselves."""
        return True

    @property
    def uses_spins(self) -> bool:
        """Models that know no spins refuse them themselves."""
        return True

    @property
    def moments_seen(self) -> Sequence[str] | None:
        """See EngineSettings; as the model file says, where it is here."""
        from lamflow.engines.deepmd.card import branches, magnetic_elements, read_definition

        if self.missing() or self.model_file is None or not self.model_file.is_file():
            return None
        heads = branches(read_definition(self.model_file))
        head = self.model.head or next(iter(heads))
        return magnetic_elements(heads[head]) if head in heads else None

    @property
    def at_once(self) -> int:
        """See LabelerSettings."""
        return 10_000

    def missing(self) -> str | None:
        """DeePMD-kit and torch."""
        return _missing()

    @property
    def title(self) -> str:
        """See EngineSettings."""
        return f"{self.model.file or self.model.name or self.model.url or self.model.s3}" + (
            f", head {self.model.head}" if self.model.head else ""
        )

    @property
    def model_file(self) -> Path | None:
        """See EngineSettings."""
        return expand(self.model.file) if self.model.file else None

    def for_heads(self, names: Sequence[str]) -> Self | None:
        """See EngineSettings. A head that the settings name stays."""
        from lamflow.engines.deepmd.card import read_card

        if self.model.head is not None or self.model_file is None:
            return self
        card = read_card(self.model_file)
        known = [head.name for head in card.heads]
        if known == [""]:
            return self
        head = next(filter(None, (same_head(name, known, card.aliases) for name in names)), None)
        return None if head is None else self.model_copy(update={"model": self.model.model_copy(update={"head": head})})

    def examine(self, study: ExaminedStudy) -> list[str]:
        """See EngineSettings: head and elements of the teacher, and whether it sees as far as its students."""
        from lamflow.engines.deepmd.examine import check_teacher

        judged = any(self is engine for engine in study.engines)
        if self.missing() or (judged and study.heads and self.model.head is None):
            return []  # each head of the study is judged by the model's head of its name
        students = next((train.descriptors() for train in study.engines if isinstance(train, DeepmdTraining)), {})
        return check_teacher(self.model, students, study, judged=judged)

    def seconds(self, natoms: int) -> float:
        """As small models take on one core, in batches."""
        return 2e-4 * natoms


def _missing() -> str | None:
    if importlib.util.find_spec("deepmd") is None or importlib.util.find_spec("torch") is None:
        return 'DeePMD-kit is not installed here; pip install "lamflow[deepmd]"'
    return None
