"""The modules' passes on a micro-batch, forward and backward: kernel by kernel, or all as one CUDA graph.

At the published batch of 8 crops, a GPU computes for a quarter of the time in which Python launches the step's kernels.
A graph launches all of them at once. It reads and writes the same memory at every step: buffers for inputs, outputs and
gradients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from vgim.model.draws import Draws
from vgim.model.module_output import ModuleOutput
from vgim.model.precision import autocast_to
from vgim.model.randomness import DrawKey
from vgim.model.rank_group import RankGroup
from vgim.model.stack import Encoder
from vgim.training.ddp import DataParallelModules, PendingAllReduces
from vgim.training.graphs import CapturedPasses, LossWeights, ModuleStreams, constant_kld


class Passes(Protocol):
    """The passes of the modules that this rank trains in a phase."""

    modules: list[int]
    """Indices of the modules, ascending."""

    def forward_backward(
        self, x: Tensor, key: DrawKey, weights: Mapping[int, LossWeights], *, measure: bool, last: bool
    ) -> tuple[list[ModuleOutput], Tensor]:
        """Add the modules' gradients on a micro-batch.

        Args:
            x: input of the first module.
            key: of the micro-batch's draws.
            weights: factors of each module's pass, by its index.
            measure: also measure `METRICS_ON_REQUEST`.
            last: whether this is the step's last micro-batch, after which the ranks average their gradients.

        Returns:
            The outputs of the modules, detached and without latents, and the latents of the last one. The next
            micro-batch may overwrite them.
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
        self._encoder, self._data_parallel, self._autocast = encoder, data_parallel, autocast
        self.modules = list(data_parallel.modules)
        self._parameters = {m: list(encoder.module(m).parameters()) for m in self.modules}

    def forward_backward(
        self, x: Tensor, key: DrawKey, weights: Mapping[int, LossWeights], *, measure: bool, last: bool
    ) -> tuple[list[ModuleOutput], Tensor]:
        outputs = []
        for m in self.modules:
            draws = self._encoder.module(m).draw(x, key)
            out = self.run_module(m, x, draws, weights[m], measure=measure, last=last)
            x = out.latents
            outputs.append(out._replace(latents=x.new_empty(0)))
        return outputs, x

    def run_module(
        self, m: int, x: Tensor, draws: Draws, weights: LossWeights, *, measure: bool, last: bool
    ) -> ModuleOutput:
        """Add module m's gradient; see `Passes.forward_backward`."""
        kld: float | Tensor = weights.kld
        if self._data_parallel.compiled:
            draws = draws._replace(window_start=draws.start_on_device())
            kld = constant_kld(self._encoder.objective, torch.full((), weights.kld, device=x.device))
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
    """Passes as a CUDA graph, captured at the first micro-batch, whose shape all later ones must have.

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
        self._captured: dict[bool, CapturedPasses] = {}
        """By whether they measure `METRICS_ON_REQUEST`."""
        device = self._gradients[self.modules[0]].device
        # One set of streams and one pool for all graphs: every further stream allocates a workspace.
        self._streams = ModuleStreams(self.modules, device)
        self._all_reduces = PendingAllReduces(group)

    def forward_backward(
        self, x: Tensor, key: DrawKey, weights: Mapping[int, LossWeights], *, measure: bool, last: bool
    ) -> tuple[list[ModuleOutput], Tensor]:
        if measure not in self._captured:
            modules = {m: self._encoder.module(m) for m in self.modules}
            before = {m: gradient.clone() for m, gradient in self._gradients.items()}
            self._captured[measure] = CapturedPasses(
                modules, x, key, self._autocast, self._streams, measure=measure
            )
            for m, gradient in self._gradients.items():
                gradient.copy_(before[m])
        passes = self._captured[measure]
        outputs = passes.replay(x, key, weights)
        if last and self._group.size > 1:
            for m in self.modules:
                with passes.after(m):
                    self._all_reduces.start_mean(self._gradients[m])
        return outputs, passes.latents

    def wait_for_gradients(self) -> None:
        self._all_reduces.wait()

    def grad_norm(self, m: int) -> Tensor:
        norm: Tensor = torch.linalg.vector_norm(self._gradients[m])
        return norm

    def zero_grad(self) -> None:
        for gradient in self._gradients.values():
            gradient.zero_()


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
    if run_as_graph(device.type, exchanges, compile_modules=compile_modules, cuda_graphs=cuda_graphs):
        return GraphedPasses(encoder, modules, group, autocast)
    data_parallel = DataParallelModules(encoder, modules, group, compile_modules=compile_modules)
    return EagerPasses(encoder, data_parallel, autocast)


def run_as_graph(device_type: str, exchanges: bool, *, compile_modules: bool, cuda_graphs: bool) -> bool:
    """Whether passes are one CUDA graph; see `make_passes`.

    Args:
        device_type: `cuda` or another.
        exchanges: whether ranks exchange tensors in a pass.
    """
    return device_type == "cuda" and cuda_graphs and not compile_modules and not exchanges
