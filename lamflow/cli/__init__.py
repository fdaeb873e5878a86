"""The command line. Heavy imports wait until a command needs them."""

from __future__ import annotations

import sys

from lamflow.errors import LamflowError

FAILED = 2


def main() -> None:
    """Run the command that the words on the command line name."""
    from lamflow.cli.app import app

    try:
        app(prog_name="lamflow")
    except LamflowError as error:
        sys.stdout.flush()
        print(f"lamflow: {error}", file=sys.stderr)
        sys.exit(FAILED)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"lamflow: {where}{error.strerror or error}", file=sys.stderr)
        sys.exit(FAILED)
