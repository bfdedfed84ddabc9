"""The greedy step: a batch runs through the modules, and every module that is trained has its own backward.

A module's backward runs as soon as its loss is known. Kernel by kernel, it frees its graph before the next module
starts, so that peak activation memory is the largest module's, not the sum over modules. A CUDA graph runs modules
beside one another, and holds the sum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from vgim.config.schema import ObjectiveConfig, OptimConfig
from vgim.model.module_output import METRICS, ModuleOutput
from vgim.model.precision import autocast_to
from vgim.model.randomness import DrawKey, draw_seed, seeded_generator
from vgim.model.stack import Encoder
from vgim.training.accumulator import StepMetrics
from vgim.training.errors import NotFiniteError
from vgim.training.graphs import LossWeights
from vgim.training.passes import Passes
from vgim.training.share import Share, SharedStatistics
from vgim.training.stages.link import StageLink

GRAD_NORM = "grad_norm"
"""Metric that a step adds to a module's own: the norm of its gradient, before clipping."""


def kld_weight_at(objective: ObjectiveConfig, step: int) -> float:
    """Weight of the KL term at a step of the phase: it rises linearly from 0 over the warm-up."""
    if step >= objective.kld_warmup_steps:
        return objective.kld_weight
    return objective.kld_weight * step / objective.kld_warmup_steps


def learning_rate_at(optim: OptimConfig, epoch: int) -> float:
    """Adam's learning rate in an epoch of the phase, from 0."""
    return optim.learning_rate * optim.decay_per_epoch**epoch


class GreedyStep:
    """One optimizer step of a phase's modules on this rank.

    Args:
        encoder: on its device. Modules that are trained are in training mode, modules before them in eval mode.
        passes: passes of the modules that are trained.
        optimizer: optimizer of all parameters. Other modules have no gradient, and keep their weights.
        seed: seed of noise and negatives; every draw has its own generator of (seed, module, step, virtual rank).
        share: the virtual ranks whose micro-batches this rank computes.
        clip_norm: largest gradient norm of a module; 0 turns clipping off.
        autocast: dtype of the forward passes; None for fp32.
        link: where the latents of the last module go, if this rank trains a stage of the modules. Micro-batches are
            then the input of its first module.
    """

    def __init__(
        self,
        encoder: Encoder,
        passes: Passes,
        optimizer: torch.optim.Optimizer,
        *,
        seed: int,
        share: Share,
        clip_norm: float,
        autocast: torch.dtype | None,
        link: StageLink | None = None,
    ) -> None:
        self._encoder, self._passes, self._optimizer = encoder, passes, optimizer
        self._seed, self._share, self._clip_norm, self._autocast = seed, share, clip_norm, autocast
        self._link = link
        self._frozen = range(min(passes.modules)) if link is None else range(0)
        self._statistics = SharedStatistics((encoder.module(m) for m in passes.modules), share)

    def __call__(
        self,
        micro_batches: Sequence[Tensor],
        step: int,
        kld_weight: float | Mapping[int, float],
        *,
        measure: bool,
    ) -> list[StepMetrics]:
        """Forward, backward and update on micro-batches of audio [B, L], or of a stage's input [B, T, C].

        Args:
            micro_batches: equally many for each virtual rank of the share, in the order of the virtual ranks. Each is
                asked for once, in order.
            step: optimizer steps that the run has taken.
            kld_weight: weight of the KL term, or of each module's, by its index.
            measure: also measure `METRICS_ON_REQUEST`.

        Returns:
            Metrics of each trained module: `METRICS`, means over the micro-batches, and `GRAD_NORM`.

        Raises:
            NotFiniteError: a gradient is not finite; weights and optimizer are as before the step.
        """
        passes = self._passes
        outputs: dict[int, list[ModuleOutput]] = {m: [] for m in passes.modules}
        of_module = (
            kld_weight if isinstance(kld_weight, Mapping) else dict.fromkeys(passes.modules, kld_weight)
        )
        loss_scale = self._share.loss_scale(len(micro_batches))
        num_left = len(micro_batches)
        for virtual_rank, own in self._statistics.each_virtual_rank(range(num_left)):
            for number, index in enumerate(own):
                x = micro_batches[index]
                key = DrawKey(seed=self._seed, step=step, rank=virtual_rank, micro_batch=number)
                num_left -= 1
                for m in self._frozen:
                    x = frozen_latents(self._encoder, m, x, key, self._autocast)
                weights = {m: LossWeights(of_module[m], loss_scale) for m in passes.modules}
                outs, latents = passes.forward_backward(x, key, weights, measure=measure, last=not num_left)
                for m, out in zip(passes.modules, outs, strict=True):
                    outputs[m].append(out)
                if self._link is not None:
                    self._link.send(latents, virtual_rank)
                del latents  # the next micro-batch needs the memory
        passes.wait_for_gradients()
        norms = torch.stack([passes.grad_norm(m) for m in passes.modules])
        self._refuse_not_finite(norms, outputs, step)
        if self._clip_norm:
            for m, norm in zip(passes.modules, norms, strict=True):
                nn.utils.clip_grads_with_norm_(self._encoder.module(m).parameters(), self._clip_norm, norm)
        self._optimizer.step()
        passes.zero_grad()
        return [_step_metrics(outs, norm) for outs, norm in zip(outputs.values(), norms, strict=True)]

    def _refuse_not_finite(self, norms: Tensor, outputs: dict[int, list[ModuleOutput]], step: int) -> None:
        """Raise NotFiniteError if a norm is not finite.

        After the all-reduce a gradient is the same on all ranks, so all of them stop at the same step.
        """
        if torch.isfinite(norms).all():
            return
        m = list(outputs)[int((~torch.isfinite(norms)).nonzero()[0])]
        losses = ", ".join(f"{out.loss.item():.4g}" for out in outputs[m])
        raise NotFiniteError(
            f"the gradient of module {m} is not finite at step {step} (loss on this rank: {losses}); the step was "
            "not taken, checkpoints are untouched; lower optim.learning_rate, set optim.clip_norm, or use "
            "train.precision=fp32"
        )


@torch.no_grad()
def frozen_latents(encoder: Encoder, m: int, x: Tensor, key: DrawKey, autocast: torch.dtype | None) -> Tensor:
    """Output of a frozen module for the next one: a sample of its posterior, as in training, without a graph."""
    generator = seeded_generator(x.device, draw_seed(key, m))
    with autocast_to(autocast, x.device):
        return encoder.module(m).represent(x, generator)


def _step_metrics(outputs: list[ModuleOutput], grad_norm: Tensor) -> StepMetrics:
    """Means over a module's micro-batches; NaN for a metric that was not measured."""

    def mean(name: str) -> Tensor:
        values = [getattr(output, name) for output in outputs]
        if values[0] is None:
            return grad_norm.new_tensor(float("nan"))
        return values[0] if len(values) == 1 else torch.stack(values).mean()

    return {**{name: mean(name) for name in METRICS}, GRAD_NORM: grad_norm}
