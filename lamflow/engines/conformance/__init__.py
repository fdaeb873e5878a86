"""What every engine must hold, a class for each role; `conformance.installed` runs them on all that are installed.

A test of an engine may inherit them too, for settings that its example does not have. It gives the fixture `engine`,
and `frames` where those of the class do not suit.
"""

from lamflow.engines.conformance.labels import (
    EvaluatorConformance,
    LabelerConformance,
    virial_traces,
)
from lamflow.engines.conformance.runs import (
    ExplorerConformance,
    RelaxFolderConformance,
    SearcherConformance,
    TrainerConformance,
)

__all__ = [
    "EvaluatorConformance",
    "ExplorerConformance",
    "LabelerConformance",
    "RelaxFolderConformance",
    "SearcherConformance",
    "TrainerConformance",
    "virial_traces",
]
