"""A module's pass on a micro-batch, its forward and backward: kernel by kernel, or as a CUDA graph.

At the published batch of 8 crops, a GPU computes for a quarter of the time in which Python launches the step's 1,500
kernels. A graph launches a module's whole pass at once. It reads and writes the same memory at every step: buffers
for inputs, outputs and gradients.
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
from vgim.training.ddp import DataParallelModules, PendingAllReduces

WARM_UP_PASSES = 3  # in which libraries choose their algorithms and allocate their workspaces


class LossWeights(NamedTuple):
    """Factors of a pass."""

    kld: float
    """Weight of the KL term in the loss."""
    loss_scale: float
    """Factor on the loss before its backward, such that the mean of the ranks' gradients is that of the step."""


class Passes(Protocol):
    """The passes of the modules that this rank trains in a phase."""

    modules: list[int]
    """Indices of the modules, ascending."""

    def forward_backward(
        self, m: int, x: Tensor, draws: Draws, weights: LossWeights, *, measure: bool, last: bool
    ) -> ModuleOutput:
        """Add module m's gradient on a micro-batch.

        Args:
            measure: also measure `METRICS_ON_REQUEST`.
            last: whether this is the step's last micro-batch, after which the ranks average their gradients.

        Returns:
            The output, all of it detached. The module's next pass may overwrite it.
        """

    def wait_for_gradients(self) -> None:
        """Wait until all gradients are the mean over the ranks."""

    def grad_norm(self, m: int) -> Tensor:
        """Norm of module m's gradient, a scalar on the device."""

    def zero_grad(self) -> None:
        """Clear the gradients for the next step."""


class EagerPasses:
    """Passes kernel by kernel, through DDP if several ranks train the modules.

    A compiled module is compiled once: numbers that change from step to step are passed to it as tensors, and it
    always measures all metrics.
    """

    def __init__(
        self, encoder: Encoder, data_parallel: DataParallelModules, autocast: torch.dtype | None
    ) -> None:
        self._data_parallel, self._autocast = data_parallel, autocast
        self._objective = encoder.objective
        self.modules = list(data_parallel.modules)
        self._parameters = {m: list(encoder.module(m).parameters()) for m in self.modules}

    def forward_backward(
        self, m: int, x: Tensor, draws: Draws, weights: LossWeights, *, measure: bool, last: bool
    ) -> ModuleOutput:
        kld: float | Tensor = weights.kld
        if self._data_parallel.compiled:
            draws = draws._replace(window_start=draws.start_on_device())
            kld = _constant_kld(self._objective, torch.full((), weights.kld, device=x.device))
            measure = True
        with self._data_parallel.gradient_context(m, last=last):
            with autocast_to(self._autocast, x.device):
                out: ModuleOutput = self._data_parallel.modules[m](x, draws, kld, measure)
            (out.loss * weights.loss_scale).backward()  # type: ignore[no-untyped-call]
        return out._replace(loss=out.loss.detach())

    def wait_for_gradients(self) -> None:
        self._data_parallel.wait_for_gradients()

    def grad_norm(self, m: int) -> Tensor:
        return nn.utils.get_total_norm([p.grad for p in self._parameters[m] if p.grad is not None])

    def zero_grad(self) -> None:
        for parameters in self._parameters.values():
            for parameter in parameters:
                parameter.grad = None


class GraphedPasses:
    """Passes as CUDA graphs, captured at the first micro-batch, whose shape all later ones must have.

    A module's gradient is one tensor, of which the gradients of its parameters are views. The ranks average it in
    one all-reduce, beside the passes of the modules that follow.
    """

    def __init__(
        self, encoder: Encoder, modules: Sequence[int], group: RankGroup, autocast: torch.dtype | None
    ) -> None:
        self.modules = list(modules)
        self._encoder, self._autocast, self._group = encoder, autocast, group
        for parameter in encoder.parameters():
            parameter.grad = (
                None  # with gradients of zero, Adam's momentum would move an earlier phase's modules
            )
        self._gradients = {m: _flat_gradient(encoder.module(m)) for m in self.modules}
        self._captured: dict[int, _CapturedPass] = {}
        # One pool and one stream for all modules: every further stream allocates a workspace.
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(self._gradients[self.modules[0]].device)  # type: ignore[no-untyped-call]
        self._all_reduces = PendingAllReduces(group)

    def forward_backward(
        self, m: int, x: Tensor, draws: Draws, weights: LossWeights, *, measure: bool, last: bool
    ) -> ModuleOutput:
        if m not in self._captured:
            before = self._gradients[m].clone()
            module = self._encoder.module(m)
            self._captured[m] = _CapturedPass(module, x, draws, self._autocast, self._pool, self._stream)
            self._gradients[m].copy_(before)
        out = self._captured[m].replay(x, draws, weights)
        if last and self._group.size > 1:
            self._all_reduces.start_mean(self._gradients[m])
        return out

    def wait_for_gradients(self) -> None:
        self._all_reduces.wait()

    def grad_norm(self, m: int) -> Tensor:
        norm: Tensor = torch.linalg.vector_norm(self._gradients[m])
        return norm

    def zero_grad(self) -> None:
        for gradient in self._gradients.values():
            gradient.zero_()


