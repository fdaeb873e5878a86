"""lamflow: concurrent learning of interatomic potentials, one grammar and one graph on a laptop and on a cluster.

import lamflow

study = lamflow.load("dpgen.yaml")
print(study.plan())
result = study.run()
result.models[0].evaluate(frames)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lamflow.driver.study import RunResult as RunResult
    from lamflow.driver.study import Study as Study
    from lamflow.driver.study import load as load
    from lamflow.driver.study import opened as opened

__version__ = "0.1.0"
__all__ = ["RunResult", "Study", "__version__", "load", "opened"]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    """Import on first use, so that importing lamflow costs nothing."""
    if name not in __all__:
        raise AttributeError(f"module 'lamflow' has no attribute {name!r}")
    from lamflow.driver import study

    return getattr(study, name)
