"""A command of the user's own: tries, remedies, failures, and what belongs to an input."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lamflow.data import Labels
from lamflow.engines.conformance import LabelerConformance
from lamflow.engines.custom import Custom, CustomLabeler
from lamflow.engines.protocol import Labeler, LabelFailure
from lamflow.errors import NodeError
from tests.engines.conftest import failed

LABEL = """\
import sys
from ase.calculators.emt import EMT
from ase.io import read, write
import os
atoms = read("POSCAR")
print("step", os.environ.get("STEPS", "1"))
if int(os.environ.get("STEPS", "1")) < 3:
    print("NOT CONVERGED")
    sys.exit(0)
atoms.calc = EMT()
atoms.get_stress(); atoms.get_forces()
write("labeled.extxyz", atoms)
"""


class TestCustom(LabelerConformance):
    """A command of the user's: here one that needs three steps to converge."""

    @pytest.fixture
    def settings(self, tmp_path: Path) -> Custom:
        (tmp_path / "label.py").write_text(LABEL)
        return Custom.model_validate(
            {
                "engine": "custom", "command": [sys.executable, "label.py"], "files": [tmp_path / "label.py"],
                "unconverged": "NOT CONVERGED",
                "remedies": {"unconverged": [{"environment": {"STEPS": str(n)}} for n in (2, 3)]},
            }
        )  # fmt: skip

    @pytest.fixture
    def engine(self, settings: Custom) -> Labeler:
        return CustomLabeler(settings)

    def test_each_try_is_recorded(self, engine: Labeler, tmp_path: Path) -> None:
        frame = self.good_frames()[0]
        [answer] = engine.label([frame], tmp_path)
        assert isinstance(answer, Labels)
        assert [attempt.kind for attempt in answer.attempts] == ["unconverged", "unconverged", None]
        assert [attempt.changes for attempt in answer.attempts] == [
            {}, {"environment": {"STEPS": "2"}}, {"environment": {"STEPS": "3"}},
        ]  # fmt: skip

    def test_a_ladder_ends(self, settings: Custom, tmp_path: Path) -> None:
        short = settings.model_copy(update={"remedies": {"unconverged": settings.remedies["unconverged"][:1]}})
        [answer] = CustomLabeler(short).label([self.good_frames()[0]], tmp_path)
        failed(answer, "unconverged")
        assert isinstance(answer, LabelFailure)
        assert len(answer.attempts) == 2

    def test_a_code_that_exits_0_without_finishing(self, settings: Custom, tmp_path: Path) -> None:
        silent = settings.model_copy(update={"command": ["true"], "remedies": {}})
        [answer] = CustomLabeler(silent).label([self.good_frames()[0]], tmp_path)
        assert "wrote no labeled.extxyz" in failed(answer, "incomplete")

    def test_a_code_that_takes_too_long(self, settings: Custom, tmp_path: Path) -> None:
        slow = settings.model_copy(update={"command": ["sleep", "60"], "label_timeout": 0.5})
        [answer] = CustomLabeler(slow).label([self.good_frames()[0]], tmp_path)
        assert "did not finish within 0.5 s" in failed(answer, "late")

    def test_a_killed_code_gets_one_more_chance(self, settings: Custom, tmp_path: Path) -> None:
        killed = settings.model_copy(update={"command": ["sh", "-c", f"echo >> {tmp_path}/tries; kill -9 $$"]})
        [answer] = CustomLabeler(killed).label([self.good_frames()[0]], tmp_path)
        assert "was killed" in failed(answer, "incomplete")
        assert (tmp_path / "tries").read_text().count("\n") == 2
        ended = settings.model_copy(update={"command": ["sh", "-c", "kill -15 $$"]})
        with pytest.raises(NodeError, match="was killed"):
            CustomLabeler(ended).label([self.good_frames()[0]], tmp_path)

    def test_a_command_that_fails_has_no_labels_whatever_it_wrote(self, settings: Custom, tmp_path: Path) -> None:
        script = ["sh", "-c", f"{sys.executable} {tmp_path}/label.py && exit 3"]
        (tmp_path / "label.py").write_text(LABEL)
        other = settings.model_copy(update={"command": script, "input": {"environment": {"STEPS": "3"}}})
        [answer] = CustomLabeler(other).label([self.good_frames()[0]], tmp_path)
        assert "labels are there, but it failed; sh exited with 3" in failed(answer, "stopped")

    def test_another_script_is_asked_again_and_has_another_recipe(self, tmp_path: Path) -> None:
        script, frame = tmp_path / "run.sh", self.good_frames()[0]
        settings = Custom(engine="custom", command=["sh", str(script)], output_file="out.extxyz", remedies={})
        hashes = set()
        for status in (3, 4):
            script.write_text(f"exit {status}\n")
            [answer] = CustomLabeler(settings).label([frame], tmp_path)
            assert f"exited with {status}" in failed(answer, "incomplete")
            hashes.add(CustomLabeler(settings).input_hash(frame))
        assert len(hashes) == 2

    def test_an_unconverged_try_is_not_paid_again(self, settings: Custom, tmp_path: Path) -> None:
        counted = ["sh", "-c", f"echo >> {tmp_path}/tries; echo no convergence; touch labeled.extxyz"]
        other = settings.model_copy(update={"command": counted, "unconverged": "no convergence", "remedies": {}})
        for _ in range(2):
            [answer] = CustomLabeler(other).label([self.good_frames()[0]], tmp_path)
            failed(answer, "unconverged")
        assert (tmp_path / "tries").read_text().count("\n") == 1

    def test_files_that_would_replace_others_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="another file called POSCAR"):
            Custom(engine="custom", command=["x"], files=[tmp_path / "POSCAR"])

    def test_labels_without_a_virial_are_incomplete(self, settings: Custom, tmp_path: Path) -> None:
        (tmp_path / "label.py").write_text(LABEL.replace("atoms.get_forces()", "del atoms.calc.results['stress']"))
        other = settings.model_copy(update={"input": {"environment": {"STEPS": "3"}}})
        [answer] = CustomLabeler(other).label([self.good_frames()[0]], tmp_path)
        assert "no stress" in failed(answer, "incomplete")

    def test_formats_that_do_not_exist(self, settings: Custom, tmp_path: Path) -> None:
        other = settings.model_copy(update={"input_format": "nonsense"})
        [answer] = CustomLabeler(other).label([self.good_frames()[0]], tmp_path)
        assert "'nonsense' cannot be written" in failed(answer, "refused")
