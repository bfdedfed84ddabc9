"""Pictures of probe results as PNG bytes. matplotlib is imported only when one is drawn."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from vgim.data.crops import I64
from vgim.downstream.result import ProbeResult

WITHOUT_MATPLOTLIB = "no pictures: matplotlib is not installed; pip install 'vgim[analysis]' draws them"
INCHES_PER_CLASS = 0.22
ASIDE = 0.06
"""Between two encoders at the same module, so that both intervals are seen."""
STYLES = {"trained": "o-", "random": "s--", "mfcc": ":"}


def can_draw() -> bool:
    """Whether matplotlib is there."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return False
    return True


def confusion_picture(confusion_KK: I64, result: ProbeResult) -> bytes:
    """The confusion matrix: rows are true classes, each as shares of its examples."""
    classes = list(result.per_class)
    shares = confusion_KK / np.maximum(1, confusion_KK.sum(1, keepdims=True))
    size = max(4.0, INCHES_PER_CLASS * len(classes) + 1.5)
    figure = _figure(size + 1, size)
    axes = figure.add_subplot()
    image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    figure.colorbar(image, ax=axes, label="share of the true class")
    if len(classes) <= 100:
        axes.set_xticks(range(len(classes)), classes, rotation=90, fontsize=7)
        axes.set_yticks(range(len(classes)), classes, fontsize=7)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(f"{result.task}, {_of(result)}: {result.accuracy:.1%}")
    return _png(figure)


def modules_picture(results: Sequence[ProbeResult]) -> bytes:
    """Accuracy at each module with its interval over utterances, a line per encoder."""
    figure = _figure(6, 4)
    axes = figure.add_subplot()
    for number, encoder in enumerate(dict.fromkeys(result.encoder for result in results)):
        own = [result for result in results if result.encoder == encoder]
        y = [result.accuracy for result in own]
        ends = [(r.interval_over_utterances.low, r.interval_over_utterances.high) for r in own]
        if own[0].module is None:
            axes.axhline(y[0], linestyle=STYLES[encoder], color="black", label=encoder)
            axes.axhspan(*ends[0], color="black", alpha=0.1, linewidth=0)
            continue
        error = [[max(0.0, a - low), max(0.0, high - a)] for a, (low, high) in zip(y, ends, strict=True)]
        at = [(result.module or 0) + ASIDE * number for result in own]
        axes.errorbar(at, y, np.transpose(error), fmt=STYLES[encoder], capsize=3, label=encoder)
    axes.axhline(results[0].majority, color="grey", linewidth=0.8, label="majority")
    axes.set_xticks(sorted({result.module for result in results if result.module is not None}))
    axes.set_xlabel("module")
    axes.set_ylabel("accuracy")
    axes.set_ylim(0, 1)
    axes.set_title(results[0].task)
    axes.legend()
    return _png(figure)


def _of(result: ProbeResult) -> str:
    return result.encoder if result.module is None else f"{result.encoder} module {result.module}"


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure  # not pyplot: no display and no global state

    return Figure(figsize=(width, height), layout="constrained")


def _png(figure: Any) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=120, metadata={"Software": None})
    return out.getvalue()
