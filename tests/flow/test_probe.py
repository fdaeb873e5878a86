"""The pods that `lamflow doctor` tries."""

from __future__ import annotations

from pathlib import Path

from lamflow.config import load
from lamflow.data.graph import EngineUse, Graph, Step
from lamflow.flow.manifest import image_of
from lamflow.flow.probe import probe_manifest, probed


def explore(*engines: str) -> Graph:
    """A round with one step."""
    uses = [EngineUse(role="explore", name=engine) for engine in engines]
    step = Step(name="explore", op="", writes={}, resources="explore", engines=uses)
    return Graph(kind="learning", round=1, name="iteration-1", stage="warm", steps=[step])


def test_every_image_is_tried_whatever_the_names_of_its_steps(study: Path) -> None:
    config = load(study)
    steps = probed(config, [explore("ase"), explore("lammps"), explore("ase", "emt"), explore("lammps")])
    images = [image_of(config, step) for step in steps]
    assert [step.name for step in steps] == ["explore", "explore-2"]
    assert len(set(images)) == 2
    made = probe_manifest(config, "lamflow-doctor-1", steps)["spec"]["templates"]
    assert [template["script"]["image"] for template in made if "script" in template] == images
