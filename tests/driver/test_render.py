"""Manifests, without a cluster."""

from __future__ import annotations

from pathlib import Path

from lamflow.config import load
from lamflow.driver.render import render_rounds


def test_a_round_of_every_stage_is_rendered_before_a_run_is_submitted(study: Path) -> None:
    text = study.read_text(encoding="utf-8")
    stage = text[text.index("  - name: warm") : text.index("select:")]
    study.write_text(text.replace(stage, stage + stage.replace("warm", "hot")), encoding="utf-8")
    made = render_rounds(load(study))
    assert sorted(manifest["metadata"]["labels"]["lamflow/iteration"] for manifest in made) == ["0", "1", "1"]
