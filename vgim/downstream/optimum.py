"""The optimum of multinomial logistic regression on many examples, for one penalty after another.

The search is L-BFGS whose first guess of the Hessian is, for each class, the second derivative of the loss with
respect to that class's weights, on some of the rows. Steps and gradients of one penalty serve the next one: another l2
changes the gradient along a step by a known amount. Neither changes the optimum. The loss and its gradient are summed
over blocks of rows that fit a core's cache.

Shapes: N examples, M of these, C features, K classes, D parameters of a class: C weights, and the bias if there is one.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

MAX_ITERATIONS = 500
"""Most iterations for a penalty and a tolerance."""
HISTORY = 40
"""Steps that the search remembers."""
CURVATURE_ROWS = 4_096
"""Most rows that the curvature is measured on."""
CURVATURE_VALUES = 2**25
"""Most values of the classes' curvatures together, 256 MiB; where there are more, all classes share one."""
FIRST_ROWS, FIRST_TOLERANCE = 16_384, 1e-3
"""Rows that a search begins with where there are at least twice as many, and nats above their least loss."""
ROWS_AT_ONCE = {"cpu": 1_024}
OTHER_ROWS_AT_ONCE = 65_536
"""Rows of a block on any other device."""
CONVERGED = 1e-6
"""Nats above the least loss, by a quadratic model of it, up to which a point counts as the optimum."""
ROUNDING = 1e-7
"""Share of a class's curvature that is added to it, because single precision may have lost as much."""
SUFFICIENT, SHORTEST = 1e-4, 1e-3
"""Share of the decrease promised by the slope that a step has to reach, and the shortest part of a step."""


class Optimum(NamedTuple):
    """Weights and bias for standardized features, float64."""

    w_KC: Tensor
    b_K: Tensor
    """Without a bias: W · offset."""
    converged: bool
    """Whether the search came to the optimum within its iterations."""


