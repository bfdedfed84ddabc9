"""The chart of a probe: accuracy of each encoder against the module."""

from __future__ import annotations

from collections.abc import Sequence

from vgim.downstream.output import Output
from vgim.downstream.result import ProbeResult
from vgim.pages.chart import Chart, LegendEntry
from vgim.pages.level_labels import ReferenceLine
from vgim.report.line_chart import Series, line_chart

OFFSET = 0.08
"""Distance in x between two encoders at the same module, so that their intervals do not overlap."""


def encoder_name(result: ProbeResult) -> str:
    """The encoder and its unusual options, such as `trained, sampled`."""
    more = ", sampled" * result.options.sampled + ", best checkpoint" * (result.options.checkpoint == "best")
    return "MFCC" if result.encoder == "mfcc" else result.encoder + more


def probe_chart(name: str, title: str, results: Sequence[ProbeResult]) -> Chart | None:
    """Accuracy against the module, with intervals; an encoder without modules is a horizontal line."""
    by_encoder: dict[str, list[ProbeResult]] = {}
    latest: dict[tuple[str, Output], ProbeResult] = {}
    for result in results:  # the last of several checkpoints; inner convolutions are in the table only
        if result.layer is not None:
            continue
        latest[encoder_name(result), result.output] = result
    for (label, _), result in latest.items():
        by_encoder.setdefault(label, []).append(result)
    outputs = sorted({output for _, output in latest if output.name}, key=lambda output: output.depth)
    modules = [output.module for output in outputs if output.module is not None]
    several = [output for output in outputs if output.concat]
    place = {output: output.module for output in outputs if output.module is not None}
    place |= {output: max(modules, default=-1) + 1 + index for index, output in enumerate(several)}
    levels = [ReferenceLine(results[0].majority, f"{results[0].guess} {results[0].majority:.1%}")]
    series, legend = [], []
    for number, (label, own) in enumerate(by_encoder.items()):
        if own[0].output.name == "":
            levels.append(ReferenceLine(own[0].accuracy, f"{label} {own[0].accuracy:.1%}", number))
            continue
        legend.append(LegendEntry(label, number))
        shift = OFFSET * (number - (len(by_encoder) - 1) / 2)
        series.append(
            Series(
                "",
                number,
                label,
                tuple((place[result.output] + shift, result.accuracy) for result in own),
                "dots",
                tuple((r.interval_over_utterances.low, r.interval_over_utterances.high) for r in own),
            )
        )
    if not series:
        return None
    accuracies = "; ".join(
        label + (f" at {output.name} " if output.name else " ") + f"{result.accuracy:.1%}"
        for (label, output), result in latest.items()
    )
    return line_chart(
        name,
        title,
        f"{title}: {accuracies}.",
        "module",
        series,
        levels,
        y_range=(0, min(1.0, 1.1 * max([*(r.interval_over_utterances.high for r in results), levels[0].y]))),
        room=1.0,
        x_ticks=[place[output] for output in outputs],
        x_names=[output.numbers for output in outputs] if several else (),
        percent=True,
        legend=legend,
    )
