"""An untrained encoder has weights of its own, and its BatchNorm normalizes."""

from __future__ import annotations

import pytest
import torch

from tests.downstream.cases import utterance
from vgim.config import ResolvedConfig, load_config
from vgim.downstream.encoders.untrained import adapt_batch_norm, untrained_encoder
from vgim.downstream.features.source import batch_clips, whole_utterance
from vgim.model.audio import Normalizer
from vgim.model.stack import build_encoder


def resolved(*overrides: str) -> ResolvedConfig:
    return load_config("quickstart", ["model.channels=8", "model.gru_units=8", *overrides])


def test_the_untrained_encoder_differs_from_the_runs_initial_weights() -> None:
    config = resolved().config
    began = build_encoder(config.model, config.objective, config.train.seed).state_dict()
    one, again, other = (untrained_encoder(config, seed).state_dict() for seed in (0, 0, 1))
    name = "greedy.0.layers.conv0.weight"
    assert torch.equal(one[name], again[name])
    assert not torch.equal(one[name], began[name])
    assert not torch.equal(one[name], other[name])


STATISTICS = ("running_mean", "running_var", "running_noise", "num_batches_tracked")
"""Buffers of BatchNorm, and of normalized posteriors."""


@pytest.mark.parametrize("kind", ["local", "sync"])
def test_batch_norm_is_set_to_the_datas_statistics_and_weights_stay(kind: str) -> None:
    config = resolved(f"model.batch_norm={kind}").config
    encoder = untrained_encoder(config, 0)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    spoken = [utterance(5120, seed=i) for i in range(8)]
    assert adapt_batch_norm(encoder, batch_clips(spoken, whole_utterance, 1000, 8), Normalizer()) == 8
    assert not encoder.training
    for name, tensor in encoder.state_dict().items():
        moved = not torch.equal(tensor, before[name])
        assert moved == (name.rpartition(".")[2] in STATISTICS)
    x_BTC = torch.stack([torch.from_numpy(u.audio) for u in spoken]).float()[..., None] / 32_768
    normed_RC = encoder.module(0).layers._channels_last(x_BTC).flatten(0, 1)
    # ReLU of a standard normal has mean 0.40: the same, roughly, for every channel
    assert ((normed_RC.mean(0) > 0.2) & (normed_RC.mean(0) < 0.6)).all()


def test_without_batch_norm_there_is_nothing_to_adapt() -> None:
    config = resolved("model.batch_norm=none").config
    encoder = untrained_encoder(config, 0)
    assert adapt_batch_norm(encoder, iter([]), Normalizer()) == 0
