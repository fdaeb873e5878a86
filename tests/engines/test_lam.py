"""Large atomic models in the DeePMD engine: heads, phases, fine-tuning, teachers. All models are trained here."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from lamflow.config.learning import Config
from lamflow.data import Frame, Labels
from lamflow.data.curves import read_curve
from lamflow.driver.inspection import examine
from lamflow.engines.conformance import EvaluatorConformance
from lamflow.engines.deepmd.card import chosen_head, reach_of, read_card
from lamflow.engines.deepmd.curve import read_lcurve
from lamflow.engines.deepmd.input import beginning, training_input, training_steps
from lamflow.engines.deepmd.model import DeepmdModel
from lamflow.engines.deepmd.phases import Phase
from lamflow.engines.deepmd.settings import DeepmdLabels, DeepmdTraining
from lamflow.engines.deepmd.trainer import DeepmdTrainer, torchrun
from lamflow.engines.protocol import Evaluator, HeadData
from lamflow.engines.registry import evaluator, labeler
from lamflow.errors import EngineError, InputError
from lamflow.science.metrics import errors
from tests.conftest import STUDY
from tests.lam import DPA1, DPA2, DPA3, ELEMENTS, data, labeled, metal, model_input, train_lam, training

pytestmark = pytest.mark.deepmd


@pytest.fixture(scope="module", autouse=True)
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """DeePMD-kit leaves files in the current directory; in a pod that is the pod's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("cwd"))
        yield


