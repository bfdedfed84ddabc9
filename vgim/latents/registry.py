"""The analyses there are, in the order in which they are made."""

from __future__ import annotations

from vgim.latents.analyses.contribution import ContributionAnalysis
from vgim.latents.analyses.correlation import CorrelationAnalysis
from vgim.latents.analyses.distribution import DistributionAnalysis
from vgim.latents.analyses.labels import LabelsAnalysis
from vgim.latents.analyses.map import MapAnalysis
from vgim.latents.analyses.sensitivity import SensitivityAnalysis
from vgim.latents.analyses.smoothness import SmoothnessAnalysis
from vgim.latents.analysis import Analysis

ANALYSES: tuple[Analysis, ...] = (
    DistributionAnalysis(),
    MapAnalysis(),
    LabelsAnalysis(),
    CorrelationAnalysis(),
    SensitivityAnalysis(),
    ContributionAnalysis(),
    SmoothnessAnalysis(),
)
