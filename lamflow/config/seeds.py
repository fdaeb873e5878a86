"""Random numbers: one master seed, named children."""

from __future__ import annotations

import hashlib


def child_seed(seed: int, *names: str | int) -> int:
    """Seed of the child called `names`, 1 to 2³¹ - 3; the same names give the same seed on every machine.

    A name tells what the numbers are for, for example `child_seed(seed, "iteration", 3, "model", 1)`. LAMMPS and
    DeePMD-kit both take seeds below 2³¹; LAMMPS refuses 0, so 0 is never returned.
    """
    text = "/".join([str(seed), *map(str, names)])
    digest = hashlib.sha256(text.encode()).digest()
    return 1 + int.from_bytes(digest[:8], "big") % (2**31 - 3)
