"""The analyses there are, in the order in which they are made."""

from __future__ import annotations

from vgim.latents.analysis import Analysis
from vgim.latents.contribution import ContributionAnalysis
from vgim.latents.correlation import CorrelationAnalysis
from vgim.latents.distribution import DistributionAnalysis
from vgim.latents.labels import LabelsAnalysis
from vgim.latents.map import MapAnalysis
from vgim.latents.sensitivity import SensitivityAnalysis
from vgim.latents.smoothness import SmoothnessAnalysis

ANALYSES: tuple[Analysis, ...] = (
    DistributionAnalysis(),
    MapAnalysis(),
    LabelsAnalysis(),
    CorrelationAnalysis(),
    SensitivityAnalysis(),
    ContributionAnalysis(),
    SmoothnessAnalysis(),
)
