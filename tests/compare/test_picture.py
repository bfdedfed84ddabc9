"""A comparison as a picture."""

from __future__ import annotations

from pathlib import Path

from vgim.compare.picture import comparison_picture
from vgim.compare.read import compare
from vgim.plotting import as_png


def test_the_picture_is_drawn_for_any_choice_of_runs(runs: tuple[Path, Path]) -> None:
    for chosen in (runs, runs[:1], runs[1:]):
        figure = comparison_picture(compare([str(run) for run in chosen]))
        assert as_png(figure).startswith(b"\x89PNG")
