"""Multinomial logistic regression on frozen features: L-BFGS to the optimum, or Adam as published.

Shapes: N examples, C features, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from vgim.downstream.probes.probe import Examples
from vgim.model.randomness import mix, seeded_generator

L2_PATH = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
"""Penalties to try, strongest first; each fit starts at the optimum of the fit before."""
MAX_ITERATIONS = 200
"""Iterations of L-BFGS for each penalty."""
SMALLEST_SCALE = 1e-6
"""Features with a smaller standard deviation are dead channels and are not divided by it."""
ROWS_AT_ONCE = 65_536
"""Examples that are classified at once, which bounds the memory of the logits."""
ADAM_BATCH = {"frame": 1024, "utterance": 32}
"""Examples in a step of Adam, by the probe's unit."""


class Fitted(NamedTuple):
    """A linear classifier of raw features, and how it was fitted."""

    weight_KC: Tensor
    bias_K: Tensor
    validation_loss: float
    """Mean cross-entropy in nats."""
    l2: float | None
    """Penalty with the lowest validation loss; None for Adam."""
    epochs: int | None
    """Epochs of training behind the weights; None for L-BFGS."""

    def predict(self, x_NC: Tensor) -> Tensor:
        """Predict the class of each example."""
        classes = [
            torch.addmm(self.bias_K, part, self.weight_KC.T).argmax(1)
            for part in torch.split(x_NC, ROWS_AT_ONCE)
        ]
        return torch.cat(classes) if classes else torch.empty(0, dtype=torch.int64)


def fit_lbfgs(train: Examples, validation: Examples, num_classes: int, *, bias: bool = True) -> Fitted:
    """Minimize mean cross-entropy + l2/2 · ‖W‖² on standardized features, with l2 chosen on the validation split.

    Deterministic: the problem is convex and starts at zero. The path of penalties ends at the first penalty that
    makes the validation loss worse. Without a bias the features are scaled but not centered, because centering
    would add a bias.
    """
    mean_C = train.x_NC.mean(0) if bias else torch.zeros_like(train.x_NC[0])
    scale_C = (train.x_NC - mean_C).square_().mean(0).sqrt_()
    scale_C = torch.where(scale_C < SMALLEST_SCALE, torch.ones_like(scale_C), scale_C)
    x_NC = (train.x_NC - mean_C) / scale_C
    validation_NC = (validation.x_NC - mean_C) / scale_C
    w_KC = x_NC.new_zeros(num_classes, x_NC.shape[1])
    b_K = x_NC.new_zeros(num_classes)
    best: tuple[float, float, Tensor, Tensor] | None = None
    for l2 in L2_PATH:
        minimize(x_NC, train.y_N, w_KC, b_K, l2, bias=bias)
        loss = cross_entropy(validation_NC, validation.y_N, w_KC, b_K)
        if best is not None and not loss < best[0]:
            break
        best = (loss, l2, w_KC.clone(), b_K.clone())
    assert best is not None
    loss, l2, w_KC, b_K = best
    w_KC = w_KC / scale_C
    return Fitted(w_KC, b_K - w_KC @ mean_C, loss, l2, None)


def minimize(
    x_NC: Tensor, y_N: Tensor, w_KC: Tensor, b_K: Tensor, l2: float, *, bias: bool, tolerance: float = 1e-6
) -> None:
    """Move weights and bias to the minimum of mean cross-entropy + l2/2 · ‖W‖², in place.

    Args:
        tolerance: Largest absolute element of the gradient at which L-BFGS stops.
    """
    # The gradient is written out because autograd would keep several tensors [N, K] of a large split.
    optimizer = torch.optim.LBFGS(
        [w_KC, b_K] if bias else [w_KC],
        max_iter=MAX_ITERATIONS,
        tolerance_grad=tolerance,
        tolerance_change=1e-9,
        line_search_fn="strong_wolfe",
    )
    rows = torch.arange(len(y_N), device=y_N.device)

    def loss() -> Tensor:
        log_p_NK = F.log_softmax(torch.addmm(b_K, x_NC, w_KC.T), 1)
        value = -log_p_NK[rows, y_N].mean() + l2 / 2 * w_KC.square().sum()
        residual_NK = log_p_NK.exp_()
        residual_NK[rows, y_N] -= 1
        residual_NK /= len(y_N)
        w_KC.grad = torch.addmm(w_KC, residual_NK.T, x_NC, beta=l2)
        b_K.grad = residual_NK.sum(0)
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]


def fit_adam(
    train: Examples,
    validation: Examples,
    num_classes: int,
    *,
    bias: bool = True,
    seed: int,
    learning_rate: float,
    epochs: int,
    batch_size: int,
    patience: int = 0,
    after_epoch: Callable[[int, float], None] | None = None,
) -> Fitted:
    """Train a linear layer with Adam on the raw features, in a new random order each epoch.

    Args:
        seed: Seed of the initial weights (torch's default distribution) and of the order.
        patience: Epochs without a lower validation loss after which training ends with the best weights; 0 trains
            all epochs and keeps the last weights.
        after_epoch: Called with the epoch, counted from 1, and the validation loss.
    """
    device, num_features = train.x_NC.device, train.x_NC.shape[1]
    draw = seeded_generator("cpu", mix("probe", seed))
    bound = num_features**-0.5

    def uniform(*shape: int) -> Tensor:
        value = torch.empty(shape, dtype=train.x_NC.dtype).uniform_(-bound, bound, generator=draw)
        return value.to(device).requires_grad_()

    w_KC = uniform(num_classes, num_features)
    b_K = uniform(num_classes) if bias else torch.zeros(num_classes, dtype=w_KC.dtype, device=device)
    optimizer = torch.optim.Adam([w_KC, b_K] if bias else [w_KC], lr=learning_rate)
    best, num_stale, loss, epoch = None, 0, float("nan"), 0
    for epoch in range(1, epochs + 1):
        for rows in torch.split(torch.randperm(len(train.y_N), generator=draw).to(device), batch_size):
            optimizer.zero_grad()
            logits_NK = torch.addmm(b_K, train.x_NC[rows], w_KC.T)
            F.cross_entropy(logits_NK, train.y_N[rows]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        loss = cross_entropy(validation.x_NC, validation.y_N, w_KC, b_K)
        if after_epoch is not None:
            after_epoch(epoch, loss)
        if best is None or loss < best.validation_loss:
            best, num_stale = Fitted(w_KC.detach().clone(), b_K.detach().clone(), loss, None, epoch), 0
        else:
            num_stale += 1
        if patience and num_stale >= patience:
            break
    if patience and best is not None:
        return best
    return Fitted(w_KC.detach(), b_K.detach(), loss, None, epoch)


@torch.no_grad()
def cross_entropy(x_NC: Tensor, y_N: Tensor, w_KC: Tensor, b_K: Tensor) -> float:
    """Mean cross-entropy in nats; infinity instead of NaN, so that comparisons of losses hold."""
    total = 0.0
    for x, y in zip(torch.split(x_NC, ROWS_AT_ONCE), torch.split(y_N, ROWS_AT_ONCE), strict=True):
        total += float(F.cross_entropy(torch.addmm(b_K, x, w_KC.T), y, reduction="sum"))
    loss = total / max(1, len(y_N))
    return loss if loss == loss else float("inf")
