"""A real pre-trained DPA-4: judged as it is, fine-tuned, biased anew, with several heads, its features of atoms."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from lamflow.config.learning import Config
from lamflow.data import Frame
from lamflow.data.dataset import Item, Origin
from lamflow.data.io import read_labeled
from lamflow.data.results import ModelResult
from lamflow.engines.deepmd.card import read_card
from lamflow.engines.deepmd.heads import with_heads
from lamflow.engines.deepmd.model import DeepmdModel
from lamflow.engines.deepmd.settings import DeepmdTraining
from lamflow.engines.deepmd.trainer import DeepmdTrainer
from lamflow.engines.protocol import HeadData
from lamflow.errors import EngineError, InputError
from lamflow.policy.models import forgotten_head
from lamflow.science.metrics import errors
from tests.conftest import STUDY
from tests.lam import data, labeled, metal, training
from tests.real_models import real_dpa4

pytestmark = [pytest.mark.deepmd, pytest.mark.slow]


@pytest.fixture(scope="module", autouse=True)
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """DeePMD-kit leaves files in the current directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("cwd"))
        yield


@pytest.fixture(scope="module")
def dpa4() -> Path:
    return real_dpa4()


def settings(model: Path, start_from: str, steps: int, **more: object) -> DeepmdTraining:
    given = {
        "engine": "deepmd", "models": 1, "steps": steps, "pretrained": {"file": model}, "phases": [{"start_from": start_from}],
        "input": {"learning_rate": {"type": "exp", "start_lr": 1e-3, "stop_lr": 1e-5}, "training": {"data": {"batch_size": 1}}},
    }  # fmt: skip
    return DeepmdTraining.model_validate({**given, **more})


def rmse(model: DeepmdModel, frames: list[Frame], offset: float = 0.0) -> tuple[float, float]:
    found = errors(model.evaluate(frames), [item.labeled.labels for item in labeled(frames, offset)])
    return found.force_rmse, found.energy_rmse


def test_its_card_says_what_it_has_seen(dpa4: Path) -> None:
    [head] = read_card(dpa4).heads
    assert (head.descriptor, head.fitting, head.cutoff, head.parameters) == ("dpa4", "dpa4_ener", 6.0, 1_124_910)
    assert len(head.elements) == 118
    assert len(head.observed) == 84
    assert head.inputs == ()


def test_fine_tuning_keeps_what_it_is_and_learns(dpa4: Path, tmp_path: Path) -> None:
    job = training(tmp_path, "model", data(tmp_path / "cu", labeled(metal("Cu", 6, 1))))
    trainer = DeepmdTrainer(settings(dpa4, "finetune", 12))
    [before] = trainer.pretrained(job).values()
    assert trainer.train(job, lambda _: None) == 12
    model = json.loads((job.output / "input.json").read_text())["model"]
    assert (model["type"], model["fitting_net"]["type"], len(model["type_map"])) == ("dpa4", "dpa4_ener", 118)
    tuned, frames = trainer.load(job.output), metal("Cu", 4, 9)
    assert rmse(tuned, frames)[0] < 0.95 * rmse(before, frames)[0]  # type: ignore[arg-type]
    assert rmse(tuned, frames)[1] < 0.3
    with pytest.raises(EngineError, match="LAMMPS needs a frozen model"):
        tuned.lammps()
    assert tuned.open_session(frames[:1], []) is None, "it looks for neighbours itself"


def test_as_it_is_with_other_energies(dpa4: Path, tmp_path: Path) -> None:
    job = training(tmp_path, "model", data(tmp_path / "cu", labeled(metal("Cu", 3, 1), offset=2.0)))
    trainer = DeepmdTrainer(settings(dpa4, "as_is", 1))
    assert trainer.train(job, lambda _: None) == 0
    frames = metal("Cu", 2, 4)
    taken, before = trainer.load(job.output), DeepmdModel(dpa4)
    np.testing.assert_allclose(taken.evaluate(frames)[0].forces, before.evaluate(frames)[0].forces, atol=1e-5)
    assert rmse(taken, frames, 2.0)[1] < 0.2


