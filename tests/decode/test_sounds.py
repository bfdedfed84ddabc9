"""Commands that write sounds of a decoder: lengths, files and index of the sounds, and errors in one line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from vgim.cli import main
from vgim.data.sound_file import read_sound
from vgim.decode.session import DecoderSession, open_session
from vgim.decode.sound_files import SoundEntry, add_to_index, read_index, write_wav
from vgim.decode.train import DecoderOptions, train_decoder
from vgim.storage import Location


def vgim(*args: object) -> Result:
    return CliRunner().invoke(main, ["decode", *map(str, args)])


@pytest.fixture
def trained(run: Path) -> Path:
    # Large steps make weights of which every latent is heard.
    overrides = ("train.batch_size=4", "train.max_steps=2", "listen.crops=0", "optim.learning_rate=0.2")
    assert train_decoder(str(run), DecoderOptions(module=1), overrides) == 0
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
    traversed = vgim("traverse", trained, a, "--dims", "3,5", "--range", "-2,2", "--steps", 2)
    assert "values of each dimension, in the order of its files: -2, 2\n" in traversed.stderr
    files = traversed.stdout.splitlines()
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
    from vgim.training.trainer import train

    resolved = tiny_config(f"data.normalize={mode}", "train.max_steps=1")
    assert train(resolved) == 0
    run = Path(resolved.config.storage.root, "run")
    overrides = ("train.batch_size=4", "train.max_steps=1", "listen.crops=0")
    train_decoder(str(run), DecoderOptions(module=0), overrides)
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


def heard(result: Result) -> list[NDArray[np.float64]]:
    """The sounds that a command wrote."""
    assert result.exit_code == 0, result.output
    return [soundfile.read(line)[0] for line in result.stdout.splitlines()]


def test_only_the_most_different_dimensions_move(trained: Path, tmp_path: Path) -> None:
    a, b = sound(tmp_path / "a.wav", 6_000), sound(tmp_path / "b.wav", 6_000, seed=1)
    plain = heard(vgim("interpolate", trained, a, b, "--steps", 3))
    few = vgim("interpolate", trained, a, b, "--steps", 3, "--dims", 2)
    told = re.fullmatch(r"2 of 8 dimensions move: (\d), (\d)\n", few.stderr)
    assert told is not None
    moved = [int(told[1]), int(told[2])]
    ways = heard(few)
    np.testing.assert_array_equal(ways[0], plain[0])
    assert np.abs(ways[2] - plain[2]).max() > 1e-4
    session = open_session(str(trained))
    latents = [session.latents(read_sound(str(path), print)) for path in (a, b)]
    differences = (latents[0] - latents[1]).abs().mean((0, 1))
    assert set(moved) == set(differences.topk(2).indices.tolist())
    mixed = latents[0].clone()
    mixed[..., moved] = latents[1][..., moved]
    write_wav(Location(tmp_path / "mixed.wav"), session.audio(mixed, 6_000))
    np.testing.assert_array_equal(ways[2], soundfile.read(tmp_path / "mixed.wav")[0])
    for one, other in zip(
        heard(vgim("interpolate", trained, a, b, "--steps", 3, "--dims", 8)), plain, strict=True
    ):
        np.testing.assert_array_equal(one, other)
    stored = entries(trained, "interpolation")
    assert [entry["moved"] for entry in stored[:6]] == [None] * 3 + [moved] * 3
    assert stored[3]["title"] == "a to b, the 2 most different dimensions"
    assert len(stored) == 9


def test_a_mask_that_keeps_all_changes_nothing_and_one_that_keeps_none_leaves_one_sound(
    trained: Path, tmp_path: Path
) -> None:
    a, b = sound(tmp_path / "a.wav", 6_000), sound(tmp_path / "b.wav", 6_000, seed=1)

    def decoded(path: Path, *mask: str) -> NDArray[np.float64]:
        assert vgim("file", path, tmp_path / "o.wav", "--run", trained, *mask).exit_code == 0
        samples: NDArray[np.float64] = soundfile.read(tmp_path / "o.wav")[0]
        return samples

    np.testing.assert_array_equal(decoded(a, "--mask", "keep:0-7"), decoded(a))
    none = [decoded(path, "--mask", "zero:0-7") for path in (a, b)]
    np.testing.assert_array_equal(*none)
    assert np.abs(decoded(a) - decoded(b)).max() > 1e-4
    np.testing.assert_array_equal(decoded(a, "--mask", "keep:1-7"), decoded(a, "--mask", "zero:0"))
    drawn = vgim("sample", trained, "--count", 2, "--mask", "zero:0-7")
    assert drawn.stderr == "note: --mask zero:0-7 sets all 8 dimensions to 0\n"
    draws = heard(drawn)
    np.testing.assert_array_equal(*draws)
    ways = heard(vgim("interpolate", trained, a, b, "--steps", 2, "--mask", "keep:1-3", "--dims", 3))
    np.testing.assert_array_equal(ways[1], decoded(b, "--mask", "keep:1-3"))
    moved = heard(vgim("traverse", trained, a, "--dims", 2, "--steps", 2, "--mask", "keep:2"))
    assert len(moved) == 2
    masks = {
        entry["mask"]
        for group in ("sample", "interpolation", "traversal")
        for entry in entries(trained, group)
    }
    assert masks == {None, "zero:0-7", "keep:1-3", "keep:2"}  # None: the draws that training left


def test_sounds_of_another_mask_or_number_of_dimensions_are_other_files(
    trained: Path, tmp_path: Path
) -> None:
    a, b = sound(tmp_path / "a.wav", 6_000), sound(tmp_path / "b.wav", 6_000, seed=1)
    for more in (
        (),
        ("--dims", 2),
        ("--mask", "keep:0-3"),
        ("--mask", "zero:0-3"),
        ("--mask", "keep:0-3", "--dims", 2),
    ):
        vgim("interpolate", trained, a, b, "--steps", 2, *more)
    assert len(entries(trained, "interpolation")) == 10


def test_files_of_one_name_in_several_folders_stay_apart(trained: Path, tmp_path: Path) -> None:
    written = []
    for seed, folder in enumerate(("train", "test")):
        (tmp_path / folder).mkdir()
        a, b = (sound(tmp_path / folder / name, 6_000, seed) for name in ("a.wav", "b.wav"))
        for more in ((), ("--out", tmp_path / "out")):
            written += vgim("interpolate", trained, a, b, "--steps", 2, *more).stdout.splitlines()
            written += vgim("traverse", trained, a, "--dims", 1, "--steps", 2, *more).stdout.splitlines()
        assert entries(trained, "interpolation")[-1]["sources"] == [str(a), str(b)]
        assert entries(trained, "traversal")[-1]["sources"] == [str(a)]
    assert len(set(written)) == 16
    again = vgim("traverse", trained, a, "--dims", 1, "--steps", 2).stdout.splitlines()
    assert set(again) < set(written)


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
    recorded = good.read_bytes()
    (tmp_path / "link.wav").symlink_to(good)
    cases = [
        (
            ("file", good, tmp_path / "link.wav", "--run", trained),
            "is the file that is read, which would be lost",
        ),
        (("file", odd, tmp_path / "o.wav", "--run", trained), "44101 Hz has no small ratio to 16000 Hz"),
        (("file", short, tmp_path / "o.wav", "--run", trained), "makes no frame in module 1"),
        (("file", tmp_path / "text.wav", tmp_path / "o.wav", "--run", trained), "not readable as audio"),
        (("file", tmp_path / "none.wav", tmp_path / "o.wav", "--run", trained), "there is no such file"),
        (("traverse", trained, good, "--dims", "99"), "--dims 99, but the latents have 8 dimensions"),
        (("traverse", trained, good, "--dims", "one"), "--dims one is no list of numbers"),
        (("traverse", trained, good, "--dims", "٣"), "--dims ٣ is no list of numbers"),
        (("traverse", trained, good, "--dims", "1", "--range=nan,1"), "--range nan,1 is no list of numbers"),
        (("traverse", trained, good, "--dims", "1", "--range", "3"), "two ends such as -2.68,2.68"),
        (
            ("interpolate", trained, good, good, "--dims", 9),
            "--dims 9, but the latents have 8 dimensions; use 1 to 8",
        ),
        (("interpolate", trained, good, good, "--dims", 0), "use 1 to 8"),
        (
            ("interpolate", trained, good, good, "--dims", 3, "--mask", "keep:0-1"),
            "--dims 3, but --mask keep:0-1 keeps 2 dimensions",
        ),
        (("sample", trained, "--mask", "keep:8"), "--mask keep:8: dimension 8, but the latents have 8"),
        (("file", good, tmp_path / "o.wav", "--run", trained, "--mask", "3"), "--mask 3 is no mask; write"),
        (
            ("traverse", trained, good, "--dims", "1", "--mask", "zero:1"),
            "--dims 1, but --mask zero:1 sets that dimension to 0",
        ),
        (("sample", trained, "--decoder", "x"), "has no decoder x; name one of module1-mse"),
    ]
    for args, message in cases:
        result = vgim(*args)
        assert result.exit_code > 1, args
        assert message in result.output
        assert len(result.output.strip().splitlines()) == 1
    assert good.read_bytes() == recorded


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


def test_an_interrupted_command_keeps_its_sounds_and_the_same_command_makes_the_rest(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("sample", trained, "--count", 5, "--seed", 9)
    decode, calls = DecoderSession.audio, []

    def interrupted(*args: Any, **options: Any) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return decode(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(DecoderSession, "audio", interrupted)
        assert vgim(*command).exit_code == 130
    folder = trained / "decoder/module1-mse/audio"
    drawn = [folder / entry["file"] for entry in entries(trained, "sample") if "seed9-" in entry["file"]]
    assert [file.name for file in drawn] == ["seed9-0.wav", "seed9-1.wav"]
    before = [file.stat().st_mtime_ns for file in drawn]
    again = vgim(*command)
    assert again.stderr == "2 of 5 sounds were decoded earlier and are kept\n"
    assert [file.stat().st_mtime_ns for file in drawn] == before
    files = [Path(line) for line in again.stdout.splitlines()]
    assert [file.name for file in files] == [f"seed9-{i}.wav" for i in range(5)]
    straight = vgim(*command, "--out", trained / "straight")
    assert [file.read_bytes() for file in files] == [
        Path(line).read_bytes() for line in straight.stdout.splitlines()
    ]


def test_sounds_of_other_weights_are_made_anew(trained: Path) -> None:
    index = trained / "decoder/module1-mse/audio/index.json"
    assert vgim("sample", trained, "--count", 2, "--seed", 9).exit_code == 0
    index.write_text(index.read_text().replace(entries(trained, "sample")[-1]["weights"], "0" * 64))
    assert vgim("sample", trained, "--count", 2, "--seed", 9).stderr == ""
    assert "0" * 64 not in {entry["weights"] for entry in entries(trained, "sample")[-2:]}
