"""Trials trained in this process: reports, probes, depth chains, results, pages."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from safetensors.torch import load_file

from vgim.errors import ConfigError, StorageError, TrainingError
from vgim.pretrained.encoder import load_encoder
from vgim.runs.folder import RunFolder
from vgim.runs.listing import list_runs
from vgim.runs.metrics import read_metrics
from vgim.storage import Location
from vgim.train.depth_resume import inherited_steps
from vgim.tune.best import best
from vgim.tune.charts import pareto_front
from vgim.tune.folder import SweepFolder
from vgim.tune.job import show
from vgim.tune.output import write_results
from vgim.tune.results import SweepResult, format_table
from vgim.tune.sweep_file import Sweep
from vgim.tune.trial_driver import TrialContext, run_chain, run_trial
from vgim.tune.trials import chains_of, trials_of

Maker = Callable[..., Sweep]


def run_here(sweep: Sweep) -> list[tuple[str, int, float]]:
    """Run every chain, one after the other; return trial, epoch and metric of each report."""
    told: list[tuple[str, int, float]] = []
    context = TrialContext(sweep.config.metric, None, 1)
    SweepFolder(sweep.folder).claim(sweep)
    for chain in chains_of(sweep, trials_of(sweep)):
        run_chain(chain, context, lambda trial, r: told.append((trial.id, r.epoch, r.value)))
    return told


def launches(sweep: Sweep) -> list[int]:
    records = [RunFolder(trial.run).record() for trial in trials_of(sweep)]
    return [record.launches if record is not None else 0 for record in records]


def test_a_depth_sweep_is_the_deepest_run_with_its_shallower_ones_beside(
    tiny_sweep: Maker,
) -> None:
    shared = tiny_sweep(
        {"model.depth": "[4, 1, 2]"}, "train.schedule=sequential", "train.epochs=1", "name=shared"
    )
    run_here(shared)
    apart = tiny_sweep(
        {"model.depth": "[4, 1, 2]"},
        "train.schedule=sequential",
        "train.epochs=1",
        "share_depth=false",
        "name=apart",
    )
    run_here(apart)
    for one, other in zip(trials_of(shared), trials_of(apart), strict=True):
        name = max(one.run.child("checkpoints").list())
        ours, theirs = (
            load_file(t.run.local_path / "checkpoints" / name / "weights.safetensors") for t in (one, other)
        )
        assert ours.keys() == theirs.keys()
        assert all(bool((ours[key] == theirs[key]).all()) for key in ours)
    deep, one, two = write_results(shared, trials_of(shared)).trials
    assert len(deep.nce) == 4
    assert deep.nce[:2] == two.nce
    assert one.nce == two.nce[:1]
    own = [inherited_steps(read_metrics(trial.run)) for trial in trials_of(shared)]
    assert own == [20, 0, 10]  # so that 40 steps were taken, the deepest run's, and not 70
    assert all(trial.train_seconds > 0 for trial in (deep, one, two))


def test_reports_come_once_and_the_last_when_the_run_has_ended(tiny_sweep: Maker) -> None:
    sweep = tiny_sweep({"objective.kld_weight": "[0.001, 0.01]"}, "train.epochs=3")
    told = run_here(sweep)
    first = [epoch for name, epoch, _ in told if name == "kld_weight0.001"]
    assert first == [1, 2, 3]
    again = run_here(sweep)
    assert again == told  # from the folders
    assert launches(sweep) == [1, 1]


def test_a_finished_trial_goes_on_where_the_base_now_asks_for_more(tiny_sweep: Maker) -> None:
    run_here(tiny_sweep({"objective.kld_weight": "[0.001]"}, "train.epochs=1"))
    longer = tiny_sweep({"objective.kld_weight": "[0.001]"}, "train.epochs=2")
    assert [epoch for _, epoch, _ in run_here(longer)] == [1, 2]
    assert launches(longer) == [2]


def test_the_quick_probe_is_taken_every_so_many_epochs_and_at_the_end(tiny_sweep: Maker) -> None:
    metric = "{kind: probe, task: speaker, max_utterances: 16, every_epochs: 2}"
    sweep = tiny_sweep(
        {"objective.kld_weight": "[0.001]"}, "train.epochs=3", "train.keep_last=5", metric=metric
    )
    told = run_here(sweep)
    assert [epoch for _, epoch, _ in told] == [2, 3]
    assert all(0 <= accuracy <= 1 for _, _, accuracy in told)
    (trial,) = write_results(sweep, trials_of(sweep)).trials
    assert trial.metric == told[-1][2]


def test_a_trial_that_fails_is_named_with_its_reason(tiny_sweep: Maker) -> None:
    sweep = tiny_sweep({"optim.learning_rate": "[1e-3, 1e30]"}, "train.epochs=1")
    context = TrialContext(sweep.config.metric, None, 1)
    good, bad = trials_of(sweep)
    run_trial(good, None, context, lambda trial, report: None)
    with pytest.raises(TrainingError, match="is not finite"):
        run_trial(bad, None, context, lambda trial, report: None)
    result = write_results(sweep, [good, bad])
    assert [t.state for t in result.trials] == ["finished", "failed"]
    assert result.best == good.id
    assert re.search(
        rf"^{re.escape(bad.id)} failed: the gradient of module \d is not finite", format_table(result), re.M
    )


@pytest.fixture
def finished(tiny_sweep: Maker) -> tuple[Sweep, SweepResult]:
    """A sweep of two weights at two depths."""
    sweep = tiny_sweep(
        {"objective.kld_weight": "[0.001, 0.1]", "model.depth": "[1, 2]"},
        "train.schedule=sequential",
        "train.epochs=1",
    )
    run_here(sweep)
    return sweep, write_results(sweep, trials_of(sweep))


def test_results_are_files_for_people_and_programs(finished: tuple[Sweep, SweepResult]) -> None:
    sweep, result = finished
    folder = sweep.folder.local_path
    rows = list(csv.DictReader((folder / "results.csv").open()))
    assert [row["id"] for row in rows] == [t.id for t in result.trials]
    assert float(rows[0]["metric"]) == result.trials[0].metric
    assert SweepResult.model_validate_json((folder / "results.json").read_bytes()) == result
    assert show(sweep.folder.uri) == result  # from the folder alone
    listed = list_runs(sweep.trials.uri)
    assert {run.name for run in listed} == {t.id for t in result.trials}


def test_the_page_shows_every_trial_and_loads_nothing(finished: tuple[Sweep, SweepResult]) -> None:
    sweep, result = finished
    page = (sweep.folder.local_path / "sweep.html").read_text()
    assert page.count("<title>kld_weight") >= 4 * len(result.trials)  # in each of four pictures
    assert "prefers" in page or "light-dark(" in page
    assert not re.findall(r"(?:src|href)=\"(?!data:)[^\"]*\"|@import|https?://", page)
    for axis in ("kld_weight", "depth", "metric"):
        assert f'text-anchor="middle">{axis}</text>' in page


def test_tensorboards_hparams_tab_shows_the_sweep(finished: tuple[Sweep, SweepResult]) -> None:
    sweep, result = finished
    groups = hparams_groups(sweep.folder.local_path / "tensorboard")
    assert len(groups) == len(result.trials)
    shown = {
        (g.hparams["objective.kld_weight"].number_value, g.hparams["model.depth"].number_value): {
            v.name.tag: v.value for v in g.metric_values
        }
        for g in groups
    }
    for trial in result.trials:
        figures = shown[trial.values["objective.kld_weight"], trial.values["model.depth"]]
        assert figures["sweep/metric"] == pytest.approx(trial.metric)
        assert figures["sweep/kl_per_element"] == pytest.approx(trial.kl_per_element[-1])
        assert figures["sweep/mean_ks"] == pytest.approx(trial.mean_ks)


def test_a_failed_run_is_no_success_in_tensorboard(tiny_sweep: Maker) -> None:
    from tensorboard.plugins.hparams import api_pb2

    sweep = tiny_sweep({"optim.learning_rate": "[1e-3, 1e30]"}, "train.epochs=1")
    for trial in trials_of(sweep):
        with suppress(TrainingError):
            run_trial(trial, None, TrialContext(sweep.config.metric, None, 1), lambda trial, report: None)
    write_results(sweep, trials_of(sweep))
    for folder in (sweep.trials.local_path, sweep.folder.local_path / "tensorboard"):
        states = {
            g.hparams["optim.learning_rate"].number_value: g.sessions[0].status
            for g in hparams_groups(folder)
        }
        assert states == {1e-3: api_pb2.STATUS_SUCCESS, 1e30: api_pb2.STATUS_FAILURE}


def hparams_groups(logdir: Path) -> Sequence[object]:
    """What TensorBoard's own plugin answers for the table of session groups."""
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

    multiplexer = EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(logdir))
    multiplexer.Reload()
    context = backend_context.Context(
        SimpleNamespace(data_provider=MultiplexerDataProvider(multiplexer, str(logdir)))
    )
    experiment = context.experiment_from_metadata(
        RequestContext(), "", True, context.hparams_metadata(RequestContext(), ""), None
    )
    every = [api_pb2.STATUS_UNKNOWN, api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE, api_pb2.STATUS_RUNNING]
    request = api_pb2.ListSessionGroupsRequest(
        start_index=0,
        slice_size=100,
        allowed_statuses=every,
        col_params=[api_pb2.ColParams(metric=info.name) for info in experiment.metric_infos],
    )
    handler = list_session_groups.Handler(RequestContext(), context, "", request)
    return list(handler.run().session_groups)