def test_it_says_how_it_sees_atoms(dpa4: Path) -> None:
    model, frames = DeepmdModel(dpa4), [*metal("Cu", 1, 1), *metal("Al", 1, 1)]
    for features, width in (("descriptor", 32), ("last_layer", 96)):
        found = model.embed(frames, features)
        assert [each.shape for each in found] == [(8, width), (8, width)]
        alone = model.embed([frames[1]], features)[0]
        np.testing.assert_allclose(found[1], alone, rtol=1e-4, atol=1e-4)


def test_heads_are_copied_and_one_is_replayed_while_another_learns(dpa4: Path, tmp_path: Path) -> None:
    two = tmp_path / "two.pt"
    with_heads(dpa4, {"known": None, "other": None}, two)
    assert [head.name for head in read_card(two).heads] == ["known", "other"]
    frames = metal("Cu", 2, 3)
    one, copy = DeepmdModel(dpa4).evaluate(frames)[0], DeepmdModel(two, head="other").evaluate(frames)[0]
    np.testing.assert_allclose(copy.forces, one.forces, atol=1e-6)
    with pytest.raises(InputError, match="there is no head 'third'; the model has known, other"):
        with_heads(two, {"new": "third"}, tmp_path / "three.pt")
    heads = (
        HeadData("known", data(tmp_path / "cu", labeled(metal("Cu", 3, 1)))),
        HeadData("high", data(tmp_path / "al", labeled(metal("Al", 3, 2), offset=3.0)), 1.0, "OTHER"),
    )
    job = training(tmp_path, "many", heads[0].systems + heads[1].systems, heads=heads)
    trainer = DeepmdTrainer(settings(two, "finetune", 4))
    assert set(trainer.pretrained(job)) == {"known", "high"}
    trainer.train(job, lambda _: None)
    assert {head.name for head in read_card(job.output / "model.pt").heads} == {"known", "high"}
    assert rmse(trainer.load(job.output, "high"), metal("Al", 2, 5), 3.0)[1] < 0.5
    with_heads(job.output / "model.pt", {"high": "high"}, tmp_path / "alone.pt")
    assert [head.name for head in read_card(tmp_path / "alone.pt").heads] == ["high"]


def test_forces_are_slopes_of_the_energy(dpa4: Path) -> None:
    model, [frame] = DeepmdModel(dpa4), metal("Cu", 1, 5)
    moved = []
    for sign in (1, -1):
        positions = frame.positions.copy()
        positions[3, 1] += sign * 5e-3
        moved.append(replace(frame, positions=positions))
    low, high, here = model.evaluate([moved[1], moved[0], frame])
    assert -(high.energy - low.energy) / 1e-2 == pytest.approx(here.forces[3, 1], abs=5e-3)


@pytest.mark.parametrize("way", ["freeze_descriptor", "lora"])
def test_the_backbone_keeps_its_weights(way: str, dpa4: Path, tmp_path: Path) -> None:
    """Frozen, or with adapters beside its weights, which DeePMD-kit adds to them when the model is loaded."""
    import torch

    job = training(tmp_path, "model", data(tmp_path / "cu", labeled(metal("Cu", 4, 1))))
    phase = {"start_from": "finetune", "freeze_descriptor": way == "freeze_descriptor"}
    adapters = {"model": {"lora": {"rank": 4}}} if way == "lora" else {}
    made = settings(dpa4, "finetune", 6, phases=[phase])
    trainer = DeepmdTrainer(made.model_copy(update={"input": {**made.input, **adapters}}))
    assert trainer.train(job, lambda _: None) == 6
    before, after = (torch.load(path, weights_only=True)["model"] for path in (dpa4, job.output / "model.pt"))
    adapted = tuple(key.rsplit(".A_", 1)[0] + ".weight" for key in after if ".A_by_l" in key or ".A_m0" in key)
    kept = [key for key in before if (key.startswith(adapted) if adapted else ".descriptor." in key)]
    kept = [key for key in kept if key in after and not key.endswith("version_tensor")]
    assert sum(before[key].numel() for key in kept) > 700_000
    for key in kept:
        assert torch.equal(before[key], after[key]), key
    assert bool(adapted) == (way == "lora")
    tuned, [frame] = trainer.load(job.output), metal("Cu", 1, 9)
    was, now = (model.evaluate([frame])[0].forces for model in (DeepmdModel(dpa4), tuned))
    assert np.abs(now - was).max() > 1e-4, "what is not the backbone has learned"


