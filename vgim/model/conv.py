"""The convolutions of one module: Conv1d, optional BatchNorm, optional ReLU. Frames stay rows throughout.

Shapes: B crops, L samples, T frames, C channels in, D channels out, K kernel, R rows (frames of all crops).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vgim.config.model_sections import NormKind
from vgim.model.kernels import fused
from vgim.model.kernels.blocked import conv_of_padded, pad_frames, padded_relu
from vgim.model.specs import ConvSpec
from vgim.model.sync import RankBatchNorm

ALL = slice(None)
ROW_VALUES = 16
"""Rows of audio are padded to a multiple of this many values, 32 bytes of bf16."""


class ConvStack(nn.Module):
    """Convolutions `conv0`, `conv1`, … each followed by `norm0`, `norm1`, … (unless "none") and ReLU, or by neither.

    A convolution before a BatchNorm has no bias, because the normalization would subtract it again. Weights of a model
    with such a bias lose nothing: the bias moves into the running mean (`running_mean - bias`), and in training mode
    it has no effect.

    Args:
        specs: Sizes of each convolution.
        channels_in: Channels of the input.
        channels: Channels of each convolution.
        norm: Kind of BatchNorm.
        relus: Whether BatchNorm and ReLU follow each convolution; empty for all.
        preemphasis: Coefficient of the filter through which the first convolution reads its input; 0 for none.
    """

    def __init__(
        self,
        specs: Sequence[ConvSpec],
        channels_in: int,
        channels: int,
        norm: NormKind,
        relus: Sequence[bool] = (),
        preemphasis: float = 0.0,
    ) -> None:
        super().__init__()
        self.specs = tuple(specs)
        self.preemphasis = preemphasis
        self.norm = norm
        self.relus = tuple(relus) or (True,) * len(self.specs)
        for i, (spec, relu) in enumerate(zip(self.specs, self.relus, strict=True)):
            kind = norm if relu else "none"
            conv = nn.Conv1d(channels_in if i == 0 else channels, channels, *spec, bias=kind == "none")
            self.add_module(f"conv{i}", conv)
            if kind == "local":
                self.add_module(f"norm{i}", nn.BatchNorm1d(channels))
            elif kind == "sync":
                self.add_module(f"norm{i}", RankBatchNorm(channels))

    def num_frames(self, num_in: int) -> int:
        """Frames of the output for `num_in` frames or samples of input; 0 if the input is too short."""
        for spec in self.specs:
            num_in = spec.num_frames(num_in)
        return num_in

    def forward(self, x_BTC: Tensor, layers: slice = ALL) -> Tensor:
        """Frames [B, T, channels_in] → [B, num_frames(T), channels], by all layers or by consecutive ones."""
        if x_BTC.device.type == "cpu" and not torch.is_autocast_enabled("cpu"):
            return self._in_blocks(x_BTC, layers)
        return self._channels_last(x_BTC, layers)

    def _channels_last(self, x_BTC: Tensor, layers: slice = ALL) -> Tensor:
        x_BTC = self._with_sample_before(x_BTC, layers)
        for i in range(len(self.specs))[layers]:
            x_BTC = conv_channels_last(x_BTC, *self._conv(i), self._spec(i))
            if self.relus[i]:
                x_BTC = self._normalized_relu(i, x_BTC.flatten(0, 1)).view(x_BTC.shape)
        return x_BTC

    def _in_blocks(self, x_BTC: Tensor, layers: slice = ALL) -> Tensor:
        x_BTC = self._with_sample_before(x_BTC, layers)
        num_frames = x_BTC.shape[1]
        chosen = range(len(self.specs))[layers]
        for i in chosen:
            spec = self._spec(i)
            num_frames = spec.num_frames(num_frames)
            num_padded = spec.num_padded(num_frames)
            if i == chosen.start or not self.relus[i - 1]:
                x_BTC = pad_frames(x_BTC, spec.padding, num_padded)
            else:
                x_BTC = padded_relu(x_BTC, spec.padding, num_padded)
            y_BTC = conv_of_padded(x_BTC, *self._conv(i), spec.stride)
            x_RC = self._normalize(i, y_BTC.flatten(0, 1))
            x_BTC = x_RC.view(y_BTC.shape)
        return self._relu(x_RC).view(x_BTC.shape) if self.relus[chosen[-1]] else x_BTC

    def _with_sample_before(self, x_BTC: Tensor, layers: slice) -> Tensor:
        """The input with the silence before its first sample, if the first of the layers reads through the filter."""
        is_filtered = self.preemphasis > 0 and 0 in range(len(self.specs))[layers]
        return F.pad(x_BTC, (0, 0, 1, 0)) if is_filtered else x_BTC

    def _spec(self, i: int) -> ConvSpec:
        """Sizes of layer i as `_conv` has it, for input from `_with_sample_before`."""
        spec = self.specs[i]
        return spec._replace(kernel=spec.kernel + 1) if i == 0 and self.preemphasis else spec

    def _conv(self, i: int) -> tuple[Tensor, Tensor | None]:
        """Layer i's weight [D, C, K] and bias; the first one's is the convolution and the filter in one."""
        conv = self.get_submodule(f"conv{i}")
        assert isinstance(conv, nn.Conv1d)
        weight_DCK = conv.weight
        if i == 0 and self.preemphasis:
            weight_DCK = preemphasized(weight_DCK, self.preemphasis)
        return weight_DCK, conv.bias

    def _norm(self, i: int) -> nn.BatchNorm1d | None:
        """Layer i's BatchNorm, if it has one."""
        norm = getattr(self, f"norm{i}", None)
        assert norm is None or isinstance(norm, nn.BatchNorm1d)
        return norm

    def _normalize(self, i: int, x_RC: Tensor) -> Tensor:
        """Rows, all frames of all crops, after layer i's BatchNorm, if it has one."""
        norm = self._norm(i)
        if norm is None:
            return x_RC
        normed_RC: Tensor = norm(x_RC)
        return normed_RC

    def _normalized_relu(self, i: int, x_RC: Tensor) -> Tensor:
        """Rows, all frames of all crops, after layer i's BatchNorm, if it has one, and ReLU."""
        norm = self._norm(i)
        if norm is not None and fused.normalizes(norm, x_RC):
            return fused.batch_norm_relu(norm, x_RC)
        return self._relu(self._normalize(i, x_RC))

    def _relu(self, x_RC: Tensor) -> Tensor:
        # In place where a BatchNorm made the rows, whose backward does not read them. Without one they are a view of
        # the convolution's output, and autograd copies the gradient of a view that changed three times.
        return F.relu(x_RC, inplace=self.norm != "none")


