"""The passes of all modules on a micro-batch as one CUDA graph, in which each module has a stream of its own.

No gradient runs between greedy modules, so that a module's backward needs not be waited for: the forward passes run one
behind the other, and beside them the backward passes of the modules before. A GRU, whose many small kernels leave most
of a GPU idle, computes while the convolutions before it have their backward.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vgim.config.schema import ObjectiveConfig
from vgim.model.draws import Draws
from vgim.model.module import GreedyModule
from vgim.model.module_output import METRICS, ModuleOutput
from vgim.model.precision import autocast_to
from vgim.model.randomness import DrawKey

WARM_UP_PASSES = 3  # in which libraries choose their algorithms and allocate their workspaces


class LossWeights(NamedTuple):
    """Factors of a pass."""

    kld: float
    """Weight of the KL term in the loss."""
    loss_scale: float
    """Factor on the loss before its backward, such that the mean of the ranks' gradients is that of the step."""


class ModuleStreams:
    """A stream for each module, and the memory of graphs on them.

    A stream has its own workspace of cuBLAS, which two passes at a time must not share.
    """

    def __init__(self, modules: Sequence[int], device: torch.device) -> None:
        self.device = device
        # Later modules first: the chain of forward passes then waits for no backward that others need not.
        self.of_module = {m: _stream(device, priority=-i) for i, m in enumerate(modules)}
        self.capture = _stream(device)
        self.communication = _stream(device)
        self.pool = torch.cuda.graph_pool_handle()


