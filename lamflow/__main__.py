"""`python -m lamflow` is `lamflow`."""

from lamflow.cli import main

main()