class _CapturedPass:
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
        # The graph reads these very tensors; the module before writes its latents into `x` at every replay.
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
            buffer.copy_(before)  # the warm-up passes changed BatchNorm's running statistics
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=pool, stream=stream):
            metrics, self._latents = self._pass()
            self._names = tuple(metrics)
            self._values = torch.stack([value.float() for value in metrics.values()])

    def replay(self, x: Tensor, draws: Draws, weights: LossWeights) -> ModuleOutput:
        """Run the pass on new values."""
        if x.data_ptr() != self._x.data_ptr():
            self._x.copy_(x)
        for held, new in zip(self._draws, draws, strict=True):
            if isinstance(held, Tensor):
                _set(held, new)
        _set(self._kld, weights.kld)
        _set(self._loss_scale, weights.loss_scale)
        self._graph.replay()
        metrics = dict(zip(self._names, self._values.clone().unbind(), strict=True))
        return ModuleOutput(**metrics, latents=self._latents)

    def _pass(self) -> tuple[dict[str, Tensor], Tensor]:
        """Run forward and backward; returns the module's metrics, all of them measured, and its latents."""
        kld_weight = _constant_kld(self._module.objective, self._kld)
        # With its cache, autocast would cast a weight once for all replays, although the optimizer changes it.
        with autocast_to(self._autocast, self._x.device, cache_enabled=False):
            out: ModuleOutput = self._module(self._x, self._draws, kld_weight, True)
        (out.loss * self._loss_scale).backward()  # type: ignore[no-untyped-call]
        return out.metrics(), out.latents


def _constant_kld(objective: ObjectiveConfig, weight: Tensor) -> float | Tensor:
    """Weight of the KL term in a pass that is compiled or captured once for all steps.

    It is the tensor `weight`, or the number 0, which leaves the term out, if no step has the term.
    """
    return weight if objective.kld_weight > 0 else 0.0


def _set(held: Tensor, value: Any) -> None:
    if isinstance(value, Tensor):
        held.copy_(value)
    else:
        held.fill_(value)


def _flat_gradient(module: nn.Module) -> Tensor:
    """Make the gradients of a module's parameters views of one tensor of zeros, which is returned."""
    parameters = list(module.parameters())
    flat = torch.zeros(sum(p.numel() for p in parameters), device=parameters[0].device)
    for parameter, part in zip(parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True):
        parameter.grad = part.view_as(parameter)
    return flat


def make_passes(
    encoder: Encoder,
    modules: Sequence[int],
    group: RankGroup,
    *,
    autocast: torch.dtype | None,
    compile_modules: bool = False,
    cuda_graphs: bool = True,
) -> Passes:
    """Passes of an encoder's modules on its device.

    They are CUDA graphs on a GPU if `cuda_graphs`. Compiled modules, and passes in which ranks exchange tensors, run
    kernel by kernel.

    Args:
        modules: indices of the modules that are trained, ascending.
        group: the ranks that train them together.
        autocast: dtype of the forward passes; None for fp32.
    """
    device = next(encoder.parameters()).device
    exchanges = group.size > 1 and encoder.ranks_communicate
    if device.type == "cuda" and cuda_graphs and not compile_modules and not exchanges:
        return GraphedPasses(encoder, modules, group, autocast)
    data_parallel = DataParallelModules(encoder, modules, group, compile_modules=compile_modules)
    return EagerPasses(encoder, data_parallel, autocast)
