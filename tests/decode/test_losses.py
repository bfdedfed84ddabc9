"""The distances: zero at equality, finite gradients, and the sizes that their formulas say."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torchaudio
from pydantic import ValidationError
from torch import Tensor

from vgim.cli.options import LazyChoice
from vgim.config.choices import DECODER_LOSS_TERMS, DECODER_LOSSES, Choice
from vgim.config.decoder import DecodingObjectiveConfig
from vgim.decode.losses import (
    load_term,
    log_spectral_distance_db,
    reflected_samples,
    si_sdr_db,
    weighted_terms,
)

TERMS = {name: load_term(name) for name in DECODER_LOSS_TERMS}
terms = pytest.mark.parametrize("name", TERMS)


def audio(seed: int = 0, size: float = 0.1) -> Tensor:
    return size * torch.randn(2, 5_120, generator=torch.Generator().manual_seed(seed))


@terms
def test_a_perfect_reconstruction_costs_nothing_and_another_does(name: str) -> None:
    assert float(TERMS[name](audio(), audio())) == 0
    assert float(TERMS[name](audio(1), audio())) > 0
    assert float(TERMS[name](0.5 * audio(), audio())) < float(TERMS[name](0 * audio(), audio()))


@terms
@pytest.mark.parametrize(
    "output", [audio(1), torch.zeros(2, 5_120), audio()], ids=["noise", "silence", "equal"]
)
@pytest.mark.parametrize("target", [audio(), torch.zeros(2, 5_120)], ids=["audio", "silence"])
def test_gradients_are_finite_even_in_silence(name: str, output: Tensor, target: Tensor) -> None:
    output = output.clone().requires_grad_()
    loss = TERMS[name](output, target)
    loss.backward()
    assert torch.isfinite(loss)
    assert output.grad is not None
    assert torch.isfinite(output.grad).all()


@pytest.mark.parametrize(
    ("name", "factor"), [("mse", 4), ("spectral", 16), ("fft", 2), ("fft_phase", 1), ("mel", 1), ("stft", 1)]
)
def test_twice_as_loud_scales_a_loss_as_its_unit_says(name: str, factor: float) -> None:
    once = TERMS[name](audio(1), audio())
    twice = TERMS[name](2 * audio(1), 2 * audio())
    assert float(twice) == pytest.approx(factor * float(once), rel=0.02)


def test_mel_is_in_decibels() -> None:
    assert float(TERMS["mel"](audio() / 10, audio())) == pytest.approx(20**2, rel=1e-3)


def test_a_sum_weighs_its_second_term() -> None:
    assert weighted_terms("mse+stft", 0.25) == {"mse": 1.0, "stft": 0.25}
    assert weighted_terms("mel", 0.25) == {"mel": 1.0}
    assert weighted_terms("mse+fft+fft_phase", 0.25) == {"mse": 1.0, "fft": 0.25, "fft_phase": 0.25}
    assert weighted_terms("fft+fft_phase", 0.25) == {"fft": 1.0, "fft_phase": 1.0}


def test_phases_are_compared_without_wrapping() -> None:
    spectra = [np.fft.rfft(x.double().numpy() * np.hanning(5_121)[:-1]) for x in (audio(1), audio())]
    expected = np.abs(np.angle(spectra[0]) - np.angle(spectra[1])).mean()
    assert float(TERMS["fft_phase"](audio(1), audio())) == pytest.approx(expected, rel=1e-4)
    assert float(TERMS["fft_phase"](-audio(), audio())) == pytest.approx(math.pi, rel=1e-5)


def test_reflect_padding_is_torchs_own() -> None:
    def power(x: Tensor) -> Tensor:
        window = torch.hann_window(1024)
        spectrum: Tensor = torch.stft(x, 1024, window=window, pad_mode="reflect", return_complex=True).abs()
        return spectrum.square()

    to_mel = torchaudio.transforms.MelSpectrogram(
        n_fft=4096, hop_length=2048, norm="slaney", pad_mode="reflect"
    )
    with_ends = audio() + torch.linspace(1, 0, 5_120)  # what lies at the ends differs from zeros
    for name, transform in (
        ("spectral", power),
        ("mel", lambda x: 10 * to_mel(x).clamp_min(1e-10).log10()),
    ):
        expected = (transform(audio(1)) - transform(with_ends)).square().mean()
        torch.testing.assert_close(load_term(name, "reflect")(audio(1), with_ends), expected)
        assert abs(float(load_term(name, "zeros")(audio(1), with_ends)) / float(expected) - 1) > 0.01
    assert float(load_term("stft", "reflect")(audio(), audio())) == 0
    assert float(load_term("stft", "reflect")(audio(1), audio())) > 0


@pytest.mark.parametrize(
    ("loss", "num"),
    [("mse", 0), ("mse+spectral", 512), ("mel", 2_048), ("stft", 1_024), ("fft+fft_phase", 0)],
)
def test_reflection_needs_crops_longer_than_what_is_mirrored(loss: str, num: int) -> None:
    assert reflected_samples(loss) == num
    for name in loss.split("+"):
        x = audio()[:, : num + 1]
        assert torch.isfinite(load_term(name, "reflect")(0.5 * x, x))


def test_reflect_padding_is_refused_where_it_has_no_effect() -> None:
    with pytest.raises(ValidationError, match="padding=reflect has no effect on loss=mse"):
        DecodingObjectiveConfig(padding="reflect")
    assert DecodingObjectiveConfig(loss="mse+mel", padding="reflect").padding == "reflect"


def test_si_sdr_ignores_scale_and_measures_noise() -> None:
    noisy = audio() + audio(1, size=0.01)
    assert si_sdr_db(noisy, audio()).tolist() == pytest.approx([20, 20], abs=0.5)
    torch.testing.assert_close(si_sdr_db(3 * noisy, audio()), si_sdr_db(noisy, audio()), atol=1e-2, rtol=0)
    assert torch.isfinite(si_sdr_db(torch.zeros(2, 5_120), audio())).all()


def test_log_spectral_distance_of_half_the_level_is_six_decibels() -> None:
    assert log_spectral_distance_db(audio() / 2, audio()).tolist() == pytest.approx(
        [20 * math.log10(2)] * 2, rel=0.02
    )


def absolute(output_BL: Tensor, target_BL: Tensor) -> Tensor:
    """A term that no other file knows."""
    return (output_BL - target_BL).abs().mean()


def test_one_line_offers_a_new_term_to_config_command_and_learner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DECODER_LOSS_TERMS, "absolute", Choice("mean", f"{__name__}:absolute"))
    assert DecodingObjectiveConfig(loss="mse+absolute").loss == "mse+absolute"
    assert {"absolute", "mse+absolute"} <= set(DECODER_LOSSES)
    assert float(load_term("absolute")(audio(), audio() + 0.5)) == pytest.approx(0.5)


def test_the_command_offers_the_losses_that_the_config_takes() -> None:
    from vgim.cli.decode import train

    (option,) = (option for option in train.params if option.name == "loss")
    assert isinstance(option.type, LazyChoice)
    assert option.type.names == tuple(DECODER_LOSSES)
    assert len(DECODER_LOSSES) == len(list(DECODER_LOSSES))
    for loss in option.type.names:
        assert DecodingObjectiveConfig(loss=loss).loss == loss
        assert set(weighted_terms(loss, 1.0)) <= set(TERMS)
    with pytest.raises(ValidationError, match="Input should be one of"):
        DecodingObjectiveConfig(loss="mse+mse")
