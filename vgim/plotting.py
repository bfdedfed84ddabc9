"""Pictures by matplotlib as PNG and PDF; matplotlib is imported only when a picture is drawn."""

from __future__ import annotations

import io
from typing import Any

WITHOUT_MATPLOTLIB = "no pictures: matplotlib is not installed; pip install 'vgim[analysis]' draws them"
PNG, PDF = ".png", ".pdf"
TRUETYPE = 42
"""matplotlib's `pdf.fonttype` for embedded TrueType fonts, which editors can change and journals accept."""

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
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=120, metadata={"Software": None})
    return out.getvalue()


def as_pdf(figure: Figure) -> bytes:
    """Render a figure as PDF with embedded TrueType fonts.

    The same figure gives the same bytes, because the date is left out.
    """
    from matplotlib import rc_context

    out = io.BytesIO()
    with rc_context({"pdf.fonttype": TRUETYPE}):
        figure.savefig(out, format="pdf", dpi=120, metadata={"CreationDate": None})
    return out.getvalue()


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
