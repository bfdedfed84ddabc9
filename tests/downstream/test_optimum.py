"""The search along penalties finds the optimum of scikit-learn's Newton method, however it gets there."""

from __future__ import annotations

import pytest
import torch

from tests.downstream.test_logistic import CLASSES, by_newton, objective, problem
from vgim.downstream import optimum
from vgim.downstream.logistic import Scaling
from vgim.downstream.optimum import Optimum, Search

PATH = (1e-1, 1e-3, 1e-5)


def search(
    x_NC: torch.Tensor, y_N: torch.Tensor, *, bias: bool, tolerance: float = 1e-12
) -> tuple[dict[float, Optimum], Search]:
    scaling = Scaling.measure(x_NC)
    found = Search(scaling.standardize(x_NC), y_N, CLASSES, None if bias else scaling.offset())
    return {l2: found.minimize(l2, tolerance) for l2 in PATH}, found


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("offset", [0.0, 1_000.0])
@pytest.mark.parametrize("are_shared", [False, True])
def test_every_penalty_of_a_path_ends_at_its_own_optimum(
    are_shared: bool, offset: float, bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if are_shared:  # one curvature for all classes, as where there are very many
        monkeypatch.setattr(optimum, "CURVATURE_VALUES", 0)
    monkeypatch.setitem(optimum.ROWS_AT_ONCE, "cpu", 64)
    x_NC, y_N = problem(offset)
    u_NC, offset_C = Scaling.measure(x_NC).standardize(x_NC), Scaling.measure(x_NC).offset()
    for l2, found in search(x_NC, y_N, bias=bias)[0].items():
        newton = by_newton(x_NC, y_N, l2, bias=bias)
        w_KC = torch.tensor(newton.coef_)
        b_K = torch.tensor(newton.intercept_) if bias else w_KC @ offset_C
        assert found.converged
        torch.testing.assert_close(found.w_KC, w_KC, rtol=0, atol=2e-4)
        assert objective(u_NC, y_N, found.w_KC, found.b_K, l2) == pytest.approx(
            objective(u_NC, y_N, w_KC, b_K, l2), abs=1e-9
        )


def test_what_the_search_remembers_changes_the_way_and_not_the_optimum() -> None:
    x_NC, y_N = problem(3.0)
    along_the_path, _ = search(x_NC, y_N, bias=True)
    scaling = Scaling.measure(x_NC)
    alone = Search(scaling.standardize(x_NC), y_N, CLASSES).minimize(PATH[-1], 1e-12)
    torch.testing.assert_close(along_the_path[PATH[-1]].w_KC, alone.w_KC, rtol=0, atol=2e-4)


@pytest.mark.parametrize("bias", [True, False])
def test_a_search_that_begins_with_some_rows_ends_at_the_optimum_of_all(
    bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x_NC, y_N = problem(3.0)
    of_all, _ = search(x_NC, y_N, bias=bias)
    rows: list[int] = []
    evaluate = Search._evaluate

    def counted(self: Search, at_KD: torch.Tensor) -> tuple[float, torch.Tensor]:
        rows.append(len(self.y_N))
        return evaluate(self, at_KD)

    monkeypatch.setattr(Search, "_evaluate", counted)
    monkeypatch.setattr(optimum, "FIRST_ROWS", len(y_N) // 4)
    found, _ = search(x_NC, y_N, bias=bias)
    num_first = rows.count(len(y_N) // 4)
    assert num_first > 1
    assert rows == [len(y_N) // 4] * num_first + [len(y_N)] * (len(rows) - num_first)
    for l2 in PATH:
        torch.testing.assert_close(found[l2].w_KC, of_all[l2].w_KC, rtol=0, atol=2e-4)


def test_the_search_goes_on_from_a_point_of_before() -> None:
    x_NC, y_N = problem(3.0)
    found = Search(Scaling.measure(x_NC).standardize(x_NC), y_N, CLASSES)
    rough = found.minimize(PATH[0], 1e-5)
    start_KD = found.at_KD
    found.minimize(PATH[-1], 1e-5)
    before = found.num_evaluations
    exact = found.minimize(PATH[0], 1e-12, start_KD)
    u_NC = Scaling.measure(x_NC).standardize(x_NC)
    newton = by_newton(x_NC, y_N, PATH[0], bias=True)
    torch.testing.assert_close(exact.w_KC, torch.tensor(newton.coef_), rtol=0, atol=2e-4)
    assert (exact.w_KC - rough.w_KC).any()
    assert found.num_evaluations - before < 30
    assert objective(u_NC, y_N, exact.w_KC, exact.b_K, PATH[0]) <= objective(
        u_NC, y_N, rough.w_KC, rough.b_K, PATH[0]
    )


def test_the_tolerance_bounds_what_is_left_to_gain() -> None:
    x_NC, y_N = problem(3.0)
    u_NC = Scaling.measure(x_NC).standardize(x_NC)
    best, exact = search(x_NC, y_N, bias=True)
    rough, quick = search(x_NC, y_N, bias=True, tolerance=1e-5)
    assert quick.num_evaluations < exact.num_evaluations
    for l2 in PATH:
        losses = [objective(u_NC, y_N, found[l2].w_KC, found[l2].b_K, l2) for found in (rough, best)]
        assert 0 <= losses[0] - losses[1] < 1e-4


def test_single_precision_finds_the_same_optimum() -> None:
    x_NC, y_N = problem(0.0)
    single, _ = search(x_NC.float(), y_N, bias=True, tolerance=1e-8)
    double, _ = search(x_NC, y_N, bias=True)
    for l2 in PATH:
        assert single[l2].converged
        torch.testing.assert_close(single[l2].w_KC, double[l2].w_KC, rtol=0, atol=2e-2)


def test_classes_and_features_without_examples_are_no_trouble() -> None:
    x_NC, y_N = problem(0.0)
    u_NC = Scaling.measure(x_NC).standardize(x_NC)
    u_NC[:, 2] = 0
    found = Search(u_NC, y_N.clamp(max=1), CLASSES).minimize(1e-5, 1e-9)
    assert found.converged
    assert torch.isfinite(found.w_KC).all()
    assert not found.w_KC[:, 2].any()
    assert (u_NC @ found.w_KC.T + found.b_K).argmax(1).max() == 1


def test_a_search_that_ends_early_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimum, "MAX_ITERATIONS", 2)
    assert not search(*problem(3.0), bias=True)[0][PATH[-1]].converged
