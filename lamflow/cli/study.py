"""Commands about a file, before anything runs."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lamflow.cli.documents import print_document
from lamflow.errors import InputError, printable
from lamflow.science.plausibility import GivenData

SHOWN = 3
"""Formulas that a row of data names."""


def init(name: str) -> None:
    """A new folder with a study."""
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?", name):
        raise InputError(f"{name!r} cannot be a name: use lower-case letters, digits and '-', at most 40")
    folder = Path(name)
    if folder.exists():
        raise InputError(f"{folder} exists already")
    folder.mkdir(parents=True)
    text = Path(__file__).with_name("scaffold.yaml").read_text(encoding="utf-8").replace("NAME", name)
    (folder / "lamflow.yaml").write_text(text, encoding="utf-8")
    (folder / "lamflow.schema.json").write_text(_schema_text(), encoding="utf-8")
    print(f"{folder}/lamflow.yaml is a study that runs as it is; change it, then:\n")
    print(f"  cd {name}\n  lamflow check lamflow.yaml\n  lamflow run lamflow.yaml")


def check(file: Path, *, files: bool = True) -> None:
    """Everything that can be known without running, or without the files either."""
    from lamflow.config import load
    from lamflow.config.read import with_lines
    from lamflow.config.schema import DataStudy
    from lamflow.driver.inspection import inspect_inputs

    config = load(file, DataStudy, files=files)
    if files:
        with with_lines(file):
            inspection = inspect_inputs(config)
        for line in data_lines(inspection.summary):
            print(printable(line))
        for warning in inspection.warnings:
            print(f"warning: {printable(warning)}")
    print(printable(f"{file}: good"))


def data_lines(summary: GivenData) -> list[str]:
    """Two lines for each source of labeled data: what it holds, and the numbers that show mistakes."""
    lines = []
    for row in summary.sources:
        names = list(row.formulas)
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        path = Path(row.source)
        shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
        lines.append(
            f"{shown}: {row.frames} frames" + (f" ({row.left_out} left out)" if row.left_out else "")
            + (", held out" if row.role == "heldout" else "") + (f", head {row.head}" if row.head else "")
            + f"; {', '.join(names[:SHOWN])}{more}; {_range(row.natoms, 'd')} atoms"
        )  # fmt: skip
        distance = "over 4" if row.smallest_distance is None else f"{row.smallest_distance:.2f}"
        pressure = "no virial" if row.pressure is None else f"pressure {_range(row.pressure, '.3g')} GPa"
        lacking = ", ".join(
            f"{count} without {name}" for name, count in row.missing.items() if row.pressure is not None
        )
        lines.append(
            f"  energy {_range(row.energy, '.4f')} eV/atom; forces up to {row.max_force:.3g} eV/Å; {pressure}; "
            f"atoms {distance} Å apart at least" + (f"; {lacking}" if lacking else "")
        )
        if row.moments:
            moments = ", ".join(f"{length:.3g} μB of {element}" for element, length in row.moments.items())
            most = row.max_magnetic_force
            forces = "no magnetic forces" if most is None else f"magnetic forces up to {most:.3g} eV/μB"
            lines.append(f"  magnetic moments up to {moments}; {forces}")
    return lines


def _range(values: tuple[float, float], form: str) -> str:
    low, high = (format(value, form) for value in values)
    return low if low == high else f"{low} to {high}"


def plan(file: Path, folder: Path | None, as_json: bool) -> None:
    """A table for each stage, or the plan as a document."""
    from lamflow.api import Study
    from lamflow.config.read import with_lines

    study = Study.load(file)
    with with_lines(file):
        planned = study.plan(folder)
    if as_json:
        print_document({"name": study.config.name, **asdict(planned)})
        return
    console = Console()
    console.print(
        f"[bold]{study.config.name}[/]: {planned.data_frames} labeled frames given, "
        f"{planned.start_labels} labeled first"
    )
    for stage in planned.stages:
        source = "measured" if stage.measured else "guessed"
        table = Table("step", "work", "jobs", f"seconds ({source})", title=f"one iteration of stage {stage.name}")
        for step in stage.steps:
            table.add_row(step.name, str(step.work), str(step.jobs), f"{step.seconds:.0f}")
        table.add_row("together", "", str(stage.jobs), f"{stage.seconds:.0f}", style="bold")
        console.print(table)
    console.print(f"at most {planned.iterations} iterations and {planned.labels} labels")
    for kind, cost in planned.costs.items():
        gpus = f", {cost.gpu_hours:.3g} GPU-hours" if cost.gpu_hours else ""
        source = "by what was measured" if cost.measured else "guessed"
        console.print(
            f"{kind}: at most {cost.core_hours:.3g} core-hours ({cost.low:.2g} to {cost.high:.2g}){gpus}, {source}",
            markup=False,
        )
    for queue, hours in planned.node_hours.items():
        console.print(f"on the batch system at most {hours:.1f} node hours in {queue}, by these seconds", markup=False)
    steps = ", ".join(f"{step} {count}" for step, count in planned.cluster.items())
    console.print(f"on a cluster at most {sum(planned.cluster.values())} pods an iteration: {steps}")


def render(file: Path, iteration: int | None) -> None:
    """The manifests of an iteration, or that of the run if it is None, on standard output."""
    import yaml

    from lamflow.config import load
    from lamflow.config.schema import DataStudy
    from lamflow.driver.render import render_round, render_run

    config = load(file, DataStudy)
    made = [render_run(config)] if iteration is None else render_round(config, iteration)
    print(yaml.safe_dump_all(made, sort_keys=False, allow_unicode=True), end="")


def schema(manual: bool) -> None:
    """The schema, or the manual page of the engines, on standard output."""
    if manual:
        from lamflow.cli.manual import manual as written

        print(written(), end="")
    else:
        print(_schema_text())


def doctor(as_json: bool) -> None:
    """A row an engine. Exit status 0 whatever is missing: not everybody needs everything."""
    from lamflow.config.installed import engines

    rows = []
    for engine in engines().values():
        try:
            version, problem = engine.probe(), None
        except Exception as error:  # noqa: BLE001  whatever is wrong with an engine is what doctor is asked for
            version, problem = None, str(error)
        rows.append(
            {"name": engine.name, "roles": list(engine.roles), "version": version, "problem": problem,
             "install": engine.install}
        )  # fmt: skip
    free = shutil.disk_usage(".").free
    if as_json:
        print_document({"engines": rows, "free_bytes": free})
        return
    table = Table("engine", "plays", "works", "version, or how to install it")
    for row in rows:
        works = row["problem"] is None
        text = str(row["version"]) if works else f"{row['problem']}\n{row['install']}"
        mark = "[green]yes[/]" if works else "[red]no[/]"
        table.add_row(str(row["name"]), ", ".join(row["roles"] or ()), mark, escape(printable(text)))
    Console().print(table)
    print(f"{free / 1e9:.0f} GB free in this folder")


def doctor_elsewhere(file: Path | None, as_json: bool, *, batch: bool) -> None:
    """A line a check, of a batch system or of a cluster. Exit status 2 when something is missing."""
    import typer

    from lamflow.config import load
    from lamflow.config.schema import DataStudy
    from lamflow.driver import batch_doctor
    from lamflow.driver.doctor import doctor

    if batch and file is None:
        raise InputError("--batch needs FILE: its `batch:` and `pods:` say what to ask for")
    config = load(file, DataStudy) if file else None
    found = batch_doctor.doctor(config) if batch and config is not None else doctor(config)
    console = Console()
    marks = {"good": "[green]good[/]   ", "bad": "[red]bad[/]    ", "unknown": "[yellow]unknown[/]"}
    checks = []
    for check in found:
        checks.append(check)
        if as_json:
            continue
        console.print(f"{marks[check.state]}  {check.name}: {escape(printable(check.says))}")
        if check.state != "good" and check.fix:
            console.print(f"         {escape(printable(check.fix))}", style="dim")
    if as_json:
        rows = [
            {"name": check.name, "state": check.state, "says": check.says, "fix": check.fix or None} for check in checks
        ]
        print_document({"checks": rows})
    if any(check.state == "bad" for check in checks):
        raise typer.Exit(2)


def _schema_text() -> str:
    from lamflow.config.kinds import study_schema

    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", **study_schema()}
    return json.dumps(document, indent=1)
