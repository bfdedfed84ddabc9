"""Pictures as PNG bytes, by matplotlib, which is imported only when a picture is drawn."""

from __future__ import annotations

import io
from typing import Any

WITHOUT_MATPLOTLIB = "no pictures: matplotlib is not installed; pip install 'vgim[analysis]' draws them"


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return False
    return True


def new_figure(width: float, height: float) -> Any:
    """An empty matplotlib figure.

    Args:
        width: Inches, as `height`.
    """
    from matplotlib.figure import Figure  # not pyplot: no display and no global state

    return Figure(figsize=(width, height), layout="constrained")


def as_png(figure: Any) -> bytes:
    """Render a figure as PNG."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=120, metadata={"Software": None})
    return out.getvalue()
