"""A trained encoder as a frozen torch module, for notebooks and for the jobs that come after training.

Shapes: B utterances or crops, L samples, T frames, C channels.
"""

from __future__ import annotations

import os
import warnings
from typing import Any, overload

import torch
from torch import Tensor, nn

from vgim.config import DecoderConfig, RunConfig
from vgim.config.arguments import path_text
from vgim.config.paths import resolve_path, resolve_run_path
from vgim.data.pcm import SAMPLE_RATE_HZ
from vgim.data.sound_file import read_sound
from vgim.errors import CheckpointError, ConfigError
from vgim.model.audio import Normalizer, Statistics, measure, to_float
from vgim.model.padded import EncodedModule, encode_padded, num_frames, zero_behind
from vgim.model.stack import Encoder, build_encoder
from vgim.pretrained.audio_input import as_batch, as_lengths, as_module
from vgim.pretrained.choices import Device
from vgim.pretrained.device import find_device
from vgim.pretrained.normalization import normalizer_of
from vgim.runs.checkpoint import Checkpoint, best_checkpoint, find_checkpoint
from vgim.runs.weights import load_weights
from vgim.storage import Location


class FrozenEncoder(nn.Module):
    """A trained encoder in evaluation mode, which normalizes audio as its training did.

    Nothing in it asks for gradients.

    Attributes:
        encoder: The modules; their input is normalized audio.
        normalizer: Turns audio into that input.
        config: Config of the run that trained it.
        checkpoint: Where the weights came from.
        sample_rate: Sample rate of the audio in Hz.
    """

    sample_rate: int = SAMPLE_RATE_HZ

    def __init__(
        self, encoder: Encoder, normalizer: Normalizer, config: RunConfig, checkpoint: Checkpoint
    ) -> None:
        super().__init__()
        self.encoder = encoder.eval().requires_grad_(False)
        self.normalizer = normalizer
        self.config = config
        self.checkpoint = checkpoint

    def train(self, mode: bool = True) -> FrozenEncoder:
        """Stays in evaluation mode: BatchNorm's statistics are part of what was trained."""
        return super().train(False)

    @torch.no_grad()
    def forward(
        self,
        audio: Any,
        module: int = -1,
        layer: int | None = None,
        generator: torch.Generator | None = None,
        utterances: Statistics | None = None,
        lengths: Any = None,
    ) -> Tensor:
        """Latents [B, T, C] of a module: μ, or with a generator a sample of the posterior.

        Args:
            audio: 16 kHz mono as a tensor or NumPy array, int16 PCM or float in [-1, 1]: [B, L], [B, 1, L], or [L]
                for a batch of one. It is moved to the encoder's device.
            module: Index of the module, counted from the input; -1 is the last.
            layer: Index of one of the module's convolutions, whose output after BatchNorm and ReLU is returned
                instead of the module's; -1 is the last convolution.
            generator: Source of the samples of this module and those before it.
            utterances: Mean and standard deviation of the whole utterance of each crop, [B] each. Only an encoder
                with `data.normalize: utterance` reads them; without them each row counts as a whole utterance.
            lengths: Samples of each utterance, [B], in audio that is padded behind. Every utterance is then encoded as
                if it were alone, and its latents are 0 behind its last frame; `num_frames(lengths)` counts the frames.

        Raises:
            TypeError: The audio, the lengths or the generator are of another type.
            ValueError: The audio or the lengths have another dtype, shape or range, or the generator another device.
            ConfigError: There is no such module or layer, or an utterance is too short for one frame.
        """
        weight = next(self.encoder.parameters())
        _check_generator(generator, weight.device)
        module, layer = as_module(module, "module"), None if layer is None else as_module(layer, "layer")
        if lengths is not None:
            x_BL, lengths_B = self._padded_input(audio, lengths, utterances)
            latents_BTC = encode_padded(self.encoder, x_BL, lengths_B, module, layer, generator)[-1].latents
        else:
            x_BL = self.normalizer(as_batch(audio).to(weight.device), utterances)
            latents_BTC = self.encoder.encode(
                x_BL, module, layer, deterministic=generator is None, generator=generator
            )
        return latents_BTC.to(weight.dtype)  # a posterior is fp32 whatever the weights are

    @torch.no_grad()
    def encode(
        self,
        audio: Any,
        lengths: Any = None,
        *,
        generator: torch.Generator | None = None,
        utterances: Statistics | None = None,
    ) -> list[EncodedModule]:
        """Latents of every module, in one pass.

        Args:
            audio: See `forward`.
            lengths: Samples of each utterance, [B], in audio that is padded behind; None if every row is a whole one.
            generator: Source of samples of the posteriors; None for their means.
            utterances: See `forward`.

        Returns:
            For each module, the first module's first, `latents` [B, T, C] and `lengths` [B], the frames of each
            utterance. Utterances of a padded batch have the latents that they have alone, up to rounding.

        Raises:
            TypeError: The audio, the lengths or the generator are of another type.
            ValueError: The audio or the lengths have another dtype, shape or range, or the generator another device.
            ConfigError: An utterance is too short for a frame of every module.

        Example:
            >>> encoder = vgim.load_encoder("runs/quickstart")
            >>> audio = torch.zeros(2, 20_480)  # the second utterance is shorter, and padded
            >>> outputs = encoder.encode(audio, lengths=[20_480, 16_000])
            >>> outputs[-1].lengths.tolist()  # frames of 10 ms
            [128, 100]
        """
        weight = next(self.encoder.parameters())
        _check_generator(generator, weight.device)
        dtype = weight.dtype
        batch_BL = as_batch(audio)
        x_BL, lengths_B = self._padded_input(
            batch_BL, [batch_BL.shape[1]] * len(batch_BL) if lengths is None else lengths, utterances
        )
        outputs = encode_padded(self.encoder, x_BL, lengths_B, generator=generator)
        return [EncodedModule(latents_BTC.to(dtype), frames_B) for latents_BTC, frames_B in outputs]

    def encode_file(self, file: str | os.PathLike[str]) -> list[EncodedModule]:
        """Latents of a sound file by every module, as `encode` returns them, for a batch of one.

        A file of another sample rate is resampled and channels are averaged, with a warning.

        Args:
            file: Path or URI of a WAV, FLAC or other file that libsndfile reads.

        Raises:
            ConfigError: The file is too short for a frame of every module.
            DataError: The file is no audio, or is damaged.
            StorageError: There is no such file.
        """
        path = resolve_path(path_text(file, "file"), "file")
        notes: list[str] = []
        samples = read_sound(path, notes.append)
        for note in notes:
            warnings.warn(note.removeprefix("note: "), stacklevel=2)
        return self.encode(samples)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.encoder.parameters()).device

    @property
    def num_modules(self) -> int:
        """Number of modules."""
        return len(self.encoder)

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels C of each module's latents."""
        return tuple(self.encoder.channels(module) for module in range(len(self.encoder)))

    @property
    def frame_rates(self) -> tuple[float, ...]:
        """Frames a second of each module's latents."""
        hops = (self.encoder.hop_samples(module) for module in range(len(self.encoder)))
        return tuple(self.sample_rate / hop for hop in hops)

    @property
    def frame_rate(self) -> float:
        """Frames a second of the last module's latents."""
        return self.frame_rates[-1]

    @overload
    def num_frames(self, samples: int, module: int = -1, layer: int | None = None) -> int: ...
    @overload
    def num_frames(self, samples: Tensor, module: int = -1, layer: int | None = None) -> Tensor: ...
    def num_frames(self, samples: Any, module: int = -1, layer: int | None = None) -> Any:
        """Frames of a module's latents, for a number of samples or a tensor of such numbers; 0 for too few.

        Args:
            samples: Samples at 16 kHz: a number, or whole numbers in a tensor, an array or a list.
            module: Index of the module, counted from the input; -1 is the last.
            layer: Index of one of the module's convolutions; None for the module's latents.

        Raises:
            TypeError: `samples` are no whole numbers.
            ConfigError: There is no such module or layer.
        """
        convs = self.encoder.convs(
            as_module(module, "module"), None if layer is None else as_module(layer, "layer")
        )
        whole = as_lengths(samples, "samples")
        return num_frames(convs, int(whole)) if whole.ndim == 0 else num_frames(convs, whole)

    def _padded_input(self, audio: Any, lengths: Any, utterances: Statistics | None) -> tuple[Tensor, Tensor]:
        """Normalized audio [B, L] with 0 behind each utterance, and their lengths [B], on the encoder's device."""
        batch_BL = as_batch(audio).to(self.device)
        lengths_B = as_lengths(lengths, "lengths").to(self.device)
        num_rows, num_samples = batch_BL.shape
        if lengths_B.shape != (num_rows,) or int(lengths_B.min()) < 1 or int(lengths_B.max()) > num_samples:
            raise ValueError(
                f"lengths={lengths_B.tolist()}, but the audio has {num_rows} rows of {num_samples} samples; give a "
                "whole number from 1 to that for each row"
            )
        if utterances is None and self.normalizer.mode == "utterance":
            rows = zip(to_float(batch_BL), lengths_B.tolist(), strict=True)
            measured = [measure(row_L[:length]) for row_L, length in rows]
            utterances = Statistics(*map(torch.stack, zip(*measured, strict=True)))
        return zero_behind(self.normalizer(batch_BL, utterances), lengths_B), lengths_B


