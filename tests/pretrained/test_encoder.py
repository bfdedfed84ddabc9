"""A trained encoder is opened frozen, from a run or a checkpoint, without Ray."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from vgim import load_encoder
from vgim.config import ResolvedConfig, RunConfig
from vgim.data.shards.manifest import read_manifest
from vgim.errors import CheckpointError, ConfigError, StorageError
from vgim.model.audio import Normalizer, Statistics
from vgim.pretrained.encoder import FrozenEncoder
from vgim.runs.checkpoint import complete_checkpoints
from vgim.sealed_json import dump_sealed, load_sealed
from vgim.storage import Location
from vgim.training.trainer import train

SAMPLES = 5_120


@pytest.fixture(scope="module")
def trained(
    tiny_config_in: Callable[..., ResolvedConfig], tmp_path_factory: pytest.TempPathFactory
) -> tuple[RunConfig, str]:
    """A run's config and place; it has four checkpoints."""
    resolved = tiny_config_in(tmp_path_factory.mktemp("encoder"), "train.keep_last=4", "train.epochs=4")
    train(resolved)
    storage = resolved.config.storage
    return resolved.config, f"{storage.root}/{storage.name}"


@pytest.fixture(scope="module")
def run(trained: tuple[RunConfig, str]) -> str:
    return trained[1]


def audio() -> torch.Tensor:
    return torch.randint(-3000, 3000, (2, SAMPLES), generator=torch.Generator().manual_seed(0)).to(
        torch.int16
    )


def test_it_has_the_weights_of_the_last_checkpoint_and_the_runs_config(
    trained: tuple[RunConfig, str],
) -> None:
    config, run = trained
    encoder = load_encoder(run)
    assert encoder.config == config
    assert encoder.checkpoint.state.step == 40
    saved = complete_checkpoints(Location(run))[-1].weights()
    state = encoder.encoder.state_dict()
    assert state.keys() == saved.keys()
    assert all(torch.equal(state[name], saved[name]) for name in saved)


def test_the_best_is_that_of_the_lowest_validation_loss(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = {c.state.step: c.state.validation_loss for c in complete_checkpoints(Location(run))}
    assert load_encoder(run, which="best").checkpoint.state.step == min(losses, key=lambda s: losses[s] or 9)
    folder = Location(run).child("checkpoints", "step-00000020", "state.json")
    kept = folder.read_bytes()
    folder.write_bytes_atomic(dump_sealed({**load_sealed(kept)[0], "validation_loss": 0.5}))
    try:
        assert load_encoder(run, which="best").checkpoint.state.step == 20
        assert load_encoder(run, which="last").checkpoint.state.step == 40
    finally:
        folder.write_bytes_atomic(kept)
    with pytest.raises(ValueError, match="which='newest'; use 'last' or 'best'"):
        load_encoder(run, which="newest")


def test_a_checkpoint_may_be_named_itself(run: str) -> None:
    encoder = load_encoder(f"{run}/checkpoints/step-00000010")
    assert encoder.checkpoint.state.step == 10
    assert not torch.equal(encoder(audio()), load_encoder(run)(audio()))


def test_it_is_frozen_and_stays_in_evaluation_mode(run: str) -> None:
    encoder = load_encoder(run)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    probe = torch.nn.Sequential(encoder, torch.nn.Linear(8, 2)).train()
    assert not any(module.training for module in encoder.modules())
    assert not any(p.requires_grad for p in encoder.parameters())
    probe(audio()).sum().backward()
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())
    assert probe[1].weight.grad is not None


def test_a_crop_encodes_the_same_alone_and_in_a_batch(run: str) -> None:
    encoder = load_encoder(run)
    torch.testing.assert_close(encoder(audio())[:1], encoder(audio()[:1]))
    as_float = audio().float() / 32_768
    torch.testing.assert_close(encoder(as_float), encoder(audio()))


def test_modules_give_their_own_frames(run: str) -> None:
    encoder = load_encoder(run)
    frames = encoder.encoder.module_frames(SAMPLES)
    assert [tuple(encoder(audio(), module=m).shape) for m in range(4)] == [(2, f, 8) for f in frames]
    assert torch.equal(encoder(audio()), encoder(audio(), module=3))
    with pytest.raises(ConfigError, match="module=4 but the encoder has 4 modules"):
        encoder(audio(), module=4)


def test_layers_of_a_module_are_read_by_name(run: str) -> None:
    encoder = load_encoder(run)
    shapes = [tuple(encoder(audio(), module=0, layer=layer).shape) for layer in range(2)]
    assert shapes == [(2, 1023, 8), (2, 255, 8)]
    assert not torch.equal(encoder(audio(), module=0, layer=1), encoder(audio(), module=0))
    with pytest.raises(
        ConfigError, match="layer=1 but module 2 has its convolutions 0 to 0; use one of them"
    ):
        encoder(audio(), module=2, layer=1)


