"""Members of a population, trained in this process: takeovers, failures, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import equal

from vgim.config import ResolvedConfig
from vgim.errors import CheckpointError, ConfigError, TrainingError
from vgim.pretrained.encoder import load_encoder
from vgim.runs.checkpoint import Checkpoint, complete_checkpoints, find
from vgim.runs.folder import RunFolder
from vgim.runs.listing import list_runs
from vgim.runs.metrics import MetricsRecord, read_metrics
from vgim.storage import Location
from vgim.train import loop
from vgim.train.trainer import train
from vgim.tune import pbt_exploit
from vgim.tune.folder import SweepFolder
from vgim.tune.job import show
from vgim.tune.load import Sweep
from vgim.tune.pbt import check_population, population_scheduler
from vgim.tune.pbt_exploit import read_lineage, take_over
from vgim.tune.pbt_member import CheckpointRef, IntervalReport, first_comparison, present, run_member, worst
from vgim.tune.pbt_mutation import inside, mutations
from vgim.tune.plan import Trial, trials_of
from vgim.tune.resources import share_out
from vgim.tune.space import parse_space
from vgim.tune.trial import TrialContext

Maker = Callable[..., Sweep]
RATE = "optim.learning_rate"
PBT = "{kind: pbt, interval_epochs: 1}"
STEPS = 4  # an epoch


class Gone(Exception):  # noqa: N818
    """Tune has ended the process."""


def population(tiny_sweep: Maker, *overrides: str, rates: str = "[1e-3, 1e-2]", **keys: str) -> Sweep:
    return tiny_sweep(
        {RATE: rates},
        "model.depth=1",
        "train.epochs=3",
        f"train.limit_train_batches={STEPS}",
        "train.limit_validation_batches=1",
        *overrides,
        **{"scheduler": PBT, **keys},
    )


def go_on(
    plan: Sweep,
    member: Trial,
    *,
    legs: int | None = None,
    rate: float | None = None,
    handed: CheckpointRef | None = None,
    watch: Callable[[IntervalReport], None] = lambda leg: None,
) -> list[IntervalReport]:
    """Train a member until it has told of so many legs; what it told."""
    told: list[IntervalReport] = []

    def tell(leg: IntervalReport) -> None:
        told.append(leg)
        watch(leg)
        if len(told) == legs:
            raise Gone

    values = member.values if rate is None else {RATE: rate}
    setting = TrialContext(plan.config.metric, None, 1)
    if legs is None:
        run_member(member, values, setting, 1, tell, handed)
    else:
        with pytest.raises(Gone):
            run_member(member, values, setting, 1, tell, handed)
    return told


def same(one: Checkpoint, other: Checkpoint) -> bool:
    pairs = [(one.weights(), other.weights()), (one.optimizer(), other.optimizer())]
    return all(a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a) for a, b in pairs)


def steps(run: Location, kind: str = "train") -> list[int]:
    return [record["step"] for record in read_metrics(run) if record["kind"] == kind]


def rates(run: Location) -> list[float]:
    return [record["learning_rate"] for record in read_metrics(run) if record["kind"] == "train"]


def test_a_takeover_is_the_others_checkpoint_trained_on_with_the_new_value(tiny_sweep: Maker) -> None:
    plan = population(tiny_sweep)
    good, bad = trials_of(plan)
    assert [member.id for member in (good, bad)] == ["member-0", "member-1"]
    (leg,) = go_on(plan, good, legs=1)
    go_on(plan, bad, legs=1)
    assert leg.handed is not None
    source = find(good.run.uri)
    straight = good.config.model_copy(
        update={
            "optim": good.config.optim.model_copy(update={"learning_rate": 2e-3}),
            "storage": good.config.storage.model_copy(update={"name": "straight"}),
        }
    )
    kept = replace(source, location=plan.folder.child("kept"))
    kept.location.upload_dir(source.location.local_path)
    go_on(plan, good, legs=2)  # it has gone on before the other one takes over

    taken: list[bool] = []
    told = go_on(
        plan,
        bad,
        rate=2e-3,
        handed=leg.handed,
        watch=lambda leg: taken.append(same(find(bad.run.uri), kept)),
    )
    assert taken == [True, False]
    assert [leg.report and (leg.report.epoch, leg.report.step) for leg in told] == [None, (2, 2 * STEPS)]
    assert all(leg.handed is not None and leg.handed.run == bad.run.uri for leg in told)
    assert told[0].says == f"goes on from {source.location.uri} (epoch 1); {RATE}: 0.001 → 0.002"
    train(ResolvedConfig(straight, {}, ""), resume_from=kept.location.uri)
    assert same(find(bad.run.uri), find(straight.storage.root + "/straight"))


def test_a_members_folder_tells_the_history_of_its_weights(tiny_sweep: Maker) -> None:
    plan = population(tiny_sweep)
    good, bad = trials_of(plan)
    (leg,) = go_on(plan, good, legs=1)
    go_on(plan, bad, legs=1)
    go_on(plan, bad, rate=2e-3, handed=leg.handed)
    go_on(plan, good)
    assert steps(bad.run) == list(range(1, 3 * STEPS + 1))
    assert steps(bad.run, "validation") == [STEPS, 2 * STEPS, 3 * STEPS]
    assert rates(bad.run) == [1e-3] * STEPS + [2e-3] * 2 * STEPS
    every = [record["step"] for record in read_metrics(bad.run)]
    assert every == sorted(every)
    first, second = read_lineage(bad.run).stretches
    assert (first.step, first.run, first.taken_from, first.values) == (0, "member-0", "", {RATE: 1e-3})
    assert (second.step, second.epoch, second.run, second.values) == (STEPS, 1, "member-1", {RATE: 2e-3})
    assert second.taken_from.endswith("trials/member-0/checkpoints/step-00000004")
    assert [s.run for s in read_lineage(good.run).stretches] == ["member-0"]
    board = EventAccumulator(str(bad.run.local_path / "tensorboard"), size_guidance={"scalars": 0})
    board.Reload()
    assert [event.step for event in board.Scalars("train/module0/nce")] == steps(bad.run)
    # A run like any other: it is listed, loaded, and read by what reads sweeps.
    assert {run.name: run.state for run in list_runs(plan.trials.uri)} == {
        "member-0": "finished",
        "member-1": "finished",
    }
    load_encoder(bad.run.uri)
    config = RunFolder(bad.run).config()
    assert config is not None
    assert config.optim.learning_rate == 2e-3


def test_a_member_waits_as_interrupted_and_keeps_what_others_may_take(tiny_sweep: Maker) -> None:
    plan = population(tiny_sweep, "train.keep_last=1", "train.keep_best=0", "train.checkpoint_every_steps=1")
    member, _ = trials_of(plan)
    (leg,) = go_on(plan, member, legs=1)
    record = RunFolder(member.run).record()
    assert record is not None
    assert (record.state, record.message) == ("interrupted", "paused at step 4, epoch 1")
    go_on(plan, member, legs=2)
    assert [c.state.step for c in complete_checkpoints(member.run)] == [STEPS, 2 * STEPS]
    assert leg.handed == CheckpointRef(member.run.uri, STEPS)
    go_on(plan, member)
    assert [c.state.step for c in complete_checkpoints(member.run)] == [2 * STEPS, 3 * STEPS]


def test_a_member_tells_each_leg_once_and_all_are_compared_where_none_has_been(tiny_sweep: Maker) -> None:
    plan = population(tiny_sweep)
    ahead, behind = trials_of(plan)
    assert first_comparison([ahead, behind], 1) == 1
    go_on(plan, ahead, legs=1)
    go_on(plan, ahead, legs=2)
    go_on(plan, behind, legs=1)
    assert first_comparison([ahead, behind], 1) == 2
    at = find(ahead.run.uri).state.step
    legs = go_on(
        plan, ahead, handed=CheckpointRef(ahead.run.uri, at)
    )  # the scheduler knows it from this launch
    assert legs == []  # what is left is the last one
    assert first_comparison([ahead, behind], 1) == 1


def test_a_killed_member_goes_on_with_its_own_values(
    tiny_sweep: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = population(tiny_sweep, "train.checkpoint_every_steps=3")
    good, bad = trials_of(plan)
    (leg,) = go_on(plan, good, legs=1)
    go_on(plan, bad, legs=1)

    def die(rank: Any, record: MetricsRecord, path: Any) -> None:
        log(rank, record, path)
        if path.step == 2 * STEPS - 1:
            raise KeyboardInterrupt

    log = loop.RankTrainer._log
    with monkeypatch.context() as patch:
        patch.setattr(loop.RankTrainer, "_log", die)
        with pytest.raises(KeyboardInterrupt):
            go_on(plan, bad, rate=2e-3, handed=leg.handed)
    again = present(trials_of(plan)[1])  # as the same command finds it
    assert again.values == {RATE: 2e-3}
    assert [leg.report and leg.report.epoch for leg in go_on(plan, again)] == [2]
    assert steps(bad.run) == list(range(1, 3 * STEPS + 1))
    assert rates(bad.run) == [1e-3] * STEPS + [2e-3] * 2 * STEPS
    assert [t.values for t in show_trials(plan)] == [{RATE: 1e-3}, {RATE: 2e-3}]


def show_trials(plan: Sweep) -> tuple[Any, ...]:
    SweepFolder(plan.folder).claim(plan)
    return show(plan.folder.uri).trials


def test_a_takeover_that_was_cut_off_leaves_a_member_that_starts_afresh(
    tiny_sweep: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = population(tiny_sweep)
    good, bad = trials_of(plan)
    (leg,) = go_on(plan, good, legs=1)
    go_on(plan, bad, legs=1)
    setting = TrialContext(plan.config.metric, None, 1)
    with monkeypatch.context() as patch:
        patch.setattr(pbt_exploit, "put", lambda *args: (_ for _ in ()).throw(Gone))
        with pytest.raises(Gone):
            run_member(bad, {RATE: 2e-3}, setting, 1, lambda leg: None, leg.handed)
    assert not complete_checkpoints(bad.run)
    go_on(plan, present(bad))
    assert rates(bad.run) == [2e-3] * 3 * STEPS
    assert [s.step for s in read_lineage(bad.run).stretches] == [0]


def test_a_damaged_checkpoint_is_not_taken_over(tiny_sweep: Maker) -> None:
    plan = population(tiny_sweep)
    good, bad = trials_of(plan)
    go_on(plan, good, legs=1)
    go_on(plan, bad, legs=1)
    before = find(bad.run.uri).weights()
    (good.run.local_path / "checkpoints/step-00000004/weights.safetensors").write_bytes(b"no")
    with pytest.raises(CheckpointError, match="is damaged"):
        take_over(bad.run, find(good.run.uri), bad.config, [RATE])
    assert all(equal(before[k], v) for k, v in find(bad.run.uri).weights().items())


def test_a_member_that_fails_tells_the_worst_and_is_cured_by_anothers_weights(tiny_sweep: Maker) -> None:
    plan = population(tiny_sweep, rates="[1e-3, 1e30]")
    good, bad = trials_of(plan)
    (leg,) = go_on(plan, good, legs=1)
    with pytest.raises(TrainingError, match="is not finite"):  # where the scheduler lets it be as it is
        go_on(plan, bad)
    (failed,) = go_on(plan, bad, legs=1)
    assert failed.report is not None
    assert (failed.report.value, failed.report.epoch) == (worst(plan.config.metric), 1)
    assert failed.handed is None
    go_on(plan, bad, rate=2e-3, handed=leg.handed)
    assert steps(bad.run) == list(range(1, 3 * STEPS + 1))
    assert [t.state for t in show_trials(plan)] == ["interrupted", "finished"]


def test_the_quick_probe_is_taken_at_the_end_of_each_leg_and_taken_over(tiny_sweep: Maker) -> None:
    metric = "{kind: probe, task: speaker, max_utterances: 16}"
    plan = population(tiny_sweep, metric=metric)
    good, bad = trials_of(plan)
    (leg,) = go_on(plan, good, legs=1)
    assert leg.report is not None
    assert 0 <= leg.report.value <= 1
    go_on(plan, good, legs=2)
    go_on(plan, bad, rate=2e-3, handed=leg.handed)
    for name in ("quick_probe.jsonl", "latent_normality.jsonl"):
        lines = [json.loads(line) for line in (bad.run.local_path / name).read_text().splitlines()]
        assert [line["step"] for line in lines] == [STEPS, 2 * STEPS, 3 * STEPS]


@given(st.floats(0.1, 10), st.integers(1, 50))
def test_perturbed_values_stay_in_the_space(factor: float, count: int) -> None:
    axes = parse_space({"a.x": "log 1e-4..1e-1", "a.n": "int 2..8", "a.c": [0.1, 0.2]})
    drawn = mutations(axes, seed=count)
    assert drawn["a.c"] == [0.1, 0.2]
    values = {"a.x": drawn["a.x"]() * factor, "a.n": drawn["a.n"]() * factor, "a.c": 0.2}
    found = inside(axes, values)
    assert 1e-4 <= found["a.x"] <= 1e-1
    assert found["a.x"] == float(f"{found['a.x']:.4g}")
    assert found["a.n"] in range(2, 9)
    assert found["a.c"] == 0.2
    assert mutations(axes, seed=count)["a.x"]() == mutations(axes, seed=count)["a.x"]()


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["train.schedule=sequential"], "train.schedule=sequential, but .* use train.schedule=joint"),
        (["train.early_stop_validations=2"], "early_stop_validations=2, .* set it to 0"),
        (["scheduler.interval_epochs=3"], "interval_epochs=3, but a member has 3 epochs"),
        (["train.validate_every_epochs=2"], "is no multiple of train.validate_every_epochs=2"),
        ([f"space.{RATE}=[1e-3]"], "with 1 member has none to take over from"),
        (["trials_at_once=1"], "has no effect on scheduler.kind=pbt on a cluster"),
        (["cluster.workers=2"], "trains its 2 members side by side, and there is room for 1"),
    ],
)
def test_what_a_population_cannot_do_is_told_before_anything_starts(
    tiny_sweep: Maker, overrides: list[str], told: str
) -> None:
    plan = population(tiny_sweep, *overrides)
    private = "trials_at_once=1" not in overrides
    shares = share_out(plan.config, plan.base, {"CPU": 2.0}, private=private)
    with pytest.raises(ConfigError, match=told):
        check_population(plan, trials_of(plan), shares, private=private)


@pytest.mark.parametrize(
    ("key", "entry", "why"),
    [
        ("model.channels", "[8, 16]", "it decides which weights fit"),
        ("data.crop_samples", "[5120, 10240]", "it changes what a step reads"),
        ("train.batch_size", "[4, 8]", "it changes the data's order or the phases"),
        ("objective.num_negatives", "[5, 10]", "the metric measures something else"),
        ("optim.decay_per_epoch", "[1, 0.9]", "it counts from a run's first epoch"),
    ],
)
def test_only_what_may_change_in_the_middle_of_a_run_is_mutated(
    tiny_sweep: Maker, key: str, entry: str, why: str
) -> None:
    with pytest.raises(ConfigError, match=f"space.{key} cannot change .*{why}.*; give it one value under"):
        tiny_sweep({key: entry}, scheduler=PBT)


def test_the_population_goes_on_where_the_member_that_all_wait_for_has_failed(tiny_sweep: Maker) -> None:
    scheduler = population_scheduler(population(tiny_sweep), seed=0, first=1)
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
