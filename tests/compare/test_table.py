"""A comparison as text, Markdown and CSV."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from vgim.compare.read import compare
from vgim.compare.table import DASH, as_csv, as_markdown, as_text, comparison_table


def test_baselines_stand_before_the_trained_and_have_a_row_without_results(runs: tuple[Path, Path]) -> None:
    one, two = (comparison_table(compare([str(run)])).sections[-1].rows for run in runs)
    assert [row[0] for row in one] == [
        "majority",
        "mfcc",
        *(f"random module {m}" for m in range(4)),
        *(f"trained module {m}" for m in range(4)),
    ]
    assert DASH not in [row[1] for row in one]
    assert [(row[0], row[1] == DASH) for row in two] == [
        ("majority", False),
        ("mfcc", True),
        ("random", True),
        ("trained module 0", False),
    ]


def test_text_wraps_runs_that_do_not_fit_and_loses_none(runs: tuple[Path, Path]) -> None:
    table = comparison_table(compare([str(run) for run in runs]))
    wide, narrow = as_text(table), as_text(table, width=50)
    assert wide.splitlines()[0].split() == ["one", "two"]
    assert max(len(line) for line in narrow.splitlines() if not line.startswith("note")) <= 50
    assert narrow.count("kld_weight") == 2
    assert as_markdown(table).count("| **") == len(table.sections)


def test_csv_has_a_row_a_run_and_unrounded_numbers(runs: tuple[Path, Path]) -> None:
    comparison = compare([str(run) for run in runs])
    one, two = csv.DictReader(io.StringIO(as_csv(comparison)))
    assert float(one["module0_nce"]) == comparison.runs[0].modules[0].nce
    assert float(one["speaker_mfcc_accuracy"]) > 0
    assert two["speaker_mfcc_accuracy"] == ""
