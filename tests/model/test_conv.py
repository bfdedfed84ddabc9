"""torch's convolution on rows of frames is Conv1d, value and gradients."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from vgim.model.conv import ConvSpec, conv_channels_last


@settings(max_examples=40, deadline=None)
@given(
    kernel=st.integers(1, 20),
    stride=st.integers(1, 5),
    padding=st.integers(0, 3),
    extra=st.integers(0, 9),
    channels=st.sampled_from([1, 2, 5]),
    with_bias=st.booleans(),
)
def test_channels_last_is_conv1d(
    kernel: int, stride: int, padding: int, extra: int, channels: int, with_bias: bool
) -> None:
    generator = torch.Generator().manual_seed(kernel)
    spec = ConvSpec(kernel, stride, padding)
    num_in = spec.num_needed(1) + extra

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    x_BTC, weight, bias = drawn(2, num_in, channels), drawn(3, channels, kernel), drawn(3)
    inputs = [x_BTC, weight, *([bias] if with_bias else [])]
    expected = F.conv1d(x_BTC.mT, weight, bias if with_bias else None, stride, padding).mT
    got = conv_channels_last(x_BTC, weight, bias if with_bias else None, spec)
    torch.testing.assert_close(got, expected)
    grad = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(
        torch.autograd.grad(got, inputs, grad), torch.autograd.grad(expected, inputs, grad)
    )
