"""Members of a population, trained in this process: exploitation, failures, and what their folders hold."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import equal

from tests.damage import DAMAGES
from tests.training.cases import at_step, send
from tests.tune.population_cases import RATE, STEPS, go_on, population, rates, same, steps
from tests.tune.sweep_cases import MakeSweep
from vgim.config import ResolvedConfig
from vgim.errors import CheckpointError, Interrupted, TrainingError
from vgim.pretrained.encoder import load_encoder
from vgim.runs.checkpoint import complete_checkpoints, find_checkpoint
from vgim.runs.folder import RunFolder
from vgim.runs.listing import list_runs
from vgim.runs.metrics import MetricsRecord, read_metrics
from vgim.training import loop
from vgim.training.trainer import train
from vgim.tune.folder import SweepFolder
from vgim.tune.latent_normality import read_normality
from vgim.tune.pbt import population_scheduler
from vgim.tune.pbt_exploit import exploit
from vgim.tune.pbt_lineage import read_lineage
from vgim.tune.pbt_member import (
    CheckpointRef,
    first_comparison_epoch,
    with_current_values,
    worst_value,
)
from vgim.tune.show import show
from vgim.tune.sweep_file import Sweep
from vgim.tune.trials import trials_of


def test_exploitation_continues_the_others_checkpoint_with_the_new_value(tiny_sweep: MakeSweep) -> None:
    sweep = population(tiny_sweep)
    good, bad = trials_of(sweep)
    assert [member.id for member in (good, bad)] == ["member-0", "member-1"]
    (report,) = go_on(sweep, good, num_reports=1)
    go_on(sweep, bad, num_reports=1)
    assert report.checkpoint is not None
    source = find_checkpoint(good.run.uri)
    straight = good.config.model_copy(
        update={
            "optim": good.config.optim.model_copy(update={"learning_rate": 2e-3}),
            "storage": good.config.storage.model_copy(update={"name": "straight"}),
        }
    )
    kept = replace(source, location=sweep.folder.child("kept"))
    kept.location.upload_dir(source.location.local_path)
    go_on(sweep, good, num_reports=2)  # it has gone on before the other one takes over

    taken: list[bool] = []
    told = go_on(
        sweep,
        bad,
        rate=2e-3,
        checkpoint=report.checkpoint,
        watch=lambda report: taken.append(same(find_checkpoint(bad.run.uri), kept)),
    )
    assert taken == [True, False]
    assert [report.metric and (report.metric.epoch, report.metric.step) for report in told] == [
        None,
        (2, 2 * STEPS),
    ]
    assert all(report.checkpoint is not None and report.checkpoint.run == bad.run.uri for report in told)
    assert told[0].message == f"goes on from {source.location.uri} (epoch 1); {RATE}: 0.001 → 0.002"
    train(ResolvedConfig(straight, {}, ""), resume_from=kept.location.uri)
    assert same(find_checkpoint(bad.run.uri), find_checkpoint(straight.storage.root + "/straight"))


def test_a_members_folder_holds_the_history_of_its_weights(tiny_sweep: MakeSweep) -> None:
    sweep = population(tiny_sweep)
    good, bad = trials_of(sweep)
    (report,) = go_on(sweep, good, num_reports=1)
    go_on(sweep, bad, num_reports=1)
    go_on(sweep, bad, rate=2e-3, checkpoint=report.checkpoint)
    go_on(sweep, good)
    assert steps(bad.run) == list(range(1, 3 * STEPS + 1))
    assert steps(bad.run, "validation") == [STEPS, 2 * STEPS, 3 * STEPS]
    assert rates(bad.run) == [1e-3] * STEPS + [2e-3] * 2 * STEPS
    every = [record["step"] for record in read_metrics(bad.run)]
    assert every == sorted(every)
    first, second = read_lineage(bad.run).segments
    assert (first.step, first.run, first.taken_from, first.values) == (0, "member-0", "", {RATE: 1e-3})
    assert (second.step, second.epoch, second.run, second.values) == (STEPS, 1, "member-1", {RATE: 2e-3})
    assert second.taken_from.endswith("trials/member-0/checkpoints/step-00000004")
    assert [s.run for s in read_lineage(good.run).segments] == ["member-0"]
    board = EventAccumulator(str(bad.run.local_path / "tensorboard"), size_guidance={"scalars": 0})
    board.Reload()
    assert [event.step for event in board.Scalars("train/module0/nce")] == steps(bad.run)
    # A run like any other: it is listed, loaded, and read by what reads sweeps.
    assert {run.name: run.state for run in list_runs(sweep.trials.uri)} == {
        "member-0": "finished",
        "member-1": "finished",
    }
    load_encoder(bad.run.uri)
    config = RunFolder(bad.run).config()
    assert config is not None
    assert config.optim.learning_rate == 2e-3


def test_a_paused_member_is_interrupted_and_keeps_the_checkpoint_that_others_may_exploit(
    tiny_sweep: MakeSweep,
) -> None:
    sweep = population(tiny_sweep, "train.keep_last=1", "train.keep_best=0", "train.checkpoint_every_steps=1")
    member, _ = trials_of(sweep)
    (report,) = go_on(sweep, member, num_reports=1)
    record = RunFolder(member.run).record()
    assert record is not None
    assert (record.state, record.message) == ("interrupted", "paused at step 4, epoch 1")
    go_on(sweep, member, num_reports=2)
    assert [c.state.step for c in complete_checkpoints(member.run)] == [STEPS, 2 * STEPS]
    assert report.checkpoint == CheckpointRef(member.run.uri, STEPS)
    go_on(sweep, member)
    assert [c.state.step for c in complete_checkpoints(member.run)] == [2 * STEPS, 3 * STEPS]


def test_an_interrupted_member_is_measured_at_the_steps_of_an_undisturbed_one(
    tiny_sweep: MakeSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = population(tiny_sweep)
    undisturbed, interrupted = trials_of(sweep)
    with monkeypatch.context() as patch:
        at_step(patch, STEPS + 2, send(signal.SIGTERM))
        with pytest.raises(Interrupted):
            go_on(sweep, interrupted)
    assert find_checkpoint(interrupted.run.uri).state.step == STEPS + 2
    go_on(sweep, interrupted)
    go_on(sweep, undisturbed)
    lines = [
        [line.step for line in read_normality(member.run, member.config, sweep.config.metric)]
        for member in (undisturbed, interrupted)
    ]
    assert lines == [[STEPS, 2 * STEPS, 3 * STEPS]] * 2


def test_a_member_reports_each_interval_once_and_none_is_past_the_first_comparison(
    tiny_sweep: MakeSweep,
) -> None:
    sweep = population(tiny_sweep)
    ahead, behind = trials_of(sweep)
    assert first_comparison_epoch([ahead, behind], 1) == 1
    go_on(sweep, ahead, num_reports=1)
    go_on(sweep, ahead, num_reports=2)
    go_on(sweep, behind, num_reports=1)
    assert first_comparison_epoch([ahead, behind], 1) == 2
    at = find_checkpoint(ahead.run.uri).state.step
    further = go_on(
        sweep, ahead, checkpoint=CheckpointRef(ahead.run.uri, at)
    )  # the scheduler knows it from this launch
    assert further == []  # what is left is the last one
    assert first_comparison_epoch([ahead, behind], 1) == 1


def test_a_checkpoint_whose_report_was_lost_with_the_driver_is_reported_again(tiny_sweep: MakeSweep) -> None:
    sweep = population(tiny_sweep)
    member, _ = trials_of(sweep)
    (first,) = go_on(sweep, member, num_reports=1)
    go_on(sweep, member, num_reports=2)  # the second does not reach the scheduler
    told = go_on(sweep, member, checkpoint=first.checkpoint)
    assert [report.metric and report.metric.epoch for report in told] == [2]


def test_a_killed_member_goes_on_with_its_own_values(
    tiny_sweep: MakeSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = population(tiny_sweep, "train.checkpoint_every_steps=3")
    good, bad = trials_of(sweep)
    (report,) = go_on(sweep, good, num_reports=1)
    go_on(sweep, bad, num_reports=1)

    def die(rank: Any, record: MetricsRecord, path: Any) -> None:
        log(rank, record, path)
        if path.step == 2 * STEPS - 1:
            raise KeyboardInterrupt

    log = loop.RankTrainer._log
    with monkeypatch.context() as patch:
        patch.setattr(loop.RankTrainer, "_log", die)
        with pytest.raises(KeyboardInterrupt):
            go_on(sweep, bad, rate=2e-3, checkpoint=report.checkpoint)
    again = with_current_values(trials_of(sweep)[1])  # as the same command finds it
    assert again.values == {RATE: 2e-3}
    assert [report.metric and report.metric.epoch for report in go_on(sweep, again)] == [2]
    assert steps(bad.run) == list(range(1, 3 * STEPS + 1))
    assert rates(bad.run) == [1e-3] * STEPS + [2e-3] * 2 * STEPS
    assert [t.values for t in show_trials(sweep)] == [{RATE: 1e-3}, {RATE: 2e-3}]


def show_trials(sweep: Sweep) -> tuple[Any, ...]:
    SweepFolder(sweep.folder).claim(sweep).release()
    return show(sweep.folder.uri).trials


@pytest.mark.parametrize("damage", ["empty", "foreign", "not_utf8", "folder_in_its_place"])
def test_a_member_with_a_damaged_lineage_hides_no_other(tiny_sweep: MakeSweep, damage: str) -> None:
    sweep = population(tiny_sweep)
    first = trials_of(sweep)[0]
    lineage = first.run.child("lineage.json")
    lineage.write_bytes_atomic(b"{}")
    DAMAGES[damage](lineage.local_path)
    SweepFolder(sweep.folder).claim(sweep).release()
    result = show(sweep.folder.uri)
    assert [trial.state for trial in result.trials] == ["waiting", "waiting"]
    assert result.notes[-1].startswith(f"{first.id} is shown with its first values: ")


def test_a_damaged_checkpoint_is_not_exploited(tiny_sweep: MakeSweep) -> None:
    sweep = population(tiny_sweep)
    good, bad = trials_of(sweep)
    go_on(sweep, good, num_reports=1)
    go_on(sweep, bad, num_reports=1)
    before = find_checkpoint(bad.run.uri).weights()
    (good.run.local_path / "checkpoints/step-00000004/weights.safetensors").write_bytes(b"no")
    with pytest.raises(CheckpointError, match="is damaged"):
        exploit(bad.run, find_checkpoint(good.run.uri), bad.config, [RATE])
    assert all(equal(before[k], v) for k, v in find_checkpoint(bad.run.uri).weights().items())


def test_a_member_that_fails_reports_the_worst_metric_and_recovers_with_anothers_weights(
    tiny_sweep: MakeSweep,
) -> None:
    sweep = population(tiny_sweep, rates="[1e-3, 1e6]")
    good, bad = trials_of(sweep)
    (report,) = go_on(sweep, good, num_reports=1)
    with pytest.raises(TrainingError, match="is not finite"):  # where the scheduler lets it be as it is
        go_on(sweep, bad)
    (failed,) = go_on(sweep, bad, num_reports=1)
    assert failed.metric is not None
    assert (failed.metric.value, failed.metric.epoch) == (worst_value(sweep.config.metric), 1)
    assert failed.checkpoint is None
    go_on(sweep, bad, rate=2e-3, checkpoint=report.checkpoint)
    assert steps(bad.run) == list(range(1, 3 * STEPS + 1))
    assert [t.state for t in show_trials(sweep)] == ["interrupted", "finished"]


def test_the_quick_probe_runs_after_each_interval_and_its_records_are_copied(tiny_sweep: MakeSweep) -> None:
    metric = "{kind: probe, task: speaker, max_utterances: 16}"
    sweep = population(tiny_sweep, metric=metric)
    good, bad = trials_of(sweep)
    (report,) = go_on(sweep, good, num_reports=1)
    assert report.metric is not None
    assert 0 <= report.metric.value <= 1
    go_on(sweep, good, num_reports=2)
    go_on(sweep, bad, rate=2e-3, checkpoint=report.checkpoint)
    for name in ("quick_probe.jsonl", "latent_normality.jsonl"):
        lines = [json.loads(line) for line in (bad.run.local_path / name).read_text().splitlines()]
        assert [line["step"] for line in lines] == [STEPS, 2 * STEPS, 3 * STEPS]


def test_the_population_continues_if_the_member_that_all_wait_for_has_failed(tiny_sweep: MakeSweep) -> None:
    scheduler = population_scheduler(population(tiny_sweep), first_comparison=1)
    compared: list[Any] = []
    scheduler.on_trial_result = lambda controller, trial, result: compared.append(trial)

    class Member:
        last_result: ClassVar[dict[str, Any]] = {}

        def __init__(self, status: str, epoch: int) -> None:
            self.status = status
            scheduler._trial_state[self] = SimpleNamespace(last_train_time=epoch)

        def is_finished(self) -> bool:
            return self.status == "ERROR"

    waiting, late = Member("PAUSED", 1), Member("RUNNING", 0)
    scheduler.choose_trial_to_run(SimpleNamespace(get_trials=lambda: [waiting, late]))
    assert compared == []
    failed = Member("ERROR", 0)
    scheduler.choose_trial_to_run(SimpleNamespace(get_trials=lambda: [waiting, failed]))
    assert compared == [waiting]
