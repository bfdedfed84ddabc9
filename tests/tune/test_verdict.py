"""What the results of a sweep say, from trials with known metrics."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.tune.sweep_cases import FinishedSweep, MakeSweep
from tests.verdict.verdict_cases import CHANCE, config
from vgim.cli import main
from vgim.config.schema import StorageConfig
from vgim.downstream.result import Interval
from vgim.tune.config import MetricConfig, SweepConfig
from vgim.tune.folder import SweepFolder
from vgim.tune.page import render
from vgim.tune.results import SweepResult, TrialResult, format_table, ranked
from vgim.tune.sweep_file import Sweep, load_sweep
from vgim.tune.trials import trials_of
from vgim.tune.verdict import SweepVerdict, judge_sweep
from vgim.verdict.verdict import ModuleState

Row = tuple[str, float | None, ModuleState | None]
"""Id, metric, and state of the measured module."""
BASE = config(epochs=4)
SWEEP = Sweep(
    SweepConfig.model_validate(
        {"base": "tiny", "name": "sweep", "space": {"objective.kld_weight": [0.1, 0.2]}}
    ),
    BASE.model_copy(update={"storage": StorageConfig(root="/nowhere")}),
    None,
    "sweep.yaml",
)


def results(rows: Sequence[Row], kind: str = "probe", half: float | None = 0.02) -> SweepResult:
    """Finished trials with these metrics ± `half`; a trial without a metric still runs."""
    metric = MetricConfig.model_validate({"kind": kind})
    trials = tuple(
        TrialResult(
            id=name,
            run=f"/nowhere/sweep/trials/{name}",
            state="running" if value is None else "finished",
            message="",
            values={"objective.kld_weight": number},
            metric=value,
            interval=None if half is None or value is None else Interval(low=value - half, high=value + half),
            module_state=state,
            curve=() if value is None else ((1, value),),
            step=40,
            depth=1,
            nce=(CHANCE - 0.001 * number if state != "learned" else 1.5,),
            kl_per_element=(0.1,),
            train_seconds=1.0,
        )
        for number, (name, value, state) in enumerate(rows)
    )
    best = ranked(trials, metric)
    result = SweepResult(
        name="sweep",
        metric=metric,
        metric_name="phone accuracy (quick probe) of the last module",
        keys=("objective.kld_weight",),
        best=best[0].id if best else None,
        trials=trials,
    )
    return result.model_copy(update={"verdict": judge_sweep(result, best, SWEEP)})


def verdict(result: SweepResult) -> SweepVerdict:
    assert result.verdict is not None
    return result.verdict


CLEARLY_A = (
    "a is best, with 50.0% of phones right (95 %: 48.0 to 52.0): 10.0 points (7.2 to 12.8) better than b, "
    "the next."
)
AT_CHANCE: list[Row] = [("a", 0.3, "chance"), ("b", 0.4, "collapsed"), ("c", 0.2, "chance")]


def test_no_trial_is_crowned_among_trials_at_chance() -> None:
    result = results(AT_CHANCE)
    assert (result.best, result.shown_as_best) == ("b", None)
    assert verdict(result).sentences == (
        "All 3 finished trials are at chance (validation InfoNCE 2.396 to 2.398 nats) after 40 steps: the metric "
        "orders noise, and no trial is best.",
    )
    following = verdict(result).next
    assert following is not None
    assert following.command == (
        "vgim sweep /nowhere/sweep/sweep.yaml base=/nowhere/sweep/base.yaml 'overrides=[]' train.epochs=40 "
        "name=sweep-longer"
    )
    table, page = format_table(result), render(result)
    assert table.startswith("verdict: All 3 finished trials are at chance")
    assert table.splitlines()[-1].endswith("highest is best")
    assert table.count("at chance") == 3  # the verdict and two rows
    assert "Best:" not in page
    assert "The best trial" not in page
    assert " best" not in page.partition("<main>")[2].partition("<h2>Trials")[0].replace("is best", "")
    assert '<td class="flag">at chance</td>' in page
    assert "train.epochs=40 name=sweep-longer" in page


@pytest.mark.parametrize(
    ("rows", "sentences"),
    [
        (
            [("a", 0.5, "learned"), ("b", 0.4, "learned"), ("c", 0.3, "unsure")],
            (CLEARLY_A,),
        ),
        (
            [("a", 0.5, "learned"), ("b", 0.49, "learned"), ("c", 0.3, "learned")],
            (
                "a has the best metric, 50.0% of phones right (95 %: 48.0 to 52.0), and 1 of 2 other trials that "
                "learned cannot be told from it: b.",
            ),
        ),
        (
            [("a", 0.9, "chance"), ("b", 0.4, "learned")],
            (
                "b is best, with 40.0% of phones right (95 %: 38.0 to 42.0); no other finished trial learned.",
                "Finished trials at chance, which do not count: 1 (a).",
            ),
        ),
        ([("a", None, None)], ("No trial has finished with a metric, so that none is best yet.",)),
        (
            [("a", 0.5, None), ("b", 0.4, None)],  # results of older versions
            (CLEARLY_A,),
        ),
    ],
)
def test_the_best_trial_is_named_with_what_cannot_be_told_from_it(
    rows: Sequence[Row], sentences: tuple[str, ...]
) -> None:
    assert verdict(results(rows)).sentences == sentences


def test_infonce_of_single_runs_has_no_interval_and_the_verdict_says_so() -> None:
    result = results([("a", 1.4, "learned"), ("b", 1.5, "learned")], kind="nce", half=None)
    assert verdict(result).sentences == (
        "a is best, with InfoNCE 1.400 nats; next is b with InfoNCE 1.500 nats. One run of each gives no interval: "
        "small differences may be chance.",
    )


def test_the_next_command_probes_the_best_trial() -> None:
    following = verdict(results([("a", 0.5, "learned")])).next
    assert following is not None
    assert following.command.startswith("vgim probe /nowhere/sweep/trials/a --task phone --all-modules")


def test_a_sweep_that_still_runs_has_no_next_command() -> None:
    assert verdict(results([*AT_CHANCE, ("d", None, None)])).next is None


@pytest.mark.parametrize(
    ("asked", "rates"),
    [
        ((), [0, 0]),  # a preset's rate, which the space's weights end
        (("objective.target_rate=3",), [3, 3]),
        (("objective.target_rate=0.5", "objective.target_rate_unit=channel"), [4, 4]),
        (("objective.target_rate=0",), [0, 0]),
    ],
)
def test_the_longer_sweep_has_the_rate_that_was_asked_for(
    tmp_path: Path, tiny_sweep: MakeSweep, asked: tuple[str, ...], rates: list[float]
) -> None:
    (tmp_path / "held.yaml").write_text("extends: tiny\nobjective: {kld_weight: 0.001, target_rate: 2}\n")
    sweep = tiny_sweep({"objective.kld_weight": "[0.001, 0.01]"}, "base=held", *asked)
    with SweepFolder(sweep.folder).claim(sweep):  # which writes the files that the command names
        pass
    result = results(AT_CHANCE)
    following = judge_sweep(result, ranked(result.trials, result.metric), sweep).next
    assert following is not None
    _, _, file, *overrides = shlex.split(following.command)
    longer = load_sweep(file, overrides)
    assert [trial.config.target_rate for trial in trials_of(sweep)] == rates
    for one, other in zip(trials_of(longer), trials_of(sweep), strict=True):
        assert one.config.objective == other.config.objective


def test_a_real_sweep_of_ten_steps_is_at_chance_and_its_longer_sweep_loads(
    finished_sweep: FinishedSweep, tmp_path: Path
) -> None:
    sweep, result = finished_sweep
    assert {trial.module_state for trial in result.trials} == {"chance"}
    assert result.best is not None
    assert result.shown_as_best is None
    following = verdict(result).next
    assert following is not None
    _, _, file, *overrides = shlex.split(following.command)
    longer = load_sweep(file, overrides)
    train = sweep.base.train.model_copy(update={"epochs": 10})
    assert longer.base == sweep.base.model_copy(update={"train": train})
    assert longer.config.overrides == ("train.epochs=10",)
    assert longer.config.space == sweep.config.space
    assert longer.folder.uri == f"{sweep.folder.uri}-longer"
    told = CliRunner().invoke(main, ["sweep", "show", sweep.folder.uri, "--json"])
    assert json.loads(told.stdout)["verdict"]["next"]["command"] == following.command
    shown = CliRunner().invoke(main, ["sweep", "best", sweep.folder.uri])
    assert shown.exit_code == 0
    assert f"note: {result.best} is at chance, so that its metric orders noise" in shown.stderr