def load_encoder(
    where: str | os.PathLike[str], *, which: str = "last", device: Device | str | torch.device = "cpu"
) -> FrozenEncoder:
    """Load the encoder of a run, a checkpoint or an export, without Ray.

    Args:
        where: A run, a checkpoint or an exported folder: a path, a URI, or the name of a run under $VGIM_HOME/runs; or
            an encoder on the hub, hf://OWNER/NAME or hf://OWNER/NAME@REVISION.
        which: `last`, or `best` for the checkpoint of lowest validation loss.
        device: Device of the weights; `auto` is a GPU where torch sees one.

    Returns:
        The encoder, frozen, in evaluation mode.

    Raises:
        ConfigError: `where` is no path, URI or name, there is no such device, or `best` is asked of an export.
        CheckpointError: There is no complete checkpoint, it is damaged, or it was trained with
            `data.normalize: corpus` and neither it nor the run's shards tell the corpus's statistics.

    Example:
        >>> encoder = vgim.load_encoder("runs/quickstart")
        >>> audio = torch.zeros(2, 20_480)  # [B, L], 16 kHz in [-1, 1]
        >>> latents = encoder(audio)  # of the last module, [B, T, C]
        >>> latents.shape[:2]
        torch.Size([2, 128])
        >>> [latents.shape[1] for latents, lengths in encoder.encode(audio)]  # of every module
        [1023, 257, 128, 128]
        >>> encoder.sample_rate, encoder.frame_rate, encoder.num_frames(20_480)
        (16000, 100.0, 128)
    """
    if which not in ("last", "best"):
        raise ValueError(f"which={which!r}; use 'last' or 'best'")
    on_device = find_device(device)
    path = resolve_run_path(path_text(where, "where"), "where")
    exported = _exported(path)
    if exported is not None:
        if which == "best":
            raise ConfigError(
                f"the best checkpoint is asked for, but {path} is an export of one; leave --checkpoint (which=) out"
            )
        from vgim.pretrained.exported import load_exported

        return load_exported(exported, on_device)
    checkpoint = best_checkpoint(path) if which == "best" else find_checkpoint(path)
    config = _encoder_config(checkpoint)
    encoder = build_encoder(config.model, config.objective, config.train.seed)
    load_weights(checkpoint, encoder)
    return FrozenEncoder(encoder, normalizer_of(checkpoint, config), config, checkpoint).to(on_device)


