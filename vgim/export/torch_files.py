"""An encoder as a file that torch loads without Python code of vgim: TorchScript, and torch.export's format.

torch 2.14 calls TorchScript deprecated, and still writes, loads and runs it, in C++ too (`torch::jit::load`). What
replaces it is torch.export: a graph that `torch.export.load` reads and AOTInductor compiles for C++.

Shapes: B utterances, L samples, T frames, C channels.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vgim.arrays import F32
from vgim.export.check import Run
from vgim.export.vgim_encoder import Module, VgimEncoder, own_name
from vgim.pretrained.exported import ExportedConfig


def portable_encoder(config: ExportedConfig, tensors: dict[str, Tensor]) -> VgimEncoder:
    """The encoder as the module that travels in an exported folder."""
    encoder = VgimEncoder(config.model_dump(mode="json"))
    encoder.load_state_dict({own_name(name): tensor for name, tensor in tensors.items()})
    return encoder.requires_grad_(False)


def torchscript_bytes(encoder: VgimEncoder) -> bytes:
    """The encoder as TorchScript. `forward(audio, lengths=None)` returns a list, as the Python module's does."""
    buffer = io.BytesIO()
    with _without_deprecation():
        torch.jit.save(torch.jit.script(encoder), buffer)
    return buffer.getvalue()


def torchscript_runner(data: bytes) -> Run:
    """Runs TorchScript."""
    with _without_deprecation():
        loaded = torch.jit.load(io.BytesIO(data), map_location="cpu")  # type: ignore[no-untyped-call]
    return _runner(loaded)


def exported_program_bytes(encoder: VgimEncoder, config: ExportedConfig) -> bytes:
    """The encoder as a program of torch.export: audio [B, L] → a list of outputs, for any B and L."""
    length = config.min_samples + 3_200
    program = torch.export.export(
        _Graph(encoder),
        (torch.zeros(2, length),),
        dynamic_shapes=({0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC},),
    )
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def exported_program_runner(data: bytes) -> Run:
    """Runs a program of torch.export."""
    return _runner(torch.export.load(io.BytesIO(data)).module())


def portable_runner(encoder: VgimEncoder) -> Run:
    """Runs the module that travels in an exported folder."""
    return _runner(encoder)


def _runner(network: nn.Module) -> Run:
    @torch.no_grad()
    def run(audio_BL: F32) -> list[F32]:
        return [output_BTC.numpy() for output_BTC in network(torch.from_numpy(audio_BL))]

    return run


class _Graph(nn.Module):
    """The encoder with its GRU as a scan: torch.export would unroll a GRU, and its graph would be of one length."""

    def __init__(self, encoder: VgimEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, audio_BL: Tensor) -> list[Tensor]:
        x_BCT = self.encoder.normalized(audio_BL)[:, None]
        outputs = []
        for module in self.encoder.greedy:
            assert isinstance(module, Module)
            x_BCT, _ = module.latents(x_BCT)
            if module.gru is not None:
                x_BCT = _scan_gru(module.gru, x_BCT.transpose(1, 2)).transpose(1, 2)
            outputs.append(x_BCT.transpose(1, 2))
        return outputs


def _scan_gru(gru: nn.GRU, x_BTC: Tensor) -> Tensor:
    """The output of a GRU of one layer, the contexts of both directions side by side."""
    forward_BTC = _scan_direction(gru, x_BTC, "l0")
    if not gru.bidirectional:
        return forward_BTC
    return torch.cat([forward_BTC, _scan_direction(gru, x_BTC.flip(1), "l0_reverse").flip(1)], -1)


def _scan_direction(gru: nn.GRU, x_BTC: Tensor, end: str) -> Tensor:
    """The contexts of the direction whose parameters' names end so, for frames in the order of its reading."""
    from torch._higher_order_ops.scan import scan

    names = (f"weight_ih_{end}", f"bias_ih_{end}", f"weight_hh_{end}", f"bias_hh_{end}")
    weight_in, bias_in, weight_state, bias_state = (gru.get_parameter(name) for name in names)
    gates_TBX = F.linear(x_BTC, weight_in, bias_in).transpose(0, 1)

    def step(state_BC: Tensor, gates_BX: Tensor) -> tuple[Tensor, Tensor]:
        reset_in, update_in, new_in = gates_BX.chunk(3, -1)
        reset, update, new = F.linear(state_BC, weight_state, bias_state).chunk(3, -1)
        keep = torch.sigmoid(update_in + update)
        candidate = torch.tanh(new_in + torch.sigmoid(reset_in + reset) * new)
        state_BC = candidate + keep * (state_BC - candidate)
        return state_BC, state_BC.clone()

    first_BC = gates_TBX.new_zeros(gates_TBX.shape[1], gru.hidden_size)
    _, out_TBC = scan(step, first_BC, gates_TBX, dim=0)
    out_BTC: Tensor = out_TBC.transpose(0, 1)
    return out_BTC


@contextmanager
def _without_deprecation() -> Iterator[None]:
    with warnings.catch_warnings():
        # Python 3.14 is said to be unsupported; whether its TorchScript computes the same is checked at each export.
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.\w+` is (deprecated|not supported)")
        yield
