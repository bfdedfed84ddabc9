"""Distances between a reconstruction and its audio: terms of a decoder's loss, and metrics in decibels.

A new term is a function here and a line in `vgim.config.choices.DECODER_LOSS_TERMS`.

Shapes: B crops, L samples, F frequencies, T frames.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Literal, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from vgim.config.choices import DECODER_LOSS_TERMS
from vgim.config.decoder import PADDED_TERMS
from vgim.data.pcm import SAMPLE_RATE_HZ
from vgim.extras import import_torchaudio

LossTerm = Callable[[Tensor, Tensor], Tensor]
"""Scalar distance of a reconstruction [B, L] from its audio [B, L], the reconstruction first."""

Padding = Literal["zeros", "reflect"]
"""What windows see beyond the ends of a crop. Zeros fit crops that are shorter than half a window."""

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


def spectral(output_BL: Tensor, target_BL: Tensor, padding: Padding = "zeros") -> Tensor:
    """Mean squared difference of the power spectrograms, |STFT|² (1024 points, hop 256, Hann), on a linear scale."""
    output_BFT, target_BFT = (
        _square(_stft(x, SPECTRAL_FFT, SPECTRAL_FFT // 4, SPECTRAL_FFT, padding))
        for x in (output_BL, target_BL)
    )
    return mse(output_BFT, target_BFT)


def fft(output_BL: Tensor, target_BL: Tensor) -> Tensor:
    """Mean absolute difference of the magnitudes of the whole crop's FFT, under a Hann window."""
    output_BF, target_BF = (_magnitude(_whole_fft(x)) for x in (output_BL, target_BL))
    distance: Tensor = (output_BF - target_BF).abs().mean()
    return distance


def fft_phase(output_BL: Tensor, target_BL: Tensor) -> Tensor:
    """Mean absolute difference of the phases of the whole crop's FFT in radians, under a Hann window.

    As published, phases lie in (-π, π] and their difference is not wrapped: +3.1 and -3.1 are 6.2 apart. A bin whose
    squared magnitude is below 1e-7 has no gradient.
    """
    output_BF, target_BF = (_phase(_whole_fft(x)) for x in (output_BL, target_BL))
    distance: Tensor = (output_BF - target_BF).abs().mean()
    return distance


def mel(output_BL: Tensor, target_BL: Tensor, padding: Padding = "zeros") -> Tensor:
    """Mean squared difference of mel spectrograms in dB: 4096-point FFT, hop 2048, 128 bands."""
    mel_spectrogram = _mel_spectrogram(output_BL.device)
    output, target = (
        10 * mel_spectrogram(_pad(x, MEL_FFT // 2, padding)).clamp_min(SMALLEST_POWER).log10()
        for x in (output_BL, target_BL)
    )
    return mse(output, target)


def stft(output_BL: Tensor, target_BL: Tensor, padding: Padding = "zeros") -> Tensor:
    """Multi-resolution STFT loss (Yamamoto et al. 2020, eqs. 4 to 6).

    Mean over the resolutions of spectral convergence, ‖Y - X‖ / ‖Y‖, and the mean absolute difference of log
    magnitudes. Apart from the floor under a magnitude, both are the same at any loudness.
    """
    total = output_BL.new_zeros(())
    for resolution in RESOLUTIONS:
        output_BFT, target_BFT = (_magnitude(_stft(x, *resolution, padding)) for x in (output_BL, target_BL))
        convergence = torch.linalg.vector_norm(target_BFT - output_BFT) / torch.linalg.vector_norm(target_BFT)
        total = total + convergence + (target_BFT.log() - output_BFT.log()).abs().mean()
    return total / len(RESOLUTIONS)


DEFAULT_WEIGHTS = {"mse+stft": 0.003}
"""Weight of the other term in a sum with mse, where it is not the published 1. For speech with a power of 0.004, mse
is at most 0.004, while stft starts at about 2."""


def load_term(name: str, padding: Padding = "zeros") -> LossTerm:
    """The function of a registered term. Terms without windows ignore `padding`."""
    term = cast("Callable[..., Tensor]", DECODER_LOSS_TERMS[name].load())
    return partial(term, padding=padding) if name in PADDED_TERMS else term


def weighted_terms(loss: str, weight: float) -> dict[str, float]:
    """Terms of a loss by name, with their weights: `mse+mel` is mse + weight · mel, `fft+fft_phase` a plain sum."""
    names = loss.split("+")
    if names[0] != "mse":
        return dict.fromkeys(names, 1.0)
    return {"mse": 1.0} | dict.fromkeys(names[1:], weight)


def reflected_samples(loss: str) -> int:
    """Samples at each end of a crop that `padding: reflect` mirrors, so that crops must be longer; 0 for none."""
    longest = {"spectral": SPECTRAL_FFT, "mel": MEL_FFT, "stft": max(points for points, _, _ in RESOLUTIONS)}
    return max(longest.get(name, 0) for name in loss.split("+")) // 2


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
        20 * _stft(x, SPECTRAL_FFT, SPECTRAL_FFT // 4, SPECTRAL_FFT, "zeros").abs().clamp_min(1e-2).log10()
        for x in (output_BL, target_BL)
    )
    distance_BFT: Tensor = (output - target).square()
    return distance_BFT.mean(1).sqrt().mean(1)


def _stft(x_BL: Tensor, num_points: int, hop: int, window: int, padding: Padding) -> Tensor:
    spectrum: Tensor = torch.stft(
        _pad(x_BL, num_points // 2, padding),
        num_points,
        hop,
        window,
        window=torch.hann_window(window, device=x_BL.device),
        center=False,
        return_complex=True,
    )
    return spectrum


def _pad(x_BL: Tensor, num: int, padding: Padding) -> Tensor:
    """Audio with `num` samples more at each end, zeros or the mirrored audio."""
    if padding == "zeros":
        return F.pad(x_BL, (num, num))
    # F.pad's gradient of a reflection adds in an order that a GPU does not repeat.
    return torch.cat([x_BL[:, 1 : num + 1].flip(1), x_BL, x_BL[:, -num - 1 : -1].flip(1)], dim=1)


def _whole_fft(x_BL: Tensor) -> Tensor:
    spectrum_BF: Tensor = torch.fft.rfft(x_BL * torch.hann_window(x_BL.shape[1], device=x_BL.device))
    return spectrum_BF


def _square(spectrum: Tensor) -> Tensor:
    squared: Tensor = spectrum.real.square() + spectrum.imag.square()
    return squared


def _magnitude(spectrum: Tensor) -> Tensor:
    return _square(spectrum).clamp_min(SMALLEST_SQUARE).sqrt()


def _phase(spectrum: Tensor) -> Tensor:
    loud = _square(spectrum) >= SMALLEST_SQUARE
    phase: Tensor = torch.where(loud, spectrum, spectrum.detach()).angle()
    return phase


@cache
def _mel_spectrogram(device: torch.device) -> torch.nn.Module:
    mel: torch.nn.Module = import_torchaudio("transforms").MelSpectrogram(
        sample_rate=SAMPLE_RATE_HZ,
        n_fft=MEL_FFT,
        hop_length=MEL_HOP,
        n_mels=NUM_MELS,
        norm="slaney",
        center=False,
    )
    return mel.to(device)
