"""Multinomial logistic regression on few examples, by L-BFGS; and the scaling of features for any number of them.

Features are standardized. A classifier without a bias sees raw features x = mean + scale · u, so that its logits
are V (u + offset) with offset = mean / scale: they have a bias after all, V · offset, which is bound to the weights.
The penalty is on V, as it is with a bias; an offset that is common to all examples costs nothing to represent.

Shapes: N examples, C features, K classes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from vgim.downstream.optimum import Optimum
from vgim.errors import DataError
from vgim.model.optimizers import LBFGS

MAX_ITERATIONS = 500
"""Most iterations of L-BFGS for a penalty."""
HISTORY = 50
"""Steps that L-BFGS remembers."""
SMALLEST_SCALE = 1e-6
"""Features with a smaller standard deviation are dead channels and are not divided by it."""
SMALLEST_DECREASE = 1e-9
"""Change of the loss in nats at which L-BFGS stops."""
CONVERGED = 1e-3
"""Largest element of the gradient at an optimum, in the coordinates of `minimize`; float32 features leave 1e-4."""
ROWS_AT_ONCE = 8_192


class Scaling(NamedTuple):
    """Mean and standard deviation of each feature, float64; a dead channel has scale 1."""

    mean_C: Tensor
    scale_C: Tensor

    @classmethod
    def of(cls, mean_C: Tensor, variance_C: Tensor) -> Scaling:
        """The scaling of features with these moments.

        Raises:
            DataError: A feature is not finite.
        """
        if not (mean_C.isfinite() & variance_C.isfinite()).all():
            raise DataError(
                "the features hold NaN or infinity: the encoder's weights or the audio are broken; probe an earlier "
                "checkpoint"
            )
        scale_C = variance_C.clamp(min=0).sqrt()
        return cls(mean_C, torch.where(scale_C < SMALLEST_SCALE, torch.ones_like(scale_C), scale_C))

    @classmethod
    def measure(cls, x_NC: Tensor) -> Scaling:
        """The scaling of examples.

        Raises:
            DataError: A feature is not finite.
        """
        parts = torch.split(x_NC, ROWS_AT_ONCE)
        mean_C = torch.stack([x.double().sum(0) for x in parts]).sum(0) / len(x_NC)
        squares_C = torch.stack([(x.double() - mean_C).square().sum(0) for x in parts]).sum(0)
        return cls.of(mean_C, squares_C / len(x_NC))

    def offset(self) -> Tensor:
        """Mean in units of the scale, [C]."""
        return self.mean_C / self.scale_C

    def standardize(self, x_NC: Tensor) -> Tensor:
        """Features with mean 0 and standard deviation 1, in their own dtype."""
        return (x_NC - self.mean_C.to(x_NC.dtype)).div_(self.scale_C.to(x_NC.dtype))

    def raw(self, w_KC: Tensor, b_K: Tensor, *, bias: bool) -> tuple[Tensor, Tensor]:
        """Weights and bias for raw features, float64; without a bias it is zero."""
        raw_KC = w_KC.double() / self.scale_C
        return raw_KC, b_K.double() - raw_KC @ self.mean_C if bias else torch.zeros_like(b_K.double())


class _Coordinates:
    """Parameters P [K, C] of a classifier, in which the loss has about the identity as its Hessian.

    At zero weights the Hessian of the mean cross-entropy is (I - 1/K) ⊗ S / K (Böhning 1992), where S is the
    features' Gram matrix, taken as the identity, plus offset · offsetᵀ. So W = P (I + (s - 1) p̂ p̂ᵀ) r with
    r⁻² = 1 / K + l2, p = r · offset and s² = 1 / (1 + |p|² / K).
    """

    def __init__(self, num_classes: int, l2: float, offset_C: Tensor) -> None:
        self.scale = float((1 / num_classes + l2) ** -0.5)
        p_C = offset_C * self.scale
        length = p_C.norm()
        self.unit_C = p_C / length.clamp(min=torch.finfo(torch.float64).tiny)
        self.shrink = 1 / (1 + length.square() / num_classes).sqrt()
        self.to_bias_C = p_C * self.shrink
        """W · offset = P · to_bias, without the cancellation of the first."""

    def weights(self, p_KC: Tensor) -> Tensor:
        return self._stretch(p_KC, self.shrink) * self.scale

    def parameters(self, w_KC: Tensor) -> Tensor:
        return self._stretch(w_KC / self.scale, 1 / self.shrink)

    def gradient(self, of_w_KC: Tensor, of_b_K: Tensor) -> Tensor:
        return self._stretch(of_w_KC * self.scale, self.shrink) + torch.outer(of_b_K, self.to_bias_C)

    def _stretch(self, x_KC: Tensor, factor: Tensor) -> Tensor:
        """Multiply the part of each row that is along the offset."""
        return x_KC + torch.outer((factor - 1) * (x_KC @ self.unit_C), self.unit_C)


def minimize(
    x_NC: Tensor,
    y_N: Tensor,
    start: Optimum,
    l2: float,
    *,
    offset_C: Tensor | None = None,
    tolerance: float = 1e-6,
) -> Optimum:
    """Minimize mean cross-entropy + l2/2 · ‖W‖² of few examples, without a matrix for their correlations.

    `vgim.downstream.optimum` is faster on many examples.

    Args:
        x_NC: Standardized features.
        y_N: Class of each example.
        start: Weights and bias to start at.
        offset_C: For a classifier without a bias: the features' mean in units of their scale, so that its logits are
            W (x + offset). None for a classifier with a bias, which has no penalty.
        tolerance: Largest element of the gradient, in the coordinates of the search, at which it stops.

    Returns:
        The optimum. It is the same for any `start`, up to rounding.
    """
    num_classes, bias = len(start.w_KC), offset_C is None
    at = _Coordinates(num_classes, l2, torch.zeros_like(start.w_KC[0]) if offset_C is None else offset_C)
    p_KC, free_K = at.parameters(start.w_KC), start.b_K / num_classes**0.5
    rows = torch.arange(len(y_N), device=y_N.device)

    def classifier() -> tuple[Tensor, Tensor]:
        return at.weights(p_KC), free_K * num_classes**0.5 if bias else p_KC @ at.to_bias_C

    # Gradients are written out because autograd would keep several tensors [N, K] of a large split.
    def loss() -> Tensor:
        w_KC, b_K = classifier()
        log_p_NK = F.log_softmax(torch.addmm(b_K.to(x_NC.dtype), x_NC, w_KC.T.to(x_NC.dtype)), 1)
        value = -log_p_NK[rows, y_N].double().mean() + l2 / 2 * w_KC.square().sum()
        residual_NK = log_p_NK.exp_()
        residual_NK[rows, y_N] -= 1
        residual_NK /= len(y_N)
        of_b_K = residual_NK.sum(0, dtype=torch.float64)
        of_w_KC = (residual_NK.T @ x_NC).double().add_(w_KC, alpha=l2)
        p_KC.grad = at.gradient(of_w_KC, torch.zeros_like(of_b_K) if bias else of_b_K)
        free_K.grad = of_b_K * num_classes**0.5
        return value

    optimizer = LBFGS(
        [p_KC, free_K] if bias else [p_KC],
        max_iter=MAX_ITERATIONS,
        tolerance_grad=tolerance,
        tolerance_change=SMALLEST_DECREASE,
        history_size=HISTORY,
        line_search_fn="strong_wolfe",
    )
    optimizer.step(loss)  # type: ignore[no-untyped-call]
    loss()  # the last point that the line search tried need not be the one that it chose
    gradients = [p_KC.grad, free_K.grad] if bias else [p_KC.grad]
    largest = max(float(g.abs().max()) for g in gradients if g is not None)
    return Optimum(*classifier(), converged=largest <= CONVERGED)


def zero_classifier(num_classes: int, num_features: int, device: torch.device) -> Optimum:
    """Weights and bias of zero, to start at."""
    w_KC = torch.zeros(num_classes, num_features, dtype=torch.float64, device=device)
    return Optimum(w_KC, w_KC.new_zeros(num_classes), converged=False)
