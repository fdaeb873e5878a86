"""Every command: what it takes and what it says. The work is done elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from lamflow.cli.data_app import data_app, quarantine_app
from lamflow.cli.models_app import models_app

STUDY, RUN, RESULTS, CLUSTER, MODELS, DATA = "Study", "Run", "Results", "Cluster", "Models", "Data"
"""Panels of `lamflow --help`."""

app = typer.Typer(
    name="lamflow",
    help="Concurrent learning of interatomic potentials: one YAML, one graph, on a laptop and on a cluster.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(models_app, name="models", rich_help_panel=MODELS)
app.add_typer(data_app, name="data", rich_help_panel=DATA)
app.add_typer(quarantine_app, name="quarantine", rich_help_panel=DATA)


def _run_folders(incomplete: str) -> list[str]:
    from lamflow.cli.completion import run_folders

    return run_folders(incomplete)


File = Annotated[Path, typer.Argument(help="A lamflow YAML file.", metavar="FILE")]
RunFolder = Annotated[
    str,
    typer.Argument(
        help="The folder of a run, for example runs/NAME, or its s3://BUCKET/PREFIX/NAME.",
        metavar="RUN",
        autocompletion=_run_folders,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output, and nothing else there.")]
Redo = Annotated[bool, typer.Option("--redo", help="Begin an unfinished iteration again with changed settings.")]
DriveHere = Annotated[bool, typer.Option("--drive-here", help="Drive from this terminal instead of from a pod.")]
Folder = Annotated[Optional[Path], typer.Option("--dir", help="Folder of the run; runs/NAME if not given.")]  # noqa: UP045


def _version(wanted: bool) -> None:
    if wanted:
        from lamflow import __version__

        print(f"lamflow {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,
) -> None:
    """Options that come before the command."""


@app.command(rich_help_panel=STUDY)
def init(
    name: Annotated[str, typer.Argument(help="Name of the study: lower-case letters, digits, '-'.")],
) -> None:
    """Make a folder with a small study that runs at once, to be changed into yours."""
    from lamflow.cli import study

    study.init(name)


@app.command(rich_help_panel=STUDY)
def check(
    file: File,
    without_files: Annotated[
        bool, typer.Option("--without-files", help="Do not ask for the files that it names: they are elsewhere.")
    ] = False,
) -> None:
    """Say everything that is wrong with FILE and with the files that it names."""
    from lamflow.cli import study

    study.check(file, files=not without_files)


@app.command(rich_help_panel=STUDY)
def migrate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="param.json, input.json, … of another program.")],
    machine: Annotated[Path | None, typer.Option("--machine", help="DP-GEN's machine.json.")] = None,
    source: Annotated[
        str | None, typer.Option("--from", help="dpgen, dpgen2, pfd, dpclean or lamflow; told by its keys if absent.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The YAML; FILE with .yaml if absent.")] = None,
) -> None:
    """Turn a file of DP-GEN, dpgen2, PFD-kit or dpclean into a study, and say what became of every key."""
    from lamflow.cli import migrating

    migrating.migrate(file, machine, source, output)


@app.command(rich_help_panel=STUDY)
def plan(file: File, folder: Folder = None, as_json: Json = False) -> None:
    """Work, jobs, labels and estimated time of an iteration of each stage.

    With --json: name, start_labels, data_frames, labels, iterations, stages (name, measured, and steps: name, work,
    jobs, seconds, resources, at_once), cluster, the jobs of each step there, and node_hours by queue of a batch system.
    """
    from lamflow.cli import study

    study.plan(file, folder, as_json)


@app.command(rich_help_panel=STUDY)
def render(
    file: File,
    iteration: Annotated[int, typer.Option("--iteration", min=0, help="Number of the iteration; 0 is the start.")] = 1,
    driver: Annotated[
        bool, typer.Option("--driver", help="The Workflow of the run instead, whose pod drives it.")
    ] = False,
) -> None:
    """Print the Argo Workflows of an iteration as YAML, for kubectl; no cluster and no storage is asked."""
    from lamflow.cli import study

    study.render(file, None if driver else iteration)


@app.command(rich_help_panel=STUDY)
def schema(
    manual: Annotated[bool, typer.Option("--manual", help="Every setting of every engine as Markdown.")] = False,
) -> None:
    """Print the JSON Schema of FILE, for an editor to complete and check with."""
    from lamflow.cli import study

    study.schema(manual)


@app.command(rich_help_panel=STUDY)
def doctor(
    file: Annotated[
        Optional[Path],  # noqa: UP045  typer reads the annotation
        typer.Argument(help="With --cluster: start a pod of each kind that this file asks for.", metavar="[FILE]"),
    ] = None,
    cluster: Annotated[bool, typer.Option("--cluster", help="Look at the cluster instead of at this machine.")] = False,
    batch: Annotated[bool, typer.Option("--batch", help="Look at the batch system that FILE names.")] = False,
    as_json: Json = False,
) -> None:
    """Which engines work here, and how to install the others; or what is missing on a cluster or a batch system.

    With --json: engines (name, roles, version, problem, install) and free_bytes of this folder; with --cluster or
    --batch, checks (name, state: good, bad or unknown, says, fix).
    """
    from lamflow.cli import study

    if cluster or batch:
        study.doctor_elsewhere(file, as_json, batch=batch)
    else:
        study.doctor(as_json)


@app.command(rich_help_panel=RUN)
def run(
    file: File,
    folder: Folder = None,
    redo: Redo = False,
    on: Annotated[
        Optional[str],  # noqa: UP045  typer reads the annotation
        typer.Option(
            "--on",
            help="Batch system for its jobs: slurm, pbs, lsf, sge, shell (processes); or here.",
            metavar="SYSTEM",
        ),
    ] = None,
) -> None:
    """Run FILE on this machine, or from here on a batch system, until it converges or its budget is used up."""
    from lamflow.cli import drive

    drive.run_file(file, folder, redo, on)


@app.command(rich_help_panel=MODELS)
def relax(  # noqa: PLR0917  typer reads the options from the arguments
    run: Annotated[
        Path,
        typer.Argument(
            help="The folder of the run whose newest models relax.", metavar="RUN", autocompletion=_run_folders
        ),
    ],
    folder: Annotated[Path, typer.Option("--folder", help="Where the structures lie.")] = Path(),
    engine: Annotated[
        Optional[str],  # noqa: UP045  typer reads the annotation
        typer.Option("--engine", help="Whose files they are; calypso's if not given."),
    ] = None,
    pressure: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option("--pressure", help="In bar; what the folder's input asks for, or 0, if not given."),
    ] = None,
    fmax: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option("--fmax", help="Largest force left, eV/Å; what the folder's input asks for if not given."),
    ] = None,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Most steps of a relaxation.")] = 150,
    queue: Annotated[
        bool, typer.Option("--queue/--no-queue", help="Have the run label what its models do not know.")
    ] = True,
) -> None:
    """Relax structures that CALYPSO has left in a folder with the newest models of RUN."""
    from lamflow.cli import relaxing
    from lamflow.config.engines import Relaxation
    from lamflow.driver.relax import Request

    if fmax is not None and not fmax > 0:
        raise typer.BadParameter(f"{fmax:g} eV/Å: must be more than 0", param_hint="--fmax")
    relaxing.relax(run, folder, engine, Request(Relaxation(steps=steps), pressure, fmax, queue=queue))


@app.command(rich_help_panel=RUN)
def train(file: File, folder: Folder = None, redo: Redo = False) -> None:
    """Train the models of FILE once on its data, judge them, and explore nothing."""
    from lamflow.cli import drive

    drive.train_file(file, folder, redo)


@app.command(rich_help_panel=MODELS)
def evaluate(
    file: File,
    model: Annotated[
        Optional[str],  # noqa: UP045  typer reads the annotation
        typer.Option("--model", help="A model file or a model's name; train.pretrained of FILE if not given."),
    ] = None,
    head: Annotated[Optional[str], typer.Option("--head", help="Head of a multi-task model.")] = None,  # noqa: UP045
    to: Annotated[
        Optional[Path],  # noqa: UP045  typer reads the annotation
        typer.Option("--dir", "--to", help="Folder of the run; runs/NAME-evaluate if not given."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Zero-shot errors of a model on the labeled data of FILE, system by system.

    With --json: model, sha256 of its file, report, and judgement (shift, systems, overall, seconds, unjudged); forces
    in eV/Å, energies and virials in eV/atom.
    """
    from lamflow.cli import models

    models.evaluate(file, model, head, to, as_json)


