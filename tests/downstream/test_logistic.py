"""L-BFGS reaches the optimum that scikit-learn's Newton method finds in double precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn import functional as F

from vgim.downstream import logistic
from vgim.downstream.logistic import Optimum, Scaling, minimize, zero_classifier

CLASSES, FEATURES = 4, 6


def problem(offset: float, num: int = 300) -> tuple[torch.Tensor, torch.Tensor]:
    """Overlapping classes; correlated features of unequal scale, and means of `offset` times their deviation."""
    rng = np.random.default_rng(0)
    y = rng.integers(CLASSES, size=num)
    x = (rng.normal(size=(CLASSES, FEATURES))[y] + 2 * rng.normal(size=(num, FEATURES))) @ (
        rng.normal(size=(FEATURES, FEATURES)) + 2
    )
    scale_C = np.geomspace(0.1, 100, FEATURES)
    x = (x + offset * rng.normal(size=FEATURES) * x.std(0)) * scale_C
    return torch.from_numpy(x), torch.from_numpy(y)


def by_newton(x_NC: torch.Tensor, y_N: torch.Tensor, l2: float, *, bias: bool) -> LogisticRegression:
    """Weights of features that are divided by their standard deviation, and not centered without a bias."""
    x = (x_NC / x_NC.std(0, correction=0)).numpy()
    if bias:
        x = x - x.mean(0)
    newton = LogisticRegression(
        C=1 / (l2 * len(x)), solver="newton-cholesky", tol=1e-12, max_iter=1_000, fit_intercept=bias
    )
    return newton.fit(x, y_N.numpy())


def objective(
    u_NC: torch.Tensor, y_N: torch.Tensor, w_KC: torch.Tensor, b_K: torch.Tensor, l2: float
) -> float:
    return float(F.cross_entropy(u_NC @ w_KC.T + b_K, y_N) + l2 / 2 * w_KC.square().sum())


def search(x_NC: torch.Tensor, y_N: torch.Tensor, l2: float, *, bias: bool) -> Optimum:
    scaling = Scaling.measure(x_NC)
    u_NC = scaling.standardize(x_NC)
    start = zero_classifier(CLASSES, FEATURES, x_NC.device)
    return minimize(
        u_NC,
        y_N,
        start,
        l2,
        offset_C=None if bias else scaling.offset(),
        tolerance=1e-9,
    )


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("offset", [0.0, 1_000.0])
@pytest.mark.parametrize("l2", [1e-1, 1e-5])
def test_the_optimum_is_found(l2: float, offset: float, bias: bool) -> None:
    x_NC, y_N = problem(offset)
    found = search(x_NC, y_N, l2, bias=bias)
    newton = by_newton(x_NC, y_N, l2, bias=bias)
    assert found.converged
    scaling = Scaling.measure(x_NC)
    bias_K = newton.intercept_ if bias else newton.coef_ @ scaling.offset().numpy()
    best = objective(scaling.standardize(x_NC), y_N, torch.tensor(newton.coef_), torch.tensor(bias_K), l2)
    assert objective(scaling.standardize(x_NC), y_N, found.w_KC, found.b_K, l2) == pytest.approx(
        best, abs=1e-6
    )
    if not bias:
        assert torch.allclose(found.b_K, found.w_KC @ scaling.offset(), atol=1e-8)


@pytest.mark.parametrize("bias", [True, False])
def test_single_precision_finds_the_same_classifier(bias: bool) -> None:
    x_NC, y_N = problem(1_000.0)
    single = search(x_NC.float(), y_N, 1e-3, bias=bias)
    double = search(x_NC, y_N, 1e-3, bias=bias)
    assert torch.allclose(single.w_KC, double.w_KC, atol=1e-2)


def test_the_start_changes_no_result() -> None:
    x_NC, y_N = problem(3.0)
    scaling = Scaling.measure(x_NC)
    u_NC = scaling.standardize(x_NC)
    start = zero_classifier(CLASSES, FEATURES, x_NC.device)
    on_the_way = minimize(u_NC, y_N, start, 1e-1, offset_C=scaling.offset())
    one = minimize(u_NC, y_N, start, 1e-3, offset_C=scaling.offset(), tolerance=1e-9)
    other = minimize(u_NC, y_N, on_the_way, 1e-3, offset_C=scaling.offset(), tolerance=1e-9)
    assert torch.allclose(one.w_KC, other.w_KC, atol=1e-3)
    assert not start.w_KC.any()


def test_a_fit_that_ends_early_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logistic, "MAX_ITERATIONS", 2)
    assert not search(*problem(3.0), 1e-5, bias=True).converged
