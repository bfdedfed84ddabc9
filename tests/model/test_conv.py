"""Rows of frames, by torch's convolution or in blocks, are Conv1d, BatchNorm1d and ReLU: value and gradients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from vgim.config.model_sections import NormKind
from vgim.model.conv import ConvStack, conv_channels_last
from vgim.model.specs import ConvSpec


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


@st.composite
def stacks(draw: st.DrawFn) -> tuple[list[ConvSpec], list[bool]]:
    """Some convolutions, 1×1 among them, and whether each has a ReLU behind it."""
    size = st.one_of(st.just((1, 1, 0)), st.tuples(st.integers(1, 6), st.integers(1, 3), st.integers(0, 2)))
    sizes = draw(st.lists(size, min_size=1, max_size=4))
    relus = draw(st.lists(st.booleans(), min_size=len(sizes), max_size=len(sizes)))
    return [ConvSpec(*each) for each in sizes], relus


def frames_for(specs: list[ConvSpec], extra: int, channels: int) -> tuple[Tensor, torch.Generator]:
    """Input of which the convolutions make at least two frames, and the generator that drew it."""
    num_in = 2
    for spec in reversed(specs):
        num_in = spec.num_needed(num_in)
    generator = torch.Generator().manual_seed(extra)
    x_BTC = torch.randn(2, num_in + extra, channels, generator=generator, dtype=torch.float64)
    return x_BTC.requires_grad_(), generator


def conv1d_stack(stack: ConvStack, x_BTC: Tensor) -> Tensor:
    """The layers one by one by torch's own functions, in its layout [B, C, T]."""
    h_BCT = x_BTC.mT
    for i, (spec, relu) in enumerate(zip(stack.specs, stack.relus, strict=True)):
        conv = stack.get_submodule(f"conv{i}")
        h_BCT = F.conv1d(h_BCT, conv.weight, conv.bias, spec.stride, spec.padding)
        if relu and stack.norm != "none":
            norm = stack.get_submodule(f"norm{i}")
            h_BCT = F.batch_norm(h_BCT, None, None, norm.weight, norm.bias, training=True)
        h_BCT = F.relu(h_BCT) if relu else h_BCT
    return h_BCT.mT


@settings(max_examples=60, deadline=None)
@given(
    layers=stacks(),
    channels_in=st.sampled_from([1, 3]),
    extra=st.integers(0, 9),
    norm=st.sampled_from(["none", "local"]),
)
def test_every_path_honors_which_layers_have_a_relu(
    layers: tuple[list[ConvSpec], list[bool]], channels_in: int, extra: int, norm: NormKind
) -> None:
    specs, relus = layers
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(len(specs))
        stack = ConvStack(specs, channels_in, 3, norm, relus).double()
    x_BTC, generator = frames_for(specs, extra, channels_in)
    parameters = [x_BTC, *stack.parameters()]
    expected = conv1d_stack(stack, x_BTC)
    grad = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    gradients = torch.autograd.grad(expected, parameters, grad)
    for path in (stack.forward, stack._channels_last, stack._in_blocks):
        got = path(x_BTC)
        torch.testing.assert_close(got, expected)
        torch.testing.assert_close(
            torch.autograd.grad(got, parameters, grad), gradients, rtol=1e-5, atol=1e-9
        )
        one_by_one = x_BTC
        for i in range(len(specs)):
            one_by_one = path(one_by_one, slice(i, i + 1))
        torch.testing.assert_close(one_by_one, expected)
    for i, relu in enumerate(relus):
        has_norm = any(name.startswith(f"norm{i}.") for name in stack.state_dict())
        assert has_norm == (relu and norm != "none")
        assert (stack.get_submodule(f"conv{i}").bias is None) == has_norm


@settings(max_examples=40, deadline=None)
@given(
    layers=stacks(),
    a=st.sampled_from([0.5, 0.97]),
    extra=st.integers(0, 9),
    norm=st.sampled_from(["none", "local"]),
)
def test_preemphasis_is_the_filter_before_the_first_convolution(
    layers: tuple[list[ConvSpec], list[bool]], a: float, extra: int, norm: NormKind
) -> None:
    specs, relus = layers
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(len(specs))
        stack = ConvStack(specs, 1, 3, norm, relus, preemphasis=a).double()
        # Filtered audio is one sample longer. The plain stack, without padding of its own, reads all of it.
        first = specs[0]
        plain = ConvStack([first._replace(padding=0), *specs[1:]], 1, 3, norm, relus).double()
        plain.load_state_dict(stack.state_dict())
    x_BT1, generator = frames_for(specs, extra, 1)
    padded = F.pad(x_BT1, (0, 0, first.padding + 1, first.padding))
    filtered = (padded[:, 1:] - a * padded[:, :-1]) / (1 - a**2) ** 0.5
    expected = plain(filtered)
    assert expected.shape[1] == stack.num_frames(x_BT1.shape[1])
    grad = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    gradients = torch.autograd.grad(expected, [x_BT1, *plain.parameters()], grad)
    for path in (stack.forward, stack._channels_last, stack._in_blocks):
        got = path(x_BT1)
        torch.testing.assert_close(got, expected)
        found = torch.autograd.grad(got, [x_BT1, *stack.parameters()], grad)
        torch.testing.assert_close(found, gradients, rtol=1e-5, atol=1e-9)


def autograd_nodes(node: Any) -> Iterator[str]:
    """Names of the nodes of an output's graph."""
    yield node.name()
    for earlier, _ in node.next_functions:
        if earlier is not None:
            yield from autograd_nodes(earlier)


@pytest.mark.parametrize("norm", ["none", "local", "sync"])
def test_no_relu_makes_autograd_copy_gradients(norm: NormKind) -> None:
    # In place on a view, whose backward copies the whole gradient three times.
    stack = ConvStack([ConvSpec(4, 2, 1)] * 2, 3, 3, norm)
    x_BTC = torch.zeros(2, 20, 3)
    for path in (stack._channels_last, stack._in_blocks):
        assert not any("CopySlices" in name for name in autograd_nodes(path(x_BTC).grad_fn))
