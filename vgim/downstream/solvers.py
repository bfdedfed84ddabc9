"""Multinomial logistic regression on frozen features: L-BFGS to the optimum, or Adam as published.

Shapes: N examples, C features, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from vgim.downstream.logistic import Scaling
from vgim.downstream.optimum import Search
from vgim.downstream.probes.probe import Examples
from vgim.model.optimizers import Adam
from vgim.model.randomness import mix, seeded_generator

L2_PATH = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
"""Penalties to try, strongest first; each fit starts at the optimum of the one before."""
ROUGH, TOLERANCE = 1e-5, 1e-7
"""Nats above the least loss at which the fit of each penalty ends at first, and the fits of those that may be best."""
MARGIN = 5e-3
"""Nats of validation loss above the least one up to which a penalty may be best, as long as fits are rough."""
ROWS_AT_ONCE = 65_536
"""Examples that are classified at once, which bounds the memory of the logits."""


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
    converged: bool = True
    """Whether L-BFGS reached the optimum within its iterations."""

    def predict(self, x_NC: Tensor) -> Tensor:
        """Predict the class of each example."""
        classes = [
            torch.addmm(self.bias_K, part, self.weight_KC.T).argmax(1)
            for part in torch.split(x_NC, ROWS_AT_ONCE)
        ]
        return torch.cat(classes) if classes else torch.empty(0, dtype=torch.int64)


def fit_lbfgs(
    train: Examples,
    validation: Examples,
    num_classes: int,
    *,
    bias: bool = True,
    after_fit: Callable[[int, int], None] | None = None,
) -> Fitted:
    """Minimize mean cross-entropy + l2/2 · ‖W‖² on standardized features, with l2 chosen on the validation split.

    Deterministic: the problem is convex and starts at zero. Every penalty of the path is tried roughly, and those that
    may be best are fitted to the optimum. W and its penalty are in units of the features' standard deviations, with
    and without a bias (see `vgim.downstream.logistic`).

    Args:
        after_fit: Called with the number of fits that are done and of all that are known to be needed.

    Raises:
        DataError: A feature is not finite.
    """
    scaling = Scaling.measure(train.x_NC)
    x_NC = scaling.standardize(train.x_NC)
    search = Search(x_NC, train.y_N, num_classes, None if bias else scaling.offset())

    def fit(l2: float, tolerance: float, start_KD: Tensor | None = None) -> Fitted:
        optimum = search.minimize(l2, tolerance, start_KD)
        w_KC, b_K = (t.to(x_NC.dtype) for t in scaling.raw(optimum.w_KC, optimum.b_K, bias=bias))
        loss = cross_entropy(validation.x_NC, validation.y_N, w_KC, b_K)
        return Fitted(w_KC, b_K, loss, l2, None, optimum.converged)

    rough = []
    for l2 in L2_PATH:
        rough.append((l2, fit(l2, ROUGH).validation_loss, search.at_KD))
        if after_fit is not None:
            after_fit(len(rough), len(L2_PATH) + 1)
    least = min(loss for _, loss, _ in rough)
    close = [(l2, at_KD) for l2, loss, at_KD in reversed(rough) if loss <= least + MARGIN]
    best: Fitted | None = None
    for number, (l2, at_KD) in enumerate(close, 1):  # the search is at the last one of the path
        fitted = fit(l2, TOLERANCE, at_KD)
        if best is None or fitted.validation_loss <= best.validation_loss:
            best = fitted
        if after_fit is not None:
            after_fit(len(rough) + number, len(rough) + len(close))
    assert best is not None
    return best


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
    clip_norm: float = 0.0,
    owner_N: Tensor | None = None,
    drop_last: bool = False,
    patience: int = 0,
    after_epoch: Callable[[int, float], None] | None = None,
) -> Fitted:
    """Train a linear layer with Adam on the raw features.

    Args:
        seed: Seed of the initial weights (torch's default distribution) and of the order.
        batch_size: Examples in a step, in a new random order each epoch; 0 for all examples of one utterance, in the
            order of the utterances.
        clip_norm: Largest norm of the gradient of weights and bias together; 0 does not clip.
        owner_N: Index of each example's utterance, for a `batch_size` of 0.
        drop_last: Leave out an epoch's last step if it has fewer examples than the others.
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
    optimizer = Adam([w_KC, b_K] if bias else [w_KC], lr=learning_rate)
    best, num_stale, loss, epoch = None, 0, float("nan"), 0
    for epoch in range(1, epochs + 1):
        for rows in _steps(train.y_N, batch_size, owner_N, draw, drop_last=drop_last):
            optimizer.zero_grad()
            logits_NK = torch.addmm(b_K, train.x_NC[rows], w_KC.T)
            F.cross_entropy(logits_NK, train.y_N[rows]).backward()  # type: ignore[no-untyped-call]
            if clip_norm:
                torch.nn.utils.clip_grad_norm_([p for p in (w_KC, b_K) if p.requires_grad], clip_norm)
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


def _steps(
    y_N: Tensor, batch_size: int, owner_N: Tensor | None, draw: torch.Generator, *, drop_last: bool
) -> Sequence[Tensor]:
    """Rows of the examples of each step of an epoch."""
    if not batch_size:
        assert owner_N is not None
        rows_N = torch.arange(len(y_N), device=y_N.device)
        return torch.split(rows_N, torch.bincount(owner_N).tolist())
    steps = torch.split(torch.randperm(len(y_N), generator=draw).to(y_N.device), batch_size)
    return steps[:-1] if drop_last and len(steps) > 1 and len(steps[-1]) < batch_size else steps


@torch.no_grad()
def cross_entropy(x_NC: Tensor, y_N: Tensor, w_KC: Tensor, b_K: Tensor) -> float:
    """Mean cross-entropy in nats; infinity instead of NaN, so that comparisons of losses hold."""
    total = 0.0
    for x, y in zip(torch.split(x_NC, ROWS_AT_ONCE), torch.split(y_N, ROWS_AT_ONCE), strict=True):
        total += float(F.cross_entropy(torch.addmm(b_K, x, w_KC.T), y, reduction="sum"))
    loss = total / max(1, len(y_N))
    return loss if loss == loss else float("inf")
