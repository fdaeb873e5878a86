"""A label that takes long: one of iteration 1 that does not end before iteration 2 has trained."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from ase.calculators.emt import EMT


class HeldEMT(EMT):  # type: ignore[misc]
    """EMT whose first label of iteration 1 waits; LAMFLOW_HELD is the folder of the run's iterations."""

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        """As EMT does."""
        rounds = Path(os.environ["LAMFLOW_HELD"])
        if (rounds / "001" / "selected" / "selected.json").is_file() and _is_first(rounds / "held"):
            while not list((rounds / "002" / "models").glob("*/model.json")):
                time.sleep(0.1)
        super().calculate(*args, **kwargs)


def _is_first(mark: Path) -> bool:
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
