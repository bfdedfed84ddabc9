"""Pictures of probe results as PNG bytes. matplotlib is imported only when one is drawn."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from vgim.arrays import I64
from vgim.downstream.result import ProbeResult, output_name

WITHOUT_MATPLOTLIB = "no pictures: matplotlib is not installed; pip install 'vgim[analysis]' draws them"
INCHES_PER_CLASS = 0.22
ASIDE = 0.06
"""Between two encoders at the same module, so that both intervals are seen."""
STYLES = {"trained": "o-", "random": "s--", "mfcc": ":", "supervised": "^-.", "greedy-supervised": "v-."}


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
    figure = new_figure(size + 1, size)
    axes = figure.add_subplot()
    image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    figure.colorbar(image, ax=axes, label="share of the true class")
    if len(classes) <= 100:
        axes.set_xticks(range(len(classes)), classes, rotation=90, fontsize=7)
        axes.set_yticks(range(len(classes)), classes, fontsize=7)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(f"{result.task}, {_of(result)}: {result.accuracy:.1%}")
    return as_png(figure)


def modules_picture(results: Sequence[ProbeResult]) -> bytes:
    """Accuracy at each module, or layer, with its interval over utterances, a line per encoder."""
    places = _places(results)
    by_layer = any(layer is not None for _, layer in places)
    figure, axes = _accuracies(results, "depth" if by_layer else "module")
    for number, encoder in enumerate(dict.fromkeys(result.encoder for result in results)):
        own = [result for result in results if result.encoder == encoder]
        if own[0].module is None:
            _level(axes, own[0], "black")
            continue
        at = [places.index((result.module or 0, result.layer)) + ASIDE * number for result in own]
        axes.errorbar(at, *_with_errors(own), fmt=STYLES[encoder], capsize=3, label=encoder)
    names = [
        output_name(*place).replace(" layer", "\nlayer") if by_layer else str(place[0]) for place in places
    ]
    axes.set_xticks(range(len(places)), names, fontsize=8 if by_layer else None)
    figure.legend(loc="outside right upper", fontsize=8)
    return as_png(figure)


def epochs_picture(results: Sequence[ProbeResult]) -> bytes:
    """Accuracy of trained encoders at each checkpoint, a line per module; baselines as levels."""
    figure, axes = _accuracies(results, "optimizer steps")
    for number, place in enumerate(_places(results)):
        own = [result for result in results if (result.module, result.layer) == place]
        trained = [result for result in own if result.encoder == "trained"]
        steps = [result.step or 0 for result in trained]
        color, label = f"C{number}", f"trained {output_name(*place)}"
        axes.errorbar(steps, *_with_errors(trained), fmt="o-", capsize=3, color=color, label=label)
        for result in own:
            if result.encoder != "trained":
                axes.axhline(
                    result.accuracy, linestyle=STYLES[result.encoder][1:], color=color, label=_of(result)
                )
    for result in results:
        if result.module is None:
            _level(axes, result, "black")
    figure.legend(loc="outside right upper", fontsize=8)
    return as_png(figure)


def _accuracies(results: Sequence[ProbeResult], x: str) -> tuple[Any, Any]:
    """A figure with the axis of accuracy and the level of the majority class."""
    figure = new_figure(7.5, 4)
    axes = figure.add_subplot()
    axes.axhline(results[0].majority, color="gray", linewidth=0.8, label="majority")
    axes.set_xlabel(x)
    axes.set_ylabel("accuracy")
    axes.set_ylim(0, 1)
    axes.set_title(results[0].task)
    return figure, axes


def _places(results: Sequence[ProbeResult]) -> list[tuple[int, int | None]]:
    """Modules and layers of the results in the order of depth: a module's output follows its layers."""
    found = {(result.module, result.layer) for result in results if result.module is not None}
    return sorted(found, key=lambda place: (place[0], math.inf if place[1] is None else place[1]))


def _level(axes: Any, result: ProbeResult, color: str) -> None:
    interval = result.interval_over_utterances
    axes.axhline(result.accuracy, linestyle=STYLES[result.encoder], color=color, label=_of(result))
    axes.axhspan(interval.low, interval.high, color=color, alpha=0.1, linewidth=0)


def _with_errors(results: Sequence[ProbeResult]) -> tuple[list[float], list[list[float]]]:
    """Accuracies, and how far their intervals reach down and up."""
    y = [result.accuracy for result in results]
    ends = [result.interval_over_utterances for result in results]
    down = [max(0.0, a - end.low) for a, end in zip(y, ends, strict=True)]
    return y, [down, [max(0.0, end.high - a) for a, end in zip(y, ends, strict=True)]]


def _of(result: ProbeResult) -> str:
    return f"{result.encoder} {output_name(result.module, result.layer)}".rstrip()


def new_figure(width: float, height: float) -> Any:
    """An empty matplotlib figure, in inches."""
    from matplotlib.figure import Figure  # not pyplot: no display and no global state

    return Figure(figsize=(width, height), layout="constrained")


def as_png(figure: Any) -> bytes:
    """The figure's PNG."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=120, metadata={"Software": None})
    return out.getvalue()
