"""A comparison as text, Markdown and CSV."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
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
    verdict, _, rest = wide.partition("\n\n")
    assert [line.partition(": ")[0] for line in verdict.splitlines()[:3]] == ["verdict"] * 3
    assert rest.splitlines()[0].split() == ["one", "two"]
    below = narrow.partition("\n\n")[2]
    assert max(len(line) for line in below.splitlines() if not line.startswith("note")) <= 50
    assert narrow.count("kld_weight") == 2
    assert as_markdown(table).count("| **") == len(table.sections)
    assert as_markdown(table).startswith("- one: All 4 modules")


def test_settings_by_which_runs_differ_have_a_row_and_others_have_none(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    other = Path(shutil.copytree(runs[0], tmp_path / "other"))
    text = (other / "config.yaml").read_text()
    for old, new in (
        ("gru_bidirectional: false", "gru_bidirectional: true"),
        ("posterior_norm: none", "posterior_norm: local"),
        ("preemphasis: 0.0", "preemphasis: 0.97"),
        ("normalize: none", "normalize: utterance"),
        ("mask_s: 0.0", "mask_s: 0.1"),
        ("target_rate: 0.0", "target_rate: 15.0"),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (other / "config.yaml").write_text(text)
    compared = compare([str(runs[0]), str(other)])
    rows = comparison_table(compared).sections[0].rows
    assert [row for row in rows if row[0] in compared.runs[0].settings] == [
        ("gru_bidirectional", "false", "true"),
        ("posterior_norm", "none", "local"),
        ("preemphasis", "0", "0.97"),
        ("normalize", "none", "utterance"),
        ("augment", "none", "mask_s 0.1"),
        ("target_rate", "none", "15 nats"),
    ]
    first, second = csv.DictReader(io.StringIO(as_csv(compared)))
    assert (first["normalize"], second["normalize"]) == ("none", "utterance")
    assert (first["negatives"], second["target_rate"]) == ("batch", "15.0")
    alone = comparison_table(compare([str(other)])).sections[0].rows
    assert not {row[0] for row in alone} & set(compared.runs[0].settings)


def test_validation_that_no_run_has_is_left_out(runs: tuple[Path, Path], tmp_path: Path) -> None:
    without = Path(shutil.copytree(runs[0], tmp_path / "without"))
    records = (without / "metrics.jsonl").read_text().splitlines(keepends=True)
    (without / "metrics.jsonl").write_text("".join(r for r in records if '"kind": "validation"' not in r))
    alone = compare([str(without)])
    assert [s.title for s in comparison_table(alone).sections if "validation" in s.title] == []
    assert "module0_nce" in as_csv(alone).splitlines()[0].split(",")
    beside = comparison_table(compare([str(without), str(runs[0])]))
    (nce,) = (section for section in beside.sections if section.title == "validation: InfoNCE, nats")
    assert nce.rows[0][1] == DASH != nce.rows[0][2]


def test_the_device_is_that_of_the_records_and_else_of_the_config(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    run = Path(shutil.copytree(runs[0], tmp_path / "run"))
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    config = (run / "config.yaml").read_text()
    for in_records, in_config, shown in (
        (["cpu", "NVIDIA H100"], "auto", "NVIDIA H100"),
        ([None, "cpu"], "cuda", "cpu"),
        ([None, None], "cuda", "cuda"),
        ([None, None], "auto", None),
    ):
        for index, record in enumerate(r for r in records if r["kind"] == "train"):
            record.pop("device", None)
            if (device := in_records[min(index, 1)]) is not None:
                record["device"] = device
        (run / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        (run / "config.yaml").write_text(re.sub(r"  device: .*", f"  device: {in_config}", config))
        assert compare([str(run)]).runs[0].device == shown


def test_csv_has_a_row_a_run_and_unrounded_numbers(runs: tuple[Path, Path]) -> None:
    comparison = compare([str(run) for run in runs])
    one, two = csv.DictReader(io.StringIO(as_csv(comparison)))
    assert float(one["module0_nce"]) == comparison.runs[0].modules[0].nce
    assert float(one["speaker_mfcc_accuracy"]) > 0
    assert two["speaker_mfcc_accuracy"] == ""