@app.command(rich_help_panel=MODELS)
def properties(  # noqa: PLR0917  typer reads the options from the arguments
    structures: Annotated[
        list[Path], typer.Option("--structures", "-s", help="A file with crystals; give it again for further files.")
    ],
    model: Annotated[
        str, typer.Option("--model", "-m", help="A model file, an engine such as emt, or a calculator of ASE.")
    ],
    file: Annotated[
        Optional[Path],  # noqa: UP045  typer reads the annotation
        typer.Argument(help="A study of properties, whose properties and references are taken.", metavar="[FILE]"),
    ] = None,
    names: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--property", "-p", help="eos, elastic, phonon, …; give it again. eos and elastic if absent."),
    ] = None,
    head: Annotated[Optional[str], typer.Option("--head", help="Head of a multi-task model.")] = None,  # noqa: UP045
    to: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--dir", "--to", help="Folder of the run; runs/STRUCTURE-MODEL-properties if not given."),
    ] = None,
    as_json: Json = False,
) -> None:
    """What a model says of crystals: lattice constants, elastic constants, phonons, defects, …

    With --json: report, and properties (results by structure, potential and property, and comparisons, a value each).
    """
    from lamflow.cli import properties as command

    command.properties(file, structures, model, head, names or [], to, as_json=as_json)


