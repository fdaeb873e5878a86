"""`lamflow properties`: a quick look at what a model says of crystals."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lamflow.cli.documents import print_document
from lamflow.cli.drive import interruptible
from lamflow.cli.terminal import terminal
from lamflow.config.quick import quick_study
from lamflow.data.io import read_structures
from lamflow.data.properties import PropertiesRound, PropertyValues
from lamflow.errors import EngineError, InputError, printable


def properties(
    file: Path | None, structures: Sequence[Path], model: str, head: str | None, names: Sequence[str], to: Path | None,
    *, as_json: bool,
) -> None:  # fmt: skip
    """A table of values, and a page with figures; or both as a document.

    Raises EngineError when no property has a value.
    """
    from lamflow.api import Study
    from lamflow.config import load
    from lamflow.config.properties import PropertiesStudy
    from lamflow.driver.inspection import check_inputs

    like = load(file, PropertiesStudy) if file is not None else None
    if not structures:
        raise InputError("--structures: name at least one file with a structure")
    for path in structures:
        if not path.is_file():
            raise InputError(f"--structures {path}: there is no such file")
    frames = [frame for path in structures for frame in read_structures(path)]
    elements = sorted({symbol for frame in frames for symbol in frame.symbols})
    study = quick_study(structures, elements, _model_file(model), head, names, like)
    for warning in check_inputs(study):
        print(f"warning: {printable(warning)}", file=sys.stderr)
    folder = to or Path("runs") / study.name
    with interruptible(folder), nullcontext() if as_json else terminal(study) as listener:
        run = Study(study).run(folder, listener)
    values = next(
        record.properties for record in run.records if isinstance(record, PropertiesRound) and record.properties
    )
    page = run.report()
    if as_json:
        print_document({"report": page, "properties": values})
    else:
        show(values)
        print(f"report  {page}")
    if all(result.failed for result in values.results):
        raise EngineError(f"no property has a value; the first: {values.results[0].failed}")


def _model_file(model: str) -> str:
    """The file of a model that is called by its name; anything else as it is."""
    from lamflow.driver.pretrained import known_models, named_model, obtain

    named = not Path(model).exists() and model.lower() in {name.lower() for name in known_models()}
    return str(obtain(*named_model(model))) if named else model


def show(values: PropertyValues) -> None:
    """A row a value, and a line for each property without one and each note."""
    several = len({item.potential for item in values.comparisons}) > 1
    table = Table("structure", "property", "value of", "value", "±", "unit", "error", box=None)
    for item in values.comparisons:
        name = f"{item.property} · {item.potential}" if several else item.property
        spread = "" if item.uncertainty is None else f"{item.uncertainty:.2g}"
        error = "" if item.error is None else f"{item.error:+.4g}"
        what = escape(f"{item.name} {item.where}".strip())
        table.add_row(escape(item.structure), name, what, f"{item.value:.6g}", spread, item.unit, error)
    Console().print(table)
    for result in values.results:
        if result.failed:
            print(f"{result.structure}, {result.property}, {result.potential}: {printable(result.failed)}")
        for note in result.notes:
            print(f"{result.structure}, {result.property}, {result.potential}: {printable(note)}")
    for text in values.unmatched:
        print(printable(text))
