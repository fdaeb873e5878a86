"""`python -m tests.fuzz grammar --cases 5000 --seed 1`: a table of outcomes; inputs that failed lie below --keep."""

from __future__ import annotations

import argparse
import sys
import tempfile
from importlib import import_module
from pathlib import Path

from tests.fuzz.data import DataFuzzer
from tests.fuzz.grammar import GrammarFuzzer
from tests.fuzz.harness import FAULTS, Fuzzer, fuzz, table


def main() -> int:
    """1 if a case failed."""
    fuzzers: dict[str, Fuzzer] = {fuzzer.name: fuzzer for fuzzer in (GrammarFuzzer(), DataFuzzer())}
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("fuzzer", choices=sorted(fuzzers))
    words.add_argument("--cases", type=int, default=1000)
    words.add_argument("--first", type=int, default=0, help="number of the first case")
    words.add_argument("--seed", type=int, default=1)
    words.add_argument("--keep", type=Path, default=Path("build/fuzz"))
    given = words.parse_args()
    _import_all()
    with tempfile.TemporaryDirectory() as folder:
        numbers = range(given.first, given.first + given.cases)
        outcomes = fuzz(fuzzers[given.fuzzer], numbers, given.seed, Path(folder), given.keep)
    print(table(outcomes))
    for number, outcome in zip(numbers, outcomes, strict=True):
        if outcome.result in FAULTS:
            last = outcome.said.strip().splitlines()[-1:] or [""]
            print(f"case {number}: {outcome.kind}: {outcome.result}: {last[0][:200]}")
    return int(any(outcome.result in FAULTS for outcome in outcomes))


def _import_all() -> None:
    """Pay for the imports once; cases run in forks."""
    for name in ("dpdata", "lamflow.cli.study", "lamflow.driver.plan", "lamflow.driver.render"):
        import_module(name)
    from lamflow.config.installed import engines

    for engine in engines().values():
        engine.version()


if __name__ == "__main__":
    sys.exit(main())
