"""How many dimensions of the latents are in use, from the analyses of their distribution."""

from __future__ import annotations

from contextlib import suppress

from pydantic import ValidationError

from vgim.errors import StorageError
from vgim.latents.result import AnalysisResult
from vgim.runs.layout import LATENTS, RESULT
from vgim.storage import Location
from vgim.text import join_words
from vgim.verdict.figures import LatentFigures, RunFigures
from vgim.verdict.verdict import Finding

ANALYSIS = "distribution"
FEW = 0.5
"""Share of active dimensions below which most of a module's width is unused. Ours."""


def read_latents(run: Location) -> tuple[LatentFigures, ...]:
    """The share of active dimensions of each analyzed module; results that do not read are left out."""
    found = []
    for folder in run.child(LATENTS).list():
        with suppress(StorageError, ValidationError):
            file = run.child(LATENTS, folder, ANALYSIS, RESULT)
            if file.exists():
                result = AnalysisResult.model_validate_json(file.read_bytes())
                share = result.figures.get("active_share")
                if share is not None:
                    found.append(LatentFigures(result.module, result.step, share))
    return tuple(sorted(found))


def dimensions_in_use(figures: RunFigures) -> Finding | None:
    """Say how many dimensions are active; None if the newest checkpoint's latents were not analyzed."""
    latents = [found for found in figures.latents if found.step == figures.step]
    if not latents:
        return None
    shares = join_words([f"{found.active_share:.0%} in module {found.module}" for found in latents])
    has_few = any(found.active_share < FEW for found in latents)
    text = f"Dimensions of the latents that depend on the audio: {shares}."
    return Finding(about="latents", level="open" if has_few else "good", text=text)
