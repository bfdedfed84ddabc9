"""Both solvers are logistic regressions: L-BFGS reaches the optimum that scikit-learn finds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from vgim.downstream import solvers
from vgim.downstream.probes.probe import Examples
from vgim.downstream.solvers import Fitted, fit_adam, fit_lbfgs, minimize

CLASSES, FEATURES = 4, 6


def problem(num: int, seed: int = 0, noise: float = 2.0) -> Examples:
    """Overlapping classes, features of unequal mean and scale."""
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(99).normal(size=(CLASSES, FEATURES))
    y = rng.integers(CLASSES, size=num)
    x = centers[y] + noise * rng.normal(size=(num, FEATURES))
    return Examples(torch.from_numpy(x * np.geomspace(0.1, 100, FEATURES) + 5), torch.from_numpy(y))


def adam(train: Examples, validation: Examples, **options: object) -> Fitted:
    settings = {"seed": 0, "learning_rate": 0.05, "epochs": 20, "batch_size": 32, **options}
    return fit_adam(train, validation, CLASSES, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("l2", [1e-1, 1e-3])
def test_lbfgs_reaches_the_optimum_of_scikit_learn(l2: float, bias: bool) -> None:
    x, y = problem(300)
    x = (x - x.mean(0)) / x.std(0)
    w, b = torch.zeros(CLASSES, FEATURES, dtype=x.dtype), torch.zeros(CLASSES, dtype=x.dtype)
    minimize(x, y, w, b, l2, bias=bias)
    oracle = LogisticRegression(C=1 / (l2 * len(y)), tol=1e-10, max_iter=10_000, fit_intercept=bias)
    oracle.fit(x.numpy(), y.numpy())
    assert np.allclose(w, oracle.coef_, atol=1e-4)
    centered = b - b.mean()  # a constant on all biases changes nothing
    assert np.allclose(centered, oracle.intercept_ - np.mean(oracle.intercept_), atol=1e-4)


def test_the_penalty_is_chosen_on_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    train, validation = problem(40), problem(400, seed=1)
    chosen = fit_lbfgs(train, validation, CLASSES)
    losses = {}
    for l2 in solvers.L2_PATH:
        monkeypatch.setattr(solvers, "L2_PATH", (l2,))
        losses[l2] = fit_lbfgs(train, validation, CLASSES).validation_loss
    assert chosen.l2 == min(losses, key=lambda l2: losses[l2])
    assert chosen.l2 not in (1e-4, 1e-5)  # so few examples want a strong one
    assert chosen.validation_loss == pytest.approx(min(losses.values()), rel=1e-4)


def test_lbfgs_classifies_raw_features_whatever_their_scale() -> None:
    train, validation, test = problem(400), problem(200, seed=1), problem(500, seed=2)
    plain = fit_lbfgs(train, validation, CLASSES)
    stretch = torch.logspace(-3, 3, FEATURES, dtype=torch.float64)
    stretched = fit_lbfgs(
        train._replace(x_NC=train.x_NC * stretch),
        validation._replace(x_NC=validation.x_NC * stretch),
        CLASSES,
    )
    assert torch.equal(plain.predict(test.x_NC), stretched.predict(test.x_NC * stretch))


def test_lbfgs_is_deterministic_and_ignores_constant_features() -> None:
    train, validation = problem(100), problem(50, seed=1)
    train.x_NC[:, 2] = validation.x_NC[:, 2] = 7.0
    one, other = (fit_lbfgs(train, validation, CLASSES) for _ in range(2))
    assert torch.equal(one.weight_KC, other.weight_KC)
    assert torch.isfinite(one.weight_KC).all()


def test_without_a_bias_no_class_has_an_offset() -> None:
    train, validation = problem(200), problem(100, seed=1)
    for fitted in (fit_lbfgs(train, validation, CLASSES, bias=False), adam(train, validation, bias=False)):
        assert not fitted.bias_K.any()
    assert fit_lbfgs(train, validation, CLASSES).bias_K.any()


def test_adam_comes_near_the_optimum_and_depends_on_the_seed_alone() -> None:
    scale = torch.from_numpy(np.geomspace(0.1, 100, FEATURES))
    train, validation, test = (
        e._replace(x_NC=(e.x_NC - 5) / scale) for e in (problem(600), problem(200, 1), problem(1000, 2))
    )
    optimum = fit_lbfgs(train, validation, CLASSES)
    found = adam(train, validation)
    hits = [(f.predict(test.x_NC) == test.y_N).double().mean() for f in (optimum, found)]
    assert abs(hits[0] - hits[1]) < 0.03
    assert torch.equal(found.weight_KC, adam(train, validation).weight_KC)
    assert not torch.equal(found.weight_KC, adam(train, validation, seed=1).weight_KC)


def test_patience_keeps_the_best_epoch() -> None:
    train, validation = problem(30, noise=4.0), problem(200, seed=1, noise=4.0)
    losses: dict[int, float] = {}
    stopped = adam(
        train, validation, epochs=200, learning_rate=0.3, patience=3, after_epoch=losses.__setitem__
    )
    assert stopped.epochs == min(losses, key=lambda epoch: losses[epoch])
    assert len(losses) == stopped.epochs + 3
    assert stopped.validation_loss == losses[stopped.epochs]
    assert adam(train, validation, epochs=4).epochs == 4
