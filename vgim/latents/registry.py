"""The analyses of latents, in the order in which they are made and shown.

A new analysis is a file in `vgim/latents/analyses` and a line in `ANALYSES`. The options, `vgim latents --only` with
its help, and the job read the line; title and needs are attributes of the class.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vgim.latents.analysis import Analysis

# Import paths instead of classes: `vgim --help` lists the names, and must not wait for torch.
ANALYSES: dict[str, str] = {
    "distribution": "vgim.latents.analyses.distribution:DistributionAnalysis",
    "map": "vgim.latents.analyses.map:MapAnalysis",
    "labels": "vgim.latents.analyses.labels:LabelsAnalysis",
    "correlation": "vgim.latents.analyses.correlation:CorrelationAnalysis",
    "sensitivity": "vgim.latents.analyses.sensitivity:SensitivityAnalysis",
    "contribution": "vgim.latents.analyses.contribution:ContributionAnalysis",
    "smoothness": "vgim.latents.analyses.smoothness:SmoothnessAnalysis",
}


def load_analysis(name: str) -> Analysis:
    """Import the class of a registered analysis and make one."""
    module, _, class_name = ANALYSES[name].partition(":")
    analysis: Analysis = getattr(import_module(module), class_name)()
    return analysis
