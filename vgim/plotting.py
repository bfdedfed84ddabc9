"""Pictures by matplotlib as PNG and PDF; matplotlib is imported only when a picture is drawn."""

from __future__ import annotations

import io
import re
import warnings
from functools import cache
from typing import Any

WITHOUT_MATPLOTLIB = "no pictures: matplotlib is not installed; pip install 'vgim[analysis]' draws them"
PNG, PDF = ".png", ".pdf"
TRUETYPE = 42
"""matplotlib's `pdf.fonttype` for embedded TrueType fonts, which editors can change and journals accept."""

MISSING_GLYPH = re.compile(r"Glyph (\d+) .*missing from")
"""matplotlib's warning of a character that the fonts of a text lack."""

LAST_RESORT = "Last Resort"
"""Begins the name of a font with a box for every character, which comes with matplotlib."""

Figure = Any
"""A matplotlib figure."""


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return False
    return True


def new_figure(width: float, height: float) -> Figure:
    """An empty matplotlib figure.

    Args:
        width: Inches, as `height`.
    """
    from matplotlib.figure import Figure  # not pyplot: no display and no global state

    return Figure(figsize=(width, height), layout="constrained")


def as_png(figure: Figure) -> bytes:
    """Render a figure as PNG."""
    return _save(figure, format="png", metadata={"Software": None})


def as_pdf(figure: Figure) -> bytes:
    """Render a figure as PDF with embedded TrueType fonts.

    The same figure gives the same bytes, because the date is left out.
    """
    from matplotlib import rc_context

    with rc_context({"pdf.fonttype": TRUETYPE}):
        return _save(figure, format="pdf", metadata={"CreationDate": None})


def render(figure: Figure, file: str) -> bytes:
    """Render a figure as PDF if the file's name ends in .pdf, and as PNG otherwise."""
    return as_pdf(figure) if file.lower().endswith(PDF) else as_png(figure)


def picture_files(file: str, figure: Figure, *, pdf: bool) -> dict[str, bytes]:
    """The contents of a picture's files by name.

    Args:
        file: Name of the PNG.
        pdf: Also renders the figure as PDF, under the same name with the suffix .pdf.
    """
    files = {file: as_png(figure)}
    if pdf:
        files[file.removesuffix(PNG) + PDF] = as_pdf(figure)
    return files


def _save(figure: Figure, **options: Any) -> bytes:
    """The bytes of a figure. Characters that its font lacks are drawn from other installed fonts.

    Warns once of characters that no installed font has: they are drawn as boxes.
    """
    data, missing = _save_once(figure, options)
    if missing and (families := _families_with(tuple(missing))):
        from matplotlib.text import Text

        for text in figure.findobj(Text):
            text.set_fontfamily([*text.get_fontfamily(), *families])
        data, missing = _save_once(figure, options)
    if missing:
        _warn_of_boxes(" ".join(missing))
    return data


@cache
def _warn_of_boxes(characters: str) -> None:
    """Warn of characters that no installed font has, once for all pictures of the process."""
    warnings.warn(
        f"no installed font has {characters}, so that pictures show boxes instead; install a font of this script, such "
        "as Noto Sans",
        stacklevel=3,
    )


def _save_once(figure: Figure, options: dict[str, Any]) -> tuple[bytes, list[str]]:
    """The bytes of a figure, and the characters that the fonts of its texts lack."""
    out = io.BytesIO()
    missing = set()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        figure.savefig(out, dpi=120, **options)
    for warning in caught:
        if (found := MISSING_GLYPH.match(str(warning.message))) is not None:
            missing.add(chr(int(found[1])))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return out.getvalue(), sorted(missing)


@cache  # it opens every installed font
def _families_with(characters: tuple[str, ...]) -> tuple[str, ...]:
    """Families of installed fonts that together have as many of the characters as any do; the first has the most."""
    from matplotlib.font_manager import fontManager
    from matplotlib.ft2font import FT2Font

    by_family: dict[str, set[str]] = {}
    for font in fontManager.ttflist:
        if font.name.startswith(LAST_RESORT):
            continue
        try:
            glyphs = FT2Font(font.fname).get_charmap()
        except (OSError, RuntimeError):  # a font that was removed, or that FreeType cannot read
            continue
        by_family.setdefault(font.name, set()).update(each for each in characters if ord(each) in glyphs)
    families, left = list[str](), set(characters)
    while left:
        best = max(sorted(by_family), key=lambda name: len(by_family[name] & left), default=None)
        if best is None or not by_family[best] & left:
            break
        families.append(best)
        left -= by_family[best]
    return tuple(families)