@pytest.fixture(scope="module")
def lam(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with two heads."""
    return train_lam(tmp_path_factory.mktemp("lam"), DPA1, 300)


def finetuning(lam: Path, head: str | None, **more: object) -> DeepmdTraining:
    given = {
        "engine": "deepmd", "models": 1, "steps": 60, "pretrained": {"file": lam, "head": head},
        "phases": [{"start_from": "finetune"}, {"from_iteration": 2, "start_from": "init", "steps": 20, "start_lr": 0.001}],
        "input": {key: value for key, value in model_input(DPA1).items() if key != "model"},
    }  # fmt: skip
    return DeepmdTraining.model_validate({**given, **more})


def silver(folder: Path, elements: tuple[str, ...] = ELEMENTS) -> tuple[Path, ...]:
    return data(folder / "silver", labeled(metal("Ag", 10, 5)), elements)


def rmse(model: object, frames: list[Frame], offset: float = 0.0) -> tuple[float, float]:
    """Force RMSE in eV/Å and energy RMSE in eV/atom."""
    items = labeled(frames, offset)
    found = errors(model.evaluate(frames), [item.labeled.labels for item in items])  # type: ignore[attr-defined]
    return found.force_rmse, found.energy_rmse


def quiet(fraction: float) -> None:
    del fraction


class TestCard:
    def test_it_says_what_is_in_the_file(self, lam: Path) -> None:
        card = read_card(lam)
        assert {head.name for head in card.heads} == {"copper", "aluminium"}
        for head in card.heads:
            assert head.elements == ("Al", "Cu", "Ag")
            assert (head.descriptor, head.cutoff, head.receptive_field) == ("se_atten", 4.8, 4.8)
        assert card.size == lam.stat().st_size

    def test_it_counts_what_torch_counts(self, lam: Path) -> None:
        import torch
        from deepmd.pt.model.model import get_model

        params = torch.load(lam, weights_only=True)["model"]["_extra_state"]["model_params"]["model_dict"]["copper"]
        model = get_model(json.loads(json.dumps(params)))
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        assert read_card(lam).heads[0].parameters == trained

    @pytest.mark.slow
    def test_a_frozen_model_says_the_same(self, lam: Path, tmp_path: Path) -> None:
        task = training(tmp_path, "taken", silver(tmp_path))
        DeepmdTrainer(finetuning(lam, "copper", phases=[{"start_from": "as_is"}])).train(task, quiet)
        frozen, checkpoint = read_card(task.output / "model.pth"), read_card(task.output / "model.pt")
        assert frozen.kind == "DeePMD-kit frozen model"
        assert frozen.heads[0].elements == checkpoint.heads[0].elements
        assert frozen.heads[0].cutoff == checkpoint.heads[0].cutoff
        with pytest.raises(InputError, match="a frozen model cannot be fine-tuned"):
            examine(config_of(train={"pretrained": {"file": task.output / "model.pth"}}))

    def test_layers_that_pass_messages_see_further(self) -> None:
        assert reach_of(DPA1) == (4.8, 4.8)
        assert reach_of(DPA2) == (4.8, 4.8 + 3.5)
        assert reach_of(DPA3) == (4.5, 9.0)

    def test_a_pickle_is_refused_and_not_run(self, tmp_path: Path) -> None:
        bomb = tmp_path / "model.pt"
        mark = tmp_path / "mark"

        class Bomb:
            def __reduce__(self) -> tuple[object, tuple[object, ...]]:
                return (Path.touch, (mark,))

        bomb.write_bytes(pickle.dumps({"model": Bomb()}))
        with pytest.raises(InputError, match="a bare pickle, which is refused"):
            read_card(bomb)
        import torch

        torch.save({"model": Bomb()}, bomb)
        with pytest.raises(InputError, match="not a model of DeePMD-kit"):
            read_card(bomb)
        assert not mark.exists()

    @pytest.mark.parametrize(
        ("name", "content", "expected"),
        [
            ("model.pb", b"x", "TensorFlow backend; lamflow uses the PyTorch backend"),
            ("model.pt", b"half a file", "it is cut off"),
            ("model.txt", b"x", "PyTorch models end in .pt"),
        ],
    )
    def test_files_that_are_no_models(self, name: str, content: bytes, expected: str, tmp_path: Path) -> None:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=expected):
            read_card(tmp_path / name)

    def test_a_missing_or_ambiguous_head_lists_the_heads(self) -> None:
        heads = ["Domains_Alloy", "H2O"]
        assert chosen_head(Path("m.pt"), heads, "Domains_Alloy") == "Domains_Alloy"
        assert chosen_head(Path("m.pt"), heads, "RANDOM", random=True) == "RANDOM"
        with pytest.raises(InputError, match=r"m.pt: there is no head 'Alloy'; the model has Domains_Alloy, H2O$"):
            chosen_head(Path("m.pt"), heads, "Alloy")
        with pytest.raises(
            InputError, match=r"the model has 2 heads; choose one with `head`: Domains_Alloy, H2O, or RANDOM"
        ):
            chosen_head(Path("m.pt"), heads, None, random=True)
        with pytest.raises(InputError, match="the model has one head only"):
            chosen_head(Path("m.pt"), [""], "Alloy")


@pytest.mark.slow
class TestFinetuning:
    def test_it_starts_from_a_head_and_goes_on_from_there(self, lam: Path, tmp_path: Path) -> None:
        systems, frames = silver(tmp_path, ("Ag", "Cu")), metal("Ag", 8, 9)
        first = training(tmp_path, "first", systems, elements=("Ag", "Cu"))
        trainer = DeepmdTrainer(finetuning(lam, "copper"))
        [before] = trainer.pretrained(first).values()
        assert trainer.train(first, quiet) == 60
        assert read_card(first.output / "model.pt").heads[0].elements == ("Ag", "Cu")
        assert rmse(trainer.load(first.output), frames)[0] < 0.8 * rmse(before, frames)[0]
        second = training(tmp_path, "second", systems, elements=("Ag", "Cu"), previous=first.output, iteration=2)
        assert trainer.train(second, quiet) == 20
        assert trainer.pretrained(second) == {}
        assert rmse(trainer.load(second.output), frames)[0] < 1.3 * rmse(trainer.load(first.output), frames)[0]

    def test_a_random_head_keeps_the_descriptor_and_forgets_the_rest(self, lam: Path, tmp_path: Path) -> None:
        systems = silver(tmp_path, ("Ag", "Cu"))
        first = training(tmp_path, "first", systems, elements=("Ag", "Cu"))
        trainer = DeepmdTrainer(finetuning(lam, "RANDOM"))
        assert trainer.pretrained(first) == {}
        trainer.train(first, quiet)
        import torch

        old, new = (torch.load(path, weights_only=True)["model"] for path in (lam, first.output / "model.pt"))
        changed = {}
        for part in (
            "descriptor.se_atten.filter_layers.networks.0.layers.1",
            "fitting_net.filter_layers.networks.0.layers.1",
        ):
            before, after = (
                state[f"model.{head}.atomic_model.{part}.matrix"] for state, head in ((old, "copper"), (new, "Default"))
            )
            changed[part.split(".")[0]] = float((after - before).abs().mean() / before.abs().mean())
        assert changed["descriptor"] < 0.5 < changed["fitting_net"]

    def test_a_frozen_descriptor_keeps_its_weights_until_it_is_let_go(self, lam: Path, tmp_path: Path) -> None:
        import torch

        phases = [{"start_from": "finetune", "freeze_descriptor": True}, {"from_iteration": 2, "start_from": "init"}]
        systems, trainer = silver(tmp_path), DeepmdTrainer(finetuning(lam, "copper", steps=5, phases=phases))
        first = training(tmp_path, "first", systems)
        trainer.train(first, quiet)
        second = training(tmp_path, "second", systems, previous=first.output, iteration=2)
        trainer.train(second, quiet)

        def weights(path: Path, part: str) -> list[torch.Tensor]:
            state = torch.load(path, weights_only=True)["model"]
            keys = sorted(
                key for key in state if f".{part}." in key and key.endswith(".matrix") and ".aluminium." not in key
            )
            return [state[key] for key in keys]

        files = (lam, first.output / "model.pt", second.output / "model.pt")
        kept, same, let_go = (weights(path, "descriptor") for path in files)
        assert len(kept) > 1
        assert all(map(torch.equal, kept, same))
        assert not any(map(torch.equal, same, let_go))
        assert not any(map(torch.equal, *(weights(path, "fitting_net") for path in files[:2])))

    def test_as_is_is_not_trained_and_its_energies_fit(self, lam: Path, tmp_path: Path) -> None:
        systems, frames = data(tmp_path / "high", labeled(metal("Cu", 6, 3), offset=2.0)), metal("Cu", 4, 4)
        task = training(tmp_path, "taken", systems)
        trainer = DeepmdTrainer(finetuning(lam, "copper", phases=[{"start_from": "as_is"}]))
        [before] = trainer.pretrained(task).values()
        assert trainer.train(task, quiet) == 0
        taken = trainer.load(task.output)
        one, other = before.evaluate(frames), taken.evaluate(frames)
        np.testing.assert_allclose([o.forces for o in one], [o.forces for o in other], atol=1e-5)
        assert rmse(before, frames, 2.0)[1] > 1.0
        assert rmse(taken, frames, 2.0)[1] < 0.1
        assert taken.lammps().files["model.pth"].is_file()

    @pytest.mark.parametrize("shift", [True, False])
    def test_as_is_may_be_followed_by_training(self, shift: bool, lam: Path, tmp_path: Path) -> None:
        phases = [
            {"start_from": "as_is", "shift_energies": shift},
            {"from_iteration": 2, "start_from": "init", "steps": 5},
        ]
        trainer = DeepmdTrainer(finetuning(lam, "copper", phases=phases, compress=True))
        systems = silver(tmp_path)
        trainer.train(training(tmp_path, "one", systems), quiet)
        second = training(tmp_path, "two", systems, previous=tmp_path / "one", iteration=2)
        assert trainer.train(second, quiet) == 5

    def test_init_takes_a_head_of_a_model(self, lam: Path, tmp_path: Path) -> None:
        trainer = DeepmdTrainer(finetuning(lam, "aluminium", phases=[{"start_from": "init", "steps": 5}]))
        frames = metal("Al", 4, 7)
        task = training(tmp_path, "one", data(tmp_path / "al", labeled(metal("Al", 8, 2), offset=5.0)))
        [before] = trainer.pretrained(task).values()
        assert trainer.train(task, quiet) == 5
        assert rmse(trainer.load(task.output), frames, 5.0)[0] < 2 * rmse(before, frames, 5.0)[0]

    def test_another_head_is_another_training(self, lam: Path, tmp_path: Path) -> None:
        task = training(tmp_path, "one", silver(tmp_path))
        DeepmdTrainer(finetuning(lam, "copper", steps=10)).train(task, quiet)
        marker = task.scratch / "marker"
        marker.touch()
        DeepmdTrainer(finetuning(lam, "copper", steps=10)).train(task, quiet)
        assert marker.exists(), "the very same training goes on"
        DeepmdTrainer(finetuning(lam, "aluminium", steps=10)).train(task, quiet)
        assert not marker.exists()

    def test_killed_while_fine_tuning_it_goes_on(self, lam: Path, tmp_path: Path) -> None:
        task = training(tmp_path, "model", silver(tmp_path, ("Ag", "Cu")), elements=("Ag", "Cu"))
        trainer = DeepmdTrainer(finetuning(lam, "copper", checkpoint_every=20))
        trainer.train(task, quiet)
        for path in task.scratch.glob("model.ckpt-60*"):
            path.unlink()
        trainer.train(task, quiet)
        steps = read_lcurve(task.scratch / "lcurve.out").steps.tolist()
        assert steps.count(1.0) == 1, "it began again"
        assert steps.count(60.0) == 2

    def test_several_heads_and_replay(self, lam: Path, tmp_path: Path) -> None:
        copper = data(tmp_path / "copper", labeled(metal("Cu", 10, 1)))
        new = data(tmp_path / "new", labeled(metal("Ag", 10, 5), offset=-3.0))
        tasks = (HeadData("copper", copper, 0.5), HeadData("silver", new, 1.0, "aluminium", export=True),
                 HeadData("fresh", new, 1.0, "RANDOM"))  # fmt: skip
        trainer = DeepmdTrainer(finetuning(lam, None, steps=120))
        task = training(tmp_path, "many", copper + new, heads=tasks)
        assert set(trainer.pretrained(task)) == {"copper", "silver"}
        trainer.train(task, quiet)
        assert {head.name for head in read_card(task.output / "model.pt").heads} == {"copper", "silver", "fresh"}
        frames = metal("Ag", 6, 8)
        for head in ("silver", "fresh"):  # energies of a task fit its own level of theory
            assert rmse(trainer.load(task.output, head), frames, -3.0)[1] < 0.5
        assert rmse(trainer.load(task.output, "copper"), metal("Cu", 6, 8))[1] < 1.0
        assert {path.name for path in task.output.glob("*.pth")} == {"model.silver.pth"}
        again = training(tmp_path, "more", copper + new, heads=tasks, previous=task.output, iteration=2)
        assert trainer.train(again, quiet) == 20
        import torch

        state = torch.load(again.output / "model.pt", weights_only=True)["model"]
        values = {
            head: [
                value
                for key, value in sorted(state.items())
                if key.startswith(f"model.{head}.") and "descriptor" in key
            ]
            for head in ("copper", "silver", "fresh")
        }
        assert values["copper"]
        for one, other in zip(values["copper"], values["silver"], strict=True):
            assert torch.equal(one, other), "the tasks no longer share one descriptor"

    def test_the_best_checkpoint_weighs_what_heads_gain_and_lose(self, lam: Path, tmp_path: Path) -> None:
        """The model is the checkpoint with the smallest geometric mean, be it the last or not."""
        copper, new = data(tmp_path / "copper", labeled(metal("Cu", 6, 1))), silver(tmp_path)
        heads = (HeadData("copper", copper, 0.2), HeadData("silver", new, 1.0, "aluminium"))
        told: list[tuple[float, float]] = []

        def score(models: Mapping[str, Evaluator]) -> dict[str, float]:
            """Silver gets better all the time; the second checkpoint has forgotten least of copper."""
            real = [
                rmse(models[head], metal(element, 4, 8))[0] for head, element in (("copper", "Cu"), ("silver", "Ag"))
            ]
            assert all(np.isfinite(real))
            told.append((4.0 if len(told) != 1 else 0.5, 1.0 / (1 + len(told))))
            return dict(zip(("force_rmse_copper", "force_rmse_silver"), told[-1], strict=True))

        trainer = DeepmdTrainer(finetuning(lam, None, steps=40, checkpoint="best", checkpoint_every=10))
        task = replace(training(tmp_path, "many", copper + new, heads=heads), score=score)
        assert trainer.train(task, quiet) == 20
        kept = read_curve(task.output / "checkpoints.csv")
        assert kept.columns == ["step", "geometric_mean", "force_rmse_copper", "force_rmse_silver"]
        assert kept.steps.tolist() == [10, 20, 30, 40]
        np.testing.assert_allclose(kept.values[:, 1], [np.sqrt(own * other) for own, other in told], rtol=1e-6)
        assert (task.output / "model.pt").read_bytes() == (task.scratch / "model.ckpt-20.pt").read_bytes()

    def test_fine_tuning_that_only_does_harm_leaves_the_model(self, lam: Path, tmp_path: Path) -> None:
        """Copper that its head knows, with energies of another zero and a learning rate that forgets all."""
        frames, offset = metal("Cu", 6, 8), -3.0
        before = rmse(DeepmdModel(lam, head="copper"), frames)
        wild = finetuning(
            lam, "copper", steps=20, checkpoint="best", checkpoint_every=10,
            phases=[{"start_from": "finetune", "start_lr": 0.5}],
        )  # fmt: skip
        trainer = DeepmdTrainer(wild)
        copper = data(tmp_path / "copper", labeled(metal("Cu", 10, 1), offset))

        def score(models: Mapping[str, Evaluator]) -> dict[str, float]:
            return {"force_rmse": rmse(models[""], frames, offset)[0]}

        task = replace(training(tmp_path, "tuned", copper), score=score)
        assert trainer.train(task, quiet) == 0
        kept = read_curve(task.output / "checkpoints.csv")
        assert kept.steps.tolist() == [0, 10, 20]
        after = rmse(trainer.load(task.output), frames, offset)
        assert after[0] == pytest.approx(before[0], rel=1e-6)
        assert after[1] < before[1] + 0.1, "its energies are shifted to the data"

    def test_a_loss_that_explodes_stops_with_its_last_lines(self, tmp_path: Path) -> None:
        wild = {**model_input(DPA1), "learning_rate": {"type": "exp", "start_lr": 1e6, "stop_lr": 1e5}}
        settings = DeepmdTraining.model_validate({"engine": "deepmd", "models": 1, "steps": 100_000, "input": {
            **wild, "training": {"data": {"batch_size": 1}, "disp_freq": 5}}})  # fmt: skip
        with pytest.raises(EngineError, match=r"rmse_\w+ (has grown to|is).*the last lines of .*lcurve.out"):
            DeepmdTrainer(settings).train(training(tmp_path, "wild", silver(tmp_path)), quiet)
        assert len(read_lcurve(tmp_path / "wild-scratch" / "lcurve.out").values) < 10_000


@pytest.mark.slow
@pytest.mark.parametrize("descriptor", [DPA2, DPA3], ids=["DPA-2", "DPA-3"])
def test_every_family_is_trained_shown_and_fine_tuned(descriptor: dict[str, object], tmp_path: Path) -> None:
    lam = train_lam(tmp_path, descriptor, 20)
    assert {head.descriptor for head in read_card(lam).heads} == {descriptor["type"]}
    trainer = DeepmdTrainer(finetuning(lam, "copper", steps=10))
    task = training(tmp_path, "tuned", silver(tmp_path, ("Ag",)), elements=("Ag",))
    assert trainer.train(task, quiet) == 10
    assert trainer.load(task.output).evaluate(metal("Ag", 2, 1))[0].problem(metal("Ag", 2, 1)[0]) is None


class TestTeacher(EvaluatorConformance):
    force_tolerance = 5e-3

    @pytest.fixture
    def engine(self, lam: Path) -> object:
        return evaluator(DeepmdLabels.model_validate({"engine": "deepmd", "model": {"file": lam, "head": "copper"}}))

    def test_frames_of_other_elements_go_into_the_same_batch(self, lam: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        teacher = labeler(DeepmdLabels.model_validate({"engine": "deepmd", "model": {"file": lam, "head": "copper"}}))
        frames = [*metal("Cu", 3, 1), *metal("Al", 3, 1), *metal("Ag", 2, 1)]
        calls: list[int] = []
        potential = teacher._potential  # type: ignore[attr-defined]
        whole = potential.eval

        def counted(positions: np.ndarray, *others: Any, **options: Any) -> Any:
            calls.append(len(positions))
            return whole(positions, *others, **options)

        monkeypatch.setattr(potential, "eval", counted)
        together = teacher.label(frames, Path())
        assert calls == [8]
        for frame, labels in zip(frames, together, strict=True):
            assert isinstance(labels, Labels)
            [alone] = teacher.label([frame], Path())
            assert isinstance(alone, Labels)
            np.testing.assert_allclose(labels.forces, alone.forces, atol=1e-4)

    def test_an_ambiguous_head_is_an_error(self, lam: Path) -> None:
        with pytest.raises(EngineError, match="has 2 heads; choose one with `head`"):
            evaluator(DeepmdLabels.model_validate({"engine": "deepmd", "model": {"file": lam}}))


def config_of(elements: tuple[str, ...] = ("Cu",), **sections: Mapping[str, object]) -> Config:
    """A study that fine-tunes, with some keys of its sections replaced."""
    text = STUDY.replace(
        "engine: pair, models: 3, functions: 8", "engine: deepmd, models: 2, phases: [{start_from: finetune}]"
    )
    raw = yaml.safe_load(text)
    raw["elements"] = list(elements)
    for name, values in sections.items():
        raw[name] = {**(raw.get(name) or {}), **values}
    return Config.model_validate(raw)


class TestExamination:
    """What `lamflow check` finds out about model files."""

    def test_good(self, lam: Path) -> None:
        assert examine(config_of(train={"pretrained": {"file": lam, "head": "copper"}})) == []
        assert examine(config_of(train={"pretrained": {"file": lam, "head": "RANDOM"}})) == []

    @pytest.mark.parametrize(
        ("head", "expected"), [(None, "has 2 heads; choose one with `head`"), ("gold", "no head 'gold'; the model has")]
    )
    def test_heads(self, head: str | None, expected: str, lam: Path) -> None:
        with pytest.raises(InputError, match=expected):
            examine(config_of(train={"pretrained": {"file": lam, "head": head}}))

    def test_a_type_map_that_cannot_be_reconciled(self, lam: Path) -> None:
        wrong = config_of(("Cu", "Au"), train={"pretrained": {"file": lam, "head": "copper"}})
        with pytest.raises(InputError, match="the pre-trained model does not know Au; its type map is Al, Cu, Ag"):
            examine(wrong)

    def test_a_teacher_of_other_elements(self, lam: Path) -> None:
        teacher = {"engine": "deepmd", "model": {"file": lam, "head": "copper"}}
        wrong = config_of(("Cu", "Au"), train={"phases": []}, label=teacher)
        with pytest.raises(InputError, match="the teacher does not know Au"):
            examine(wrong)

    def test_a_teacher_that_has_never_seen_an_element_of_its_type_map(self, lam: Path, tmp_path: Path) -> None:
        import torch

        loaded = torch.load(lam, weights_only=True)
        for branch in loaded["model"]["_extra_state"]["model_params"]["model_dict"].values():
            branch["info"] = {"observed_type": ["Al", "Cu"]}
        torch.save(loaded, tmp_path / "seen.pt")
        model = {"file": tmp_path / "seen.pt", "head": "copper"}
        with pytest.raises(
            InputError, match=r"has never seen Ag, though its type map has them.*it was trained on Al, Cu"
        ):
            examine(config_of(("Cu", "Ag"), train={"phases": []}, label={"engine": "deepmd", "model": model}))
        [warning] = examine(config_of(("Cu", "Ag"), train={"pretrained": model}))
        assert "the pre-trained model has never seen Ag" in warning

    def test_fine_tuning_a_head_that_has_never_seen_an_element_that_others_know(
        self, lam: Path, tmp_path: Path
    ) -> None:
        import torch

        loaded = torch.load(lam, weights_only=True)
        heads = loaded["model"]["_extra_state"]["model_params"]["model_dict"]
        for name, branch in heads.items():
            branch["info"] = {"observed_type": ["Cu"] if name == "copper" else ["Ag", "Cu"]}
        torch.save(loaded, tmp_path / "seen.pt")
        [warning] = examine(
            config_of(("Cu", "Ag"), train={"pretrained": {"file": tmp_path / "seen.pt", "head": "copper"}})
        )
        [other] = [name for name in heads if name != "copper"]
        assert "the head copper has never seen Ag: it must learn them from your data alone" in warning
        assert f"by other heads ({other})" in warning
        assert (
            examine(config_of(("Cu", "Ag"), train={"pretrained": {"file": tmp_path / "seen.pt", "head": other}})) == []
        )

    def test_a_descriptor_of_the_input_that_a_pretrained_model_replaces(self, lam: Path) -> None:
        def warnings(descriptor: dict[str, Any]) -> list[str]:
            given = {"input": {"model": {"descriptor": descriptor}}}
            return examine(config_of(train={"pretrained": {"file": lam, "head": "copper"}, **given}))

        [warning] = warnings({"type": "se_atten", "rcut": 6.5})
        assert "train.input.model.descriptor: not used" in warning
        assert "rcut 6.5 (the model's is 4.8)" in warning
        assert warnings({"type": "se_atten", "rcut": 4.8}) == []

    def test_a_student_that_sees_further_than_its_teacher_is_warned_of(self, lam: Path) -> None:
        teacher = {"engine": "deepmd", "model": {"file": lam, "head": "copper"}}
        student = {"phases": [], "input": {"model": {"descriptor": {"type": "se_e2_a", "rcut": 9.0}}}}
        [warning] = examine(config_of(train=student, label=teacher))
        assert "the student has a cutoff of 9 Å, and its teacher sees no further than 4.8 Å" in warning

    def test_later_phases_are_looked_at_too(self, lam: Path) -> None:
        good = {"file": lam, "head": "copper"}
        later = {"from_iteration": 3, "start_from": "finetune", "pretrained": {"file": lam, "head": "gold"}}
        with pytest.raises(InputError, match="no head 'gold'"):
            examine(config_of(train={"pretrained": good, "phases": [{"start_from": "finetune"}, later]}))

    def test_a_committee_of_one_model_is_none(self, lam: Path) -> None:
        with pytest.raises(InputError, match="every model of the committee is the same pre-trained model as it is"):
            examine(
                config_of(train={"pretrained": {"file": lam, "head": "copper"}, "phases": [{"start_from": "as_is"}]})
            )

    @pytest.mark.parametrize(
        ("train", "expected"),
        [
            ({"input": {"model": {"lora": {"rank": 0}}}}, "lora.rank: must be a whole number from 1 on"),
            ({}, r"model.pt is no DPA-4 model, and DeePMD-kit has adapters for no other"),
            ({"phases": [{"start_from": "scratch"}]}, "adapters are for a pre-trained model"),
            ({"phases": [{"start_from": "finetune", "freeze_descriptor": True}]}, "which freeze_descriptor forbids"),
        ],
    )
    def test_adapters_where_there_are_none(self, train: dict[str, object], expected: str, lam: Path) -> None:
        given = {"input": {"model": {"lora": {"rank": 4}}}, **train}
        if train.get("phases") != [{"start_from": "scratch"}]:
            given["pretrained"] = {"file": lam, "head": "copper"}
        with pytest.raises(InputError, match=expected):
            examine(config_of(train=given))

    @pytest.mark.parametrize(
        ("descriptor", "expected"),
        [
            (DPA3, "train.compress: DeePMD-kit compresses no dpa3 model; leave it out"),
            (
                {**DPA1, "tebd_input_mode": "concat"},
                "compresses a se_atten descriptor only with tebd_input_mode: strip",
            ),
            (DPA2, "compresses a dpa2 descriptor only with repinit.tebd_input_mode: strip, and it is concat"),
            (
                {**DPA1, "resnet_dt": True},
                "compresses a se_atten descriptor only with resnet_dt: false, and it is true",
            ),
        ],
    )
    def test_what_cannot_be_compressed(self, descriptor: dict[str, object], expected: str) -> None:
        given = {"phases": [], "compress": True, "input": {"model": {"descriptor": descriptor, "fitting_net": {}}}}
        with pytest.raises(InputError, match=expected):
            examine(config_of(train=given))

    def test_of_several_architectures_some_are_compressed(self) -> None:
        def variant(name: str, descriptor: dict[str, object], **more: object) -> dict[str, object]:
            return {"name": name, "input": {"model": {"descriptor": descriptor, "fitting_net": {}}}, **more}

        given = {"phases": [], "compress": True, "variants": [variant("a", DPA1), variant("m", DPA3)]}
        with pytest.raises(InputError, match=r"train.variants: m: compress: DeePMD-kit compresses no dpa3 model"):
            examine(config_of(train=given))
        given["variants"] = [variant("a", DPA1), variant("m", DPA3, compress=False)]
        assert examine(config_of(train=given)) == []

    def test_a_pre_trained_model_that_cannot_be_compressed(self, lam: Path, tmp_path: Path) -> None:
        import torch

        loaded = torch.load(lam, weights_only=True)
        for branch in loaded["model"]["_extra_state"]["model_params"]["model_dict"].values():
            branch["descriptor"] = {**DPA1, "tebd_input_mode": "concat"}
        torch.save(loaded, tmp_path / "concat.pt")
        with pytest.raises(InputError, match="compresses a se_atten descriptor only with tebd_input_mode"):
            examine(
                config_of(train={"compress": True, "pretrained": {"file": tmp_path / "concat.pt", "head": "copper"}})
            )

    def test_what_is_not_fetched_is_said(self) -> None:
        source = {"url": "https://somewhere.org/lam.pt", "sha256": "0" * 64}
        [warning] = examine(config_of(train={"pretrained": source}))
        assert warning.startswith("https://somewhere.org/lam.pt: not fetched yet")

    def test_a_public_model_that_is_not_here_has_the_heads_of_its_generation(self) -> None:
        for name, head in (("DPA-3.1-3M", "OMat24"), ("dpa-3.3-1m", "materials")):
            [warning] = examine(config_of(train={"pretrained": {"name": name, "head": head}}))
            assert "not fetched yet" in warning
        with pytest.raises(InputError, match=r"no head 'MPGen_OpenCSP'; the model has .* is a head of OpenLAM v2"):
            examine(config_of(train={"pretrained": {"name": "DPA-3.1-3M", "head": "MPGen_OpenCSP"}}))
        [warning] = examine(config_of(train={"pretrained": {"name": "DPA-3.2-5M", "head": "OMol25"}}))
        assert "it takes charge and spin, which lamflow's frames have not" in warning

    def test_a_broken_input_file(self, tmp_path: Path) -> None:
        (tmp_path / "input.json").write_text("{model: ")
        with pytest.raises(InputError, match=r"input.json: not JSON"):
            examine(config_of(train={"phases": [], "input_file": tmp_path / "input.json"}))

    def test_tasks_say_where_they_start(self, lam: Path) -> None:
        start = {"start": {"label": ["rattled"]}, "heldout": {"fraction": 0.2}, "label": {"engine": "emt"}}
        raw = {**yaml.safe_load(STUDY), "train": {"engine": "deepmd", "models": 2, "pretrained": {"file": lam},
               "phases": [{"start_from": "finetune"}]}}  # fmt: skip
        for key in ("start", "heldout", "label"):
            del raw[key]
        good = {
            **raw,
            "heads": [{"name": "copper", **start}, {"name": "mine", "pretrained_head": "aluminium", **start}],
        }
        assert examine(Config.model_validate(good)) == []
        wrong = {**raw, "heads": [{"name": "mine", **start}]}
        with pytest.raises(
            InputError,
            match=r"heads.mine: .* has no head of this name; say with `pretrained_head` where it starts from: ",
        ):
            examine(Config.model_validate(wrong))


class TestPhases:
    def settings(self, **more: object) -> DeepmdTraining:
        return DeepmdTraining.model_validate({"engine": "deepmd", "models": 3, **more})

    def test_the_last_phase_that_fits_a_model_and_an_iteration_holds(self, tmp_path: Path) -> None:
        (tmp_path / "a.pt").touch()
        made = self.settings(
            pretrained={"file": tmp_path / "a.pt"},
            phases=[
                {"start_from": "finetune"},
                {"from_iteration": 3, "start_from": "init"},
                {"members": [2], "from_iteration": 2, "start_from": "as_is"},
            ],
        )
        assert [made.phase(n, 0).start_from for n in (1, 2, 3, 9)] == ["finetune", "finetune", "init", "init"]
        assert [made.phase(n, 1).start_from for n in (1, 2, 3)] == ["finetune", "as_is", "as_is"]

    @pytest.mark.parametrize(
        ("more", "expected"),
        [
            ({"phases": [{"start_from": "finetune"}]}, "finetune in iteration 1 needs a model to start from"),
            ({"phases": [{"start_from": "init"}]}, "init in iteration 1 needs a model to start from"),
            ({"phases": [{"members": [4]}]}, "number 1 is for model 4 of 3"),
            ({"pretrained": {"head": "x"}}, "give one of file, url, s3, name and run"),
            ({"pretrained": {"url": "https://somewhere.org/m.pt"}}, "a url needs the sha256"),
            ({"variants": [{"name": "a"}, {"name": "a"}]}, "variants: names must differ; given are a, a"),
            ({"input": {"model": 3}}, "input.model: must be a mapping"),
            ({"input": {"model": {"descriptor": [1]}}}, "input.model.descriptor: must be a mapping"),
            ({"input": {"training": {"data": [{"batch_size": 1}]}}}, "input.training.data: must be a mapping"),
            (
                {"input": {"model": {"descriptor": {"list": [{"repinit": 3}]}}}},
                r"descriptor.list\[0\].repinit: must be",
            ),
            ({"input": {"model": {"descriptor": {"list": {"type": "se_e2_a"}}}}}, "descriptor.list: must be a"),
            ({"pretrained": {"name": "x"}}, "pretrained: no phase starts from it"),
            (
                {"phases": [{"freeze_descriptor": True}]},
                "freeze_descriptor: with start_from: scratch random weights are",
            ),
            ({"variants": [{"name": "a", "input": {"modell": {}}}]}, "modell is not a section of DeePMD-kit's input"),
        ],
    )
    def test_what_cannot_be(self, more: dict[str, object], expected: str) -> None:
        with pytest.raises(ValidationError, match=expected):
            self.settings(**more)

    def test_epochs_are_batches_through_all_frames(self, tmp_path: Path) -> None:
        systems = silver(tmp_path)  # 10 frames of 8 atoms
        task = training(tmp_path, "x", systems)
        for batch, epochs, expected in ((1, 3, 30), (4, 1, 3), ("auto", 2, 6), ("auto:64", 1, 2), (1, 1e6, 400_000)):
            assert training_steps(self.settings(epochs=epochs), Phase(), task, batch) == expected
        assert training_steps(self.settings(epochs=3), Phase(steps=7), task, 1) == 7
        assert training_steps(self.settings(epochs=3), Phase(), training(tmp_path, "y", systems, gpus=4), 1) == 8

    def test_old_and_new_data_in_a_stated_share(self, tmp_path: Path) -> None:
        old, new = silver(tmp_path), data(tmp_path / "new", labeled(metal("Cu", 3, 1)))
        settings = self.settings(
            phases=[{"old_data_fraction": 0.25, "loss": {"start_pref_f": 5.0}, "start_lr": 0.1}],
            input=model_input(DPA1),
        )
        task = training(tmp_path, "x", new + old, new=new, iteration=1)
        spec = training_input(settings, task)
        assert spec["training"]["training_data"]["systems"] == [str(old[0]), str(new[0])]
        assert spec["training"]["training_data"]["auto_prob"] == "prob_sys_size;0:1:0.25;1:2:0.75"
        assert (spec["loss"]["start_pref_f"], spec["loss"]["start_pref_e"]) == (5.0, 0.02)
        assert spec["learning_rate"]["start_lr"] == 0.1

    def test_variants_have_their_own_architecture(self) -> None:
        made = self.settings(
            models=2, input=model_input(DPA1), variants=[{"name": "one"}, {"name": "two", "input": model_input(DPA2)}]
        )
        assert made.n_models == 4
        assert [made.variant(index) for index in range(4)] == ["one", "one", "two", "two"]
        assert [made.merged_input(index)["model"]["descriptor"]["type"] for index in (1, 2)] == ["se_atten", "dpa2"]

    def test_a_type_wise_descriptor_keeps_its_whole_type_map(self, tmp_path: Path) -> None:
        settings = self.settings(models=1, steps=2, input=model_input({"type": "se_e2_a", "sel": [9, 30, 30], "rcut": 4.8,
                                 "rcut_smth": 0.5, "neuron": [4, 8], "axis_neuron": 4, "precision": "float32"}))  # fmt: skip
        first = training(tmp_path, "first", silver(tmp_path))
        DeepmdTrainer(settings).train(first, quiet)
        tuned = finetuning(first.output / "model.pt", None, steps=2)
        task = training(tmp_path, "second", silver(tmp_path), elements=("Ag",))
        assert training_input(tuned, task, beginning(tuned, task))["model"]["type_map"] == ["Al", "Cu", "Ag"]


def test_several_gpus_are_one_torchrun() -> None:
    words = torchrun(4, ["train", "input.json"])
    assert words[1:] == ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "4", "-m", "deepmd", "--pt",
                         "train", "input.json"]  # fmt: skip
