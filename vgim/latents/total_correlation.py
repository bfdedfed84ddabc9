"""Estimators of total correlation, TC = E[log q(z) - Σ_d log q(z_d)] in nats (Watanabe 1960).

TC is 0 exactly where the parts d are independent. Parts are dimensions of a frame, or frames in a row of a dimension.

Shapes: N rows, D parts.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vgim.arrays import F32, F64

PUBLISHED_BANDWIDTH = 0.1
"""Standard deviation of the published estimator's kernels, in every dimension."""
CPU = torch.device("cpu")
SMALLEST_EIGENVALUE = 1e-9
"""Eigenvalue of a correlation matrix below which it is singular."""
ROWS_AT_ONCE = 512
"""Rows whose distances to all rows are in memory at once."""


class PublishedDensity(NamedTuple):
    """What the published estimator finds in a set of rows."""

    entropy: float
    """-(mean log density of the rows), nats."""
    own_kernel_share: float
    """Share of a row's density that its own kernel gives, mean over rows; 1 if no other row is near."""


def split_half_total_correlation(x_ND: F32 | F64) -> float:
    """TC of the columns by Gaussian kernels, fitted on the first half of the rows and evaluated on the second.

    The kernel's bandwidth is Scott's (1992), and its shape is the covariance of the rows.

    Args:
        x_ND: Rows in random order.

    Raises:
        numpy.linalg.LinAlgError: A column is a linear function of the others, or there are too few rows.
    """
    from scipy.stats import gaussian_kde

    half = len(x_ND) // 2
    _refuse_singular(x_ND[:half])
    fit_DN, held_out_DN = x_ND[:half].T.astype(np.float64), x_ND[half:].T.astype(np.float64)
    joint_N = gaussian_kde(fit_DN).logpdf(held_out_DN)
    parts_N = sum(
        gaussian_kde(fit).logpdf(held_out) for fit, held_out in zip(fit_DN, held_out_DN, strict=True)
    )
    finite_N = np.isfinite(joint_N) & np.isfinite(parts_N)  # far from every kernel a density is 0 in float64
    return float((joint_N - parts_N)[finite_N].mean()) if finite_N.any() else 0.0


def published_total_correlation(x_ND: F32 | F64, device: torch.device = CPU) -> float:
    """TC of the columns as published: the sum of their entropies, minus the entropy of the rows.

    Each density is a sum of Gaussian kernels of bandwidth 0.1 that is evaluated at the rows it was fitted on. A row's
    own kernel alone makes the joint density at least 1 / (N · (0.1 · √(2π))^D), so that TC is at least `lone_kernels`.
    """
    return sum(published_entropies(x_ND, device)) - published_density(x_ND, device).entropy


def published_entropies(x_ND: F32 | F64, device: torch.device = CPU) -> list[float]:
    """The published entropy of each column, nats."""
    return [published_density(x_ND[:, [d]], device).entropy for d in range(x_ND.shape[1])]


def published_density(x_ND: F32 | F64, device: torch.device = CPU) -> PublishedDensity:
    """The published density of the rows, in blocks of ROWS_AT_ONCE rows: memory grows with N, not with N²."""
    x = torch.from_numpy(np.asarray(x_ND, np.float64)).to(device)
    square_N = x.square().sum(1)
    parts: list[Tensor] = []
    for rows in torch.split(torch.arange(len(x), device=device), ROWS_AT_ONCE):
        if x.shape[1] == 1:
            distance = (x[rows] - x.T).square_()
        else:
            distance = torch.addmm(square_N, x[rows], x.T, alpha=-2).add_(square_N[rows, None])
            distance[rows - rows[0], rows] = 0  # exact, where rounding would change the own kernel
        # A plain sum: no kernel is above exp(0), and the own kernel is exp(0), so that nothing over- or underflows.
        parts.append(distance.div_(-2 * PUBLISHED_BANDWIDTH**2).exp_().sum(1))
    sum_N = torch.cat(parts)
    entropy = _log_kernel_volume(*x.shape) - float(sum_N.log().mean())
    return PublishedDensity(entropy, float(sum_N.reciprocal().mean()))


def lone_kernels(entropies: list[float], num_rows: int) -> float:
    """The published TC of any rows that are far from one another, whether their columns depend or not.

    It is Σ_d H(z_d) - log N - D · log(0.1 · √(2π)): the joint density of each row is its own kernel.

    Args:
        entropies: Published entropy of each column.
    """
    return sum(entropies) - _log_kernel_volume(num_rows, len(entropies))


def _log_kernel_volume(num_rows: int, num_columns: int) -> float:
    """Minus the logarithm of a density that one kernel of N gives at its center."""
    return math.log(num_rows) + num_columns * math.log(PUBLISHED_BANDWIDTH * math.sqrt(2 * math.pi))


def copula_total_correlation(x_ND: F32 | F64) -> float:
    """TC of a Gaussian with the rank correlations of the columns: -½ log det R of their normal scores.

    TC does not change if each column is mapped monotonically, and of all densities with standard normal columns and
    correlations R the Gaussian has the least TC. For many rows the value is therefore a lower bound of TC, exact for
    columns that are Gaussian after such maps (Liu, Lafferty & Wasserman 2009). With few rows it is too high, by the
    same amount for dependent and for shuffled columns.

    Raises:
        numpy.linalg.LinAlgError: A column is a linear function of the others, or there are too few rows.
    """
    from scipy.special import ndtri
    from scipy.stats import rankdata

    scores_ND = ndtri(rankdata(x_ND, axis=0) / (len(x_ND) + 1))
    return -0.5 * float(np.log(_refuse_singular(scores_ND)).sum())


def _refuse_singular(x_ND: F32 | F64) -> F64:
    """The eigenvalues of the correlation matrix of the columns, [D].

    Raises:
        numpy.linalg.LinAlgError: The matrix is singular.
    """
    eigenvalues: F64 = np.linalg.eigvalsh(np.atleast_2d(np.corrcoef(x_ND.T.astype(np.float64))))
    if not eigenvalues[0] > SMALLEST_EIGENVALUE:
        raise np.linalg.LinAlgError("a column is a linear function of the others, or there are too few rows")
    return eigenvalues


def shuffle(x_ND: F32 | F64, rng: np.random.Generator) -> F32 | F64:
    """The columns, each in a random order of its own, so that they are independent."""
    return rng.permuted(x_ND, axis=0)
