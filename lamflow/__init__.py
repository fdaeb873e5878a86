"""lamflow: concurrent learning of interatomic potentials, one grammar and one graph on a laptop and on a cluster.

    import lamflow

    study = lamflow.Study.load("lamflow.yaml")
    print(study.check(), study.plan())
    run = study.run()                              # or study.submit(), or lamflow.Run.open("runs/NAME")
    run.iterations                                 # a pandas DataFrame
    run.frames("heldout")                          # ASE Atoms with labels
    run.model_folders, run.report()

Study, Run, the errors in lamflow.errors, lamflow.data.Frame that models evaluate, and what docs/plugin.md names for
engines of others are public. Everything else is private and may change with any version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lamflow.api import Run as Run
    from lamflow.api import Study as Study

__version__ = "0.1.0"
__all__ = ["Run", "Study", "__version__"]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    """Import on first use, so that importing lamflow costs nothing."""
    if name not in __all__:
        raise AttributeError(f"module 'lamflow' has no attribute {name!r}")
    from lamflow import api

    return getattr(api, name)
