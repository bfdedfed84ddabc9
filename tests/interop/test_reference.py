"""Reference checkpoints become runs and runs become reference checkpoints, with the same numbers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor
from torch.nn import functional as F

import vgim.pretrained.encoder
from vgim.cli import main
from vgim.config.schema import ModelConfig, ObjectiveConfig
from vgim.errors import CheckpointError, StorageError
from vgim.interop.reference import export_reference, import_reference
from vgim.interop.reference_weights import to_reference
from vgim.model.draws import Draws
from vgim.model.stack import build_encoder
from vgim.runs.checkpoint import find_checkpoint
from vgim.runs.listing import list_runs

CHANNELS, UNITS, STEPS = 6, 5, 3
KERNELS, STRIDES, PADDINGS = (10, 8, 4, 4, 4), (5, 4, 2, 2, 2), (2, 2, 2, 2, 1)
SIZES = (f"model.channels={CHANNELS}", f"model.gru_units={UNITS}", f"objective.prediction_steps={STEPS}")
GREEDY, ONE = ((0, 1), (2, 3), (4,)), ((0, 1, 2, 3, 4),)

State = dict[str, Tensor]


def reference_state(family: str, norm: bool, heads: bool, seed: int = 0, prefix: str = "module.") -> State:
    """A state dict as the reference saves it, every tensor random, biases before BatchNorm included."""
    rng = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng) / math.sqrt(max(1, math.prod(shape[1:])))

    state: State = {}
    modules = ONE if family == "cpc" else GREEDY
    for m, layers in enumerate(modules):
        name = f"{prefix}fullmodel.{m}."
        for j, layer in enumerate(layers):
            conv = f"{name}encoder.encoder.{j}."
            state[conv + "0.weight"] = draw(CHANNELS, 1 if layer == 0 else CHANNELS, KERNELS[layer])
            state[conv + "0.bias"] = draw(CHANNELS)
            if norm:
                state[conv + "1.weight"] = 1 + 0.1 * draw(CHANNELS)
                state[conv + "1.bias"] = draw(CHANNELS)
                state[conv + "1.running_mean"] = draw(CHANNELS)
                state[conv + "1.running_var"] = 0.5 + draw(CHANNELS).square()
                state[conv + "1.num_batches_tracked"] = torch.tensor(7)
        for head in ("mu", "var") if heads else ():
            state[f"{name}encoder.encoder_{head}.weight"] = draw(CHANNELS, CHANNELS, 1)
            state[f"{name}encoder.encoder_{head}.bias"] = draw(CHANNELS)
        width = CHANNELS
        if family == "cpc":
            state |= _gru(draw, name)
            width = UNITS
        state[name + "loss.predictor.weight"] = draw(STEPS * CHANNELS, width)
    if family != "cpc":
        name = f"{prefix}fullmodel.{len(modules)}."
        state |= _gru(draw, name)
        state[name + "loss.predictor.weight"] = draw(STEPS * CHANNELS, UNITS)
    return state


def _gru(draw: Any, name: str) -> State:
    shapes = {"weight_ih_l0": CHANNELS, "weight_hh_l0": UNITS}
    state = {f"{name}autoregressor.gru.{key}": draw(3 * UNITS, width) for key, width in shapes.items()}
    return state | {f"{name}autoregressor.gru.bias_{side}_l0": draw(3 * UNITS) for side in ("ih", "hh")}


def reference_latents(state: State, x_BL: Tensor, module: int) -> tuple[Tensor, Tensor]:
    """z = μ and c of a module from the formulas: convolution, BatchNorm, ReLU; 1×1 head; GRU, c = z without one."""
    z = x_BL[:, None]
    layer = 0
    for m in range(module + 1):
        name = f"module.fullmodel.{m}."
        j = 0
        while (conv := f"{name}encoder.encoder.{j}.") + "0.weight" in state:
            z = F.conv1d(z, state[conv + "0.weight"], state[conv + "0.bias"], STRIDES[layer], PADDINGS[layer])
            if conv + "1.weight" in state:
                std = (state[conv + "1.running_var"] + 1e-5).sqrt()
                z = (z - state[conv + "1.running_mean"][:, None]) / std[:, None]
                z = z * state[conv + "1.weight"][:, None] + state[conv + "1.bias"][:, None]
            z = z.clamp(min=0)
            j, layer = j + 1, layer + 1
        if j and f"{name}encoder.encoder_mu.weight" in state:
            z = F.conv1d(
                z, state[f"{name}encoder.encoder_mu.weight"], state[f"{name}encoder.encoder_mu.bias"]
            )
    z = z.mT
    gru = f"module.fullmodel.{module}.autoregressor.gru."
    if gru + "weight_hh_l0" not in state:
        return z, z
    h = torch.zeros(len(z), UNITS)
    contexts = []
    for t in range(z.shape[1]):
        from_z = z[:, t] @ state[gru + "weight_ih_l0"].T + state[gru + "bias_ih_l0"]
        from_h = h @ state[gru + "weight_hh_l0"].T + state[gru + "bias_hh_l0"]
        (rz, uz, nz), (rh, uh, nh) = from_z.chunk(3, 1), from_h.chunk(3, 1)
        reset, update = torch.sigmoid(rz + rh), torch.sigmoid(uz + uh)
        h = (1 - update) * torch.tanh(nz + reset * nh) + update * h
        contexts.append(h)
    return z, torch.stack(contexts, 1)


def preset_of(family: str, norm: bool) -> list[str]:
    return [*SIZES, f"model.batch_norm={'local' if norm else 'none'}"]


def save(state: Any, path: Path) -> str:
    torch.save(state, path)
    return str(path)


AUDIO = torch.randn(2, 2000, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize(("family", "heads"), [("sim", True), ("gim", False), ("cpc", True), ("cpc", False)])
def test_an_imported_encoder_computes_what_the_reference_computes(
    tmp_path: Path, family: str, heads: bool, norm: bool
) -> None:
    state = reference_state(family, norm, heads)
    made = import_reference(
        save(state, tmp_path / "model_9.ckpt"), str(tmp_path / "run"), None, preset_of(family, norm)
    )
    frozen = vgim.pretrained.encoder.load_encoder(made.run)
    assert frozen.config.model.family == family
    for m in range(len(frozen.encoder)):
        torch.testing.assert_close(
            frozen(AUDIO, m), reference_latents(state, AUDIO, m)[1], rtol=1e-4, atol=1e-5
        )


def test_log_variances_and_predictions_arrive_too(tmp_path: Path) -> None:
    state = reference_state("sim", norm=True, heads=True)
    made = import_reference(save(state, tmp_path / "m.ckpt"), str(tmp_path / "run"), None, SIZES)
    encoder = vgim.pretrained.encoder.load_encoder(made.run).encoder
    name = "module.fullmodel.1."
    x = torch.randn(2, 30, CHANNELS)
    head = encoder.module(1).posterior
    assert head is not None
    expected = (
        x @ state[f"{name}encoder.encoder_var.weight"][..., 0].T + state[f"{name}encoder.encoder_var.bias"]
    )
    torch.testing.assert_close(head(x).logvar, expected)
    wide = x @ state[name + "loss.predictor.weight"].T
    for k in range(STEPS):  # the reference slices map k out of the wide product
        torch.testing.assert_close(
            x @ encoder.module(1).nce.weight[k].T, wide[..., k * CHANNELS : (k + 1) * CHANNELS]
        )


def test_a_bias_in_the_running_mean_has_no_effect_in_training_either(tmp_path: Path) -> None:
    state = reference_state("sim", norm=True, heads=True)
    made = import_reference(save(state, tmp_path / "m.ckpt"), str(tmp_path / "run"), None, SIZES)
    layers = vgim.pretrained.encoder.load_encoder(made.run).encoder.module(2).layers.train()
    conv = "module.fullmodel.2.encoder.encoder.0."
    x = torch.randn(2, 40, CHANNELS)
    y = F.conv1d(x.mT, state[conv + "0.weight"], state[conv + "0.bias"], STRIDES[4], PADDINGS[4])
    mean, var = state[conv + "1.running_mean"].clone(), state[conv + "1.running_var"].clone()
    y = F.batch_norm(y, mean, var, state[conv + "1.weight"], state[conv + "1.bias"], training=True)
    torch.testing.assert_close(layers(x), y.clamp(min=0).mT, rtol=1e-4, atol=1e-5)
    running_mean = layers.state_dict()["norm0.running_mean"]
    torch.testing.assert_close(running_mean, mean - state[conv + "0.bias"], rtol=1e-4, atol=1e-5)


def test_folding_the_head_of_cpc_keeps_its_loss(tmp_path: Path) -> None:
    state = reference_state("cpc", norm=True, heads=True)
    made = import_reference(save(state, tmp_path / "m.ckpt"), str(tmp_path / "run"), None, SIZES)
    module = vgim.pretrained.encoder.load_encoder(made.run).encoder.module(0)
    z, c = reference_latents(state, AUDIO, 0)
    B, T = z.shape[:2]
    negatives = torch.randint(B * T, (1, B, T, 4), generator=torch.Generator().manual_seed(0))
    maps = state["module.fullmodel.0.loss.predictor.weight"].view(STEPS, CHANNELS, UNITS)
    losses = []
    for k in range(1, STEPS + 1):
        prediction = c[:, : T - k] @ maps[k - 1].T
        candidates = torch.cat([z[:, k:, None], z.flatten(0, 1)[negatives[0, :, : T - k]]], 2)
        losses.append(-(candidates @ prediction[..., None]).squeeze(-1).log_softmax(-1)[..., 0].mean())
    out = module(AUDIO, Draws(0, negatives, False, None, None))
    torch.testing.assert_close(out.nce, torch.stack(losses).mean(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", ["local", "none"])
@pytest.mark.parametrize("family", ["sim", "gim", "cpc"])
def test_export_then_import_gives_the_same_tensors_and_outputs(
    tmp_path: Path, family: str, norm: str
) -> None:
    first = import_reference(
        save(reference_state(family, norm == "local", heads=family != "gim"), tmp_path / "a.ckpt"),
        str(tmp_path / "first"),
        None,
        [*SIZES, f"model.batch_norm={norm}"],
    )
    file = export_reference(first.run, str(tmp_path / "b.ckpt"))
    exported = torch.load(file, weights_only=True)
    assert "module.fullmodel.0.encoder.encoder.1.0.bias" in exported
    assert exported["module.fullmodel.0.encoder.encoder_mu.weight"].shape == (CHANNELS, CHANNELS, 1)
    second = import_reference(file, str(tmp_path / "second"), None, [*SIZES, f"model.batch_norm={norm}"])
    before, after = find_checkpoint(first.run).weights(), find_checkpoint(second.run).weights()
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name]), name
    one, two = (vgim.pretrained.encoder.load_encoder(run) for run in (first.run, second.run))
    assert torch.equal(one(AUDIO), two(AUDIO))


def test_spellings_in_circulation_are_read_alike(tmp_path: Path) -> None:
    state = reference_state("gim", norm=False, heads=False)
    plain = {key.removeprefix("module."): value for key, value in state.items()}
    older = {
        key.replace("encoder.encoder.", "encoder.model.layer ").replace("_l0", ""): value
        for key, value in plain.items()
    }
    cubic = {
        key: value[..., None] if key.endswith("predictor.weight") else value for key, value in plain.items()
    }
    wrapped = {"epoch": 3, "state_dict": {f"model.{key}": value for key, value in state.items()}}
    expected = None
    for number, variant in enumerate((state, plain, older, cubic, wrapped)):
        run = str(tmp_path / f"run{number}")
        import_reference(
            save(variant, tmp_path / f"{number}.ckpt"), run, None, [*SIZES, "model.batch_norm=none"]
        )
        weights = find_checkpoint(run).weights()
        expected = expected or weights
        assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())


def test_it_is_a_run_that_is_listed_and_initializes_another(tmp_path: Path) -> None:
    file = save(reference_state("sim", norm=True, heads=True), tmp_path / "model_9.ckpt")
    run = tmp_path / "runs" / "published"
    done = CliRunner().invoke(main, ["import-reference", file, *SIZES, "--out", str(run)])
    assert done.exit_code == 0, done.output
    assert "strides [5,4,2,2,2]" in done.output
    assert "running means" in done.output
    (summary,) = list_runs(str(tmp_path / "runs"))
    assert (summary.name, summary.state, summary.family, summary.step) == ("published", "finished", "sim", 0)
    other = build_encoder(
        ModelConfig(channels=CHANNELS, gru_units=UNITS), ObjectiveConfig(prediction_steps=STEPS), 1
    )
    from vgim.runs.weights import load_weights

    load_weights(find_checkpoint(str(run)), other)
    assert torch.equal(
        other.state_dict()["greedy.0.nce.weight"], find_checkpoint(str(run)).weights()["greedy.0.nce.weight"]
    )
    out = CliRunner().invoke(main, ["export-reference", str(run), "--out", str(tmp_path / "back.ckpt")])
    assert out.exit_code == 0, out.output
    with pytest.raises(StorageError, match="holds a run already"):
        import_reference(file, str(run), None, SIZES)


class Payload:
    """What a hostile file would hold."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("executed",)


