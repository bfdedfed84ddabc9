"""A trained vgim encoder from its exported folder, with torch and safetensors alone. This file travels in the folder.

    from vgim_encoder import VgimEncoder

    encoder = VgimEncoder.from_folder("path/to/the/folder")
    outputs = encoder(audio)                    # audio [B, L], 16 kHz mono in [-1, 1]; outputs[m] is [B, T, C]
    outputs = encoder(padded, lengths)          # utterances of several lengths, zero-padded to one
    frames = encoder.num_frames(lengths)        # frames of each module's output, [B] each

`UpstreamExpert` is the same encoder in the shape of an s3prl upstream.

Shapes: B utterances, L samples, T frames, C channels.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, Optional

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

FORMAT = "vgim-encoder"
FORMAT_VERSION = 1
CONFIG, WEIGHTS = "config.json", "model.safetensors"
SAMPLE_RATE_HZ = 16_000


class Layer(nn.Module):
    """A convolution, followed by BatchNorm and ReLU where the encoder has them.

    Args:
        spec: Its entry in `config.json`.
        channels_in: Channels of the input.
        channels: Channels of the output.
    """

    def __init__(self, spec: dict[str, Any], channels_in: int, channels: int) -> None:
        super().__init__()
        self.kernel: int = spec["kernel"]
        self.stride: int = spec["stride"]
        self.padding: int = spec["padding"]
        self.relu: bool = spec["relu"]
        self.preemphasis: float = spec.get("preemphasis", 0.0)
        self.conv = nn.Conv1d(
            channels_in, channels, self.kernel, self.stride, self.padding, bias=not spec["batch_norm"]
        )
        self.norm = nn.BatchNorm1d(channels) if spec["batch_norm"] else nn.Identity()

    def num_frames(self, lengths: Tensor) -> Tensor:
        """Frames of the output for inputs of these lengths, int64 [B]; 0 where an input is too short."""
        frames = torch.div(lengths + 2 * self.padding - self.kernel, self.stride, rounding_mode="floor") + 1
        return frames.clamp(min=0)

    def forward(self, x_BCT: Tensor) -> Tensor:
        """Frames [B, channels_in, T] → [B, channels, frames]."""
        if self.preemphasis > 0:
            # The convolution and the filter (x[t] - a x[t - 1]) / sqrt(1 - a^2) in one; before the audio is silence.
            weight = nn.functional.pad(self.conv.weight, [1, 0])
            weight = weight - self.preemphasis * nn.functional.pad(self.conv.weight, [0, 1])
            weight = weight / (1 - self.preemphasis * self.preemphasis) ** 0.5
            x_BCT = nn.functional.pad(x_BCT, [1, 0])
            y_BCT = nn.functional.conv1d(x_BCT, weight, self.conv.bias, [self.stride], [self.padding])
        else:
            y_BCT = self.conv(x_BCT)
        y_BCT = self.norm(y_BCT)
        return torch.relu(y_BCT) if self.relu else y_BCT


class PosteriorNorm(nn.Module):
    """Shift and scale of each channel of μ by the moments of what the encoder was trained on.

    Args:
        channels: Channels of μ.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.eps = 1e-5
        self.running_mean: Tensor
        self.running_var: Tensor
        self.running_noise: Tensor
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.register_buffer("running_noise", torch.full((channels,), 0.5))
        self.register_buffer("num_batches_tracked", torch.zeros((), dtype=torch.long))

    def forward(self, mu_BTC: Tensor) -> Tensor:
        """Means of posteriors whose mixture has mean 0 and variance 1, of which `running_noise` is σ²'s part."""
        signal_C = (1 - self.running_noise).clamp(min=self.eps**2)  # rounding may leave less than none
        scale_C = torch.sqrt(signal_C / (self.running_var + self.eps))
        return (mu_BTC - self.running_mean) * scale_C


