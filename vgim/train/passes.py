"""A module's forward and backward on a micro-batch, as the step calls for them: kernel by kernel, or as a CUDA graph.

At the published batch of 8 crops, a GPU computes for a quarter of the time in which Python launches the step's 1,500
kernels. A graph launches a module's whole pass at once, from memory to memory: the same buffers for inputs, outputs
and gradients at every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from vgim.config.schema import ObjectiveConfig
from vgim.model.draws import Draws
from vgim.model.module import GreedyModule, ModuleOutput
from vgim.model.precision import autocast_to
from vgim.model.rank_group import RankGroup
from vgim.model.stack import Encoder
from vgim.train.ddp import Reductions, Replicas

WARM_UP_PASSES = 3  # in which libraries choose their algorithms and take their workspaces


class LossWeights(NamedTuple):
    """What a pass multiplies."""

    kld: float
    """The KL term."""
    loss_scale: float
    """The loss, on its way back: this micro-batch's part of the step."""


class Passes(Protocol):
    """The passes of the modules that a phase trains."""

    modules: list[int]

    def forward_backward(
        self, m: int, x: Tensor, draws: Draws, weights: LossWeights, *, measure: bool, last: bool
    ) -> ModuleOutput:
        """Add module m's gradient on a micro-batch; all of the output is detached.

        The output may be overwritten by the next pass of the same module.

        Args:
            measure: also count active units.
            last: whether no micro-batch of the step follows, so that the ranks may share their gradients.
        """

    def wait(self) -> None:
        """Wait until all gradients are the mean over the ranks."""

    def grad_norm(self, m: int) -> Tensor:
        """Norm of module m's gradient, a scalar on the device."""

    def zero_grad(self) -> None:
        """No gradients, for the next step."""


class EagerPasses:
    """Passes kernel by kernel, through DDP where there are other ranks.

    Into compiled replicas, what changes from step to step goes as a tensor, and they count units always, so that each
    is compiled once.
    """

    def __init__(self, encoder: Encoder, replicas: Replicas, autocast: torch.dtype | None) -> None:
        self._replicas, self._autocast, self._objective = replicas, autocast, encoder.objective
        self.modules = list(replicas.modules)
        self._parameters = {m: list(encoder.module(m).parameters()) for m in self.modules}

    def forward_backward(
        self, m: int, x: Tensor, draws: Draws, weights: LossWeights, *, measure: bool, last: bool
    ) -> ModuleOutput:
        kld: float | Tensor = weights.kld
        if self._replicas.compiled:
            draws = draws._replace(window_start=draws.start_on_device())
            kld = _kld_of_all_steps(self._objective, torch.full((), weights.kld, device=x.device))
            measure = True
        with self._replicas.accumulating(m, more=not last):
            with autocast_to(self._autocast, x.device):
                out: ModuleOutput = self._replicas.modules[m](x, draws, kld, measure)
            (out.loss * weights.loss_scale).backward()  # type: ignore[no-untyped-call]
        return out._replace(loss=out.loss.detach())

    def wait(self) -> None:
        self._replicas.wait()

    def grad_norm(self, m: int) -> Tensor:
        return nn.utils.get_total_norm([p.grad for p in self._parameters[m] if p.grad is not None])

    def zero_grad(self) -> None:
        for parameters in self._parameters.values():
            for parameter in parameters:
                parameter.grad = None


class GraphedPasses:
    """Passes as CUDA graphs, captured at their first micro-batch; later ones must have its shape.

    A module's gradient is one tensor of which its parameters' are views, so that the ranks share it in one
    all-reduce, beside the passes of the modules that follow.
    """

    def __init__(
        self, encoder: Encoder, modules: Sequence[int], group: RankGroup, autocast: torch.dtype | None
    ) -> None:
        self.modules = list(modules)
        self._encoder, self._autocast, self._group = encoder, autocast, group
        for parameter in encoder.parameters():
            parameter.grad = None  # zeros of a phase before would still move its modules, by Adam's momentum
        self._gradients = {m: _flat_gradient(encoder.module(m)) for m in self.modules}
        self._captured: dict[int, _Captured] = {}
        # One pool and one stream for all: a stream more is a workspace more.
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(self._gradients[self.modules[0]].device)  # type: ignore[no-untyped-call]
        self._reductions = Reductions(group)

    def forward_backward(
        self, m: int, x: Tensor, draws: Draws, weights: LossWeights, *, measure: bool, last: bool
    ) -> ModuleOutput:
        if m not in self._captured:
            before = self._gradients[m].clone()
            module = self._encoder.module(m)
            self._captured[m] = _Captured(module, x, draws, self._autocast, self._pool, self._stream)
            self._gradients[m].copy_(before)
        out = self._captured[m].replay(x, draws, weights)
        if last and self._group.size > 1:
            self._reductions.start(self._gradients[m])
        return out

    def wait(self) -> None:
        self._reductions.wait()

    def grad_norm(self, m: int) -> Tensor:
        norm: Tensor = torch.linalg.vector_norm(self._gradients[m])
        return norm

    def zero_grad(self) -> None:
        for gradient in self._gradients.values():
            gradient.zero_()


