"""What is decoded is what `vgim decode` writes for the same latents."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from numpy.typing import NDArray

from tests.serve.sounds import noise_file
from vgim.cli import main
from vgim.errors import ConfigError
from vgim.serve import playground as playground_module
from vgim.serve.playground import Change, Playground
from vgim.serve.uploads import Sound, read_upload


def sound(seconds: float = 0.5, seed: int = 0) -> Sound:
    samples, _ = read_upload(noise_file(seconds, seed=seed), "noise.wav", 1)
    return Sound(f"s{seed}", "noise.wav", samples)


def wav(content: bytes) -> NDArray[np.float64]:
    samples: NDArray[np.float64] = soundfile.read(io.BytesIO(content))[0]
    return samples


def written(*args: object) -> list[NDArray[np.float64]]:
    """The sounds that a command of `vgim decode` writes."""
    result = CliRunner().invoke(main, ["decode", *map(str, args)])
    assert result.exit_code == 0, result.output
    return [soundfile.read(line)[0] for line in result.stdout.splitlines()]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "a.wav", tmp_path / "b.wav"
    for path, seconds, seed in zip(paths, (0.5, 0.4), (0, 1), strict=True):
        path.write_bytes(noise_file(seconds, seed=seed))
    return paths


def test_an_unchanged_sound_is_the_reconstruction(
    playground: Playground, served_run: Path, files: tuple[Path, Path], tmp_path: Path
) -> None:
    decoded, _ = playground.decode(Change(a="s0"), sound(), None)
    CliRunner().invoke(
        main, ["decode", "file", str(files[0]), str(tmp_path / "o.wav"), "--run", str(served_run)]
    )
    np.testing.assert_array_equal(wav(decoded), soundfile.read(tmp_path / "o.wav")[0])


def test_a_set_dimension_is_a_traversal(
    playground: Playground, served_run: Path, files: tuple[Path, Path], tmp_path: Path
) -> None:
    sounds = written(
        "traverse", served_run, files[0], "--dims", 3, "--steps", 2, "--range=-2,2", "--out", tmp_path
    )
    for value, expected in zip((-2.0, 2.0), sounds, strict=True):
        decoded, _ = playground.decode(Change(a="s0", values={3: value}, add=False), sound(), None)
        np.testing.assert_array_equal(wav(decoded), expected)


@pytest.mark.parametrize("moved", [None, 2])
def test_a_share_is_an_interpolation(
    playground: Playground, served_run: Path, files: tuple[Path, Path], tmp_path: Path, moved: int | None
) -> None:
    few = () if moved is None else ("--dims", moved)
    sounds = written("interpolate", served_run, *files, "--steps", 3, *few, "--out", tmp_path)
    for share, expected in zip((0, 0.5, 1), sounds, strict=True):
        decoded, dims = playground.decode(
            Change(a="s0", b="s1", share=share, moved=moved), sound(), sound(0.4, 1)
        )
        np.testing.assert_array_equal(wav(decoded), expected)
        assert len(dims) == (moved or 0)


def test_an_added_value_moves_what_the_sound_has(playground: Playground) -> None:
    plain = playground.decode(Change(a="s0"), sound(), None)[0]
    assert playground.decode(Change(a="s0", values={3: 0.0}), sound(), None)[0] == plain
    up = wav(playground.decode(Change(a="s0", values={3: 1.0}), sound(), None)[0])
    assert np.abs(up - wav(plain)).max() > 1e-4
    latents = playground._session.latents(sound().samples)
    latents[..., 3] += 1
    expected = playground._session.audio(latents, len(sound().samples), sound().samples)
    np.testing.assert_allclose(up, expected.numpy(), atol=2 / 32_768)


def test_a_dimension_that_is_not_there_is_refused(playground: Playground) -> None:
    with pytest.raises(ConfigError, match="dimension 8, but the latents have 8 dimensions; use 0 to 7"):
        playground.decode(Change(a="s0", values={8: 1.0}), sound(), None)


def test_latents_are_encoded_once_and_the_cache_is_bounded(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    latents = type(playground._session).latents
    monkeypatch.setattr(
        type(playground._session), "latents", lambda self, s: (encoded.append(len(s)), latents(self, s))[1]
    )
    fresh = Playground(playground._session, playground.survey)
    for value in (0.0, 1.0, 2.0):
        fresh.decode(Change(a="s0", values={1: value}), sound(), None)
    assert len(encoded) == 1
    monkeypatch.setattr(playground_module, "CACHE_BYTES", 1)
    for seed in range(6):
        fresh.decode(Change(a=f"s{seed}"), sound(seed=seed), None)
    assert len(fresh._cache) == 2


def test_the_description_has_what_the_page_shows(playground: Playground) -> None:
    told = playground.describe()
    assert (told["run"], told["decoder"], told["module"], told["layer"]) == ("run", "module1-mse", 1, None)
    assert told["encoder_step"] == told["decoder_step"] == 2
    assert len(told["utterances"]) == 4
    assert sorted(one["index"] for one in told["dimensions"]) == list(range(8))