class Module(nn.Module):
    """One greedy module: convolutions, a linear head or a Gaussian posterior, a GRU; each where the encoder has it.

    Args:
        spec: Its entry in `config.json`.
    """

    def __init__(self, spec: dict[str, Any]) -> None:
        super().__init__()
        self.channels: int = spec["channels"]
        self.gaussian: bool = spec["head"] == "gaussian"
        self.layers = nn.ModuleList()
        channels_in: int = spec["channels_in"]
        for layer in spec["convs"]:
            self.layers.append(Layer(layer, channels_in, self.channels))
            channels_in = self.channels
        width = {"none": 0, "linear": self.channels, "gaussian": 2 * self.channels}[spec["head"]]
        self.head = nn.Linear(self.channels, width) if width else None
        self.posterior_norm = None
        if spec.get("posterior_norm", False):
            self.posterior_norm = PosteriorNorm(self.channels)
        self.bidirectional: bool = spec.get("gru_bidirectional", False)
        self.gru = None
        if spec["gru_units"]:
            self.gru = nn.GRU(
                self.channels, spec["gru_units"], batch_first=True, bidirectional=self.bidirectional
            )
        self.channels_out: int = spec["gru_units"] * (1 + self.bidirectional) or self.channels

    def num_frames(self, lengths: Tensor) -> Tensor:
        """Frames of the output for inputs of these lengths, int64 [B]."""
        for layer in self.layers:
            lengths = layer.num_frames(lengths)  # type: ignore[operator]
        return lengths

    def latents(
        self,
        x_BCT: Tensor,
        lengths: Optional[Tensor] = None,  # noqa: UP045 (TorchScript)
    ) -> tuple[Tensor, Optional[Tensor]]:  # noqa: UP045
        """μ of the posterior, or the latents without one, before the GRU: [B, channels, T]; and each row's frames."""
        for layer in self.layers:
            x_BCT = layer(x_BCT)
            if lengths is not None:
                lengths = layer.num_frames(lengths)  # type: ignore[operator]
                x_BCT = zero_behind(x_BCT, lengths)
        if self.head is not None:
            y_BTC = self.head(x_BCT.transpose(1, 2))
            if self.gaussian:
                y_BTC = y_BTC[:, :, : self.channels]
            if self.posterior_norm is not None:
                y_BTC = self.posterior_norm(y_BTC)
            x_BCT = y_BTC.transpose(1, 2)
        return x_BCT, lengths

    def forward(
        self,
        x_BCT: Tensor,
        lengths: Optional[Tensor] = None,  # noqa: UP045
    ) -> tuple[Tensor, Optional[Tensor]]:  # noqa: UP045
        """The module's output [B, channels, T], 0 behind each row's frames; and their numbers, None without lengths.

        The output is the latents, or the GRU's context.
        """
        x_BCT, frames = self.latents(x_BCT, lengths)
        if self.gru is not None:
            z_BTC = x_BCT.transpose(1, 2)
            if frames is not None and self.bidirectional:
                # The second direction begins at each row's own end.
                ends = frames.clamp(min=1).cpu()
                packed = pack_padded_sequence(z_BTC, ends, batch_first=True, enforce_sorted=False)
                packed = self.gru(packed)[0]
                c_BTC = pad_packed_sequence(packed, batch_first=True, total_length=z_BTC.size(1))[0]
            else:
                c_BTC = self.gru(z_BTC)[0]
            x_BCT = c_BTC.transpose(1, 2)
        if frames is not None:
            x_BCT = zero_behind(x_BCT, frames)
        return x_BCT, frames


class VgimEncoder(nn.Module):
    """All modules of a trained encoder. The input normalization of its training is inside.

    It stays in evaluation mode, because BatchNorm's statistics are part of what was trained; gradients flow.

    Args:
        config: The content of `config.json`.

    Attributes:
        min_samples: Fewest samples of which every module makes a frame.
        hop_samples: Samples from one frame of each module's output to the next.
        channels: Channels of each module's output.

    Raises:
        ValueError: The config is of another format.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        if (config.get("format"), config.get("format_version")) != (FORMAT, FORMAT_VERSION):
            raise ValueError(
                f"the config's format is {config.get('format')!r} {config.get('format_version')!r}, not "
                f"{FORMAT!r} {FORMAT_VERSION}; use the vgim_encoder.py of the same folder"
            )
        self.normalize: str = config["normalize"]["mode"]
        self.mean: float = config["normalize"]["mean"] or 0.0
        self.std: float = config["normalize"]["std"] or 1.0
        self.pcm16_scale, self.smallest_std = 32_768.0, 1e-5  # not divided by less: that is silence
        if self.std < self.smallest_std:
            self.std = 1.0
        self.min_samples: int = config["min_samples"]
        self.hop_samples = [spec["hop_samples"] for spec in config["modules"]]
        modules = [Module(spec) for spec in config["modules"]]
        self.channels = [module.channels_out for module in modules]
        self.greedy = nn.ModuleList(modules)
        self.eval()

    @classmethod
    def from_folder(cls, folder: str | os.PathLike[str]) -> VgimEncoder:
        """Load an exported folder: `config.json` and `model.safetensors`. Nothing in them is executed.

        Raises:
            ValueError: The folder is of another format.
            RuntimeError: The weights are not those of the config.
        """
        encoder = cls(json.loads(Path(folder, CONFIG).read_text("utf-8")))
        tensors = safetensors.torch.load_file(Path(folder, WEIGHTS))
        encoder.load_state_dict({own_name(name): tensor for name, tensor in tensors.items()})
        return encoder.requires_grad_(False)

    def train(self, mode: bool = True) -> VgimEncoder:
        """Stays in evaluation mode."""
        return super().train(False)

    def num_frames(self, lengths: Tensor) -> list[Tensor]:
        """Frames of each module's output, int64 [B] each, for utterances of `lengths` samples, int64 [B]."""
        frames: list[Tensor] = []
        for module in self.greedy:
            lengths = module.num_frames(lengths)  # type: ignore[operator]
            frames.append(lengths)
        return frames

    def forward(self, audio: Tensor, lengths: Optional[Tensor] = None) -> list[Tensor]:  # noqa: UP045
        """The output of every module, [B, T, C] each: μ, latents, or the GRU's context.

        Args:
            audio: 16 kHz mono [B, L], float in [-1, 1] or int16 PCM.
            lengths: Samples of each utterance, int64 [B], if they are padded behind. Frames are then those of each
                utterance alone, and 0 behind its last; without lengths all L samples count.

        Raises:
            ValueError: The audio has another shape, or is too short for a frame of every module.
        """
        if audio.dim() != 2 or audio.size(1) < self.min_samples:
            raise ValueError(
                "the audio must be [B, L] with L at least " + str(self.min_samples) + " samples at 16 kHz"
            )
        x_BL = audio.float() / self.pcm16_scale if audio.dtype == torch.int16 else audio.float()
        x_BL = self.normalized(x_BL, lengths)
        if lengths is not None:
            x_BL = zero_behind(x_BL[:, None], lengths)[:, 0]
        outputs: list[Tensor] = []
        x_BCT = x_BL[:, None]
        for module in self.greedy:
            x_BCT, lengths = module(x_BCT, lengths)
            outputs.append(x_BCT.transpose(1, 2))
        return outputs

    def normalized(self, x_BL: Tensor, lengths: Optional[Tensor] = None) -> Tensor:  # noqa: UP045
        """Float audio as the first module's input, [B, L]."""
        if self.normalize == "none":
            return x_BL
        if self.normalize == "corpus":
            return (x_BL - self.mean) / self.std
        exact_BL = x_BL.double()
        if lengths is None:
            mean_B1 = exact_BL.mean(1, keepdim=True)
            std_B1 = (exact_BL - mean_B1).square().mean(1, keepdim=True).sqrt()
        else:
            num_B1 = lengths[:, None].double()
            mean_B1 = zero_behind(exact_BL[:, None], lengths)[:, 0].sum(1, keepdim=True) / num_B1
            centered_BL = zero_behind((exact_BL - mean_B1)[:, None], lengths)[:, 0]
            std_B1 = (centered_BL.square().sum(1, keepdim=True) / num_B1).sqrt()
        std_B1 = torch.where(std_B1 < self.smallest_std, torch.ones_like(std_B1), std_B1)
        return (x_BL - mean_B1.float()) / std_B1.float()