def test_the_best_trial_is_copied_as_a_run_that_goes_on(
    finished: tuple[Sweep, SweepResult], tmp_path: Path
) -> None:
    sweep, result = finished
    target = tmp_path / "won"
    assert best(sweep.folder.uri, str(target)).id == result.best
    (summary,) = list_runs(str(target))
    assert (summary.name, summary.state) == ("won", "finished")
    config = RunFolder(Location(target)).config()
    assert config is not None
    assert (config.storage.root, config.storage.name) == (str(tmp_path), "won")

    assert len(load_encoder(str(target)).encoder) == len(
        next(t for t in result.trials if t.id == result.best).nce
    )
    with pytest.raises(StorageError, match="exists; name a folder that does not"):
        best(sweep.folder.uri, str(target))


def test_another_sweep_under_the_same_name_is_refused(
    finished: tuple[Sweep, SweepResult], tiny_sweep: Maker
) -> None:
    other = tiny_sweep(
        {"objective.kld_weight": "[0.5]"}, "train.schedule=sequential", "optim.learning_rate=0.5"
    )
    with pytest.raises(
        ConfigError, match=r"exists with other settings \(space: .*optim.learning_rate: 0.001 → 0.5"
    ):
        SweepFolder(other.folder).claim(other)


def test_the_front_holds_what_none_beats() -> None:
    points = [(1.0, 0.2), (2.0, 0.5), (2.0, 0.4), (3.0, 0.5), (0.5, 0.1)]
    assert pareto_front(points, maximize_second=True) == {0, 1, 4}
    assert pareto_front(points, maximize_second=False) == {4}
