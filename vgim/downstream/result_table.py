"""Probe results as a table for a terminal, and the words that tables, pictures and reports share."""

from __future__ import annotations

from collections.abc import Sequence

from vgim.downstream.result import Interval, ProbeResult
from vgim.text import align_columns


def format_table(results: Sequence[ProbeResult], width: int | None = None) -> str:
    """The results as a table for a terminal of a width."""
    rows = [
        (
            "encoder",
            "step",
            "module",
            "accuracy",
            "95 % utterances",
            "95 % seeds",
            "majority",
            "train",
            "test",
        )
    ]
    for result in results:
        seeds = result.interval_over_seeds
        rows.append(
            (
                result.encoder,
                "-" if result.step is None else f"{result.step:,}",
                output_name(result.module, result.layer).removeprefix("module ") or "-",
                f"{result.accuracy:.1%}",
                in_percent(result.interval_over_utterances),
                in_percent(seeds) if seeds else "-",
                f"{result.majority:.1%}",
                f"{result.num_train:,}",
                f"{result.num_test:,}",
            )
        )
    return align_columns(rows, num_left=1, width=width)


def output_name(module: int | None, layer: int | None) -> str:
    """`module 1` or `module 1 layer 0`; nothing for features of no encoder."""
    if module is None:
        return ""
    return f"module {module}" if layer is None else f"module {module} layer {layer}"


def in_percent(interval: Interval) -> str:
    """`41.2 to 45.0`."""
    return f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"