@app.command(rich_help_panel=CLUSTER)
def submit(file: File, folder: Folder = None, redo: Redo = False, drive_here: DriveHere = False) -> None:
    """Run FILE on a Kubernetes cluster with Argo Workflows, or on the batch system that its `batch:` names."""
    from lamflow.cli import drive

    drive.submit(file, folder, redo, drive_here)


@app.command(rich_help_panel=CLUSTER)
def watch(run: RunFolder) -> None:
    """Show how a run on a cluster goes, until it ends."""
    from lamflow.cli import drive

    drive.watch(run)


@app.command(rich_help_panel=CLUSTER)
def logs(
    run: RunFolder,
    iteration: Annotated[
        Optional[int],  # noqa: UP045  typer reads the annotation
        typer.Option("--iteration", min=0, help="Of this iteration's pods; of the driver if not given."),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on while the pods do.")] = False,
) -> None:
    """Print what the pods of a run on a cluster printed."""
    from lamflow.cli import drive

    drive.logs(run, iteration, follow)


@app.command(rich_help_panel=RUN)
def resume(run: RunFolder, drive_here: DriveHere = False) -> None:
    """Go on with a run that was stopped or killed, with the settings that it has."""
    from lamflow.cli import drive

    drive.resume(run, drive_here)


@app.command(rich_help_panel=RUN)
def repair(
    run: RunFolder,
    file: Annotated[
        Optional[Path],  # noqa: UP045  typer reads the annotation
        typer.Option("--file", help="The study's YAML, where the run has lost its settings."),
    ] = None,
    redo: Annotated[
        bool, typer.Option("--redo", help="Throw the newest iteration away where nothing else helps.")
    ] = False,
) -> None:
    """Look at every file of a run that it needs, and make again what is lost or damaged."""
    from lamflow.cli import drive

    drive.repair(run, file, redo)


@app.command(rich_help_panel=RUN)
def stop(run: RunFolder) -> None:
    """Stop the driver of a run; what has finished stays."""
    from lamflow.cli import drive

    drive.stop(run)


@app.command(rich_help_panel=RESULTS)
def status(run: RunFolder, as_json: Json = False) -> None:
    """How a run stands, iteration by iteration.

    With --json: run (name, workflow, state, message, process, rounds, labels, failures) and iterations (key figures of
    each: force_rmse in eV/Å, energy_rmse in eV/atom, seconds, counts of frames, models and labels).
    """
    from lamflow.cli import results

    results.status(run, as_json)


@app.command(rich_help_panel=RESULTS)
def report(
    run: RunFolder,
    to: Annotated[Optional[Path], typer.Option("--to", help="Folder for report.html and report.json.")] = None,  # noqa: UP045
) -> None:
    """Write report.html and report.json."""
    from lamflow.cli import results

    results.report(run, to)


@app.command(rich_help_panel=RESULTS)
def fetch(
    run: RunFolder,
    what: Annotated[
        str, typer.Argument(help="models, best (of several variants), data or heldout.", metavar="WHAT")
    ] = "models",
    to: Annotated[Optional[Path], typer.Option("--to", help="Folder to copy into; WHAT if not given.")] = None,  # noqa: UP045
    iteration: Annotated[Optional[int], typer.Option("--iteration", help="Models of this iteration.")] = None,  # noqa: UP045
) -> None:
    """Copy the newest models, or all training or held-out data as one set, out of a run."""
    from lamflow.cli import results

    results.fetch(run, what, to or Path(what), iteration)


@app.command(rich_help_panel=RESULTS)
def why(
    frame: Annotated[str, typer.Argument(help="The beginning of a frame's hash, or SYSTEM#INDEX.", metavar="FRAME")],
    run: Annotated[str, typer.Option("--run", help="The folder of the run.", autocompletion=_run_folders)] = ".",
) -> None:
    """Which replica, step, score, rule and settings put a frame into the data."""
    from lamflow.cli import results

    results.why(run, frame)
