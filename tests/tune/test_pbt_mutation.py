"""Values that a population perturbs: which keys may change, and how far."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tune.population_cases import PBT, RATE, STEPS, go_on, population
from tests.tune.sweep_cases import MakeSweep
from vgim.errors import ConfigError
from vgim.runs.metrics import read_metrics
from vgim.tune.pbt import check_population
from vgim.tune.pbt_member import (
    run_member,
)
from vgim.tune.pbt_mutation import clip_to_space, mutations
from vgim.tune.resources import divide_cluster
from vgim.tune.space import parse_space
from vgim.tune.trial_driver import TrialContext
from vgim.tune.trials import trials_of


def test_a_kl_weight_in_nats_a_frame_is_perturbed_in_its_unit(tiny_sweep: MakeSweep) -> None:
    key = "objective.kld_weight"
    unit = ("objective.kl_reduction=frame", "objective.kld_warmup_steps=0", "train.log_every_steps=1")
    sweep = tiny_sweep(
        {key: "[1e-3, 1e-2]"},
        "model.depth=1",
        "train.epochs=2",
        f"train.limit_train_batches={STEPS}",
        *unit,
        scheduler=PBT,
    )
    good, bad = trials_of(sweep)
    (report,) = go_on(sweep, good, num_reports=1)
    context = TrialContext(sweep.config.metric, None, 1)
    run_member(bad, {key: 2e-3}, context, 1, lambda report: None, report.checkpoint)
    written = [r for r in read_metrics(bad.run) if r["kind"] == "train"]
    assert [r["kld_weight"] for r in written] == [1e-3] * STEPS + [2e-3] * STEPS
    for record in written:
        (module,) = record["modules"]
        term = record["kld_weight"] * module["kl_per_frame"]
        assert module["loss"] == pytest.approx(module["nce"] + term, abs=1e-5)


@given(st.floats(0.1, 10), st.integers(1, 50))
def test_perturbed_values_stay_in_the_space(factor: float, count: int) -> None:
    axes = parse_space({"a.x": "log 1e-4..1e-1", "a.n": "int 2..8", "a.c": [0.1, 0.2]})
    drawn = mutations(axes, seed=count)
    assert drawn["a.c"] == [0.1, 0.2]
    values = {"a.x": drawn["a.x"]() * factor, "a.n": drawn["a.n"]() * factor, "a.c": 0.2}
    found = clip_to_space(axes, values)
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
        ([f"space.{RATE}=[1e-3]"], "with 1 member has no other member to exploit"),
        (["trials_at_once=1"], "has no effect on scheduler.kind=pbt on a cluster"),
        (["cluster.workers=2"], "trains its 2 members side by side, and there is room for 1"),
    ],
)
def test_settings_that_a_population_cannot_have_are_refused_before_anything_starts(
    tiny_sweep: MakeSweep, overrides: list[str], told: str
) -> None:
    sweep = population(tiny_sweep, *overrides)
    private = "trials_at_once=1" not in overrides
    shares = divide_cluster(sweep.config, sweep.base, {"CPU": 2.0}, private=private)
    with pytest.raises(ConfigError, match=told):
        check_population(sweep, trials_of(sweep), shares, 3, private=private)


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
def test_a_key_that_cannot_change_in_the_middle_of_a_run_is_refused(
    tiny_sweep: MakeSweep, key: str, entry: str, why: str
) -> None:
    with pytest.raises(ConfigError, match=f"space.{key} cannot change .*{why}.*; give it one value under"):
        tiny_sweep({key: entry}, scheduler=PBT)
