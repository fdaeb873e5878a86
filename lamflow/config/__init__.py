"""What the user wrote: typed, frozen, checked. `load(file)` reads it, `Config` is it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lamflow.config.learning import Config as Config
    from lamflow.config.read import load as load
    from lamflow.config.read import parse as parse
    from lamflow.config.read import stored as stored

_WHERE = {"Config": "learning", "load": "read", "parse": "read", "stored": "read"}


def __getattr__(name: str) -> Any:
    """Import on first use: an engine's module needs `Section` alone, and `Config` needs every engine's settings."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
