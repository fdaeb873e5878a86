"""Every engine that is installed keeps the promises of its roles."""

from __future__ import annotations

from lamflow.engines.conformance.installed import *  # noqa: F403  tests are found by their names
