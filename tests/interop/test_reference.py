"""Reference checkpoints become runs and runs become reference checkpoints, with the same numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch.nn import functional as F

import vgim.pretrained.encoder
from tests.export.cases import make_run
from tests.interop.cases import (
    AUDIO,
    CHANNELS,
    PADDINGS,
    SIM,
    SIZES,
    STEPS,
    STRIDES,
    UNITS,
    State,
    preset_of,
    reference_latents,
    reference_state,
    save,
    with_tensors,
    without,
)
from vgim.cli import main
from vgim.config.schema import AugmentConfig, ModelConfig, ObjectiveConfig
from vgim.errors import CheckpointError, StorageError
from vgim.interop.reference import export_reference, import_reference
from vgim.interop.reference_weights import to_reference
from vgim.model.draws import Draws
from vgim.model.stack import build_encoder
from vgim.runs.checkpoint import find_checkpoint
from vgim.runs.listing import list_runs


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize(
    ("family", "heads", "overrides"),
    [
        ("sim", True, []),
        ("gim", True, []),
        ("gim", False, []),
        ("cpc", True, []),
        ("cpc", True, ["model.head=linear"]),
        ("cpc", False, []),
    ],
)
def test_an_imported_encoder_computes_what_the_reference_computes(
    tmp_path: Path, family: str, heads: bool, overrides: list[str], norm: bool
) -> None:
    state = reference_state(family, norm, heads, drawn=("var",) if family != "sim" else ())
    made = import_reference(
        save(state, tmp_path / "model_9.ckpt"),
        str(tmp_path / "run"),
        None,
        [*preset_of(family, norm), *overrides],
    )
    frozen = vgim.pretrained.encoder.load_encoder(made.run)
    assert frozen.config.model.family == family
    assert frozen.config.model.head == ("linear" if overrides or (heads and family == "gim") else "none")
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


@pytest.mark.parametrize("head", ["none", "linear"])
def test_the_head_of_cpc_keeps_its_loss_whether_it_is_folded_or_not(tmp_path: Path, head: str) -> None:
    state = reference_state("cpc", norm=True, heads=True)
    overrides = [*SIZES, f"model.head={head}"]
    made = import_reference(save(state, tmp_path / "m.ckpt"), str(tmp_path / "run"), None, overrides)
    assert any("moved into GRU" in note for note in made.notes) == (head == "none")
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
    if head == "linear":
        torch.testing.assert_close(out.latents, z, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", ["local", "none"])
@pytest.mark.parametrize(
    ("family", "head"),
    [("sim", "none"), ("gim", "none"), ("gim", "linear"), ("cpc", "none"), ("cpc", "linear")],
)
def test_export_then_import_gives_the_same_tensors_and_outputs(
    tmp_path: Path, family: str, head: str, norm: str
) -> None:
    overrides = [*SIZES, f"model.batch_norm={norm}", f"model.head={head}"]
    state = reference_state(
        family,
        norm == "local",
        heads=(family, head) != ("gim", "none"),
        drawn=() if family == "sim" else ("var",),
    )
    first = import_reference(save(state, tmp_path / "a.ckpt"), str(tmp_path / "first"), None, overrides)
    file = export_reference(first.run, str(tmp_path / "b.ckpt")).uri
    exported = torch.load(file, weights_only=True)
    assert "module.fullmodel.0.encoder.encoder.1.0.bias" in exported
    assert exported["module.fullmodel.0.encoder.encoder_mu.weight"].shape == (CHANNELS, CHANNELS, 1)
    if family == "sim" or head == "linear":
        name = "module.fullmodel.0.encoder.encoder_mu.weight"
        assert torch.equal(exported[name], state[name])
    # No key says head or family here, except of cpc, whose head can be folded.
    second = import_reference(
        file, str(tmp_path / "second"), None, overrides if family == "cpc" else overrides[:-1]
    )
    before, after = find_checkpoint(first.run).weights(), find_checkpoint(second.run).weights()
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name]), name
    one, two = (vgim.pretrained.encoder.load_encoder(run) for run in (first.run, second.run))
    assert torch.equal(one(AUDIO), two(AUDIO))


ALIKE = ("model.gru_bidirectional=false", "model.posterior_norm=none")
"""Keys with which a run of quickstart can be exported."""
OF_ARTIFICIAL = "model.batch_norm=local"
"""What the presets of Artificial Speech lack and the file `SIM` has."""


@pytest.mark.parametrize(
    ("preset", "more", "differing"),
    [
        (
            None,
            (),
            "data.normalize=none, model.gru_bidirectional=false, model.posterior_norm=none, objective.target_rate=0.0",
        ),
        (
            "artificial-sim",
            (OF_ARTIFICIAL,),
            "data.normalize=none, data.augment.reverb_s=0.0, data.augment.noise_snr_db=none, model.preemphasis=0.0, "
            "model.gru_bidirectional=false, model.posterior_norm=none, objective.target_rate=0.0",
        ),
        ("published-librispeech-sim", (), None),
    ],
)
def test_an_imported_run_reads_audio_as_the_reference_does_whatever_its_preset(
    tmp_path: Path, preset: str | None, more: tuple[str, ...], differing: str | None
) -> None:
    sizes = [size for size in SIZES if "bidirectional" not in size]
    made = import_reference(save(SIM, tmp_path / "m.ckpt"), str(tmp_path / "run"), preset, [*sizes, *more])
    frozen = vgim.pretrained.encoder.load_encoder(made.run)
    assert (frozen.config.data.normalize, frozen.config.data.augment) == ("none", AugmentConfig())
    assert (frozen.config.target_rate, frozen.config.model.preemphasis) == (0, 0)
    torch.testing.assert_close(frozen(AUDIO, 2), reference_latents(SIM, AUDIO, 2)[1], rtol=1e-4, atol=1e-5)
    told = [note for note in made.notes if note.startswith("as in the reference")]
    named = preset or "librispeech-sim"
    line = f"as in the reference, and not as in {named}: {differing}; an override keeps another value"
    assert told == ([] if differing is None else [line])


def test_an_override_keeps_what_the_reference_has_not(tmp_path: Path) -> None:
    asked = ("data.normalize=utterance", "data.augment.reverb_s=0.3", "objective.target_rate=0.5")
    made = import_reference(
        save(SIM, tmp_path / "m.ckpt"),
        str(tmp_path / "run"),
        "artificial-sim",
        [*SIZES, OF_ARTIFICIAL, *asked],
    )
    config = find_checkpoint(made.run).config()
    assert (config.data.normalize, config.data.augment.reverb_s) == ("utterance", 0.3)
    assert config.target_rate == 0.5 * config.model.channels  # in the unit of the preset
    (told,) = (note for note in made.notes if note.startswith("as in the reference"))
    assert not [key for key in ("normalize", "reverb_s", "target_rate") if key in told]


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


@pytest.mark.parametrize(
    ("state", "overrides", "message"),
    [
        (SIM, SIZES[1:], r"model.channels=6 in the file, 512 in librispeech-sim; add model.channels=6"),
        (SIM, SIZES[:2], r"add objective.prediction_steps=3"),
        (SIM, [*SIZES, "model.batch_norm=none"], r"add model.batch_norm=local"),
        (SIM, [*SIZES, "model.preemphasis=0.97"], r"add model.preemphasis=0"),
        (SIM, [*SIZES, "model.posterior_norm=local"], r"add model.posterior_norm=none"),
        (SIM, [*SIZES, "model.gru_bidirectional=true"], r"add model.gru_bidirectional=false"),
        (SIM, [*SIZES, "model.layers_per_module=[1,1,1,1,1]"], r"add model.layers_per_module=\[2,2,1\]"),
        (
            with_tensors(SIM, linear__weight=torch.zeros(2)),
            SIZES,
            r"no encoder of the reference has \(linear.weight\)",
        ),
        (
            without(SIM, "module.fullmodel.1.encoder.encoder_var.bias"),
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


@pytest.mark.parametrize("shape", [(), (0,), (3,), (999_999, 1)])
@pytest.mark.parametrize(
    "name",
    [
        "0.encoder.encoder.0.0.weight",
        "0.encoder.encoder_mu.weight",
        "0.encoder.encoder_var.bias",
        "0.loss.predictor.weight",
        "3.autoregressor.gru.weight_hh_l0",
        f"{'9' * 5000}.loss.predictor.weight",
        f"0.encoder.encoder.{'9' * 5000}.weight",
    ],
    ids=lambda name: name[:20],
)
def test_a_tensor_of_no_encoder_is_refused_whatever_its_shape_and_number(
    tmp_path: Path, name: str, shape: tuple[int, ...]
) -> None:
    state = {**SIM, f"module.fullmodel.{name}": torch.zeros(shape)}
    with pytest.raises(CheckpointError):
        import_reference(save(state, tmp_path / "m.ckpt"), str(tmp_path / "run"), None, SIZES)


@pytest.mark.parametrize(
    ("normalize", "expected"),
    [
        ("none", []),
        ("corpus", ["less the mean 0.01, divided by the standard deviation 0.2"]),
        ("utterance", ["less its recording's mean, divided by its recording's standard deviation"]),
    ],
)
def test_a_normalization_that_the_file_cannot_state_is_told(
    tmp_path: Path, normalize: str, expected: list[str]
) -> None:
    run = make_run(tmp_path, "run", f"data.normalize={normalize}", *ALIKE)
    notes = export_reference(str(run), str(tmp_path / "out.ckpt")).notes
    assert len(notes) == len(expected)
    for note, end in zip(notes, expected, strict=True):
        assert f"data.normalize={normalize}" in note
        assert note.endswith(end)


def test_steps_of_each_module_are_neither_exported_nor_imported(tmp_path: Path) -> None:
    run = make_run(tmp_path, "run", "objective.prediction_steps=[4,2,2,2]", *ALIKE)
    with pytest.raises(
        CheckpointError, match=r"=\[4,2,2,2\], and a file of the reference has one K for all"
    ) as no:
        export_reference(str(run), str(tmp_path / "out.ckpt"))
    assert "\n" not in str(no.value)
    assert not (tmp_path / "out.ckpt").exists()
    file, listed = (
        save(SIM, tmp_path / "m.ckpt"),
        (*SIZES, "objective.prediction_steps=[4,2,2,2]"),
    )
    with pytest.raises(
        CheckpointError, match=r"\[4,2,2,2\] in librispeech-sim; add objective.prediction_steps=3"
    ):
        import_reference(file, str(tmp_path / "listed"), None, listed)
    import_reference(file, str(tmp_path / "same"), None, (*SIZES, "objective.prediction_steps=[3,3,3,3]"))
    export_reference(str(tmp_path / "same"), str(tmp_path / "same.ckpt"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.preemphasis=0.97", r"has model.preemphasis=0.97, which no file of the reference"),
        ("model.posterior_norm=sync", r"has model.posterior_norm=sync, and the reference has no normalized"),
        ("model.gru_bidirectional=true", r"has model.gru_bidirectional=true, and the reference knows no GRU"),
    ],
)
def test_what_the_reference_lacks_is_not_exported(tmp_path: Path, override: str, message: str) -> None:
    run = make_run(tmp_path, "run", *ALIKE, override)
    with pytest.raises(CheckpointError, match=message):
        export_reference(str(run), str(tmp_path / "out.ckpt"))
    assert not (tmp_path / "out.ckpt").exists()


def test_exported_names_are_those_of_a_module_list_of_the_reference() -> None:
    encoder = build_encoder(
        ModelConfig(channels=CHANNELS, gru_units=UNITS), ObjectiveConfig(prediction_steps=STEPS), 0
    )
    expected = {key.removeprefix("module.") for key in SIM}
    assert set(to_reference(encoder)) == expected