def _exported(path: str) -> Location | None:
    """The exported folder of a path or URI, pulled if it is on the hub; None for a run or a checkpoint."""
    from vgim.pretrained.exported import is_export
    from vgim.pretrained.hub import HUB, pull

    if path.startswith(HUB):
        return pull(path)
    folder = Location(path)
    return folder if is_export(folder) else None


def _encoder_config(checkpoint: Checkpoint) -> RunConfig:
    try:
        return checkpoint.config()
    except ConfigError:
        try:
            checkpoint.config(DecoderConfig)
        except ConfigError:
            pass
        else:
            raise CheckpointError(
                f"{checkpoint.location.uri} is a decoder's checkpoint; load it with vgim.load_decoder, which has its "
                "encoder as .encoder, or name the encoder's run"
            ) from None
        raise


def _check_generator(generator: object, device: torch.device) -> None:
    if generator is None:
        return
    if not isinstance(generator, torch.Generator):
        raise TypeError(
            f"generator={generator!r} is of the type {type(generator).__name__}; give a torch.Generator, such as "
            "torch.Generator().manual_seed(3)"
        )
    if generator.device.type != device.type:
        raise ValueError(
            f"the generator is on {generator.device} and the encoder on {device}; make it with "
            f"torch.Generator({device.type!r})"
        )
