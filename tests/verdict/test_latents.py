"""The share of active dimensions, from analyses of latents."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.verdict.verdict_cases import config, figures
from vgim.latents.result import AnalysisResult, LatentOptions
from vgim.storage import Location
from vgim.verdict.figures import LatentFigures
from vgim.verdict.judge import judge
from vgim.verdict.latents import read_latents


@pytest.mark.parametrize(("shares", "level"), [((0.9, 0.4), "open"), ((0.9, 0.5), "good")])
def test_active_dimensions_of_the_newest_checkpoint_are_said(shares: tuple[float, ...], level: str) -> None:
    latents = tuple(LatentFigures(m, 2000, share) for m, share in enumerate(shares))
    (found,) = (f for f in judge(figures(latents=latents)).findings if f.about == "latents")
    assert found.level == level
    assert found.text == (
        f"Dimensions of the latents that depend on the audio: 90% in module 0 and {shares[1]:.0%} in module 1."
    )


def test_latents_of_an_earlier_checkpoint_say_nothing() -> None:
    assert not any(
        f.about == "latents" for f in judge(figures(latents=(LatentFigures(0, 10, 0.1),))).findings
    )


def test_analyses_are_read_and_what_does_not_read_is_left_out(tmp_path: Path) -> None:
    result = AnalysisResult(
        analysis="distribution",
        module=1,
        title="",
        summary=(),
        figures={"active_share": 0.25},
        pictures=(),
        tables=(),
        curves=(),
        data_files=(),
        notes=(),
        family="sim",
        step=20,
        checkpoint="",
        decoder=None,
        compared_with={},
        options=LatentOptions(),
        command=(),
        data=config().data.shards,
        data_fingerprint="0" * 64,
        created="",
        versions={},
        git_revision="",
    )
    for name, text in (("module1", result.model_dump_json()), ("module2", "{"), ("module3", "{}")):
        Location(tmp_path).child("latents", name, "distribution", "result.json").write_bytes_atomic(
            text.encode()
        )
    Location(tmp_path).child("latents", "module4", "map", "result.json").write_bytes_atomic(b"{}")
    assert read_latents(Location(tmp_path)) == (LatentFigures(1, 20, 0.25),)
