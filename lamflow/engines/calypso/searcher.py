"""One search, generation by generation: by the user's calypso.x or by lamflow's own swarm, over the same files."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from lamflow.config.section import expand
from lamflow.config.seeds import child_seed
from lamflow.data import Frame, Relaxed
from lamflow.data.files import write_whole
from lamflow.engines import process
from lamflow.engines.calypso.exchange import Exchange
from lamflow.engines.calypso.input import CalypsoInput, input_of, toml_of
from lamflow.engines.calypso.records import particles, record_proposed, record_relaxed
from lamflow.engines.calypso.settings import CalypsoSearch
from lamflow.engines.calypso.swarm import first_generation, next_generation
from lamflow.engines.protocol import SearchJob
from lamflow.errors import EngineError
from lamflow.units import BAR_IN_EV_PER_A3

DONE = "generation.done"
"""Names the generation whose structures lie in the folder whole; CALYPSO's own `step` may count in another way."""
BEFORE = ".before"
"""A copy of the folder as it was before calypso.x was started, for as long as that runs."""
HULL = "test_qconvex.in"


class CalypsoSearcher:
    """Searcher by CALYPSO's algorithm."""

    def __init__(self, settings: CalypsoSearch) -> None:
        self.settings = settings

    def propose(self, job: SearchJob, relaxed: Sequence[Relaxed]) -> list[Frame]:
        """See Searcher."""
        exchange = Exchange(job.folder)
        self._restore(job.folder)
        done, proposed = self._done(exchange)
        if done != job.generation:
            if job.generation == 1:
                self._begin(exchange, job)
            else:
                self._take(exchange, job, relaxed, proposed)
            if self.settings.search == "binary":
                self._run(exchange, job)
            else:
                self._evolve(exchange, job)
            write_whole(job.folder / DONE, f"{job.generation} {len(exchange.numbers())}\n")
        if job.generation > self.settings.generations:
            return []
        return [exchange.poscar(number) for number in exchange.numbers()]

    def _done(self, exchange: Exchange) -> tuple[int, int]:
        """The last generation that was proposed whole, and how many structures it has.

        Fewer may lie here: the next one may have been killed while it wrote its own.
        """
        file = exchange.folder / DONE
        generation, count = file.read_text(encoding="utf-8").split() if file.is_file() else (0, 0)
        return int(generation), int(count)

    def _begin(self, exchange: Exchange, job: SearchJob) -> None:
        """A folder with CALYPSO's input and nothing else."""
        shutil.rmtree(exchange.folder, ignore_errors=True)
        exchange.results.mkdir(parents=True)
        own = expand(self.settings.input) if self.settings.input is not None else None
        if own is not None and own.suffix == ".toml":
            text, name = toml_of(self.settings, job.condition, job.seed, own.read_text(encoding="utf-8")), "input.toml"
        else:
            given = CalypsoInput.parse(own.read_text(encoding="utf-8"), str(own)) if own is not None else None
            text, name = input_of(self.settings, job.condition, given).text(), "input.dat"
        write_whole(exchange.folder / name, text)
        write_whole(exchange.results / f"CALYPSO_{name}", text)
        if self.settings.ranges:
            write_whole(exchange.folder / HULL, "")

    def _take(self, exchange: Exchange, job: SearchJob, relaxed: Sequence[Relaxed], proposed: int) -> None:
        """Put what the generation before has relaxed to beside its structures."""
        pressure = job.condition.get("pressure", 0.0) * BAR_IN_EV_PER_A3
        if proposed != len(relaxed):
            raise EngineError(
                f"{exchange.folder}: {proposed} structures were proposed and {len(relaxed)} have been relaxed; the "
                "folder is of another search"
            )
        for number, found in enumerate(relaxed, 1):
            exchange.write_relaxed(f"_{number}", found, pressure)
        if self.settings.search == "pso":
            record_relaxed(exchange, job.generation - 1, relaxed, self.settings.numbers, pressure)
            if self.settings.ranges:
                self._write_hull(exchange, job.generation - 1)

    def _evolve(self, exchange: Exchange, job: SearchJob) -> None:
        """lamflow's own next generation."""
        if job.generation > self.settings.generations:
            exchange.write_step(job.generation)
            return
        seed = child_seed(job.seed, "generation", job.generation)
        if job.generation == 1:
            frames = first_generation(self.settings, seed)
        else:
            past = [each for number in range(1, job.generation) for each in particles(exchange, number)]
            frames = next_generation(self.settings, past, job.generation, seed)
        record_proposed(exchange, job.generation, frames)
        exchange.write_generation(frames, job.generation)

    def _write_hull(self, exchange: Exchange, last: int) -> None:
        """Qhull's input of all structures so far: fraction of the second, third, … element and enthalpy in eV/atom."""
        rows = []
        for generation in range(1, last + 1):
            for each in particles(exchange, generation):
                if each.enthalpy is not None:
                    fractions = [(each.frame.numbers == number).mean() for number in self.settings.numbers[1:]]
                    rows.append(" ".join(f"{value:.8f}" for value in (*fractions, each.enthalpy)))
        write_whole(exchange.folder / HULL, "\n".join([str(len(self.settings.numbers)), str(len(rows)), *rows]) + "\n")

    def _run(self, exchange: Exchange, job: SearchJob) -> None:
        """calypso.x reads what is there and writes the next generation."""
        missing = self.settings.missing()
        if missing is not None:
            raise EngineError(missing)
        folder = exchange.folder
        copy = folder.with_name(folder.name + BEFORE)
        partial = folder.with_name(folder.name + BEFORE + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(folder, partial)
        partial.rename(copy)
        log = folder / "caly.log"
        process.run(self.settings.command, cwd=folder, log=log, timeout=job.timeout)
        if job.generation <= self.settings.generations:
            self._check(exchange, log)
        shutil.rmtree(copy)

    def _check(self, exchange: Exchange, log: Path) -> None:
        """Raise EngineError unless a whole generation lies in the folder that this search asked for."""
        numbers = exchange.numbers()
        if numbers != list(range(1, self.settings.population + 1)):
            raise EngineError(
                f"{self.settings.command[0]} left {len(numbers)} structures in {exchange.folder}, not POSCAR_1 to "
                f"POSCAR_{self.settings.population}; {process.describe_end(log)}"
            )
        for number in numbers:
            foreign = sorted(set(exchange.poscar(number).numbers) - set(self.settings.numbers))
            if foreign:
                raise EngineError(
                    f"{exchange.folder / f'POSCAR_{number}'} holds atoms of number {foreign[0]}, which are not in "
                    f"the composition {self.settings.elements}: the file is of another search"
                )
        if exchange.step is None:
            raise EngineError(f"{self.settings.command[0]} left no file `step` in {exchange.folder}")

    def _restore(self, folder: Path) -> None:
        """What calypso.x left unfinished when it was killed is thrown away."""
        copy = folder.with_name(folder.name + BEFORE)
        if copy.is_dir():
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(FileNotFoundError):
                copy.rename(folder)


def probe() -> str:
    """PyXtal's version; raises ImportError with what is wrong with it."""
    import pyxtal

    return f"PyXtal {pyxtal.__version__}"