MPTRJ = Path(__file__).parents[3] / "shared" / "data" / "mptrj" / "mptrj-random-1k.xyz"


@pytest.mark.skipif(not MPTRJ.is_file(), reason=f"{MPTRJ}: real frames of MPtrj are not here")
def test_it_knows_real_frames_of_first_principles(dpa4: Path) -> None:
    """Small frames of MPtrj with elements that it has seen: forces as they are, without any training."""
    seen = set(read_card(dpa4).heads[0].observed)
    small = [item for item in read_labeled(MPTRJ) if item.frame.natoms <= 8 and set(item.frame.symbols) <= seen][:24]
    found = errors(DeepmdModel(dpa4).evaluate([item.frame for item in small]), [item.labels for item in small])
    assert len(small) == 24
    assert found.force_rmse < 0.5 * found.force_size


@pytest.mark.skipif(not MPTRJ.is_file(), reason=f"{MPTRJ}: real frames of MPtrj are not here")
def test_the_guard_refuses_a_model_that_forgets_and_keeps_one_that_does_not(dpa4: Path, tmp_path: Path) -> None:
    """Two heads of the real model: one learns copper, the other replays frames of MPtrj, or hardly does."""
    two = tmp_path / "two.pt"
    with_heads(dpa4, {"known": None, "other": None}, two)
    seen = set(read_card(two).heads[0].observed)
    moved = [frame for frame in read_labeled(MPTRJ) if np.abs(frame.labels.forces).max() > 0.3]
    frames = [each for each in moved if each.frame.natoms <= 8 and set(each.frame.symbols) <= seen][:12]
    elements = tuple(sorted({"Cu", *(symbol for each in frames for symbol in each.frame.symbols)}))
    items = [Item(each, Origin(iteration=0, source=f"MPtrj#{number}")) for number, each in enumerate(frames)]
    replayed, held = data(tmp_path / "mptrj", items[::2], elements), frames[1::2]
    copper = data(tmp_path / "cu", labeled(metal("Cu", 4, 1), offset=1.0), elements)
    config = yaml.safe_load(STUDY)
    head = {"start": {"label": ["rattled"]}, "heldout": {"fraction": 0.2}, "label": {"engine": "emt"}}
    for key in ("start", "heldout", "label"):
        config.pop(key)
    config["heads"] = [{"name": "known", **head}, {"name": "copper", "pretrained_head": "other", **head}]
    config["budget"] = {"forgetting": 1.5}
    config["train"] = {"engine": "deepmd", "pretrained": {"file": two}, "phases": [{"start_from": "finetune"}]}
    study = Config.model_validate(config)
    said = {}
    for name, weight, rate in (("careful", 4.0, 2e-5), ("careless", 1e-6, 1e-3)):
        heads = (HeadData("known", replayed, weight), HeadData("copper", copper, 1.0, "other"))
        job = training(tmp_path, name, replayed + copper, elements=elements, heads=heads)
        spec = {
            "learning_rate": {"type": "exp", "start_lr": rate, "stop_lr": rate / 2},
            "training": {"data": {"batch_size": 1}},
        }
        trainer = DeepmdTrainer(settings(two, "finetune", 10, input=spec))
        trainer.train(job, lambda _: None)
        before, after = trainer.pretrained(job)["known"], trainer.load(job.output, "known")
        was, now = (
            errors(each.evaluate([h.frame for h in held]), [h.labels for h in held]) for each in (before, after)
        )
        result = ModelResult(
            index=0, seed=1, data_hash="", training_frames=1, steps=10, seconds=1.0, heads={"known": now},
            baseline={"known": was},
        )  # fmt: skip
        said[name] = forgotten_head(study, [], [result])
    assert said["careful"] is None
    assert "the models forget known: its held-out force RMSE was" in (said["careless"] or "")