def test_a_generator_samples_the_posterior_reproducibly(run: str) -> None:
    encoder = load_encoder(run)

    def sample(seed: int) -> torch.Tensor:
        return encoder(audio(), module=0, generator=torch.Generator().manual_seed(seed))

    mean = encoder(audio(), module=0)
    assert torch.equal(sample(1), sample(1))
    assert not torch.equal(sample(1), sample(2))
    average = torch.stack([sample(seed) for seed in range(200)]).mean(0)
    assert (average - mean).abs().mean() < 0.2 * (sample(1) - mean).abs().mean()


def test_what_is_no_generator_is_refused(run: str) -> None:
    encoder = load_encoder(run)
    wrong: Any = 3
    for call in (encoder, encoder.encode):
        with pytest.raises(TypeError, match=r"generator=3 is of the type int; give a torch\.Generator"):
            call(audio(), generator=wrong)


def test_opening_one_needs_neither_ray_nor_pandas_nor_the_compiler(run: str) -> None:
    code = (
        "import sys, torch; from vgim import load_encoder; "
        f"encoder = load_encoder({run!r}); "
        f"print(tuple(encoder(torch.zeros(1, {SAMPLES})).shape), "
        "sorted({'ray', 'pandas', 'torch._dynamo', 'pyarrow.parquet', 'tensorboard'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "(1, 32, 8) []"


def test_what_is_no_run_is_told(tmp_path: Path) -> None:
    for which in ("last", "best"):
        with pytest.raises(CheckpointError, match=r"there is no folder .*nothing; name a run's folder") as e:
            load_encoder(str(tmp_path / "nothing"), which=which)
        assert "\n" not in str(e.value)


def test_it_may_be_opened_in_another_precision_or_place(run: str) -> None:
    assert isinstance(load_encoder(run, device=torch.device("cpu")), FrozenEncoder)
    half = load_encoder(run).to(torch.float64)
    assert next(half.parameters()).dtype == torch.float64


def test_audio_in_any_usual_form_gives_the_same_latents(run: str) -> None:
    encoder = load_encoder(run)
    expected = encoder(audio())
    for same in (audio()[:, None], audio().numpy(), (audio().float() / 32_768).numpy()):
        torch.testing.assert_close(encoder(same), expected)
    torch.testing.assert_close(encoder(audio()[0]), expected[:1], rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="dtype int32; expected 16 kHz mono audio"):
        encoder(audio().int())
    with pytest.raises(ConfigError, match="num_samples=5 makes no frame in module 3; pass audio of at least"):
        encoder(audio()[:, :5])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-4), (torch.float16, 2e-2)])
