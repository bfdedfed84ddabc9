"""Utterances of a padded batch have the outputs that they have alone, in every family and behind every layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.model.cases import audio, small_encoder
from vgim.errors import ConfigError
from vgim.model.padded import encode_padded, num_frames
from vgim.model.stack import Encoder

LENGTHS = [83, 40, 61, 80]
MODELS: list[dict[str, Any]] = [
    {"batch_norm": "local"},
    {"family": "gim", "head": "linear"},
    {"family": "gim", "relus": (True, False, True), "batch_norm": "local"},
    {"family": "cpc"},
    {"family": "gim", "gru_units": 0},
    {"preemphasis": 0.97},
    {"gru_bidirectional": True},
    {"posterior_norm": "local"},
    {"family": "cpc", "gru_bidirectional": True},
]


def trained(model: dict[str, Any]) -> Encoder:
    """An encoder whose biases and running statistics are not 0, so that zeros behind an utterance do not stay zeros."""
    encoder = small_encoder(model=model)
    generator = torch.Generator().manual_seed(1)
    for name, value in [*encoder.named_parameters(), *encoder.named_buffers()]:
        if name.endswith(("bias", "running_mean")):
            with torch.no_grad():
                value += 0.3 * torch.randn(value.shape, generator=generator, dtype=value.dtype)
    return encoder.eval()


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_padded_utterances_equal_single_ones(model: dict[str, Any]) -> None:
    encoder = trained(model)
    x_BL = audio(len(LENGTHS), max(LENGTHS))  # noise behind the utterances too
    outputs = encode_padded(encoder, x_BL, torch.tensor(LENGTHS))
    assert len(outputs) == len(encoder)
    for module, (latents_BTC, frames_B) in enumerate(outputs):
        for row, length in enumerate(LENGTHS):
            alone = encoder.encode(x_BL[row : row + 1, :length], module)[0]
            assert frames_B[row] == len(alone)
            torch.testing.assert_close(latents_BTC[row, : len(alone)], alone)
            assert not latents_BTC[row, len(alone) :].any()


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_padded_utterances_equal_single_ones_behind_a_convolution(model: dict[str, Any]) -> None:
    encoder = trained(model)
    x_BL = audio(len(LENGTHS), max(LENGTHS))
    for layer in range(len(encoder.module(0).spec.convs)):
        latents_BTC, frames_B = encode_padded(encoder, x_BL, torch.tensor(LENGTHS), 0, layer)[-1]
        for row, length in enumerate(LENGTHS):
            alone = encoder.encode(x_BL[row : row + 1, :length], 0, layer)[0]
            torch.testing.assert_close(latents_BTC[row, : frames_B[row]], alone)


def test_frames_of_many_lengths_are_counted_as_those_of_each() -> None:
    encoder = small_encoder()
    lengths = torch.arange(0, 120)
    for module in range(len(encoder)):
        convs = encoder.convs(module)
        assert num_frames(convs, lengths).tolist() == [num_frames(convs, int(length)) for length in lengths]


def test_an_utterance_that_is_too_short_is_named() -> None:
    with pytest.raises(ConfigError, match=r"lengths\[1\]=2 makes no frame in module 2; leave out utterances"):
        encode_padded(small_encoder().eval(), audio(2, 80), torch.tensor([80, 2]))
