"""A damaged file of one run costs what was in it: commands name it in a line, and show the other runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.damage import DAMAGES
from vgim.cli import main
from vgim.runs.metrics import parse_record, read_metrics_file
from vgim.storage import Location

FILES = ("config.yaml", "run.json", "metrics.jsonl")


@pytest.fixture
def folder(probed_run: Path, tmp_path: Path) -> Path:
    """A folder with two runs, `bad` and `good`."""
    keep = shutil.ignore_patterns(
        "probes", "latents", "decoder", "tensorboard", "weights.safetensors", "optimizer*"
    )
    for name in ("bad", "good"):
        shutil.copytree(probed_run, tmp_path / "runs" / name, ignore=keep)
        record = json.loads((tmp_path / "runs" / name / "run.json").read_text())
        (tmp_path / "runs" / name / "run.json").write_text(json.dumps({**record, "name": name}))
    return tmp_path / "runs"


def vgim(*args: str | Path) -> Result:
    """Run a command, which must end well or with one line."""
    result = CliRunner().invoke(main, [str(arg) for arg in args])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    if result.exit_code:
        assert result.exit_code in (2, 3, 4, 5)
        assert all(line.startswith("error: ") for line in result.stderr.splitlines())
    return result


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", FILES)
def test_runs_and_decode_list_show_the_other_runs(folder: Path, file: str, damage: str) -> None:
    good = [line.split() for line in vgim("runs", folder).stdout.splitlines()][-1]
    DAMAGES[damage](folder / "bad" / file)
    listed = vgim("runs", folder)
    assert listed.exit_code == 0
    rows = [line.split() for line in listed.stdout.splitlines()]
    assert good in rows
    if file == "run.json" and damage not in ("delete", "flip"):
        assert ["bad", "unreadable"] in [row[:2] for row in rows]
        assert (
            f"bad: {'cannot read ' if damage == 'folder_in_its_place' else ''}{folder}/bad/run.json"
            in listed.stdout
        )
    if file == "metrics.jsonl" and damage in ("flip", "foreign", "not_utf8", "huge_number"):
        vgim("runs", folder / "bad")
    assert vgim("runs", folder, "--json").exit_code == 0
    decoders = folder.parent / "encoder" / "decoder"
    shutil.copytree(folder, decoders)
    shown = vgim("decode", "list", decoders.parent)
    assert shown.exit_code == 0
    assert "good " in shown.stdout


@pytest.mark.parametrize("damage", ["truncate", "foreign", "not_utf8", "delete", "folder_in_its_place"])
@pytest.mark.parametrize("file", FILES)
def test_compare_report_and_probe_end_well_or_in_one_line(folder: Path, file: str, damage: str) -> None:
    DAMAGES[damage](folder / "bad" / file)
    compared = vgim("compare", folder / "bad", folder / "good")
    if file != "config.yaml":
        assert compared.exit_code == 0
    assert vgim("report", folder / "bad").exit_code == 0 or file == "run.json"
    if file == "config.yaml" and damage != "delete":
        assert vgim("probe", folder / "bad", "--task", "speaker", "--module", "0").exit_code
        assert vgim("latents", folder / "bad", "--module", "0").exit_code


def edit(**changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda record: {**record, **changes}


def without(*keys: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda record: {key: value for key, value in record.items() if key not in keys}


FOREIGN = [
    edit(step="7"),
    edit(step=-1),
    edit(step=True),
    edit(step=10**400),
    edit(kind=3),
    edit(kind=None),
    edit(time="noon"),
    edit(epoch="one"),
    edit(epoch=None),
    edit(loss="low"),
    edit(modules=None),
    edit(modules={"0": {}}),
    edit(modules=[1]),
    edit(modules=[{"module": "x"}]),
    edit(modules=[{"module": 0, "nce": "low"}]),
    edit(modules=[{"module": 0, "nce": [1]}]),
    edit(steps_per_s=[]),
    edit(kind="event", message=None),
    without("step"),
    without("kind"),
    without("epoch"),
    without("modules"),
]


@pytest.mark.parametrize("change", FOREIGN)
def test_a_foreign_record_is_left_out_and_counted(
    folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    path = folder / "bad" / "metrics.jsonl"
    before = read_metrics_file(Location(path.parent)).records
    last = next(record for record in reversed(before) if record["kind"] == "validation")
    with path.open("a") as out:
        out.write(json.dumps(change(last)) + "\n")
    file = read_metrics_file(Location(path.parent))
    assert (file.records, file.num_damaged) == (before, 1)
    shown = vgim("runs", folder).stdout
    assert shown.endswith("bad: 1 line of metrics.jsonl cannot be read and is left out\n")
    (summary, _) = json.loads(vgim("runs", folder, "--json").stdout)
    assert summary["damaged_lines"] == 1


def test_numbers_that_are_not_finite_are_missing() -> None:
    line = '{"kind": "validation", "step": 1, "epoch": 1, "loss": NaN, "modules": [{"module": 0, "nce": Infinity}]}'
    record = parse_record(line)
    assert record is not None
    assert (record["loss"], record["modules"]) == (None, [{"module": 0, "nce": None}])


def test_a_line_that_is_being_written_is_not_counted(folder: Path) -> None:
    with (folder / "bad" / "metrics.jsonl").open("a") as out:
        out.write('{"kind": "tra')
    assert read_metrics_file(Location(folder / "bad")).num_damaged == 0


def test_an_end_with_which_no_record_begins_is_counted(folder: Path) -> None:
    (folder / "bad" / "metrics.jsonl").write_text("3")
    file = read_metrics_file(Location(folder / "bad"))
    assert (file.records, file.num_damaged) == ([], 1)


@pytest.mark.parametrize(
    "changes", [{"pid": 10**30}, {"pid": 2**63}, {"updated": "noon"}, {"updated": "2020-01-01"}]
)
def test_a_record_with_foreign_values_is_listed(folder: Path, changes: dict[str, Any]) -> None:
    path = folder / "bad" / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "state": "running", **changes}))
    listed = vgim("runs", folder)
    assert listed.exit_code == 0
    assert "bad   " in listed.stdout
