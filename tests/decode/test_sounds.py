"""Commands that write sounds of a decoder: lengths, files and index of the sounds, and errors in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner, Result

from vgim.cli import main
from vgim.decode.sound_files import SoundEntry, add_to_index, read_index, write_wav
from vgim.decode.train import DecoderOptions, train_decoder
from vgim.storage import Location


def vgim(*args: object) -> Result:
    return CliRunner().invoke(main, ["decode", *map(str, args)])


@pytest.fixture
def trained(run: Path) -> Path:
    overrides = ("train.batch_size=4", "train.max_steps=2", "listen.crops=0")
    assert train_decoder(str(run), DecoderOptions(module=1), overrides, log=lambda line: None) == 0
    return run


def sound(path: Path, num_samples: int, seed: int = 0, rate: int = 16_000, channels: int = 1) -> Path:
    noise = 0.1 * np.random.default_rng(seed).standard_normal((num_samples, channels))
    soundfile.write(path, noise, rate)
    return path


def entries(run: Path, group: str) -> list[dict[str, Any]]:
    index = json.loads((run / "decoder/module1-mse/audio/index.json").read_text())
    return [entry for entry in index if entry["group"] == group]


def test_every_command_writes_sounds_of_the_right_length(trained: Path, tmp_path: Path) -> None:
    a, b = sound(tmp_path / "a.flac", 7_001), sound(tmp_path / "b.wav", 6_500, seed=1)
    out = tmp_path / "out.wav"
    assert vgim("file", a, out, "--run", trained).exit_code == 0
    info = soundfile.info(out)
    assert (info.frames, info.samplerate, info.channels, info.subtype) == (7_001, 16_000, 1, "PCM_16")
    audio = trained / "decoder/module1-mse/audio"
    files = vgim("interpolate", trained, a, b, "--steps", 3).output.splitlines()
    assert [soundfile.info(line).frames for line in files] == [6_500] * 3
    assert [entry["value"] for entry in entries(trained, "interpolation")] == [0, 0.5, 1]
    files = vgim("traverse", trained, a, "--dims", "3,5", "--range", "-2,2", "--steps", 2).output.splitlines()
    assert [soundfile.info(line).frames for line in files] == [7_001] * 4
    moved = [(entry["dimension"], entry["value"]) for entry in entries(trained, "traversal")]
    assert moved == [(3, -2), (3, 2), (5, -2), (5, 2)]
    assert vgim("sample", trained, "--count", 3, "--seed", 1).exit_code == 0
    drawn = [audio / entry["file"] for entry in entries(trained, "sample")]
    assert [soundfile.info(file).frames for file in drawn] == [5_120] * 7  # four were left by training
    assert all((audio / entry["original"]).exists() for entry in entries(trained, "reconstruction"))


def test_the_ends_of_an_interpolation_are_reconstructions(trained: Path, tmp_path: Path) -> None:
    a, b = sound(tmp_path / "a.wav", 6_000), sound(tmp_path / "b.wav", 6_000, seed=1)
    files = vgim("interpolate", trained, a, b, "--steps", 2, "--out", tmp_path / "way").output.splitlines()
    for end, source in zip(files, (a, b), strict=True):
        vgim("file", source, tmp_path / "again.wav", "--run", trained)
        np.testing.assert_array_equal(soundfile.read(end)[0], soundfile.read(tmp_path / "again.wav")[0])
    assert not (tmp_path / "way" / "index.json").exists()


@pytest.mark.parametrize("mode", ["corpus", "utterance"])
def test_a_reconstruction_of_normalized_audio_has_the_level_of_the_original(
    mode: str, tiny_config: Callable[..., Any], tmp_path: Path
) -> None:
    from vgim.data.shards.manifest import read_manifest
    from vgim.decode.session import open_session
    from vgim.training.trainer import train

    resolved = tiny_config(f"data.normalize={mode}", "train.max_steps=1")
    assert train(resolved) == 0
    run = Path(resolved.config.storage.root, "run")
    overrides = ("train.batch_size=4", "train.max_steps=1", "listen.crops=0")
    train_decoder(str(run), DecoderOptions(module=0), overrides, log=lambda line: None)
    session = open_session(str(run))
    samples = (1_000 * np.random.default_rng(0).standard_normal(6_000) + 3_000).astype(np.int16)
    if mode == "utterance":
        mean, std = samples.mean() / 32_768, samples.std() / 32_768
    else:
        manifest = read_manifest(resolved.config.data.shards)
        mean, std = manifest.corpus_mean, manifest.corpus_std
    latents = session.latents(samples)
    with torch.no_grad():
        expected = session.decoder(latents, 6_000)[0] * std + mean
    torch.testing.assert_close(session.reconstruct(samples), expected)


def test_files_of_other_rates_and_channels_are_converted_and_a_note_says_so(
    trained: Path, tmp_path: Path
) -> None:
    a = sound(tmp_path / "a.wav", 22_050, rate=44_100, channels=2)
    b = sound(tmp_path / "b.wav", 11_025, seed=1, rate=22_050)
    way = vgim("interpolate", trained, a, b, "--steps", 2)
    assert [soundfile.info(line).frames for line in way.stdout.splitlines()] == [8_000] * 2
    assert way.stderr.splitlines() == [
        f"note: {a}: averaged 2 channels, resampled 44100 Hz to 16000 Hz",
        f"note: {b}: resampled 22050 Hz to 16000 Hz",
    ]
    moved = vgim("traverse", trained, b, "--dims", 0, "--steps", 2)
    assert [soundfile.info(line).frames for line in moved.stdout.splitlines()] == [8_000] * 2
    assert moved.stderr.count("resampled 22050 Hz") == 1
    low = sound(tmp_path / "low.wav", 4_000, rate=8_000)
    again = vgim("file", low, tmp_path / "o.wav", "--run", trained)
    assert soundfile.info(tmp_path / "o.wav").frames == 8_000
    assert "it has nothing above 4000 Hz" in again.stderr


def test_wrong_arguments_are_refused_in_one_line(trained: Path, tmp_path: Path) -> None:
    odd = sound(tmp_path / "odd.wav", 6_000, rate=44_101)
    short = sound(tmp_path / "short.wav", 10)
    good = sound(tmp_path / "good.wav", 6_000)
    (tmp_path / "text.wav").write_text("no audio")
    cases = [
        (("file", odd, tmp_path / "o.wav", "--run", trained), "44101 Hz has no small ratio to 16000 Hz"),
        (("file", short, tmp_path / "o.wav", "--run", trained), "makes no frame in module 1"),
        (("file", tmp_path / "text.wav", tmp_path / "o.wav", "--run", trained), "not readable as audio"),
        (("file", tmp_path / "none.wav", tmp_path / "o.wav", "--run", trained), "there is no such file"),
        (("traverse", trained, good, "--dims", "99"), "--dims 99, but the latents have 8 dimensions"),
        (("traverse", trained, good, "--dims", "one"), "--dims one is no list of numbers"),
        (("traverse", trained, good, "--dims", "1", "--range", "3"), "two ends such as -2.68,2.68"),
        (("sample", trained, "--decoder", "x"), "has no decoder x; name one of module1-mse"),
    ]
    for args, message in cases:
        result = vgim(*args)
        assert result.exit_code > 1, args
        assert message in result.output
        assert len(result.output.strip().splitlines()) == 1


def test_decoders_are_listed_with_state_and_step(trained: Path, run: Path) -> None:
    lines = vgim("list", trained).output.splitlines()
    assert lines[0].split()[:3] == ["decoder", "state", "step"]
    assert lines[1].split()[:3] == ["module1-mse", "finished", "2"]


def test_loud_audio_is_scaled_down_instead_of_clipped(tmp_path: Path) -> None:
    write_wav(Location(tmp_path / "loud.wav"), torch.tensor([0.0, 3.0, -1.5]))
    assert soundfile.read(tmp_path / "loud.wav")[0].tolist() == pytest.approx([0, 1, -0.5], abs=1e-4)


def test_the_index_replaces_the_entry_of_a_file_that_is_written_again(tmp_path: Path) -> None:
    one = SoundEntry(file="a.wav", group="sample", title="one")
    add_to_index(Location(tmp_path), [one, one.model_copy(update={"file": "b.wav"})])
    add_to_index(Location(tmp_path), [one.model_copy(update={"title": "two"})])
    assert [(e.file, e.title) for e in read_index(Location(tmp_path))] == [("a.wav", "two"), ("b.wav", "one")]