class _Captured:
    """One module's pass as a graph, and the memory that it reads and writes."""

    def __init__(
        self,
        module: GreedyModule,
        x: Tensor,
        draws: Draws,
        autocast: torch.dtype | None,
        pool: Any,
        stream: torch.cuda.Stream,
    ) -> None:
        self._module, self._autocast = module, autocast
        # Both are kept as they are; the module before writes its latents into `x` at every replay.
        self._x = x
        self._draws = draws._replace(window_start=torch.zeros((), dtype=torch.int64, device=x.device))
        self._kld, self._loss_scale = (torch.zeros((), device=x.device) for _ in range(2))
        buffers = [buffer.clone() for buffer in module.buffers()]
        stream.wait_stream(torch.cuda.current_stream(x.device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP_PASSES):
                self._pass()
        torch.cuda.current_stream(x.device).wait_stream(stream)
        for buffer, before in zip(module.buffers(), buffers, strict=True):
            buffer.copy_(before)  # BatchNorm's running statistics saw the batch
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=pool, stream=stream):
            metrics, self._latents = self._pass()
            self._names = tuple(metrics)
            self._values = torch.stack([value.float() for value in metrics.values()])

    def replay(self, x: Tensor, draws: Draws, weights: LossWeights) -> ModuleOutput:
        """The pass on new values."""
        if x.data_ptr() != self._x.data_ptr():
            self._x.copy_(x)
        for ours, given in zip(self._draws, draws, strict=True):
            if isinstance(ours, Tensor):
                _set(ours, given)
        _set(self._kld, weights.kld)
        _set(self._loss_scale, weights.loss_scale)
        self._graph.replay()
        metrics = dict(zip(self._names, self._values.clone().unbind(), strict=True))
        return ModuleOutput(**metrics, latents=self._latents)

    def _pass(self) -> tuple[dict[str, Tensor], Tensor]:
        """The module's metrics, all of them measured, and its latents."""
        kld_weight = _kld_of_all_steps(self._module.objective, self._kld)
        # A cast of a weight that autocast keeps would be made once, outside of the graph or inside.
        with autocast_to(self._autocast, self._x.device, cache_enabled=False):
            out: ModuleOutput = self._module(self._x, self._draws, kld_weight, True)
        (out.loss * self._loss_scale).backward()  # type: ignore[no-untyped-call]
        return out.metrics(), out.latents


def _kld_of_all_steps(objective: ObjectiveConfig, weight: Tensor) -> float | Tensor:
    """The KL term's weight in a pass that is made once for all steps: the number 0 where none of them has the term."""
    return weight if objective.kld_weight > 0 else 0.0


def _set(ours: Tensor, value: Any) -> None:
    if isinstance(value, Tensor):
        ours.copy_(value)
    else:
        ours.fill_(value)


def _flat_gradient(module: nn.Module) -> Tensor:
    """Zeros of which the gradients of the module's parameters are made views, one behind the other."""
    parameters = list(module.parameters())
    flat = torch.zeros(sum(p.numel() for p in parameters), device=parameters[0].device)
    for parameter, part in zip(parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True):
        parameter.grad = part.view_as(parameter)
    return flat


def passes_of(
    encoder: Encoder,
    modules: Sequence[int],
    group: RankGroup,
    *,
    autocast: torch.dtype | None,
    compile_modules: bool = False,
    cuda_graphs: bool = True,
) -> Passes:
    """The passes of `modules` on the encoder's device: as graphs on a GPU, unless told otherwise.

    A pass in which ranks communicate and a compiled module run without graphs.
    """
    device = next(encoder.parameters()).device
    exchanges = group.size > 1 and encoder.ranks_communicate
    if device.type == "cuda" and cuda_graphs and not compile_modules and not exchanges:
        return GraphedPasses(encoder, modules, group, autocast)
    return EagerPasses(encoder, Replicas(encoder, modules, group, compile_modules=compile_modules), autocast)
