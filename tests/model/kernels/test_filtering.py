"""Minimal filtering equals two plain products up to rounding, for any number of rows."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from vgim.model.kernels import blocked, filtering
from vgim.model.specs import ConvSpec


def draw(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    rng = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, dtype=dtype, generator=rng)


def plain(rows_RX: Tensor, weight_2XD: Tensor) -> Tensor:
    return rows_RX[:-1] @ weight_2XD[0] + rows_RX[1:] @ weight_2XD[1]


@pytest.mark.parametrize("num_out", [*range(1, 10), 31])
def test_filtered_rows_are_the_sum_of_two_products(num_out: int) -> None:
    rows, weight = draw(num_out + 1, 5), draw(2, 5, 4)
    out = torch.full((num_out, 4), torch.nan, dtype=torch.float64)
    filtering.filter_rows(filtering.Taps.of(*weight), rows, out)
    torch.testing.assert_close(out, plain(rows, weight), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("num_out", [*range(1, 10), 31])
def test_gradient_of_the_taps_adds_up_over_runs(num_out: int) -> None:
    weight = draw(2, 5, 4).requires_grad_()
    gradient = filtering.TapGradient(weight.detach())
    expected = torch.zeros_like(weight)
    for run in range(3):
        rows, upstream = draw(num_out + 1, 5) + run, draw(num_out, 4) - run
        gradient.add(rows, upstream)
        expected += torch.autograd.grad(plain(rows, weight), weight, upstream)[0]
    torch.testing.assert_close(gradient.total(), expected, rtol=1e-12, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    stride=st.integers(1, 4),
    short_by=st.integers(0, 3),
    padding=st.integers(0, 3),
    extra=st.integers(0, 25),
    num_crops=st.integers(1, 3),
    one_by_one=st.booleans(),
)
def test_filtered_convolution_is_conv1d(
    stride: int, short_by: int, padding: int, extra: int, num_crops: int, one_by_one: bool
) -> None:
    kernel = 2 * stride - min(short_by, stride - 1)
    x = draw(num_crops, max(1, kernel - 2 * padding) + extra, 2).requires_grad_()
    weight = draw(3, 2, kernel).requires_grad_()
    expected = F.conv1d(x.mT, weight, None, stride, padding).mT
    upstream = draw(*expected.shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocked, "MANY_FRAMES", 1 if one_by_one else 1000)
        patch.setattr(blocked, "FEW_VALUES", 0)
        used = always_filter(patch)
        padded = blocked.pad_frames(
            x, padding, ConvSpec(kernel, stride, padding).num_padded(expected.shape[1])
        )
        got = blocked.conv_of_padded(padded, weight, None, stride)
        gradients = torch.autograd.grad(got, [x, weight], upstream)
    assert used[0] >= 2
    torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-11)
    for got_gradient, expected_gradient in zip(
        gradients, torch.autograd.grad(expected, [x, weight], upstream), strict=True
    ):
        torch.testing.assert_close(got_gradient, expected_gradient, rtol=1e-11, atol=1e-11)


def always_filter(patch: pytest.MonkeyPatch) -> list[int]:
    """Filter at every size; the returned list holds the number of calls of `filter_rows`."""
    calls = [0]

    def counted(taps: filtering.Taps, rows_RX: Tensor, out_TD: Tensor) -> None:
        calls[0] += 1
        filtering.filter_rows(taps, rows_RX, out_TD)

    patch.setattr(filtering, "MIN_ROWS", 1)
    patch.setattr(filtering, "MIN_WIDTH", 1)
    patch.setattr(blocked, "filter_rows", counted)
    return calls


@pytest.mark.parametrize("num_frames", [6, 13])
def test_gradients_of_the_filtered_convolution_are_derivatives(
    num_frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocked, "FEW_VALUES", 0)
    calls = always_filter(monkeypatch)
    x, weight = draw(2, 2 * num_frames + 2, 2).requires_grad_(), draw(3, 2, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, w: blocked.conv_of_padded(x, w, None, 2), (x, weight))
    assert calls[0]


def test_single_precision_loses_less_than_a_bit() -> None:
    rows, weight = draw(601, 256).relu(), draw(2, 256, 128)
    exact = plain(rows, weight)
    out = torch.empty(600, 128)
    filtering.filter_rows(filtering.Taps.of(*weight.float()), rows.float(), out)
    direct = (plain(rows.float(), weight.float()) - exact).square().mean().sqrt()
    assert (out - exact).square().mean().sqrt() < 2 * direct


def test_small_convolutions_and_other_kernels_are_left_to_plain_products() -> None:
    assert filtering.pays(2, 8184, 512)
    assert not filtering.pays(3, 8184, 512)
    assert not filtering.pays(2, 128, 512)
    assert not filtering.pays(2, 8184, 64)