class CapturedPasses:
    """The modules' passes as a graph, and the memory that it reads and writes.

    Args:
        modules: the modules by index, ascending.
        x: a micro-batch of the shape of all later ones.
        key: of its draws.
        autocast: dtype of the forward passes; None for fp32.
        streams: of the modules, and shared with other graphs, of which one runs at a time.
        measure: also measure `METRICS_ON_REQUEST`.
    """

    def __init__(
        self,
        modules: Mapping[int, GreedyModule],
        x: Tensor,
        key: DrawKey,
        autocast: torch.dtype | None,
        streams: ModuleStreams,
        *,
        measure: bool,
    ) -> None:
        self._modules, self._autocast, self._streams, self._measure = modules, autocast, streams, measure
        self._x = x.clone()
        device = streams.device
        self._kld, self._loss_scale = ({m: torch.zeros((), device=device) for m in modules} for _ in range(2))
        self._inputs = _inputs(modules, self._x)
        self._draws = {m: _held(module.draw(self._inputs[m], key)) for m, module in modules.items()}
        buffers = [(buffer, buffer.clone()) for module in modules.values() for buffer in module.buffers()]
        for _ in range(WARM_UP_PASSES):
            self._run(torch.cuda.current_stream(device))
        torch.cuda.synchronize(device)
        for buffer, before in buffers:
            buffer.copy_(before)  # the warm-up passes changed BatchNorm's running statistics
        self._done = {m: _event_in_graph() for m in modules}
        self._graph = torch.cuda.CUDAGraph()
        # Other threads may allocate memory meanwhile: of batches, and of checkpoints.
        with torch.cuda.graph(
            self._graph, pool=streams.pool, stream=streams.capture, capture_error_mode="thread_local"
        ):
            outputs, self.latents = self._run(streams.capture)
            self._names = [tuple(out) for out in outputs]
            self._values = torch.stack([value.float() for out in outputs for value in out.values()])

    def replay(self, x: Tensor, key: DrawKey, weights: Mapping[int, LossWeights]) -> list[ModuleOutput]:
        """Run the passes on new values; the outputs are without latents.

        Raises:
            ValueError: The input has another shape than the captured one.
        """
        if x.shape != self._x.shape:
            raise ValueError(f"input of shape {tuple(x.shape)} for passes of {tuple(self._x.shape)}")
        self._x.copy_(x)
        for m, module in self._modules.items():
            for held, new in zip(self._draws[m], module.draw(self._inputs[m], key), strict=True):
                if isinstance(held, Tensor):
                    _set(held, new)
            self._kld[m].fill_(weights[m].kld)
            self._loss_scale[m].fill_(weights[m].loss_scale)
        self._graph.replay()
        values = iter(self._values.clone().unbind())
        none: dict[str, Any] = dict.fromkeys(METRICS)
        empty = self._x.new_empty(0)
        return [
            ModuleOutput(**(none | {name: next(values) for name in names}), latents=empty)
            for names in self._names
        ]

    @contextmanager
    def after(self, m: int) -> Iterator[None]:
        """A context whose work on the GPU waits for module m's gradient of the last replay, and for no other's."""
        stream = self._streams.communication
        stream.wait_event(self._done[m])
        with torch.cuda.stream(stream):
            yield

    def _run(self, after: torch.cuda.Stream) -> tuple[list[dict[str, Tensor]], Tensor]:
        """Run all passes on the modules' streams after the work of a stream, which then waits for them.

        Returns:
            The metrics of each module, and the latents of the last.
        """
        x, ready = self._x, after.record_event()
        outputs = []
        with ExitStack() as joined:
            for m in self._modules:
                stream = self._streams.of_module[m]
                stream.wait_event(ready)
                # After an error too: a capture that ends before its streams are joined would raise another one.
                joined.callback(after.wait_stream, stream)
                with torch.cuda.stream(stream):
                    out, ready = self._run_module(m, x)
                x = out.latents
                outputs.append(out.metrics())
        return outputs, x

    def _run_module(self, m: int, x: Tensor) -> tuple[ModuleOutput, torch.cuda.Event]:
        """Run module m's passes on the current stream; the event comes after its latents, before its loss."""
        module, draws, stream = self._modules[m], self._draws[m], torch.cuda.current_stream(x.device)
        # With its cache, autocast would cast a weight once for all replays, although the optimizer changes it.
        with autocast_to(self._autocast, x.device, cache_enabled=False):
            kld_weight = constant_kld(module.objective, self._kld[m])
            encoded = module.encode(x, draws, kld_weight)
            ready = stream.record_event()
            out = module.contrast(encoded, draws, kld_weight, self._measure)
        (out.loss * self._loss_scale[m]).backward()  # type: ignore[no-untyped-call]
        if torch.cuda.is_current_stream_capturing():
            self._done[m].record(stream)
        return out, ready


def constant_kld(objective: ObjectiveConfig, weight: Tensor) -> float | Tensor:
    """Weight of the KL term in a pass that is compiled or captured once for all steps.

    It is the tensor `weight`, or the number 0, which leaves the term out, if no step has the term.
    """
    return weight if objective.kld_weight > 0 else 0.0


def _stream(device: torch.device, priority: int = 0) -> torch.cuda.Stream:
    return torch.cuda.Stream(device, priority=priority)  # type: ignore[no-untyped-call]


def _event_in_graph() -> torch.cuda.Event:
    """An event that each replay of a graph records, and that work outside of the graph can wait for."""
    return torch.cuda.Event(external=True)  # type: ignore[no-untyped-call]


def _inputs(modules: Mapping[int, GreedyModule], x: Tensor) -> dict[int, Tensor]:
    """Tensors without memory of the shapes of the modules' inputs, of which draws need no more."""
    found, shape = {}, x.shape
    for m, module in modules.items():
        found[m] = x.new_empty(()).expand(shape)
        shape = torch.Size((len(x), module.num_frames(shape[1]), module.spec.channels))
    return found


def _held(draws: Draws) -> Draws:
    """Draws of which all that changes from step to step is in memory that a graph reads."""
    return draws._replace(window_start=draws.start_on_device().clone())


def _set(held: Tensor, value: Any) -> None:
    if isinstance(value, Tensor):
        held.copy_(value)
    else:
        held.fill_(value)