class UpstreamExpert(nn.Module):
    """The encoder as an s3prl upstream: waveforms of several lengths in, a dict of padded features out.

    Modules have frames of their own rates and widths. A weighted sum over `hidden_states` needs one of both: select
    `last_hidden_state`, or one `hidden_state_M`.

    Args:
        ckpt: The exported folder.
        model_config: Not used; s3prl passes it.
    """

    def __init__(self, ckpt: str, model_config: str | None = None, **unused: Any) -> None:
        super().__init__()
        self.encoder = VgimEncoder.from_folder(ckpt)

    def get_downsample_rates(self, key: str) -> int | list[int]:
        """Samples from one frame to the next: a number for one module, a list for `hidden_states` of several rates."""
        rates: list[int] = self.encoder.hop_samples
        if key == "hidden_states":
            return list(rates) if len(set(rates)) > 1 else rates[0]
        if key == "last_hidden_state":
            return rates[-1]
        if key.startswith("hidden_state_"):
            return rates[int(key.removeprefix("hidden_state_"))]
        last = f"hidden_state_{len(rates) - 1}"
        raise KeyError(
            f"no features {key!r}; use hidden_states, last_hidden_state or hidden_state_0 to {last}"
        )

    def forward(self, wavs: list[Tensor]) -> dict[str, Any]:
        """Features of waveforms [L] of any lengths, 16 kHz in [-1, 1], padded with zeros to the longest.

        Returns:
            `hidden_states`: [B, T, C] of every module, the first first; `hidden_state_M`: module M's;
            `last_hidden_state`: the last module's.
        """
        lengths = torch.tensor([len(wav) for wav in wavs], device=wavs[0].device)
        hidden = self.encoder(pad_sequence(list(wavs), batch_first=True), lengths)
        named = {f"hidden_state_{index}": states for index, states in enumerate(hidden)}
        return {"hidden_states": hidden, "last_hidden_state": hidden[-1], **named}


def zero_behind(x_BCT: Tensor, lengths: Tensor) -> Tensor:
    """Frames with 0 in place of those behind each row's length, as a convolution of the row alone would see them."""
    inside_BT = torch.arange(x_BCT.size(2), device=x_BCT.device)[None] < lengths[:, None]
    return torch.where(inside_BT[:, None], x_BCT, torch.zeros_like(x_BCT))


def own_name(name: str) -> str:
    """The name here of a tensor in the file: `greedy.0.layers.conv1.weight` → `greedy.0.layers.1.conv.weight`."""
    name = re.sub(r"\.layers\.(conv|norm)(\d+)\.", r".layers.\2.\1.", name)
    return name.replace(".posterior.", ".head.")