def preemphasized(weight_DCK: Tensor, a: float) -> Tensor:
    """Weights [D, C, K + 1] that make of a signal what `weight_DCK` makes of the pre-emphasized signal.

    The filter is y[t] = (x[t] − a·x[t − 1]) / √(1 − a²), which leaves the variance of a first-order autoregressive
    process of coefficient `a` as it is.
    """
    return (F.pad(weight_DCK, (1, 0)) - a * F.pad(weight_DCK, (0, 1))) / math.sqrt(1 - a * a)


def conv_channels_last(x_BTC: Tensor, weight_DCK: Tensor, bias_D: Tensor | None, spec: ConvSpec) -> Tensor:
    """`F.conv1d` of frames as rows, by the library's convolution: → [B, T, D].

    Rows of frames are an image of height 1 in the channels-last layout: they need no transposition, and a GPU has its
    fastest kernels for them. Audio has one channel, for which torch cannot tell the layouts apart and would transpose
    the output. Windows of audio, ten values wide, are multiplied as rows instead.
    """
    if x_BTC.shape[2] == 1:
        # Windows are widened, and the weight padded with zeros, so that rows start where a GPU can load them whole.
        width = -(-spec.kernel // ROW_VALUES) * ROW_VALUES
        num_frames = spec.num_frames(x_BTC.shape[1])
        behind = (num_frames - 1) * spec.stride + width - spec.padding - x_BTC.shape[1]
        windows_BTK = F.pad(x_BTC[..., 0], (spec.padding, behind)).unfold(1, width, spec.stride)
        return F.linear(windows_BTK, F.pad(weight_DCK[:, 0], (0, width - spec.kernel)), bias_D)
    y_BD1T = F.conv2d(
        x_BTC.mT.unsqueeze(2), weight_DCK.unsqueeze(2), bias_D, (1, spec.stride), (0, spec.padding)
    )
    return y_BD1T.squeeze(2).mT
