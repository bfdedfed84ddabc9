"""Which rises of the KL are warned of, and what the warning says."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.training.cases import records, run_location
from vgim.config import ResolvedConfig
from vgim.model import kl_spike
from vgim.model.kl_spike import KlSpikeWatch
from vgim.training.trainer import train


def test_a_rise_is_told_once_for_each_module() -> None:
    watch = KlSpikeWatch([0, 2], "none")
    assert not watch.update(1, [0.2, 0.13], [0.4, 0.3])
    (message,) = watch.update(10, [0.3, 92.0], [0.5, 38.0])
    assert message == (
        "module 2: the KL per element rose to 92 nats at step 10, after 0.13, with a gradient of norm 38: a few frames "
        "got an enormous variance, and Adam takes smaller steps for long after; objective.logvar_max, which bounds it, "
        "is none: try 4"
    )
    assert not watch.update(20, [0.3, 80.0], [0.5, 30.0])
    (message,) = watch.update(30, [None, 0.1], [None, 0.3])
    assert message.startswith(
        "module 0: the KL per element rose to more nats than a number holds at step 30, after 0.3, with a gradient "
        "that is not finite: "
    )


def test_a_bound_that_is_too_high_is_to_be_lowered() -> None:
    (message,) = KlSpikeWatch([1], 20.0).update(1, [50.0], [9.0])
    assert "rose to 50 nats at step 1, with" in message
    assert message.endswith("objective.logvar_max, which bounds it, is 20.0: lower it")


def test_a_kl_that_rises_slowly_is_no_spike() -> None:
    watch = KlSpikeWatch([0], "none")
    for step, nats in enumerate((0.1, 0.5, 2.9, 20.0)):
        assert not watch.update(step, [nats], [1.0])


def test_a_run_logs_the_spikes_of_its_modules_with_a_posterior(
    tiny_config: Callable[..., ResolvedConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kl_spike, "SPIKE_NATS", 0.0)  # every KL is above
    resolved = tiny_config("cluster.workers=0", "train.max_steps=2", "objective.kld_weight=0.0")
    assert train(resolved) == 0
    messages = [r["message"] for r in records(run_location(resolved.config), "event")]
    spikes = [message for message in messages if "the KL per element rose" in message]
    posteriors = resolved.config.model.num_modules - (resolved.config.model.gru_units > 0)
    assert [message.partition(":")[0] for message in spikes] == [f"module {m}" for m in range(posteriors)]


def test_a_normalized_posterior_has_no_variance_to_watch(
    tiny_config: Callable[..., ResolvedConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kl_spike, "SPIKE_NATS", 0.0)
    keys = (
        "cluster.workers=0",
        "train.max_steps=2",
        "objective.kld_weight=0.0",
        "model.posterior_norm=local",
    )
    resolved = tiny_config(*keys)
    assert train(resolved) == 0
    events = records(run_location(resolved.config), "event")
    assert not [event for event in events if "the KL per element rose" in event["message"]]