def test_another_precision_gives_the_same_latents_but_for_rounding(
    run: str, dtype: torch.dtype, tolerance: float
) -> None:
    encoder = load_encoder(run)
    expected = [encoder(audio(), module=m) for m in range(4)]
    encoder.to(dtype)
    for m in range(4):
        for heard in (audio(), (audio().float() / 32_768).to(dtype)):
            found = encoder(heard, module=m)
            assert found.dtype == dtype
            torch.testing.assert_close(found.float(), expected[m], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("mode", ["none", "corpus", "utterance"])
def test_the_encoder_normalizes_as_its_training_did(
    mode: str, tiny_config: Callable[..., ResolvedConfig], tmp_path: Path
) -> None:
    resolved = tiny_config(f"data.normalize={mode}", "train.max_steps=1")
    train(resolved)
    config = resolved.config
    manifest = read_manifest(config.data.shards)
    shards = shutil.move(config.data.shards, tmp_path / "moved")  # the checkpoint needs no shards
    try:
        encoder = load_encoder(f"{config.storage.root}/{config.storage.name}")
    finally:
        shutil.move(shards, config.data.shards)
    x = audio().float() / 32_768
    if mode == "corpus":
        assert manifest.corpus_std < 0.5
        x = (x - manifest.corpus_mean) / manifest.corpus_std
    elif mode == "utterance":
        x = (x - x.mean(1, keepdim=True)) / x.std(1, correction=0, keepdim=True)
    torch.testing.assert_close(encoder(audio()), encoder.encoder.encode(x))
    if mode == "utterance":
        whole = Statistics(torch.tensor([0.0, 0.1]), torch.tensor([0.5, 0.25]))
        x = (audio().float() / 32_768 - whole.mean[:, None]) / whole.std[:, None]
        torch.testing.assert_close(encoder(audio(), utterances=whole), encoder.encoder.encode(x))


def test_padded_utterances_equal_single_ones_of_every_normalization(run: str) -> None:
    encoder = load_encoder(run)
    lengths = [SAMPLES, SAMPLES - 777]
    for mode in ("none", "corpus", "utterance"):
        encoder.normalizer = Normalizer(mode, Statistics(0.01, 0.2))
        padded = encoder.encode(audio(), lengths)
        for row, length in enumerate(lengths):
            alone = encoder.encode(audio()[row, :length])
            for (latents_BTC, frames_B), (expected_BTC, num_B) in zip(padded, alone, strict=True):
                assert frames_B[row] == num_B[0] == expected_BTC.shape[1]
                torch.testing.assert_close(latents_BTC[row, : frames_B[row]], expected_BTC[0])
        torch.testing.assert_close(encoder(audio(), lengths=lengths), padded[-1].latents)
        torch.testing.assert_close(encoder(audio(), 0, -1, lengths=lengths)[0], encoder(audio()[0], 0, -1)[0])


def test_every_module_in_one_call_is_what_single_calls_return(run: str) -> None:
    encoder = load_encoder(run)
    outputs = encoder.encode(audio().numpy())
    assert [latents.shape[2] for latents, _ in outputs] == list(encoder.channels)
    for module, (latents_BTC, frames_B) in enumerate(outputs):
        torch.testing.assert_close(latents_BTC, encoder(audio(), module))
        assert frames_B.tolist() == [encoder.num_frames(SAMPLES, module)] * 2
        assert frames_B.tolist() == encoder.num_frames([SAMPLES, SAMPLES], module).tolist()


def test_rates_are_those_of_the_frames(run: str) -> None:
    encoder = load_encoder(run)
    assert (encoder.sample_rate, encoder.num_modules) == (16_000, len(encoder.frame_rates))
    assert encoder.frame_rate == encoder.frame_rates[-1]
    for module, rate in enumerate(encoder.frame_rates):
        assert encoder.num_frames(160_000, module) == pytest.approx(10 * rate, abs=2)


def test_a_file_is_encoded_as_its_samples_are(run: str, tmp_path: Path) -> None:
    encoder, samples = load_encoder(run), audio()[0].numpy()
    soundfile.write(tmp_path / "a.wav", samples, 16_000)
    expected = encoder.encode(samples)
    for file in (tmp_path / "a.wav", str(tmp_path / "a.wav"), bytes(tmp_path / "a.wav")):
        assert torch.equal(encoder.encode_file(file)[-1].latents, expected[-1].latents)
    soundfile.write(tmp_path / "b.wav", np.stack([samples, samples], 1), 16_000)
    with pytest.warns(UserWarning, match="averaged 2 channels") as told:
        assert torch.equal(encoder.encode_file(tmp_path / "b.wav")[0].latents, expected[0].latents)
    assert told[0].filename == __file__
    with pytest.raises(StorageError, match=r"c\.wav"):
        encoder.encode_file(tmp_path / "c.wav")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"where": 3}, ConfigError, r"where=3 is of the type int; give a path, a URI or a name"),
        ({"where": {"run": 1}}, ConfigError, r"is of the type dict"),
        ({"where": ""}, ConfigError, r"where is empty"),
        ({"device": "gpu"}, ConfigError, r"device='gpu' is no device here; use auto, cpu, cuda or cuda:0"),
        ({"device": 1.5}, ConfigError, r"device=1\.5 is no device here"),
        ({"device": "meta"}, ConfigError, r"device='meta' is no device here"),
        ({"which": 7}, ValueError, r"which=7; use 'last' or 'best'"),
    ],
)
def test_what_cannot_be_loaded_is_told(
    run: str, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        load_encoder(**{"where": run, **arguments})


def test_paths_of_every_kind_and_any_device_load_the_same_encoder(run: str) -> None:
    expected = load_encoder(run)(audio())
    for where in (Path(run), run.encode()):
        assert torch.equal(load_encoder(where, device="auto")(audio()).cpu(), expected)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"audio": {"audio": 1}}, TypeError, "the audio is a dict; expected a tensor or a NumPy array"),
        ({"lengths": [1.5, 2.0]}, TypeError, "lengths are a list without whole numbers"),
        ({"lengths": {"a": 1}}, TypeError, "lengths are a dict without whole numbers"),
        ({"lengths": [SAMPLES]}, ValueError, rf"lengths=\[{SAMPLES}\], but the audio has 2 rows"),
        ({"lengths": [SAMPLES, SAMPLES + 1]}, ValueError, f"2 rows of {SAMPLES} samples"),
        ({"lengths": [SAMPLES, 0]}, ValueError, "a whole number from 1"),
        ({"lengths": [SAMPLES, 3]}, ConfigError, r"lengths\[1\]=3 makes no frame"),
        ({"module": "last"}, TypeError, "module='last' is of the type str; give a whole number"),
        ({"module": 9}, ConfigError, "module=9 but the encoder has"),
        ({"layer": 0.5}, TypeError, "layer=0.5 is of the type float"),
    ],
)
def test_what_cannot_be_encoded_is_told(
    run: str, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        load_encoder(run)(**{"audio": audio(), **arguments})
