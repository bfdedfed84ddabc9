"""An encoder as an ONNX file: any batch and length, the input normalization inside, one output for each module.

The graph is written node by node. torch's own exporter traces a GRU as one step after the other, so that its file would
be of one length.

Shapes: B utterances, L samples, T frames, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from vgim.arrays import F32
from vgim.errors import ConfigError
from vgim.export.check import Run
from vgim.model.audio import SMALLEST_STD
from vgim.model.conv import preemphasized
from vgim.pretrained.exported import ExportedConfig, ModuleRecord, NormalizeRecord

OPSET = 17
"""Version of ONNX's operators: read by onnxruntime from 1.12 on."""
IR_VERSION = 8
"""Version of the file format that goes with the operators."""
INPUT = "audio"
DOC = (
    "audio: mono, 16 kHz, float in [-1, 1]. Utterances of a batch have one length. Give at least one utterance: "
    "onnxruntime ends the process at a convolution of a batch of 0."
)
EPS = 1e-5
"""torch's BatchNorm1d adds this to the variance, and so does the normalization of a posterior."""
MISSING = "needs the packages onnx and onnxruntime; pip install 'vgim[onnx]'"


def onnx_bytes(config: ExportedConfig, tensors: dict[str, F32]) -> bytes:
    """The content of an encoder's ONNX file, checked by onnx.

    Args:
        config: Architecture and normalization.
        tensors: Weights by their names in a checkpoint.

    Raises:
        ConfigError: onnx is not installed.
    """
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise ConfigError(f"--to onnx {MISSING}") from error
    graph = _Graph(tensors)
    x = graph.normalized(config.normalize)
    outputs = []
    for index, module in enumerate(config.modules):
        x, output = graph.module(x, index, module)
        shape = ["batch", output, module.channels_out]
        outputs.append(onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, shape))
    audio = onnx.helper.make_tensor_value_info(INPUT, onnx.TensorProto.FLOAT, ["batch", "samples"])
    model = onnx.helper.make_model(
        onnx.helper.make_graph(graph.nodes, "vgim_encoder", [audio], outputs, graph.constants),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="vgim",
        producer_version=config.versions["vgim"],
        doc_string=DOC,
    )
    onnx.helper.set_model_props(
        model,
        {
            "sample_rate_hz": str(config.sample_rate_hz),
            "min_samples": str(config.min_samples),
            "hop_samples": ",".join(str(module.hop_samples) for module in config.modules),
            "family": config.family,
            "run": config.facts.run,
            "step": str(config.training["step"]),
        },
    )
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString()
    return data


