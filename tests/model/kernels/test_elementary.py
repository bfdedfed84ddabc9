"""exp(x) - 1 and log sigmoid(x) of the CPU are those of fp64, value and gradient, wherever fp32 has them."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from vgim.model.kernels.elementary import expm1, log_sigmoid

EPS = torch.finfo(torch.float32).eps
SMALLEST = torch.finfo(torch.float32).tiny


def value_and_gradient(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    leaf = x.clone().requires_grad_()
    y = function(leaf)
    (gradient,) = torch.autograd.grad(y.sum(), leaf)
    return y.detach(), gradient


@given(st.floats(-200, 88, width=32))
def test_expm1_keeps_its_digits_near_0_as_well(x: float) -> None:
    value, gradient = value_and_gradient(expm1, torch.tensor([x]))
    assert value.item() == pytest.approx(math.expm1(x), rel=3 * EPS, abs=SMALLEST)
    assert gradient.item() == pytest.approx(math.exp(x), rel=3 * EPS, abs=2 * EPS)


@given(st.floats(-87, 200, width=32))
def test_log_sigmoid_is_exact_to_a_rounding_of_its_value_or_of_1(x: float) -> None:
    value, gradient = value_and_gradient(log_sigmoid, torch.tensor([x]))
    expected, expected_gradient = value_and_gradient(F.logsigmoid, torch.tensor([x], dtype=torch.float64))
    assert value.item() == pytest.approx(expected.item(), rel=2 * EPS, abs=EPS)
    assert gradient.item() == pytest.approx(expected_gradient.item(), abs=EPS)


def test_what_is_out_of_range_is_bounded_and_nan_is_not_hidden() -> None:
    far = torch.tensor([math.inf, -math.inf, 100.0, -1000.0])
    assert expm1(far).tolist() == [math.inf, -1, math.inf, -1]
    value, gradient = value_and_gradient(log_sigmoid, far)
    assert value.tolist() == [0, pytest.approx(math.log(SMALLEST)), 0, pytest.approx(math.log(SMALLEST))]
    assert gradient.tolist() == [0, 1, 0, 1]
    assert expm1(torch.tensor(math.nan)).isnan()
    assert log_sigmoid(torch.tensor(math.nan)).isnan()