class Search:
    """Minimizes mean cross-entropy + l2/2 · ‖W‖², from the point where it was left.

    Args:
        x_NC: Standardized features.
        y_N: Class of each example.
        num_classes: K.
        offset_C: For a classifier without a bias: the features' mean in units of their scale, so that its logits are
            W (x + offset). None for a classifier with a bias, which has no penalty.
    """

    def __init__(self, x_NC: Tensor, y_N: Tensor, num_classes: int, offset_C: Tensor | None = None) -> None:
        self.x_NC, self.y_N, self.offset_C = x_NC, y_N, offset_C
        num_parameters = x_NC.shape[1] + (offset_C is None)
        self.at_KD = torch.zeros(num_classes, num_parameters, dtype=torch.float64, device=x_NC.device)
        """Parameters where the search is."""
        self.num_evaluations = 0
        self._l2 = 0.0
        self._loss_here: tuple[float, Tensor] | None = None
        """The loss at `at_KD` and its gradient, at the penalty `_l2`; None where they are not known."""
        self._steps: list[tuple[Tensor, Tensor]] = []
        """Steps, and changes of the gradient along them at the penalty `_l2`."""

    def minimize(self, l2: float, tolerance: float, start_KD: Tensor | None = None) -> Optimum:
        """Go to the optimum for a penalty.

        Args:
            l2: The penalty.
            tolerance: Nats above the least loss at which the search stops, by a quadratic model of the loss.
            start_KD: Parameters to start at; None for those where the search is.
        """
        if start_KD is not None and start_KD is not self.at_KD:
            self.at_KD, self._loss_here = start_KD, None
        elif not self.num_evaluations:
            self._go_near_on_some_rows(l2)
        self._set_penalty(l2)
        curvature = self._measure_curvature(l2)
        value, gradient_KD = self._loss_here or self._evaluate(self.at_KD)
        left = float("inf")
        for _ in range(MAX_ITERATIONS):
            step_KD = -self._multiply_inverse(gradient_KD, curvature)
            slope = float((gradient_KD * step_KD).sum())
            left = -slope / 2
            if left <= tolerance:
                break
            part, found = 1.0, None
            while part >= SHORTEST:
                there_KD = self.at_KD + part * step_KD
                new_value, new_gradient_KD = self._evaluate(there_KD)
                if new_value <= value + SUFFICIENT * part * slope:
                    found = there_KD
                    break
                rise = new_value - value - part * slope
                part *= min(0.5, max(0.1, -slope * part / (2 * rise)))
            if found is None:  # rounding hides what is left to gain
                break
            self._remember(found - self.at_KD, new_gradient_KD - gradient_KD)
            self.at_KD, value, gradient_KD = found, new_value, new_gradient_KD
        self._loss_here = value, gradient_KD
        return Optimum(*self._classifier(self.at_KD), converged=left <= CONVERGED)

    def _go_near_on_some_rows(self, l2: float) -> None:
        """Begin with some of many rows: the first steps are long, and need no more."""
        every = len(self.y_N) // FIRST_ROWS
        if every < 2:
            return
        some = Search(self.x_NC[::every].contiguous(), self.y_N[::every], len(self.at_KD), self.offset_C)
        some.minimize(l2, FIRST_TOLERANCE)
        self.at_KD = some.at_KD

    def _classifier(self, at_KD: Tensor) -> tuple[Tensor, Tensor]:
        if self.offset_C is None:
            return at_KD[:, :-1].clone(), at_KD[:, -1].clone()
        return at_KD.clone(), at_KD @ self.offset_C

    def _evaluate(self, at_KD: Tensor) -> tuple[float, Tensor]:
        """The loss and its gradient [K, D], float64."""
        self.num_evaluations += 1
        w_KC, b_K = self._classifier(at_KD)
        transposed_CK, bias_K = w_KC.T.to(self.x_NC.dtype).contiguous(), b_K.to(self.x_NC.dtype)
        of_w_KC, of_b_K = w_KC * self._l2 * len(self.y_N), torch.zeros_like(b_K)
        nats = torch.zeros((), dtype=torch.float64, device=b_K.device)
        size = ROWS_AT_ONCE.get(self.x_NC.device.type, OTHER_ROWS_AT_ONCE)
        minus_one = transposed_CK.new_full((), -1.0)
        for x_RC, y_R in zip(torch.split(self.x_NC, size), torch.split(self.y_N[:, None], size), strict=True):
            logits_RK = torch.addmm(bias_K, x_RC, transposed_CK)
            logits_RK -= logits_RK.amax(1, keepdim=True)
            nats -= logits_RK.gather(1, y_R).sum(dtype=torch.float64)
            total_R1 = logits_RK.exp_().sum(1, keepdim=True)
            nats += total_R1.log().sum(dtype=torch.float64)
            logits_RK /= total_R1
            logits_RK.scatter_add_(1, y_R, minus_one.expand(y_R.shape))  # now p minus the truth
            of_b_K += logits_RK.sum(0)
            of_w_KC += logits_RK.T @ x_RC
        of_w_KC /= len(self.y_N)
        of_b_K /= len(self.y_N)
        if self.offset_C is None:
            gradient_KD = torch.cat([of_w_KC, of_b_K[:, None]], 1)
        else:
            gradient_KD = of_w_KC + torch.outer(of_b_K, self.offset_C)
        penalty = self._l2 / 2 * w_KC.square().sum()
        return float(nats / len(self.y_N) + penalty), gradient_KD

    def _set_penalty(self, l2: float) -> None:
        """Change the penalty, and what is remembered of the loss, its gradient and the gradient's changes with it."""
        change = l2 - self._l2
        self._l2 = l2
        weights = slice(self.x_NC.shape[1])
        for step_KD, gradient_KD in self._steps:
            gradient_KD[:, weights] += change * step_KD[:, weights]
        if self._loss_here is not None:
            value, gradient_KD = self._loss_here
            w_KC = self.at_KD[:, weights]
            gradient_KD[:, weights] += change * w_KC
            self._loss_here = value + change / 2 * float(w_KC.square().sum()), gradient_KD

    def _remember(self, step_KD: Tensor, change_KD: Tensor) -> None:
        product = float((step_KD * change_KD).sum())
        if product > 1e-10 * float(step_KD.norm() * change_KD.norm()):
            self._steps = [*self._steps[1 - HISTORY :], (step_KD, change_KD)]

    def _multiply_inverse(self, gradient_KD: Tensor, curvature: Curvature) -> Tensor:
        """The inverse Hessian's estimate times a gradient (Nocedal and Wright, algorithm 7.4)."""
        rest_KD = gradient_KD.clone()
        shares = []
        for step_KD, change_KD in reversed(self._steps):
            product = (step_KD * change_KD).sum()
            share = (step_KD * rest_KD).sum() / product
            rest_KD -= share * change_KD
            shares.append((step_KD, change_KD, share, product))
        step = curvature.solve(rest_KD)
        for step_KD, change_KD, share, product in reversed(shares):
            step += (share - (change_KD * step).sum() / product) * step_KD
        return step

    def _measure_curvature(self, l2: float) -> Curvature:
        """The second derivative of the loss for each class, where the search is."""
        x_MC = self.x_NC[:: -(-len(self.x_NC) // CURVATURE_ROWS)]
        w_KC, b_K = self._classifier(self.at_KD)
        p_MK = torch.addmm(b_K, x_MC.double(), w_KC.T).softmax(1)
        weight_MK = p_MK * (1 - p_MK)
        return Curvature.of(x_MC, weight_MK, l2, self.offset_C)


class Curvature(NamedTuple):
    """Second derivatives of the loss, one matrix for each class, as an inverse that can be multiplied with.

    The loss of an example curves with the weight p (1 - p) along (x, 1), or along x + offset without a bias. So the
    matrix is a covariance of the features about their mean, both weighted, and a part along that mean.
    """

    inverse_GCC: Tensor
    """Inverse of the weighted covariance + l2; G is K, or 1 where all classes share one."""
    mean_KC: Tensor
    """Weighted mean of the features."""
    mass_K: Tensor
    """Sum of the weights over the number of rows."""
    offset_C: Tensor | None

    @classmethod
    def of(cls, x_MC: Tensor, weight_MK: Tensor, l2: float, offset_C: Tensor | None) -> Curvature:
        """Measure the curvature on some rows, float64.

        Few rows with a weight tell little of a class; the fewer there are, the more its covariance is drawn towards
        that of all rows.
        """
        num_rows, num_features = x_MC.shape
        num_classes = weight_MK.shape[1]
        mass_K = weight_MK.mean(0).clamp(min=1e-9)
        mean_KC = weight_MK.T @ x_MC.double() / num_rows / mass_K[:, None]
        all_CC = (x_MC.T @ x_MC).double() / num_rows
        eye_CC = torch.eye(num_features, dtype=torch.float64, device=x_MC.device)
        if num_classes * num_features**2 > CURVATURE_VALUES:
            all_CC *= mass_K.mean()
            root_CC = torch.linalg.cholesky(all_CC + (l2 + ROUNDING * all_CC.trace()) * eye_CC)
            return cls(torch.cholesky_inverse(root_CC)[None], mean_KC * 0, mass_K, offset_C)
        inverse_KCC = torch.empty(
            num_classes, num_features, num_features, dtype=torch.float64, device=x_MC.device
        )
        for k in range(num_classes):
            weight_M = weight_MK[:, k]
            centered_MC = (x_MC - mean_KC[k].to(x_MC.dtype)) * weight_M.sqrt()[:, None].to(x_MC.dtype)
            num_alike = weight_M.sum() ** 2 / weight_M.square().sum().clamp(min=1e-300)
            share = num_features / (num_features + num_alike)
            covariance_CC = (centered_MC.T @ centered_MC).double() * ((1 - share) / num_rows)
            covariance_CC += all_CC * (share * mass_K[k])
            covariance_CC += (l2 + ROUNDING * covariance_CC.trace()) * eye_CC
            inverse_KCC[k] = torch.cholesky_inverse(torch.linalg.cholesky(covariance_CC))
        return cls(inverse_KCC, mean_KC, mass_K, offset_C)

    def solve(self, gradient_KD: Tensor) -> Tensor:
        """The step [K, D] whose gradient this is, among steps that no class has in common.

        Adding the same to all classes changes no probability, so neither gradient nor step holds any such part.
        """
        gradient_KD = gradient_KD - gradient_KD.mean(0)
        if self.offset_C is None:
            of_w_KC, of_b_K = gradient_KD[:, :-1], gradient_KD[:, -1]
            w_KC = self._inverse_times(of_w_KC - self.mean_KC * of_b_K[:, None])
            b_K = of_b_K / self.mass_K - (self.mean_KC * w_KC).sum(1)
            step_KD = torch.cat([w_KC, b_K[:, None]], 1)
        else:
            along_KC = self.mean_KC + self.offset_C
            w_KC, through_KC = self._inverse_times(gradient_KD), self._inverse_times(along_KC)
            size_K = 1 / self.mass_K + (along_KC * through_KC).sum(1)
            step_KD = w_KC - through_KC * ((along_KC * w_KC).sum(1) / size_K)[:, None]
        return step_KD - step_KD.mean(0)

    def _inverse_times(self, x_KC: Tensor) -> Tensor:
        if len(self.inverse_GCC) == 1:
            return x_KC @ self.inverse_GCC[0]
        return torch.bmm(self.inverse_GCC, x_KC[..., None])[..., 0]
