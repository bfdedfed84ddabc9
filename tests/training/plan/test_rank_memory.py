"""The estimated memory of a rank."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from tests.training.cases import assert_same, copied_weights
from vgim.config import ResolvedConfig
from vgim.model.stack import Encoder, build_encoder
from vgim.training.plan import rank_memory
from vgim.training.plan.rank_memory import memory_of_rank, pass_bytes

Maker = Callable[..., ResolvedConfig]


def encoder_of(resolved: ResolvedConfig) -> Encoder:
    config = resolved.config
    return build_encoder(config.model, config.objective, config.train.seed).train()


def test_passes_of_many_crops_are_extrapolated_from_a_few(tiny_config: Maker) -> None:
    resolved = tiny_config("train.batch_size=32", "model.batch_norm=local")
    encoder = encoder_of(resolved)
    before = copied_weights(encoder)
    estimated = pass_bytes(encoder, resolved.config, None)
    measured = rank_memory._measured(encoder, resolved.config, None, 32)
    assert estimated == pytest.approx(measured, rel=0.1)
    assert_same(copied_weights(encoder), before)
    assert all(parameter.grad is None for parameter in encoder.parameters())


def test_live_bytes_are_those_of_tensors_that_are_alive() -> None:
    held = torch.zeros(100)
    with rank_memory._LiveBytes([held]) as live:
        one = held + 1
        held.view(10, 10).add_(1)  # neither a view nor a change in place needs memory
        assert live.peak == 400
        del one
        two = torch.zeros(50) + 1  # the zeros are freed before the next tensor, the sum is not
        three = two.double()
        assert live.peak == 200 + 400
        del two, three
        torch.zeros(10)
    assert live.peak == 600


def test_a_stage_has_gradients_and_moments_of_its_modules_alone(tiny_config: Maker) -> None:
    encoder = encoder_of(tiny_config())
    sizes = [sum(4 * p.numel() for p in encoder.module(m).parameters()) for m in range(len(encoder))]
    buffers = sum(b.numel() * b.element_size() for b in encoder.buffers())
    passes = [10, 30, 20, 5, 5, 5][: len(encoder)]
    everything = range(len(encoder))
    joint = memory_of_rank(encoder, passes, everything, [everything])
    assert (joint.weights, joint.gradients, joint.moments) == (
        sum(sizes) + buffers,
        sum(sizes),
        2 * sum(sizes),
    )
    assert (joint.passes, joint.modules) == (30, (1,))
    stage = memory_of_rank(encoder, passes, [0], [[0]])
    assert (stage.weights, stage.gradients, stage.moments) == (joint.weights, sizes[0], 2 * sizes[0])
    assert (stage.passes, stage.modules) == (10, (0,))
    sequential = memory_of_rank(encoder, passes, everything, [[m] for m in everything])
    assert (sequential.gradients, sequential.moments) == (max(sizes), joint.moments)
    assert sequential.total == sequential.weights + sequential.gradients + sequential.moments + 30
    graphs = memory_of_rank(encoder, passes, everything, [everything], beside=True)
    assert (graphs.passes, graphs.modules) == (sum(passes), tuple(everything))
    assert graphs.describe().endswith("in the passes of modules 0 to 3, side by side")
    one_by_one = memory_of_rank(encoder, passes, everything, [[m] for m in everything], beside=True)
    assert one_by_one == sequential
