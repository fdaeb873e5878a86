"""Stands in for calypso.x in its split mode: reads input.dat, step and the relaxed structures, writes the next generation.

CALYPSO may not be passed on, so the tests have none. This knows nothing but the files, as CALYPSO does; what it proposes is
what lamflow's own search would.
"""

from __future__ import annotations

from pathlib import Path

from lamflow.engines.calypso.exchange import Exchange
from lamflow.engines.calypso.input import CalypsoInput, settings_of
from lamflow.engines.calypso.records import particles, record_proposed, record_relaxed
from lamflow.engines.calypso.swarm import first_generation, next_generation

if __name__ == "__main__":
    settings = settings_of(CalypsoInput.parse(Path("input.dat").read_text(encoding="utf-8")))
    exchange = Exchange(Path.cwd())
    step = exchange.step or 0
    if step:
        relaxed = [exchange.relaxed(number) for number in exchange.numbers()]
        record_relaxed(exchange, step, relaxed, settings.numbers, 0.0)
    if step >= settings.generations:
        exchange.write_step(step + 1)
    else:
        past = [each for number in range(1, step + 1) for each in particles(exchange, number)]
        frames = next_generation(settings, past, step + 1, 7 + step) if step else first_generation(settings, 7)
        record_proposed(exchange, step + 1, frames)
        exchange.write_generation(frames, step + 1)
