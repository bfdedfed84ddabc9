"""The CPU's convolution is Conv1d, value and gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from tests.model.cases import audio, small_encoder
from vgim.model.kernels import blocked
from vgim.model.specs import ConvSpec


@pytest.mark.parametrize("batch_norm", ["none", "local", "sync"])
def test_blocks_and_channels_last_give_the_same_latents(batch_norm: str) -> None:
    layers = small_encoder(model={"batch_norm": batch_norm}).module(0).layers
    x_BTC = audio(3, 80)[..., None]
    torch.testing.assert_close(layers._in_blocks(x_BTC), layers._channels_last(x_BTC))


@settings(max_examples=60, deadline=None)
@given(
    kernel=st.integers(1, 7),
    stride=st.integers(1, 5),
    padding=st.integers(0, 3),
    extra=st.integers(0, 9),
    num_crops=st.integers(1, 3),
    with_bias=st.booleans(),
    one_by_one=st.booleans(),
    gathered=st.booleans(),
)
def test_any_convolution(
    kernel: int,
    stride: int,
    padding: int,
    extra: int,
    num_crops: int,
    with_bias: bool,
    one_by_one: bool,
    gathered: bool,
) -> None:
    rng = torch.Generator().manual_seed(0)
    num_in = max(1, kernel - 2 * padding) + extra
    x, weight, bias = (
        torch.randn(*shape, dtype=torch.float64, generator=rng, requires_grad=True)
        for shape in ((num_crops, num_in, 2), (3, 2, kernel), (3,))
    )
    used = bias if with_bias else None
    expected = F.conv1d(x.mT, weight, used, stride, padding).mT
    upstream = torch.randn(expected.shape, dtype=torch.float64, generator=rng)
    num_padded = ConvSpec(kernel, stride, padding).num_padded(expected.shape[1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocked, "MANY_FRAMES", 1 if one_by_one else 1000)
        patch.setattr(blocked, "FEW_VALUES", 1000 if gathered else 0)
        got = blocked.conv_of_padded(blocked.pad_frames(x, padding, num_padded), weight, used, stride)
        gradients = torch.autograd.grad(got, inputs := [x, weight, bias][: 2 + with_bias], upstream)
    torch.testing.assert_close(got, expected)
    for got_gradient, expected_gradient in zip(
        gradients, torch.autograd.grad(expected, inputs, upstream), strict=True
    ):
        torch.testing.assert_close(got_gradient, expected_gradient)


@settings(max_examples=40, deadline=None)
@given(num_in=st.integers(1, 9), before=st.integers(0, 3), num_frames=st.integers(4, 12))
def test_padded_relu_is_relu_and_zeros_and_so_is_its_gradient(
    num_in: int, before: int, num_frames: int
) -> None:
    rng = torch.Generator().manual_seed(0)
    y = torch.randn(2, num_in, 3, dtype=torch.float64, generator=rng, requires_grad=True)
    upstream = torch.randn(2, num_frames, 3, dtype=torch.float64, generator=rng)
    results = []
    for padded in (
        blocked.padded_relu(y, before, num_frames),
        blocked.pad_frames(F.relu(y), before, num_frames),
    ):
        results.append((padded, *torch.autograd.grad(padded, [y], upstream)))
    torch.testing.assert_close(*results)
