"""`python -m lamflow.engines.calypso.relax RUN` is `lamflow relax RUN`, for a submit script of CALYPSO's."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    os.execv(sys.executable, [sys.executable, "-m", "lamflow", "relax", "--engine", "calypso", *sys.argv[1:]])  # noqa: S606
