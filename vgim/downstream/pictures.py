"""Pictures of probe results as matplotlib figures. matplotlib is imported only when one is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vgim.arrays import I64
from vgim.downstream.output import Output
from vgim.downstream.result import ProbeResult
from vgim.plotting import Figure, new_figure

INCHES_PER_CLASS = 0.22
ASIDE = 0.06
"""Distance between two encoders at the same module, in modules, so that their intervals do not overlap."""
STYLES = {"trained": "o-", "random": "s--", "mfcc": ":", "supervised": "^-.", "greedy-supervised": "v-."}


def confusion_picture(confusion_KK: I64, result: ProbeResult) -> Figure:
    """Draw a confusion matrix; a row holds the shares of a true class's examples by predicted class."""
    classes = list(result.per_class)
    shares = confusion_KK / confusion_KK.sum(1, keepdims=True).clip(min=1)
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
    axes.set_title(f"{result.task}, {_label(result)}: {result.accuracy:.1%}")
    return figure


def modules_picture(results: Sequence[ProbeResult]) -> Figure:
    """Draw accuracy at each module, or layer, with its interval over utterances; a line for each encoder."""
    outputs = _outputs(results)
    by_layer = any(output.layer is not None for output in outputs)
    figure, axes = _accuracies(results, "depth" if by_layer else "module")
    for number, encoder in enumerate(dict.fromkeys(result.encoder for result in results)):
        selected = [result for result in results if result.encoder == encoder]
        if selected[0].output.name == "":
            _level(axes, selected[0], "black")
            continue
        single = [result for result in selected if not result.concat]
        several = [result for result in selected if result.concat]
        for of_kind, style in ((single, STYLES[encoder]), (several, STYLES[encoder][0])):
            x = [outputs.index(result.output) + ASIDE * number for result in of_kind]
            label = encoder if of_kind is single else None
            axes.errorbar(x, *_with_errors(of_kind), fmt=style, capsize=3, color=f"C{number}", label=label)
    names = [output.name.replace(" layer", "\nlayer") if by_layer else output.numbers for output in outputs]
    axes.set_xticks(range(len(outputs)), names, fontsize=8 if by_layer else None)
    figure.legend(loc="outside right upper", fontsize=8)
    return figure


def epochs_picture(results: Sequence[ProbeResult]) -> Figure:
    """Draw the trained encoder's accuracy at each checkpoint, a line for each module; baselines are levels."""
    figure, axes = _accuracies(results, "optimizer steps")
    for number, output in enumerate(_outputs(results)):
        selected = [result for result in results if result.output == output]
        trained = [result for result in selected if result.encoder == "trained"]
        steps = [result.step or 0 for result in trained]
        color, label = f"C{number}", f"trained {output.name}"
        axes.errorbar(steps, *_with_errors(trained), fmt="o-", capsize=3, color=color, label=label)
        for result in selected:
            if result.encoder != "trained":
                axes.axhline(
                    result.accuracy, linestyle=STYLES[result.encoder][1:], color=color, label=_label(result)
                )
    for result in results:
        if result.output.name == "":
            _level(axes, result, "black")
    figure.legend(loc="outside right upper", fontsize=8)
    return figure


def _accuracies(results: Sequence[ProbeResult], x: str) -> tuple[Any, Any]:
    """An empty chart of accuracy, with the level of the majority class."""
    figure = new_figure(7.5, 4)
    axes = figure.add_subplot()
    axes.axhline(results[0].majority, color="gray", linewidth=0.8, label=results[0].guess)
    axes.set_xlabel(x)
    axes.set_ylabel("accuracy")
    axes.set_ylim(0, 1)
    axes.set_title(results[0].task)
    return figure, axes


def _outputs(results: Sequence[ProbeResult]) -> list[Output]:
    """Outputs of the results in order of depth; a module's output follows its layers, and several modules are last."""
    outputs = {result.output for result in results if result.output.name}
    return sorted(outputs, key=lambda output: output.depth)


def _level(axes: Any, result: ProbeResult, color: str) -> None:
    interval = result.interval_over_utterances
    axes.axhline(result.accuracy, linestyle=STYLES[result.encoder], color=color, label=_label(result))
    axes.axhspan(interval.low, interval.high, color=color, alpha=0.1, linewidth=0)


def _with_errors(results: Sequence[ProbeResult]) -> tuple[list[float], list[list[float]]]:
    """Accuracies, and the lengths of their error bars down and up."""
    y = [result.accuracy for result in results]
    ends = [result.interval_over_utterances for result in results]
    down = [max(0.0, a - end.low) for a, end in zip(y, ends, strict=True)]
    return y, [down, [max(0.0, end.high - a) for a, end in zip(y, ends, strict=True)]]


def _label(result: ProbeResult) -> str:
    return f"{result.encoder} {result.output.name}".rstrip()
