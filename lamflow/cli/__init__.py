"""The command line. Heavy imports wait until a command needs them."""

from __future__ import annotations

import sys

from lamflow.errors import LamflowError

FAILED, INTERRUPTED = 2, 130


def main() -> None:
    """Run the command that the words on the command line name."""
    from lamflow.cli.app import app

    try:
        app(prog_name="lamflow")
    except LamflowError as error:
        sys.stdout.flush()
        print(f"lamflow: {error}", file=sys.stderr)
        sys.exit(FAILED)
    except KeyboardInterrupt:
        print("lamflow: stopped; `lamflow resume` goes on from here", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        print(f"lamflow: {error}", file=sys.stderr)
        sys.exit(FAILED)
