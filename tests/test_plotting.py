"""Pictures as PNG and as PDF, from one figure."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import matplotlib
import pytest
from matplotlib.font_manager import fontManager

from vgim.plotting import Figure, as_pdf, new_figure, picture_files, render

DRAW = """
import hashlib
from tests.test_plotting import example
from vgim.plotting import as_pdf
print(hashlib.sha256(as_pdf(example())).hexdigest())
"""


def example() -> Figure:
    figure = new_figure(4, 3)
    axes = figure.add_subplot()
    axes.plot([0, 1], [1, 0], label="σ²")
    axes.imshow([[0.0, 1.0]])
    axes.legend()
    return figure


def test_a_pdf_embeds_truetype_fonts_and_no_date() -> None:
    pdf = as_pdf(example())
    assert pdf.startswith(b"%PDF")
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    assert b"CreationDate" not in pdf


def test_a_pdf_has_the_same_bytes_in_every_process() -> None:
    first, second = (
        subprocess.run(
            [sys.executable, "-c", DRAW],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    )
    assert first == second != b""


def test_a_picture_is_a_png_and_with_pdf_also_a_pdf_of_its_name() -> None:
    assert list(picture_files("a.b.png", example(), pdf=False)) == ["a.b.png"]
    both = picture_files("a.b.png", example(), pdf=True)
    assert both["a.b.png"].startswith(b"\x89PNG")
    assert both["a.b.pdf"].startswith(b"%PDF")


def test_the_suffix_chooses_the_format() -> None:
    assert render(example(), "s3://bucket/x.PDF").startswith(b"%PDF")
    for file in ("x.png", "x", "pdf"):
        assert render(example(), file).startswith(b"\x89PNG")


def titled(text: str) -> Figure:
    figure = new_figure(4, 3)
    axes = figure.add_subplot()
    axes.set_title(text)
    axes.set_xticks([0, 1], [text, "b"])
    return figure


@pytest.fixture
def own_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fonts that come with matplotlib alone, whatever the machine has."""
    folder = matplotlib.get_data_path()
    own = [font for font in fontManager.ttflist if Path(font.fname).is_relative_to(folder)]
    monkeypatch.setattr(fontManager, "ttflist", own)


@pytest.mark.usefixtures("own_fonts")
@pytest.mark.parametrize("file", ["x.png", "x.pdf"])
def test_a_character_that_the_font_lacks_is_drawn_from_another_installed_font(file: str) -> None:
    figure = titled("a\u24b7")  # Ⓑ: STIXGeneral has it, DejaVu Sans does not
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        render(figure, file)
        first = render(figure, file)
    assert first != render(titled("a\u24b8"), file)


@pytest.mark.usefixtures("own_fonts")
def test_characters_that_no_installed_font_has_are_named_in_one_warning() -> None:
    with pytest.warns(UserWarning, match="no installed font has 小 明 王") as caught:
        assert render(titled("王小明"), "x.png") == render(titled("王小明"), "x.png")
    # What earlier tests left open may be collected here, with a ResourceWarning.
    assert [warning.category for warning in caught].count(UserWarning) == 1
