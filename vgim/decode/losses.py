"""Distances between a reconstruction and its audio: terms of a decoder's loss, and metrics in decibels.

A new term is a function here and a line in `vgim.config.choices.DECODER_LOSS_TERMS`.

Shapes: B crops, L samples, F frequencies, T frames.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import cast

import torch
import torchaudio
from torch import Tensor

from vgim.config.choices import DECODER_LOSS_TERMS
from vgim.data.pcm import SAMPLE_RATE_HZ

LossTerm = Callable[[Tensor, Tensor], Tensor]
"""Scalar distance of a reconstruction [B, L] from its audio [B, L], the reconstruction first."""

SPECTRAL_FFT = 1024
MEL_FFT, MEL_HOP, NUM_MELS = 4096, 2048, 128
SMALLEST_POWER = 1e-10
"""Floor under the power of a mel band, before decibels are taken."""
RESOLUTIONS = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))
"""FFT points, hop and window, in samples, of the three resolutions of Yamamoto et al. (2020), table 1."""
SMALLEST_SQUARE = 1e-7
"""Floor under a squared magnitude. Below it the gradient is 0; without it the gradient at 0 is infinite."""


def mse(output_BL: Tensor, target_BL: Tensor) -> Tensor:
    """Mean squared difference of the samples."""
    return (output_BL - target_BL).square().mean()


def spectral(output_BL: Tensor, target_BL: Tensor) -> Tensor:
    """Mean squared difference of the power spectrograms, |STFT|² (1024 points, hop 256, Hann), on a linear scale."""
    power = [_stft(x, SPECTRAL_FFT, SPECTRAL_FFT // 4, SPECTRAL_FFT) for x in (output_BL, target_BL)]
    return mse(_square(power[0]), _square(power[1]))


def fft(output_BL: Tensor, target_BL: Tensor) -> Tensor:
    """Mean absolute difference of the magnitudes of the whole crop's FFT, under a Hann window."""
    window_L = torch.hann_window(output_BL.shape[1], device=output_BL.device)
    output_BF, target_BF = (_magnitude(torch.fft.rfft(x * window_L)) for x in (output_BL, target_BL))
    distance: Tensor = (output_BF - target_BF).abs().mean()
    return distance


def mel(output_BL: Tensor, target_BL: Tensor) -> Tensor:
    """Mean squared difference of mel spectrograms in dB: 4096-point FFT, hop 2048, 128 bands."""
    mel_spectrogram = _mel_spectrogram(output_BL.device)
    output, target = (
        10 * mel_spectrogram(x).clamp_min(SMALLEST_POWER).log10() for x in (output_BL, target_BL)
    )
    return mse(output, target)


def stft(output_BL: Tensor, target_BL: Tensor) -> Tensor:
    """Multi-resolution STFT loss (Yamamoto et al. 2020, eqs. 4 to 6).

    Mean over the resolutions of spectral convergence, ‖Y - X‖ / ‖Y‖, and the mean absolute difference of log
    magnitudes. Apart from the floor under a magnitude, both are the same at any loudness.
    """
    total = output_BL.new_zeros(())
    for resolution in RESOLUTIONS:
        output_BFT, target_BFT = (_magnitude(_stft(x, *resolution)) for x in (output_BL, target_BL))
        convergence = torch.linalg.vector_norm(target_BFT - output_BFT) / torch.linalg.vector_norm(target_BFT)
        total = total + convergence + (target_BFT.log() - output_BFT.log()).abs().mean()
    return total / len(RESOLUTIONS)


DEFAULT_WEIGHTS = {"mse+stft": 0.003}
"""Weight of the other term in a sum with mse, where it is not the published 1. For speech with a power of 0.004, mse
is at most 0.004, while stft starts at about 2."""


def load_term(name: str) -> LossTerm:
    """The function of a registered term."""
    return cast("LossTerm", DECODER_LOSS_TERMS[name].load())


def weighted_terms(loss: str, weight: float) -> dict[str, float]:
    """Terms of a loss by name, with their weights: `mse+mel` is mse + weight · mel."""
    names = loss.split("+")
    return dict.fromkeys(names, 1.0) | ({names[1]: weight} if len(names) > 1 else {})


def si_sdr_db(output_BL: Tensor, target_BL: Tensor) -> Tensor:
    """Scale-invariant signal-to-distortion ratio of each crop, [B], in dB (Le Roux et al. 2019).

    The signal is the output's projection on the target, the distortion is the rest; both are centered first. Silence
    has about -60 dB.
    """
    output_BL = output_BL - output_BL.mean(1, keepdim=True)
    target_BL = target_BL - target_BL.mean(1, keepdim=True)
    tiny = 1e-8
    scale_B1 = (output_BL * target_BL).sum(1, keepdim=True) / (target_BL.square().sum(1, keepdim=True) + tiny)
    signal_BL = scale_B1 * target_BL
    ratio_B = (signal_BL.square().sum(1) + 1e-6 * tiny) / ((output_BL - signal_BL).square().sum(1) + tiny)
    return 10 * ratio_B.clamp_min(1e-6).log10()


def log_spectral_distance_db(output_BL: Tensor, target_BL: Tensor) -> Tensor:
    """Log-spectral distance of each crop, [B], in dB: root mean square over frequencies, then mean over frames.

    Magnitudes (1024 points, hop 256, Hann) have a floor of 1e-2, about 88 dB below a full-scale sine.
    """
    output, target = (
        20 * _stft(x, SPECTRAL_FFT, SPECTRAL_FFT // 4, SPECTRAL_FFT).abs().clamp_min(1e-2).log10()
        for x in (output_BL, target_BL)
    )
    distance_BFT: Tensor = (output - target).square()
    return distance_BFT.mean(1).sqrt().mean(1)


def _stft(x_BL: Tensor, num_points: int, hop: int, window: int) -> Tensor:
    spectrum: Tensor = torch.stft(
        x_BL,
        num_points,
        hop,
        window,
        window=torch.hann_window(window, device=x_BL.device),
        pad_mode="constant",  # a crop may be shorter than half a window
        return_complex=True,
    )
    return spectrum


def _square(spectrum: Tensor) -> Tensor:
    squared: Tensor = spectrum.real.square() + spectrum.imag.square()
    return squared


def _magnitude(spectrum: Tensor) -> Tensor:
    return _square(spectrum).clamp_min(SMALLEST_SQUARE).sqrt()


@cache
def _mel_spectrogram(device: torch.device) -> torch.nn.Module:
    transform: torch.nn.Module = torchaudio.transforms.MelSpectrogram(
        sample_rate=SAMPLE_RATE_HZ,
        n_fft=MEL_FFT,
        hop_length=MEL_HOP,
        n_mels=NUM_MELS,
        norm="slaney",
        pad_mode="constant",
    ).to(device)
    return transform
