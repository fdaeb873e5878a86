"""The command line. Heavy imports wait until a command needs them."""

from __future__ import annotations

import contextlib
import os
import sys

from lamflow.errors import LamflowError, printable

FAILED = 2


def main() -> None:
    """Run the command that the words on the command line name."""
    from lamflow.cli.app import app

    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # a locale without Å must not end a run
    try:
        app(prog_name="lamflow")
    except LamflowError as error:
        sys.stdout.flush()
        print(f"lamflow: {printable(str(error))}", file=sys.stderr)
        _leave_last_word(f"{type(error).__name__}: {error}")
        sys.exit(FAILED)
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"lamflow: {printable(where + (error.strerror or str(error)))}", file=sys.stderr)
        sys.exit(FAILED)


def _leave_last_word(text: str) -> None:
    """In a pod, as of a run that is started from Argo's UI, the reason is what Argo shows of it."""
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        from lamflow.ops.job import write_termination_message

        write_termination_message(text)
