"""A decoder mirrors its encoder: torch's transposed convolutions, and the audio's exact length."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from vgim.config.schema import ModelConfig, ObjectiveConfig
from vgim.errors import ConfigError
from vgim.model.decoding import Decoder, transposed, without_pointwise
from vgim.model.specs import ConvSpec
from vgim.model.stack import Encoder, build_encoder


def encoder_of(family: str = "sim") -> Encoder:
    model = ModelConfig.model_validate({"family": family, "channels": 4, "gru_units": 6})
    return build_encoder(model, ObjectiveConfig(), 0).eval()


SIM = encoder_of()


def decoder_of(encoder: Encoder, module: int, layer: int | None = None) -> Decoder:
    return Decoder(encoder.convs(module, layer), encoder.channels(module, layer), 4, seed=0)


@given(
    kernel=st.integers(1, 11),
    stride=st.integers(1, 6),
    padding=st.integers(0, 3),
    length=st.integers(11, 60),
)
@settings(max_examples=60, deadline=None)
def test_a_layer_is_torchs_transposed_convolution(
    kernel: int, stride: int, padding: int, length: int
) -> None:
    if stride > kernel or 2 * padding > kernel:
        return
    conv = ConvSpec(kernel, stride, padding)
    draw = torch.Generator().manual_seed(length)
    x_BTC = torch.randn(2, conv.num_frames(length), 3, generator=draw)
    weight, bias = torch.randn(3, 2, kernel, generator=draw), torch.randn(2, generator=draw)
    left = (length + 2 * padding - kernel) % stride
    expected = F.conv_transpose1d(x_BTC.mT, weight, bias, stride, padding, left).mT
    torch.testing.assert_close(transposed(x_BTC, weight, bias, conv, length), expected, atol=1e-4, rtol=1e-4)


@given(num_samples=st.integers(700, 4_000), module=st.integers(0, 3))
@settings(max_examples=25, deadline=None)
@torch.no_grad()
def test_the_audio_is_as_long_as_what_was_encoded(num_samples: int, module: int) -> None:
    decoder = decoder_of(SIM, module)
    latents = SIM.encode(torch.zeros(1, num_samples), module)
    assert decoder(latents, num_samples).shape == (1, num_samples)
    natural = decoder(latents)
    assert SIM.encode(natural, module).shape == latents.shape


@pytest.mark.parametrize(
    ("family", "module", "layer", "frames"),
    [
        ("sim", 0, None, 1023),
        ("sim", 2, None, 128),
        ("sim", 3, None, 128),
        ("sim", 1, 0, 512),
        ("gim", 1, None, 257),
        ("cpc", 0, None, 128),
        ("cpc", 0, 2, 512),
    ],
)
@torch.no_grad()
def test_every_module_and_layer_of_every_family_is_decoded(
    family: str, module: int, layer: int | None, frames: int
) -> None:
    encoder = encoder_of(family)
    latents = encoder.encode(torch.randn(2, 20_480), module, layer)
    assert abs(latents.shape[1] - frames) <= 1
    assert decoder_of(encoder, module, layer)(latents, 20_480).shape == (2, 20_480)


@torch.no_grad()
def test_latents_of_an_extra_module_are_decoded_to_the_audio_that_they_are_of() -> None:
    model = ModelConfig(channels=4, gru_units=6, extra_modules=2)
    encoder = build_encoder(model, ObjectiveConfig(), 0).eval()
    for module, num_convs in ((3, 6), (4, 7), (5, 7)):
        decoder = decoder_of(encoder, module)
        assert len(decoder.convs) == num_convs
        latents = encoder.encode(torch.zeros(1, 1_999), module)
        assert decoder(latents, 1_999).shape == (1, 1_999)


def test_a_cpc_with_extra_layers_is_decoded_from_each() -> None:
    model = ModelConfig(
        family="cpc",
        channels=4,
        gru_units=6,
        kernels=(10, 8, 1, 4, 4, 1, 4, 1),
        strides=(5, 4, 1, 2, 2, 1, 2, 1),
        paddings=(2, 2, 0, 2, 2, 0, 1, 0),
        layers_per_module=(8,),
        relus=(True, True, False, True, True, False, True, False),
        head="linear",
    )
    encoder = build_encoder(model, ObjectiveConfig(), 0).eval()
    for layer in (*range(8), None):
        latents = encoder.encode(torch.randn(2, 10_240), 0, layer)
        assert decoder_of(encoder, 0, layer)(latents, 10_240).shape == (2, 10_240)


def test_latents_of_another_length_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"num_samples=20480 makes 128 frames, but the latents have 100"):
        decoder_of(SIM, 2)(torch.zeros(1, 100, 4), 20_480)


def test_the_seed_alone_decides_the_first_weights() -> None:
    torch.manual_seed(1)
    one = decoder_of(SIM, 1).state_dict()
    torch.manual_seed(2)
    two = decoder_of(SIM, 1).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("extra", [1, 2])
def test_extra_layers_stand_behind_each_transposed_convolution(extra: int) -> None:
    convs = SIM.convs(0)
    decoder = Decoder(convs, 4, 4, seed=0, extra_layers=extra)
    layers: list[torch.nn.Module] = []
    for i, left in ((1, 3), (0, 4)):  # the samples that each stride left over of 10,240
        names = [f"deconv{i}", *(f"extra{i}_{j}" for j in range(extra))]
        for name in names:
            own = decoder.get_submodule(name)
            assert isinstance(own, torch.nn.ConvTranspose1d)
            own.output_padding = (left if name.startswith("deconv") else 0,)
            layers += [own, torch.nn.ReLU()]
    plain = torch.nn.Sequential(*layers[:-1])
    latents = torch.randn(2, 511, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(decoder(latents, 10_240), plain(latents.mT)[:, 0])
    assert len(list(decoder.parameters())) == 2 * 2 * (1 + extra)


def test_without_extra_layers_a_decoder_has_the_weights_that_it_had() -> None:
    names = {"deconv0.weight", "deconv0.bias", "deconv1.weight", "deconv1.bias"}
    assert decoder_of(SIM, 0).state_dict().keys() == names


def test_pointwise_convolutions_can_be_left_out() -> None:
    wide, point, strided = ConvSpec(10, 5, 2), ConvSpec(1, 1, 0), ConvSpec(1, 2, 0)
    assert without_pointwise([wide, point, strided]) == (wide, strided)