def onnx_runner(data: bytes) -> Run:
    """Runs an ONNX file's content on the CPU.

    Raises:
        ConfigError: onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise ConfigError(f"--to onnx {MISSING}") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return lambda audio_BL: list(session.run(None, {INPUT: audio_BL}))


class _Graph:
    """Nodes and constants of a graph in the making."""

    def __init__(self, tensors: dict[str, F32]) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._tensors = tensors
        self._names: set[str] = set()

    def normalized(self, normalize: NormalizeRecord) -> str:
        """The audio as the first module's input, [B, 1, L]."""
        x = INPUT
        if normalize.mode == "corpus":
            assert normalize.mean is not None
            assert normalize.std is not None
            scale = normalize.std if normalize.std >= SMALLEST_STD else 1.0
            centered = self._node("Sub", [x, self._constant("mean", np.float32(normalize.mean))])
            x = self._node("Div", [centered, self._constant("std", np.float32(scale))])
        elif normalize.mode == "utterance":
            exact = self._node("Cast", [x], to=11)  # to double: sums over minutes lose digits in fp32
            mean = self._node("ReduceMean", [exact], axes=[1], keepdims=1)
            centered = self._node("Sub", [exact, mean])
            square = self._node("Mul", [centered, centered])
            std = self._node("Sqrt", [self._node("ReduceMean", [square], axes=[1], keepdims=1)])
            silent = self._node("Less", [std, self._constant("smallest_std", np.float64(SMALLEST_STD))])
            std = self._node("Where", [silent, self._constant("one", np.float64(1.0)), std])
            x = self._node("Cast", [self._node("Div", [centered, std])], to=1)
        return self._node("Unsqueeze", [x, self._constant("axis_1", np.array([1]))])

    def module(self, x: str, index: int, module: ModuleRecord) -> tuple[str, str]:
        """The nodes of a module; the input [B, C, T] of the next one, and the output [B, T, C]."""
        prefix = f"greedy.{index}"
        for number, conv in enumerate(module.convs):
            layer = f"{prefix}.layers"
            before = int(conv.preemphasis > 0)
            inputs = [x, self._weight(f"{layer}.conv{number}.weight", conv.preemphasis)]
            if not conv.batch_norm:
                inputs.append(self._weight(f"{layer}.conv{number}.bias"))
            x = self._node(
                "Conv",
                inputs,
                kernel_shape=[conv.kernel + before],
                strides=[conv.stride],
                pads=[conv.padding + before, conv.padding],
            )
            if conv.batch_norm:
                names = ("weight", "bias", "running_mean", "running_var")
                parts = [self._weight(f"{layer}.norm{number}.{name}") for name in names]
                x = self._node("BatchNormalization", [x, *parts], epsilon=EPS)
            if conv.relu:
                x = self._node("Relu", [x])
        if module.head != "none":
            name = f"{prefix}.{'posterior' if module.head == 'gaussian' else 'head'}"
            weight = self._tensors[f"{name}.weight"][
                : module.channels
            ]  # of a posterior, the rows that make μ
            bias = self._tensors[f"{name}.bias"][: module.channels]
            if module.posterior_norm:
                norm = f"{prefix}.posterior_norm.running"
                signal = np.maximum(1 - self._tensors[f"{norm}_noise"], EPS**2)
                scale = np.sqrt(signal / (self._tensors[f"{norm}_var"] + EPS))
                weight, bias = weight * scale[:, None], (bias - self._tensors[f"{norm}_mean"]) * scale
            rows = self._node("Transpose", [x], perm=[0, 2, 1])
            product = self._node("MatMul", [rows, self._constant(f"{name}.weight", weight.T)])
            x = self._node("Add", [product, self._constant(f"{name}.bias", bias)])
            x = self._node("Transpose", [x], perm=[0, 2, 1])
        if module.gru_units:
            x = self._gru(x, prefix, module)
        output = f"module_{index}"
        self._node("Transpose", [x], output, perm=[0, 2, 1])
        return x, output

    def _gru(self, x: str, prefix: str, module: ModuleRecord) -> str:
        """A GRU over frames [B, C, T] → [B, C_out, T], the contexts of both directions side by side."""

        def gates(name: str) -> F32:
            # torch has the gates in the order reset, update, new; ONNX as update, reset, new.
            reset, update, new = np.split(self._tensors[f"{prefix}.gru.{name}"], 3)
            return np.concatenate([update, reset, new])

        ends = ("l0", "l0_reverse") if module.gru_bidirectional else ("l0",)
        biases = [np.concatenate([gates(f"bias_ih_{end}"), gates(f"bias_hh_{end}")]) for end in ends]
        inputs = [
            self._node("Transpose", [x], perm=[2, 0, 1]),
            self._constant(f"{prefix}.gru.input", np.stack([gates(f"weight_ih_{end}") for end in ends])),
            self._constant(f"{prefix}.gru.recurrence", np.stack([gates(f"weight_hh_{end}") for end in ends])),
            self._constant(f"{prefix}.gru.bias", np.stack(biases)),
        ]
        out_TDBC = self._node(
            "GRU",
            inputs,
            hidden_size=module.gru_units,
            direction="bidirectional" if module.gru_bidirectional else "forward",
            linear_before_reset=1,
        )
        out_BDCT = self._node("Transpose", [out_TDBC], perm=[2, 1, 3, 0])
        shape = self._constant(f"{prefix}.gru.shape", np.array([0, module.channels_out, -1]))
        return self._node("Reshape", [out_BDCT, shape])

    def _weight(self, name: str, preemphasis: float = 0.0) -> str:
        """A tensor of the encoder; with pre-emphasis, the weight of a convolution and the filter before it in one."""
        tensor = self._tensors[name]
        if preemphasis:
            tensor = preemphasized(torch.from_numpy(tensor), preemphasis).numpy()
        return self._constant(name, tensor)

    def _constant(self, name: str, value: Any) -> str:
        import onnx

        if name not in self._names:
            self._names.add(name)
            self.constants.append(onnx.numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def _node(self, kind: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        import onnx

        output = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output
