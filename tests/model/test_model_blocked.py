"""The CPU's convolution is Conv1d, value and gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model_cases import audio, small_encoder
from torch.nn import functional as F

from vgim.model.blocked import blocked_conv1d


@pytest.mark.parametrize("batch_norm", ["none", "local", "sync"])
def test_rows_and_channels_first_give_the_same_latents(batch_norm: str) -> None:
    layers = small_encoder(model={"batch_norm": batch_norm}).module(0).layers
    x_BTC = audio(3, 80)[..., None]
    torch.testing.assert_close(layers._by_rows(x_BTC), layers._by_channels(x_BTC.mT).mT)


@settings(max_examples=60, deadline=None)
@given(
    kernel=st.integers(1, 7),
    stride=st.integers(1, 5),
    padding=st.integers(0, 3),
    extra=st.integers(0, 9),
    num_crops=st.integers(1, 3),
    with_bias=st.booleans(),
)
def test_any_convolution(
    kernel: int, stride: int, padding: int, extra: int, num_crops: int, with_bias: bool
) -> None:
    rng = torch.Generator().manual_seed(0)
    num_in = max(1, kernel - 2 * padding) + extra
    x, weight, bias = (
        torch.randn(*shape, dtype=torch.float64, generator=rng, requires_grad=True)
        for shape in ((num_crops, num_in, 2), (3, 2, kernel), (3,))
    )
    used = bias if with_bias else None
    expected = F.conv1d(x.mT, weight, used, stride, padding).mT
    got = blocked_conv1d(x, weight, used, stride, padding, expected.shape[1])
    torch.testing.assert_close(got, expected)
    upstream = torch.randn(expected.shape, dtype=torch.float64, generator=rng)
    wanted = [x, weight, bias] if with_bias else [x, weight]
    for ours, theirs in zip(
        torch.autograd.grad(got, wanted, upstream),
        torch.autograd.grad(expected, wanted, upstream),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)
