"""What a label engine would refuse is said before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamflow.config import parse
from lamflow.driver.prepare import check_inputs
from lamflow.errors import InputError
from tests.conftest import STUDY


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("engine: vasp, potcars: pp, kspacing: 0.3, input: {MAGMOM: 3*1}", "MAGMOM has 3 values for 8 atoms"),
        ("engine: gaussian, keywords: b3lyp/6-31g", "labels isolated systems, and this frame is periodic"),
        ("engine: custom, command: [x], input_format: nonsense", "the format 'nonsense' cannot be written"),
    ],
)
def test_structures_that_would_be_refused(label: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "pp" / "Cu").mkdir(parents=True)
    (tmp_path / "pp" / "Cu" / "POTCAR").write_text("PAW_PBE Cu\n")
    config = parse(STUDY.replace("engine: emt", label), root=tmp_path)
    with pytest.raises(InputError, match=rf"structures\.rattled cannot be labeled: .*{expected}"):
        check_inputs(config)


def test_potentials_that_only_pods_have_are_no_reason(tmp_path: Path) -> None:
    config = parse(STUDY.replace("engine: emt", "engine: vasp, potcars: /nowhere, kspacing: 0.3"), root=tmp_path)
    assert check_inputs(config) == ["label.potcars: there is no folder /nowhere here; label pods must have it"]