def test_a_file_with_code_in_it_is_refused_and_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = save({"module.fullmodel.0.loss.predictor.weight": Payload()}, tmp_path / "bad.ckpt")
    with pytest.raises(CheckpointError, match="would run code") as refused:
        import_reference(file, str(tmp_path / "run"), None, SIZES)
    assert "\n" not in str(refused.value)
    assert "executed" not in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


def test_a_file_that_is_none_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.ckpt").write_text("no weights at all")
    with pytest.raises(CheckpointError, match="damaged, or another kind of file"):
        import_reference(str(tmp_path / "text.ckpt"), str(tmp_path / "run"), None)


def _without(state: State, key: str) -> State:
    return {name: value for name, value in state.items() if name != key}


def _with(state: State, **tensors: Tensor) -> State:
    return {**state, **{key.replace("__", "."): value for key, value in tensors.items()}}


SIM = reference_state("sim", norm=True, heads=True)


@pytest.mark.parametrize(
    ("state", "overrides", "message"),
    [
        (SIM, SIZES[1:], r"model.channels=6 in the file, 512 in librispeech-sim; add model.channels=6"),
        (SIM, SIZES[:2], r"add objective.prediction_steps=3"),
        (SIM, [*SIZES, "model.batch_norm=none"], r"add model.batch_norm=local"),
        (SIM, [*SIZES, "model.layers_per_module=[1,1,1,1,1]"], r"add model.layers_per_module=\[2,2,1\]"),
        (
            _with(SIM, linear__weight=torch.zeros(2)),
            SIZES,
            r"no encoder of the reference has \(linear.weight\)",
        ),
        (
            _without(SIM, "module.fullmodel.1.encoder.encoder_var.bias"),
            SIZES,
            r"lacks fullmodel.1.encoder.encoder_var.bias;",
        ),
        (
            {**SIM, "module.fullmodel.1.encoder.encoder.1.0.weight": torch.zeros(CHANNELS, 4, 4)},
            SIZES,
            r"fullmodel.1.encoder.encoder.1.0.weight is \[6, 4, 4\] where \[6, 6, 4\]",
        ),
        (
            {key.replace("encoder.encoder.1.", "encoder.encoder.2."): value for key, value in SIM.items()},
            SIZES,
            r"numbered \[0, 2\]: something without weights, such as pooling",
        ),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, state: State, overrides: list[str], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        import_reference(save(state, tmp_path / "m.ckpt"), str(tmp_path / "run"), None, overrides)
    assert not (tmp_path / "run").exists()


def test_heads_that_gim_has_no_place_for_are_explained(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="our gim has not; as sim, deterministic latents are those μ"):
        import_reference(save(SIM, tmp_path / "m.ckpt"), str(tmp_path / "run"), "librispeech-gim", SIZES)


def test_exported_names_are_those_of_a_module_list_of_the_reference() -> None:
    encoder = build_encoder(
        ModelConfig(channels=CHANNELS, gru_units=UNITS), ObjectiveConfig(prediction_steps=STEPS), 0
    )
    expected = {key.removeprefix("module.") for key in SIM}
    assert set(to_reference(encoder)) == expected
