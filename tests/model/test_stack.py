"""The encoder as a whole: sizes, frames, names, frozen use."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.nn import functional as F

from tests.model.cases import SMALL, audio, small_encoder
from vgim.config import load_config
from vgim.config.choices import CONTRASTIVE_LOSSES
from vgim.config.schema import ModelConfig, ObjectiveConfig
from vgim.errors import ConfigError
from vgim.model.randomness import DrawKey
from vgim.model.specs import ConvSpec, count_parameters
from vgim.model.stack import build_encoder


def test_the_published_encoder_has_its_published_size_and_frames() -> None:
    encoder = build_encoder(ModelConfig(), ObjectiveConfig(prediction_steps=10), seed=0)
    assert sum(p.numel() for p in encoder.parameters()) == 16_595_456
    assert encoder.module_frames(20_480) == [1023, 257, 128, 128]
    assert encoder.module_frames(10_240) == [511, 129, 64, 64]
    assert encoder.module(2).spec.channels_out == 512
    assert encoder.module(-1).spec.channels_out == 256


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"model": {"family": "sim", "batch_norm": "local"}},
        {"model": {"family": "gim", "head": "linear", "batch_norm": "sync"}},
        {"model": {"family": "gim", "relus": (True, False, True), "batch_norm": "local"}},
        {"model": {"family": "cpc"}, "objective": {"prediction_steps": 3}},
        {"model": {"family": "cpc", "gru_units": 0, "head": "linear"}},
        {"model": {"gru_bidirectional": True}},
        {"model": {"family": "cpc", "gru_bidirectional": True}},
        {"model": {"depth": 1}},
        {"objective": {"prediction_steps": (7, 2, 4)}},
        {"model": {"depth": 2}, "objective": {"prediction_steps": (7, 2, 4)}},
        *({"objective": {"loss": name}} for name in CONTRASTIVE_LOSSES),
    ],
    ids=str,
)
def test_parameters_are_counted_without_building_the_encoder(changed: dict[str, Any]) -> None:
    model = {**SMALL, **changed.get("model", {})}
    config = load_config("quickstart").config.model_copy(
        update={
            "model": ModelConfig(**model),
            "objective": ObjectiveConfig(**changed.get("objective", {})),
        }
    )
    parameters = dict(build_encoder(config.model, config.objective, seed=0).named_parameters())
    predictors = sum(p.numel() for name, p in parameters.items() if ".nce" in name)
    total = sum(p.numel() for p in parameters.values())
    assert count_parameters(config) == (total - predictors, predictors)


@given(
    kernel=st.integers(1, 12), stride=st.integers(1, 6), padding=st.integers(0, 3), length=st.integers(1, 90)
)
def test_frames_are_counted_as_torch_counts_them(kernel: int, stride: int, padding: int, length: int) -> None:
    spec = ConvSpec(kernel, stride, padding)
    if length + 2 * padding < kernel:
        assert spec.num_frames(length) == 0
        return
    frames = F.conv1d(torch.zeros(1, 1, length), torch.zeros(1, 1, kernel), None, stride, padding).shape[2]
    assert spec.num_frames(length) == frames
    assert spec.num_frames(spec.num_needed(frames)) == frames
    assert spec.num_needed(frames) == 1 or spec.num_frames(spec.num_needed(frames) - 1) < frames


@pytest.mark.parametrize(
    ("model", "classes"),
    [
        ({}, ["sim", "sim", "gru"]),
        ({"gru_units": 0}, ["sim", "sim"]),
        ({"depth": 2}, ["sim", "sim"]),
        ({"family": "gim"}, ["conv", "conv", "gru"]),
        ({"family": "cpc"}, ["conv+gru"]),
        ({"family": "cpc", "gru_units": 0}, ["conv"]),
        ({"layers_per_module": (1, 1, 1), "gru_units": 0}, ["sim", "sim", "sim"]),
        ({"extra_modules": 2}, ["sim", "sim", "sim", "sim", "gru"]),
        ({"extra_modules": 2, "family": "gim", "gru_units": 0}, ["conv", "conv", "conv", "conv"]),
        ({"extra_modules": 2, "depth": 3}, ["sim", "sim", "sim"]),
        ({"extra_modules": 2, "family": "cpc"}, ["conv+gru"]),
    ],
)
def test_families_are_cut_into_their_modules(model: dict, classes: list[str]) -> None:
    encoder = small_encoder(model=model)
    built = []
    for index in range(len(encoder)):
        module = encoder.module(index)
        parts = ["conv"] if module.spec.convs else []
        parts = ["sim"] if module.posterior is not None else parts
        built.append("+".join(parts + (["gru"] if module.gru is not None else [])))
    assert built == classes


@pytest.mark.parametrize("family", ["sim", "gim", "cpc"])
@pytest.mark.parametrize("extra_layers", [1, 2])
def test_extra_modules_keep_every_frame(family: Literal["sim", "gim", "cpc"], extra_layers: int) -> None:
    extra = {"family": family, "extra_modules": 3, "extra_layers": extra_layers}
    encoder, plain = small_encoder(model=extra).eval(), small_encoder(model={"family": family}).eval()
    for num_samples in (120, 121, 130):
        x_BL = audio(2, num_samples)
        assert encoder.encode(x_BL).shape == plain.encode(x_BL).shape
    convs = [conv for m in range(len(encoder)) for conv in encoder.module(m).spec.convs]
    assert convs[3:] == [ConvSpec(3, 1, 1)] * 3 * extra_layers
    assert encoder.module(-1).spec.min_samples == plain.module(-1).spec.min_samples
    encoder.check_crop(plain.module(-1).spec.min_samples)
    with pytest.raises(ConfigError, match="at least"):
        encoder.check_crop(plain.module(-1).spec.min_samples - 1)


def test_the_modules_before_the_extra_ones_start_with_the_weights_that_they_have_without_them() -> None:
    deep, plain = small_encoder(model={"extra_modules": 2}), small_encoder()
    for m in (0, 1):
        of_module = plain.module(m).state_dict()
        assert all(torch.equal(weight, of_module[n]) for n, weight in deep.module(m).state_dict().items())


def test_extra_layers_without_extra_modules_are_refused() -> None:
    with pytest.raises(ValidationError, match="extra_layers=2 has no effect without extra modules"):
        ModelConfig(extra_layers=2)


def test_parameters_have_the_names_that_checkpoints_use() -> None:
    names = [name for name, _ in small_encoder(model={"batch_norm": "none"}).named_parameters()]
    assert names[:7] == [
        "greedy.0.layers.conv0.weight",
        "greedy.0.layers.conv0.bias",
        "greedy.0.layers.conv1.weight",
        "greedy.0.layers.conv1.bias",
        "greedy.0.posterior.weight",
        "greedy.0.posterior.bias",
        "greedy.0.nce.weight",
    ]
    with_head = small_encoder(model={"family": "gim", "head": "linear"}).state_dict()
    assert [name for name in with_head if ".head." in name] == [
        f"greedy.{m}.head.{part}" for m in (0, 1) for part in ("weight", "bias")
    ]
    both = small_encoder(model={"gru_bidirectional": True}).module(2).state_dict()
    parts = [f"{side}_{kind}_l0" for side in ("weight", "bias") for kind in ("ih", "hh")]
    of_gru = [*(f"gru.{part}" for part in parts), *(f"gru.{part}_reverse" for part in parts)]
    assert list(both) == [*of_gru, "nce.weight", "nce_reverse.weight"]
    local, sync = (small_encoder(model={"batch_norm": kind}).state_dict() for kind in ("local", "sync"))
    assert list(local) == list(sync)
    assert "greedy.0.layers.conv0.bias" not in local


@pytest.mark.parametrize("family", ["gim", "cpc"])
def test_a_head_leaves_all_other_weights_as_they_are(family: str) -> None:
    plain, headed = (
        small_encoder(model={"family": family, "head": head}).state_dict() for head in ("none", "linear")
    )
    for name, weight in plain.items():
        if ".gru." not in name and ".nce." not in name:
            assert torch.equal(weight, headed[name]), name
    assert plain.keys() == {name for name in headed if ".head." not in name}


@pytest.mark.parametrize(("family", "inner"), [("gim", [[0, 1], [0], []]), ("cpc", [[0, 1, 2]])])
def test_latents_of_a_head_are_a_linear_map_of_the_last_layer(family: str, inner: list[list[int]]) -> None:
    encoder, x_BL = small_encoder(model={"family": family, "head": "linear"}).eval(), audio(2, 80)
    assert [list(encoder.module(m).spec.inner_layers) for m in range(len(encoder))] == inner
    module = encoder.module(0)
    last = encoder.encode(x_BL, 0, layer=-1)
    assert last.min() >= 0
    z_BTC = last @ module.head.weight.T + module.head.bias
    latents = z_BTC if family == "gim" else module.gru(z_BTC)[0]
    torch.testing.assert_close(encoder.encode(x_BL, 0), latents)
    layers, output = module.layers_and_output(x_BL, inner[0])
    torch.testing.assert_close(layers[-1], last)
    torch.testing.assert_close(output, latents)
    targets = module(x_BL, module.draw(x_BL, DrawKey(0, 0))).latents
    torch.testing.assert_close(targets, z_BTC)


def test_without_a_head_the_last_layer_of_gim_is_its_output() -> None:
    encoder = small_encoder(model={"family": "gim"})
    assert [list(encoder.module(m).spec.inner_layers) for m in range(3)] == [[0], [], []]


EXTRA = {
    "family": "cpc",
    "kernels": (5, 4, 1, 3, 1),
    "strides": (3, 2, 1, 2, 1),
    "paddings": (2, 1, 0, 1, 0),
    "layers_per_module": (5,),
    "relus": (True, True, False, True, False),
}
"""A cpc with 1×1 convolutions without ReLU, as published beside V-GIM."""


def test_a_layer_without_a_relu_is_read_as_it_is() -> None:
    encoder, x_BL = small_encoder(model=EXTRA).eval(), audio(2, 80)
    least = [float(encoder.encode(x_BL, 0, layer).min()) for layer in range(5)]
    assert [value < 0 for value in least] == [False, False, True, False, True]
    names = [name for name in encoder.state_dict() if ".conv2." in name or ".norm2." in name]
    assert names == ["greedy.0.layers.conv2.weight", "greedy.0.layers.conv2.bias"]
    assert list(encoder.module(0).spec.inner_layers) == [0, 1, 2, 3, 4]
    assert (encoder.hop_samples(0, 1), encoder.hop_samples(0, 2)) == (6, 6)
    layers, output = encoder.module(0).layers_and_output(x_BL, range(5))
    for layer, found in enumerate(layers):
        torch.testing.assert_close(found, encoder.encode(x_BL, 0, layer))
    torch.testing.assert_close(output, encoder.encode(x_BL))


def test_relus_are_cut_into_their_modules() -> None:
    encoder = small_encoder(model={"relus": (True, False, False)})
    assert [encoder.module(m).layers.relus for m in range(3)] == [(True, False), (False,), ()]
    all_true = small_encoder(model={"relus": (True, True, True)}).state_dict()
    assert all(torch.equal(weight, all_true[name]) for name, weight in small_encoder().state_dict().items())


def test_relus_have_one_entry_per_convolution() -> None:
    with pytest.raises(
        ValidationError, match="relus has 2 entries but there are 5 convolutions; give each one"
    ):
        ModelConfig(relus=(True, False))


def test_a_head_is_refused_beside_a_posterior() -> None:
    with pytest.raises(ValidationError, match="head=linear has no place in family sim"):
        ModelConfig(head="linear")


@pytest.mark.parametrize("module", [0, 1, 2])
def test_encode_gives_each_module_and_samples_on_request(module: int) -> None:
    encoder = small_encoder().eval()
    x = audio(2, 80)
    mean = encoder.encode(x, module=module)
    assert mean.shape == (2, encoder.module_frames(80)[module], encoder.module(module).spec.channels_out)
    assert not mean.requires_grad
    assert torch.equal(mean, encoder.encode(x, module=module - 3))
    drawn = [
        encoder.encode(x, module, deterministic=False, generator=torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    ]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], mean)


@pytest.mark.parametrize("batch_norm", ["none", "local"])
def test_a_layer_is_what_the_next_convolution_reads(batch_norm: str) -> None:
    encoder = small_encoder(model={"family": "cpc", "batch_norm": batch_norm})
    x_BL = audio(2, 80)
    encoder.module(0).layers(x_BL[..., None])  # BatchNorm gets statistics
    layers = encoder.eval().module(0).layers
    h_BCT = x_BL[:, None]
    for layer in range(3):
        h_BCT = layers.get_submodule(f"conv{layer}")(h_BCT)
        h_BCT = F.relu(h_BCT if batch_norm == "none" else layers.get_submodule(f"norm{layer}")(h_BCT))
        torch.testing.assert_close(encoder.encode(x_BL, layer=layer), h_BCT.mT)
        assert torch.equal(encoder.encode(x_BL, layer=layer - 3), encoder.encode(x_BL, layer=layer))


def test_one_pass_returns_layers_and_the_output() -> None:
    encoder = small_encoder().eval()
    x_BL = audio(2, 80)
    for chosen in ((), (0,), (1,), (0, 1)):
        module = encoder.module(0)
        draws = [torch.Generator().manual_seed(0) for _ in range(2)]
        inner, output = module.layers_and_output(x_BL, chosen, draws[0])
        assert torch.equal(output, module.represent(x_BL, draws[1]))
        for layer, output_of_layer in zip(chosen, inner, strict=True):
            torch.testing.assert_close(output_of_layer, encoder.encode(x_BL, 0, layer))


def test_a_layer_reads_samples_of_the_modules_before_it() -> None:
    encoder, x_BL = small_encoder().eval(), audio(2, 80)

    def sampled(module: int) -> torch.Tensor:
        draw = torch.Generator().manual_seed(0)
        return encoder.encode(x_BL, module, layer=0, deterministic=False, generator=draw)

    assert torch.equal(sampled(0), encoder.encode(x_BL, 0, layer=0))
    assert not torch.equal(sampled(1), encoder.encode(x_BL, 1, layer=0))


@pytest.mark.parametrize("family", ["sim", "cpc"])
def test_hops_channels_and_shortest_audio_follow_from_the_layers(family: str) -> None:
    encoder = small_encoder(model={"family": family}).eval()
    hops = {"sim": {(0, 0): 3, (0, None): 6, (1, 0): 12, (2, None): 12}, "cpc": {(0, 1): 6, (0, None): 12}}
    for (module, layer), hop in hops[family].items():
        assert encoder.hop_samples(module, layer) == hop
        shortest = encoder.min_samples(module, layer)
        frame = encoder.encode(audio(1, shortest), module, layer)
        assert frame.shape == (1, 1, encoder.channels(module, layer))
        with pytest.raises(ConfigError, match=f"pass audio of at least {shortest} samples"):
            encoder.encode(audio(1, shortest - 1), module, layer)


def test_layers_that_do_not_exist_are_refused() -> None:
    encoder = small_encoder().eval()
    with pytest.raises(
        ConfigError, match="layer=2 but module 0 has its convolutions 0 to 1; use one of them"
    ):
        encoder.encode(audio(1, 80), module=0, layer=2)
    with pytest.raises(ConfigError, match="layer=0 but module 2 has no convolutions"):
        encoder.encode(audio(1, 80), layer=0)


def test_encode_refuses_what_would_silently_go_wrong() -> None:
    encoder = small_encoder()
    with pytest.raises(RuntimeError, match="training mode"):
        encoder.encode(audio(2, 80))
    with pytest.raises(ConfigError, match="module=3 but the encoder has 3 modules"):
        encoder.eval().encode(audio(2, 80), module=3)
    with pytest.raises(ConfigError, match="num_samples=2 makes no frame in module 2"):
        encoder.encode(torch.zeros(1, 2).double())
    with pytest.raises(ValueError, match="generator"):
        encoder.encode(audio(2, 80), deterministic=False)


def test_the_model_imports_neither_ray_nor_pandas() -> None:
    code = "import sys, vgim.model; print(sorted({'ray', 'pandas', 'pyarrow'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
