"""How far a trial's latents are from N(0, 1): what is measured, of which module, and when."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

import vgim.pretrained.opened_run
from tests.tune.sweep_cases import MakeSweep
from vgim.config import ResolvedConfig
from vgim.model.posterior import GaussianHead
from vgim.pretrained.encoder import FrozenEncoder, load_encoder
from vgim.runs.checkpoint import complete_checkpoints
from vgim.training.trainer import run_location, train
from vgim.tune.config import MetricConfig
from vgim.tune.latent_normality import measure_normality, posterior_module, read_normality
from vgim.tune.output import write_results
from vgim.tune.quick_probe import read_quick_probes
from vgim.tune.sweep_file import Sweep
from vgim.tune.trial_driver import TrialContext, run_trial
from vgim.tune.trials import trials_of


def run_alone(sweep: Sweep) -> None:
    (trial,) = trials_of(sweep)
    run_trial(trial, None, TrialContext(sweep.config.metric, None, 1), lambda trial, report: None)


@pytest.mark.parametrize(
    ("overrides", "module", "expected"),
    [
        ((), -1, 2),  # the fourth module is a GRU
        ((), 3, 2),
        ((), 0, 0),
        (("model.depth=2",), -1, 1),
        (("model.family=gim", "objective.kld_weight=0"), -1, None),
        (("model.family=cpc", "objective.kld_weight=0"), -1, None),
    ],
)
def test_the_metrics_module_is_measured_or_the_last_before_it_with_a_posterior(
    tiny_config: Callable[..., ResolvedConfig], overrides: tuple[str, ...], module: int, expected: int | None
) -> None:
    config = tiny_config("objective.kld_warmup_steps=0", *overrides).config
    assert posterior_module(config, MetricConfig(module=module)) == expected


@pytest.mark.parametrize(("shift", "low", "high"), [(0.0, 0.0, 0.03), (1.0, 0.36, 0.41)])
def test_latents_of_a_known_distribution_have_its_ks_distance(
    tiny_config: Callable[..., ResolvedConfig],
    monkeypatch: pytest.MonkeyPatch,
    shift: float,
    low: float,
    high: float,
) -> None:
    config = tiny_config("train.max_steps=1", "model.depth=1")
    train(config)

    def with_posterior_of_one_gaussian(*args: Any, **kwargs: Any) -> FrozenEncoder:
        loaded = load_encoder(*args, **kwargs)
        for head in (part for part in loaded.modules() if isinstance(part, GaussianHead)):
            torch.nn.init.zeros_(head.weight)
            torch.nn.init.zeros_(head.bias)
            head.bias[: len(head.bias) // 2] = shift
        return loaded

    monkeypatch.setattr(vgim.pretrained.opened_run, "load_encoder", with_posterior_of_one_gaussian)
    (checkpoint,) = complete_checkpoints(run_location(config.config))
    found = measure_normality(checkpoint, 0)
    # The distance of N(1, 1) from N(0, 1) is 2 Φ(1/2) - 1, at z = 1/2.
    assert (found.step, found.module) == (1, 0)
    assert low <= found.mean_ks <= found.max_ks <= high
    assert found.mean_ks == pytest.approx(math.erf(shift / 2 / math.sqrt(2)), abs=0.03)


def test_each_probed_checkpoint_is_measured_and_results_show_the_last(tiny_sweep: MakeSweep) -> None:
    metric = "{kind: probe, task: speaker, max_utterances: 16, every_epochs: 2}"
    sweep = tiny_sweep(
        {"objective.kld_weight": "[0.001]"}, "train.epochs=3", "train.keep_last=5", metric=metric
    )
    run_alone(sweep)
    (trial,) = trials_of(sweep)
    found = list(read_normality(trial.run, trial.config, sweep.config.metric))
    assert [one.epoch for one in found] == [2, 3]
    assert [one.step for one in found] == [
        one.step for one in read_quick_probes(trial.run, sweep.config.metric)
    ]
    (result,) = write_results(sweep, [trial]).trials
    assert result.mean_ks == found[-1].mean_ks
    assert 0 < result.mean_ks < 1
    run_alone(sweep)  # again: nothing is measured twice
    assert list(read_normality(trial.run, trial.config, sweep.config.metric)) == found


def test_trials_that_are_not_probed_are_measured_at_their_end(tiny_sweep: MakeSweep) -> None:
    sweep = tiny_sweep({"objective.kld_weight": "[0.001]"}, "train.epochs=2")
    run_alone(sweep)
    (trial,) = trials_of(sweep)
    assert [one.epoch for one in read_normality(trial.run, trial.config, sweep.config.metric)] == [2]
    (result,) = write_results(sweep, [trial]).trials
    assert len(result.kl_per_element) == 4
    assert result.kl_per_element[3] is None  # of the GRU
    assert None not in result.kl_per_element[:3]


def test_a_family_without_a_posterior_has_neither_kl_nor_ks_distance(tiny_sweep: MakeSweep) -> None:
    sweep = tiny_sweep(
        {"optim.learning_rate": "[0.001]"},
        "model.family=gim",
        "model.depth=2",
        "objective.kld_weight=0",
        "objective.kld_warmup_steps=0",
        "train.epochs=1",
    )
    run_alone(sweep)
    (result,) = write_results(sweep, trials_of(sweep)).trials
    assert result.state == "finished"
    assert result.mean_ks is None
    assert result.kl_per_element == (None, None)
