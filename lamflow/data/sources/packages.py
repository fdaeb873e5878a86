"""Packages that only some sources need."""

from __future__ import annotations

import importlib
from typing import Any

from lamflow.errors import InputError


def needed(name: str, why: str) -> Any:
    """The module `name`. Raises InputError that says how to get it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.split(".", maxsplit=1)[0]
        raise InputError(f"the package {package} is needed {why}: pip install 'lamflow[cleaning]'") from error
