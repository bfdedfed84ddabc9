"""Damaged and hostile files of a run: the page escapes them, names them and shows the rest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.report.page_cases import read
from tests.report.report_cases import (
    png,
    write_analysis,
)
from vgim.config import RunConfig
from vgim.progress import MessagesOnly
from vgim.runs.checkpoint_scan import CheckpointScan, scan_checkpoints
from vgim.storage import Location


def test_markup_in_a_runs_files_is_escaped(run: Path, config: RunConfig) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&"
    write_analysis(
        run,
        title=evil,
        summary=[evil],
        figures={evil: 1},
        notes=[evil],
        pictures=[{"file": "histogram.png", "caption": evil}],
        tables=[{"title": evil, "columns": [evil], "rows": [[evil]]}],
    )
    index = run / "decoder" / "module1-mse" / "audio" / "index.json"
    entries = json.loads(index.read_text())
    entries[0] |= {"title": evil, "group": evil}
    index.write_text(json.dumps(entries))
    record = json.loads((run / "run.json").read_text())
    record |= {
        "message": evil,
        "state": "failed",
        "command": ["vgim", evil],
        "git_revision": evil,
        "host": evil,
    }
    (run / "run.json").write_text(json.dumps(record))
    page = read(run)
    assert len(page.of("script")) == 1
    assert not any("onerror" in attributes for _, attributes in page.attributes)
    assert page.text.count("<script>alert(1)</script>") >= 8


def test_damaged_files_are_named_and_the_rest_is_shown(run: Path) -> None:
    damaged = {
        "run.json": b"{",
        "probes/phone-mfcc/result.json": b'{"task": "phone"}',
        "probes/phone-trained-module0/confusion.png": png()[:-20],
        "latents/module1/distribution/histogram.png": b"no picture",
        "decoder/module1-mse/audio/reconstruction0.wav": b"RIFF",
    }
    for name, data in damaged.items():
        (run / name).write_bytes(data)
    with (run / "metrics.jsonl").open("ab") as file:
        file.write(b'{"kind": "train", "st\xff')
    said: list[str] = []
    page = read(run, progress=MessagesOnly(said.append))
    for name in damaged:
        assert f"{name} is left out: " in page.words, name
        assert any(line.startswith(f"{name} is left out: ") for line in said), name
    assert "metrics.jsonl: 1 of 42 lines can't be read and are left out" in page.words
    assert "0 trained 50.0% 44.0 to 55.0" in page.words
    assert "Most dimensions stay close to N(0, 1)." in page.words
    assert len(page.of("audio")) == 13  # a reconstruction is gone, and its original with it


def test_a_damaged_checkpoint_is_named(run: Path) -> None:
    state = run / "checkpoints" / "step-00000020" / "state.json"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"{")
    said: list[str] = []
    page = read(run, progress=MessagesOnly(said.append))
    (line,) = (line for line in said if "checkpoint" in line)
    assert line.startswith("a checkpoint is damaged: checkpoints/step-00000020/state.json is damaged: ")
    assert line in page.words


@pytest.mark.parametrize("state", ["finished", "interrupted"])
def test_checkpoints_are_listed_once(run: Path, monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    scanned: list[Location] = []

    def scan(folder: Location, **options: bool) -> CheckpointScan:
        scanned.append(folder)
        return scan_checkpoints(folder, **options)

    monkeypatch.setattr("vgim.runs.checkpoint.scan_checkpoints", scan)
    record = json.loads((run / "run.json").read_text()) | {"state": state}
    (run / "run.json").write_text(json.dumps(record))
    page = read(run)
    assert ("the run was interrupted; there is no checkpoint yet" in page.words) == (state == "interrupted")
    assert scanned.count(Location(run)) == 1


@pytest.mark.parametrize("name", ["config.yaml", "run.json", "metrics.jsonl"])
@pytest.mark.parametrize("damage", [None, b"", b"[]", b"\xff\xfe", b"{}"])
def test_a_missing_or_damaged_file_of_the_run_never_crashes_the_report(
    run: Path, name: str, damage: bytes | None
) -> None:
    if damage is None:
        (run / name).unlink()
    else:
        (run / name).write_bytes(damage)
    page = read(run)
    assert (2, "Probes") in page.headings
    if name != "metrics.jsonl" or damage:
        assert name in page.words


@pytest.mark.parametrize(
    "damage", ['{"audio": 1}', "[[]]", '[{"file": "../../run.json", "group": "sample"}]']
)
def test_an_invalid_index_of_sounds_is_named(run: Path, damage: str) -> None:
    (run / "decoder" / "module1-mse" / "audio" / "index.json").write_text(damage)
    page = read(run)
    assert "decoder/module1-mse/audio/index.json is left out: " in page.words
    assert page.of("audio") == []


def test_a_table_with_uneven_rows_is_named(run: Path) -> None:
    write_analysis(run, tables=[{"title": "odd", "columns": ["a", "b"], "rows": [[1]]}])
    assert "its table 'odd' has rows of different lengths" in read(run).words


def test_numbers_that_are_not_finite_are_left_out_of_charts(run: Path) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        for step, value in ((310, "NaN"), (320, "1e999"), (330, "-Infinity")):
            modules = f'[{{"module": 0, "nce": {value}, "kl_per_element": {value}}}]'
            file.write(f'{{"kind": "validation", "step": {step}, "modules": {modules}}}\n')
    values = [path["data-values"] for path in read(run).of("path") if path.get("data-values")]
    assert values
    assert not any("nan" in text or "inf" in text for text in values if text is not None)


def test_points_of_a_map_that_are_no_numbers_leave_its_pictures(run: Path) -> None:
    folder = write_analysis(run, name="map", title="Maps", figures={}, summary=["A map."])
    for place in ("nan", "inf", "here"):
        row = f"a|b;c,1,s,{place},1,1,1\n"
        (folder / "points.csv").write_text("utterance,frame,speaker,pca_1,pca_2,tsne_1,tsne_2\n" + row)
        page = read(run)
        assert "A map." in page.words
        assert not any("map" in (figure.get("class") or "").split() for figure in page.of("figure"))
