"""Probe results as a table for a terminal, and the words that tables, pictures and reports share."""

from __future__ import annotations

from collections.abc import Sequence

from vgim.downstream.result import Interval, ProbeResult
from vgim.text import align_columns, join_words


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
                result.output.numbers or "-",
                f"{result.accuracy:.1%}",
                in_percent(result.interval_over_utterances),
                in_percent(seeds) if seeds else "-",
                f"{result.majority:.1%}",
                f"{result.num_train:,}",
                f"{result.num_test:,}",
            )
        )
    return align_columns(rows, num_left=1, width=width)


def notes_below(results: Sequence[ProbeResult]) -> list[str]:
    """The notes of results in a table, each once; a note that not all of them have begins with those that have it."""
    owners: dict[str, list[str]] = {}
    for result in results:
        for note in dict.fromkeys(result.notes):
            owners.setdefault(note, []).append(f"{result.encoder} {result.output.name}".rstrip())
    return [
        note if len(names) == len(results) else f"{join_words(list(dict.fromkeys(names)))}: {note}"
        for note, names in owners.items()
    ]


def in_percent(interval: Interval) -> str:
    """`41.2 to 45.0`."""
    return f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"
