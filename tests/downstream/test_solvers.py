"""Both solvers are logistic regressions: of L-BFGS's penalties validation chooses one, Adam trains as published."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vgim.downstream import solvers
from vgim.downstream.optimum import Optimum
from vgim.downstream.probes.probe import Examples
from vgim.downstream.solvers import Fitted, fit_adam, fit_lbfgs
from vgim.errors import DataError

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


def test_the_path_of_penalties_goes_on_behind_a_worse_one(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([1.0, 1.1, 1.2, 0.5, 0.6, 0.499])
    monkeypatch.setattr(solvers, "cross_entropy", lambda *_: next(losses))
    chosen = fit_lbfgs(problem(40), problem(40, seed=1), CLASSES)
    assert (chosen.l2, chosen.validation_loss) == (1e-4, 0.499)


def test_penalties_whose_rough_losses_are_close_are_compared_at_their_optima(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fitted: list[tuple[float, float]] = []
    minimize = solvers.Search.minimize

    def counted(self: solvers.Search, l2: float, tolerance: float, *start: object) -> Optimum:
        fitted.append((l2, tolerance))
        return minimize(self, l2, tolerance, *start)  # type: ignore[arg-type]

    monkeypatch.setattr(solvers.Search, "minimize", counted)
    losses = iter(
        [1.0, 0.501, 0.5, 0.502, 0.6, 0.49, 0.50, 0.48]
    )  # the last three from the weakest penalty on
    monkeypatch.setattr(solvers, "cross_entropy", lambda *_: next(losses))
    chosen = fit_lbfgs(problem(40), problem(40, seed=1), CLASSES)
    assert fitted == [
        *((l2, solvers.ROUGH) for l2 in solvers.L2_PATH),
        *((l2, solvers.TOLERANCE) for l2 in (1e-4, 1e-3, 1e-2)),
    ]
    assert (chosen.l2, chosen.validation_loss) == (1e-2, 0.48)


@pytest.mark.parametrize("bias", [True, False])
def test_a_fit_is_that_of_its_penalty_alone(monkeypatch: pytest.MonkeyPatch, bias: bool) -> None:
    train, validation = problem(3_000), problem(400, seed=1)
    along_the_path = fit_lbfgs(train, validation, CLASSES, bias=bias)
    monkeypatch.setattr(solvers, "L2_PATH", (along_the_path.l2,))
    monkeypatch.setattr(solvers, "TOLERANCE", 1e-12)
    alone = fit_lbfgs(train, validation, CLASSES, bias=bias)
    assert along_the_path.converged
    assert along_the_path.validation_loss == pytest.approx(alone.validation_loss, abs=1e-4)
    alike = along_the_path.predict(train.x_NC) == alone.predict(train.x_NC)
    assert alike.double().mean() > 0.995


@pytest.mark.parametrize("bias", [True, False])
def test_a_common_offset_of_the_features_hides_nothing(bias: bool) -> None:
    """Features of a hardly trained encoder: their mean is thousands of times their deviation."""
    rng = np.random.default_rng(3)
    offset_C, direction_KC = rng.normal(size=16), np.eye(CLASSES, 16)

    def split(num: int) -> Examples:
        y = rng.integers(CLASSES, size=num)
        x = 1e-4 * (4 * direction_KC[y] + rng.normal(size=(num, 16)) * 0.3) + offset_C
        return Examples(torch.from_numpy(x).float(), torch.from_numpy(y))

    test = split(500)
    fitted = fit_lbfgs(split(200), split(100), CLASSES, bias=bias)
    assert (fitted.predict(test.x_NC) == test.y_N).all()
    assert fitted.converged
    assert fitted.bias_K.any() == bias


def test_features_that_are_not_finite_are_refused() -> None:
    broken = problem(40)
    broken.x_NC[3, 2] = float("nan")
    with pytest.raises(DataError, match="the features hold NaN or infinity"):
        fit_lbfgs(broken, problem(40, seed=1), CLASSES)


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


def test_adam_steps_on_batches_or_utterances_and_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    train, validation = problem(70), problem(50, seed=1)
    sizes: list[int] = []
    cross_entropy = torch.nn.functional.cross_entropy

    def counted(logits_NK: torch.Tensor, y_N: torch.Tensor, **options: str) -> torch.Tensor:
        if not options:
            sizes.append(len(y_N))
        return cross_entropy(logits_NK, y_N, **options)

    monkeypatch.setattr(solvers.F, "cross_entropy", counted)
    adam(train, validation, epochs=1)
    adam(train, validation, epochs=1, drop_last=True)
    adam(train, validation, epochs=1, drop_last=True, batch_size=100)
    owner_N = torch.tensor([0] * 40 + [1] * 5 + [2] * 25)
    adam(train, validation, epochs=2, batch_size=0, owner_N=owner_N)
    assert sizes == [32, 32, 6, 32, 32, 70, 40, 5, 25, 40, 5, 25]
    norms: list[float] = []
    step = solvers.Adam.step

    def measured(self: solvers.Adam) -> None:
        norms.append(torch.stack([p.grad.norm() for p in self.param_groups[0]["params"]]).norm().item())
        step(self)

    monkeypatch.setattr(solvers.Adam, "step", measured)
    adam(train, validation, epochs=1)
    assert min(norms) > 0.02
    norms.clear()
    adam(train, validation, epochs=1, clip_norm=0.01)
    assert max(norms) <= 0.01 + 1e-6
