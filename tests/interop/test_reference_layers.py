"""Convolutions without a ReLU, as in the reference's CPC with extra layers, are imported and exported as they are."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import vgim.pretrained.encoder
from tests.export.cases import SIZES as EXPORTED_SIZES
from tests.export.cases import make_run
from tests.interop.cases import AUDIO, CHANNELS, SIZES, STEPS, UNITS, State, reference_state, save
from vgim.errors import CheckpointError
from vgim.interop.reference import export_reference, import_reference
from vgim.runs.checkpoint import find_checkpoint

KERNELS, STRIDES, PADDINGS = (10, 8, 1, 4, 4, 1, 4, 1), (5, 4, 1, 2, 2, 1, 2, 1), (2, 2, 0, 2, 2, 0, 1, 0)
RELUS = "[true,true,false,true,true,false,true,false]"
EXTRA = [
    *SIZES,
    "model.kernels=[10,8,1,4,4,1,4,1]",
    "model.strides=[5,4,1,2,2,1,2,1]",
    "model.paddings=[2,2,0,2,2,0,1,0]",
    "model.layers_per_module=[8]",
]


def extra_layers_state(norm: bool) -> State:
    """A cpc of eight convolutions, of which those of kernel 1 are neither in a list of layers nor normalized."""
    rng = torch.Generator().manual_seed(5)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng) / math.sqrt(max(1, math.prod(shape[1:])))

    state = {
        key: value
        for key, value in reference_state("cpc", norm, True).items()
        if ".encoder.encoder." not in key
    }
    for j, kernel in enumerate(KERNELS):
        layer = f"module.fullmodel.0.encoder.encoder.{j}."
        conv = layer if kernel == 1 else f"{layer}0."
        state[conv + "weight"] = draw(CHANNELS, 1 if j == 0 else CHANNELS, kernel)
        state[conv + "bias"] = draw(CHANNELS)
        if norm and kernel > 1:
            state[layer + "1.weight"] = 1 + 0.1 * draw(CHANNELS)
            state[layer + "1.bias"] = draw(CHANNELS)
            state[layer + "1.running_mean"] = draw(CHANNELS)
            state[layer + "1.running_var"] = 0.5 + draw(CHANNELS).square()
            state[layer + "1.num_batches_tracked"] = torch.tensor(7)
    return state


def outputs_of_layers(state: State, x_BL: Tensor) -> list[Tensor]:
    """The output [B, T, C] of each convolution, and of what follows it, from the formulas."""
    h_BCT, outputs = x_BL[:, None], []
    for j, kernel in enumerate(KERNELS):
        layer = f"module.fullmodel.0.encoder.encoder.{j}."
        conv = layer if kernel == 1 else f"{layer}0."
        h_BCT = F.conv1d(h_BCT, state[conv + "weight"], state[conv + "bias"], STRIDES[j], PADDINGS[j])
        if layer + "1.weight" in state:
            std = (state[layer + "1.running_var"] + 1e-5).sqrt()
            h_BCT = (h_BCT - state[layer + "1.running_mean"][:, None]) / std[:, None]
            h_BCT = h_BCT * state[layer + "1.weight"][:, None] + state[layer + "1.bias"][:, None]
        h_BCT = h_BCT.clamp(min=0) if kernel > 1 else h_BCT
        outputs.append(h_BCT.mT)
    return outputs


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("head", ["none", "linear"])
def test_extra_layers_compute_what_the_reference_computes_and_go_back(
    tmp_path: Path, norm: bool, head: str
) -> None:
    state = extra_layers_state(norm)
    overrides = [
        *EXTRA,
        f"model.relus={RELUS}",
        f"model.batch_norm={'local' if norm else 'none'}",
        f"model.head={head}",
    ]
    made = import_reference(save(state, tmp_path / "m.ckpt"), str(tmp_path / "run"), None, overrides)
    frozen = vgim.pretrained.encoder.load_encoder(made.run)
    layers = outputs_of_layers(state, AUDIO)
    assert layers[2].min() < 0
    for j, expected in enumerate(layers):
        torch.testing.assert_close(frozen(AUDIO, 0, j), expected, rtol=1e-4, atol=1e-5)
    mu = "module.fullmodel.0.encoder.encoder_mu."
    z_BTC = layers[-1] @ state[mu + "weight"][..., 0].T + state[mu + "bias"]
    gru = torch.nn.GRU(CHANNELS, UNITS, batch_first=True)
    name = "module.fullmodel.0.autoregressor.gru."
    gru.load_state_dict(
        {key.removeprefix(name): value for key, value in state.items() if key.startswith(name)}
    )
    torch.testing.assert_close(frozen(AUDIO), gru(z_BTC)[0].detach(), rtol=1e-4, atol=1e-5)

    file = export_reference(made.run, str(tmp_path / "back.ckpt")).uri
    exported = torch.load(file, weights_only=True)
    assert {key for key in state if "encoder_var" not in key} <= exported.keys()
    assert torch.equal(
        exported["module.fullmodel.0.encoder.encoder.2.bias"],
        state["module.fullmodel.0.encoder.encoder.2.bias"],
    )
    again = import_reference(file, str(tmp_path / "again"), None, overrides)
    before, after = find_checkpoint(made.run).weights(), find_checkpoint(again.run).weights()
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[key]) for key, tensor in before.items())
    assert before["greedy.0.nce.weight"].shape[0] == STEPS


@pytest.mark.parametrize(
    ("overrides", "fix"),
    [
        (EXTRA, f"; add model.relus={RELUS}"),
        (
            SIZES,
            f"; add model.kernels=[10,8,1,4,4,1,4,1] model.relus={RELUS} model.layers_per_module=[8], with model.",
        ),
    ],
)
def test_layers_that_the_config_has_not_are_named(tmp_path: Path, overrides: list[str], fix: str) -> None:
    file = save(extra_layers_state(norm=True), tmp_path / "m.ckpt")
    with pytest.raises(CheckpointError) as refused:
        import_reference(file, str(tmp_path / "run"), None, overrides)
    assert fix in str(refused.value)


def test_extra_modules_go_to_the_reference_and_back(tmp_path: Path) -> None:
    extra = (
        "model.extra_modules=2",
        "model.extra_layers=2",
        "model.gru_bidirectional=false",
        "model.posterior_norm=none",
    )
    run = make_run(tmp_path, "deep", *extra)
    file = export_reference(str(run), str(tmp_path / "deep.ckpt")).uri
    made = import_reference(file, str(tmp_path / "back"), "quickstart", [*EXPORTED_SIZES, *extra])
    before, after = find_checkpoint(str(run)).weights(), find_checkpoint(made.run).weights()
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[key]) for key, tensor in before.items())
    with pytest.raises(CheckpointError, match=r"model\.kernels=\[10,8,4,4,4,3,3,3,3\] in the file"):
        import_reference(file, str(tmp_path / "other"), "quickstart", EXPORTED_SIZES)
