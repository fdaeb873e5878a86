"""What was found when something of a cluster was looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Check:
    """What was found. An unknown one could not be looked at, which need not be wrong."""

    name: str
    state: Literal["good", "bad", "unknown"]
    says: str
    fix: str = ""
