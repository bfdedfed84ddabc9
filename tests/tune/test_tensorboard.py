"""A sweep in the HParams tab, as TensorBoard itself reads it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.tune.sweep_cases import FinishedSweep, MakeSweep
from vgim.errors import TrainingError
from vgim.storage import Location
from vgim.tune.output import write_results
from vgim.tune.tensorboard import write_tensorboard
from vgim.tune.trial_driver import TrialContext, run_trial
from vgim.tune.trials import trials_of


def test_tensorboards_hparams_tab_shows_the_sweep(finished_sweep: FinishedSweep) -> None:
    sweep, result = finished_sweep
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


def test_a_sweep_and_a_reader_may_write_its_events_at_once(
    finished_sweep: FinishedSweep, tmp_path: Path
) -> None:
    _, result = finished_sweep

    def write() -> None:
        for _ in range(20):
            write_tensorboard(Location(tmp_path), result)

    with ThreadPoolExecutor(2) as pool:
        for written in [pool.submit(write) for _ in range(2)]:
            written.result()
    assert len(hparams_groups(tmp_path / "tensorboard")) == len(result.trials)
    assert [path.name for path in tmp_path.iterdir()] == ["tensorboard"]


def test_events_are_written_again_only_where_trials_changed_or_events_are_missing(
    finished_sweep: FinishedSweep,
) -> None:
    sweep, _ = finished_sweep
    folder = sweep.folder.child("tensorboard")

    def events() -> list[str]:
        write_results(sweep, trials_of(sweep))
        return [path for path, _ in folder.list_files()]

    before = events()
    assert events() == before
    folder.child(before[0].partition("/")[0]).delete()
    written = events()
    assert len(written) == len(before)
    assert not set(written) & set(before)
    results = sweep.folder.child("results.json")
    results.write_bytes_atomic(results.read_text().replace('"step": ', '"step": 9', 1).encode())
    assert not set(events()) & set(written)


def test_tensorboard_shows_a_failed_trial_as_failed(tiny_sweep: MakeSweep) -> None:
    from tensorboard.plugins.hparams import api_pb2

    sweep = tiny_sweep({"optim.learning_rate": "[1e-3, 1e6]"}, "train.epochs=1")
    for trial in trials_of(sweep):
        with suppress(TrainingError):
            run_trial(trial, None, TrialContext(sweep.config.metric, None, 1), lambda trial, report: None)
    write_results(sweep, trials_of(sweep))
    for folder in (sweep.trials.local_path, sweep.folder.local_path / "tensorboard"):
        states = {
            g.hparams["optim.learning_rate"].number_value: g.sessions[0].status
            for g in hparams_groups(folder)
        }
        assert states == {1e-3: api_pb2.STATUS_SUCCESS, 1e6: api_pb2.STATUS_FAILURE}


def hparams_groups(logdir: Path) -> Sequence[object]:
    """Session groups as TensorBoard's own plugin lists them."""
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
