"""The files, table and page of a finished sweep."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path

from tests.tune.sweep_cases import FinishedSweep, MakeSweep
from vgim.runs.listing import list_runs
from vgim.storage import Location
from vgim.tune.charts import short_metric
from vgim.tune.results import SweepResult, collect, format_table, read
from vgim.tune.show import show
from vgim.tune.trials import trials_of


def test_results_are_written_as_json_and_csv(finished_sweep: FinishedSweep) -> None:
    sweep, result = finished_sweep
    folder = sweep.folder.local_path
    rows = list(csv.DictReader((folder / "results.csv").open()))
    assert [row["id"] for row in rows] == [t.id for t in result.trials]
    assert float(rows[0]["metric"]) == result.trials[0].metric
    assert SweepResult.model_validate_json((folder / "results.json").read_bytes()) == result
    assert show(sweep.folder.uri) == result  # from the folder alone
    listed = list_runs(sweep.trials.uri)
    assert {run.name for run in listed} == {t.id for t in result.trials}


def test_the_page_shows_every_trial_and_loads_nothing(finished_sweep: FinishedSweep) -> None:
    sweep, result = finished_sweep
    page = (sweep.folder.local_path / "sweep.html").read_text()
    assert page.count("<title>kld_weight") >= 4 * len(result.trials)  # in each of four pictures
    assert "prefers" in page or "light-dark(" in page
    assert not re.findall(
        r"(?:src|href)=\"(?!data:|trials/)[^\"]*\"|@import|https?://(?!www.w3.org/2000/svg)", page
    )
    for trial in result.trials:  # a link to each run
        assert (sweep.folder.local_path / f"trials/{trial.id}/run.json").exists()
        assert f'href="trials/{trial.id}/"' in page
    for axis in ("kld_weight", "depth", short_metric(result)):
        assert f'text-anchor="middle">{axis}</text>' in page


def test_kl_weights_that_mean_other_costs_in_other_trials_are_noted(
    finished_sweep: FinishedSweep, tiny_sweep: MakeSweep
) -> None:
    sweep, result = finished_sweep
    (note,) = result.notes  # trials of depth 1 and 2 are compared by other modules
    assert "in module 0 of kld_weight0.001-depth1 as in module 1 of kld_weight0.001-depth2" in note
    assert f"note: {note}" in format_table(result)
    assert f"Note: {note}." in (sweep.folder.local_path / "sweep.html").read_text()
    space = {"objective.kld_weight": "[0.001, 0.1]", "model.channels": "[8, 16]"}
    for unit, notes in (("time_sum", 1), ("frame", 0)):
        widths = tiny_sweep(space, f"objective.kl_reduction={unit}")
        collected = collect("widths", widths.config.metric, tuple(space), trials_of(widths))
        assert len(collected.notes) == notes


def test_a_sweep_that_was_copied_under_another_name_is_read_and_written_where_it_is(
    finished_sweep: FinishedSweep, tmp_path: Path
) -> None:
    sweep, result = finished_sweep
    before = {path: path.stat().st_mtime_ns for path in sweep.folder.local_path.iterdir()}
    copy = Path(shutil.copytree(sweep.folder.local_path, tmp_path / "copy"))
    (copy / "results.json").unlink()
    shown = show(str(copy))
    assert {path: path.stat().st_mtime_ns for path in sweep.folder.local_path.iterdir()} == before
    assert read(Location(copy)) == shown
    assert shown.best == result.best
    assert [trial.metric for trial in shown.trials] == [trial.metric for trial in result.trials]
    assert {Path(trial.run).parent for trial in shown.trials} == {copy / "trials"}
