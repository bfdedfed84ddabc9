"""Options of `vgim data` with values that make no sense, and corpora with odd files, end in one line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

from vgim.cli import main

NUMBERS = ("--validation-fraction", "--test-fraction", "--seed", "--min-samples", "--workers")
NO_NUMBERS = ("-3", "nan", "inf", "", "x", "9" * 5000, str(2**130))
FILES = ("--train-list", "--validation-list", "--test-list", "--labels")


def vgim(*args: str | Path) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """One speaker with three utterances."""
    chapter = tmp_path / "corpus" / "dev" / "11" / "7"
    chapter.mkdir(parents=True)
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, 24_000)
    for number in range(3):
        soundfile.write(chapter / f"11-7-{number:04d}.flac", noise, 16_000)
    (chapter / "11-7.trans.txt").write_text("11-7-0000 NOISE\n")
    return tmp_path / "corpus"


def prepare(corpus: Path | str, *options: str | Path) -> Result:
    out = Path(corpus).parent / "shards"
    return vgim(
        "data", "prepare", "librispeech", "--corpus", corpus, "--out", out, "--workers", "0", *options
    )


def assert_one_line(result: Result, code: int | None = None) -> None:
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code in ((2, 3, 5) if code is None else (code,))
    usage, _, error = result.stderr.rpartition("rror: ")
    assert error.count("\n") == 1
    assert "Traceback" not in result.stderr
    assert len(usage.splitlines()) <= 5


@pytest.mark.parametrize("value", NO_NUMBERS)
@pytest.mark.parametrize("option", NUMBERS)
def test_a_number_out_of_bounds_is_refused(corpus: Path, option: str, value: str) -> None:
    assert_one_line(prepare(corpus, option, value), 2)
    assert not (corpus.parent / "shards").exists()


@pytest.mark.parametrize("value", NO_NUMBERS)
@pytest.mark.parametrize("option", ["--speakers", "--utterances", "--seed"])
def test_a_number_of_the_embedded_corpus_out_of_bounds_is_refused(
    tmp_path: Path, option: str, value: str
) -> None:
    assert_one_line(vgim("data", "synth", "--out", tmp_path / "out", option, value), 2)
    assert not (tmp_path / "out").exists()


def odd_paths(folder: Path) -> dict[str, Path]:
    """Paths that are neither a corpus nor a list, by what they are."""
    folder.mkdir()
    (folder / "empty").write_text("")
    (folder / "binary").write_bytes(bytes(range(256)))
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to("loop")
    names = ("empty", "binary", "folder", "pipe", "loop", "absent", "pipe/below")
    return {**{name: folder / name for name in names}, "device": Path("/dev/zero"), "nothing": Path(" ")}


@pytest.mark.parametrize("option", FILES)
def test_a_list_or_label_file_that_is_none_is_refused(corpus: Path, tmp_path: Path, option: str) -> None:
    """A pipe or a device would be read for ever."""
    for path in odd_paths(tmp_path / "odd").values():
        assert_one_line(prepare(corpus, option, path))


@pytest.mark.parametrize("name", ["librispeech", "artificial-speech"])
def test_a_corpus_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    for path in odd_paths(tmp_path / "odd").values():
        out = tmp_path / "shards"
        assert_one_line(vgim("data", "prepare", name, "--corpus", path, "--out", out, "--workers", "0"))
        assert_one_line(vgim("data", "info", path))


def test_an_output_that_is_a_file_is_refused(corpus: Path, tmp_path: Path) -> None:
    odd = odd_paths(tmp_path / "odd")
    for kind in ("empty", "binary", "pipe", "loop", "device", "pipe/below"):
        path = odd[kind]
        assert_one_line(
            vgim("data", "prepare", "librispeech", "--corpus", corpus, "--out", path, "--workers", "0")
        )
        assert_one_line(vgim("data", "synth", "--out", path, "--speakers", "1", "--utterances", "1"))
    assert (odd["binary"]).read_bytes() == bytes(range(256))


def labels_are_a_folder(chapter: Path) -> None:
    (chapter.parents[2] / "phones.txt").mkdir()


def labels_are_a_pipe(chapter: Path) -> None:
    os.mkfifo(chapter.parents[2] / "phones.txt")


def marker_is_empty(chapter: Path) -> None:
    (chapter.parents[2] / "synthetic.json").write_text("")


def marker_is_foreign(chapter: Path) -> None:
    (chapter.parents[2] / "synthetic.json").write_text("[1]")


@pytest.mark.parametrize(
    "spoil",
    [
        labels_are_a_folder,
        labels_are_a_pipe,
        marker_is_empty,
        marker_is_foreign,
    ],
)
def test_an_odd_file_of_a_corpus_is_named(corpus: Path, spoil: Callable[[Path], None]) -> None:
    spoil(corpus / "dev" / "11" / "7")
    assert_one_line(prepare(corpus))


def test_a_file_whose_name_is_in_latin_1_is_named_and_ends_nothing(corpus: Path) -> None:
    chapter = corpus / "dev" / "11" / "7"
    Path(os.fsdecode(os.fsencode(chapter) + b"/11-7-\xe9.flac")).write_bytes(b"")
    result = prepare(corpus)
    assert result.exit_code == 0
    assert "11-7-\\xe9.flac: " in result.output


def test_a_transcript_in_latin_1_is_named_and_ends_nothing(corpus: Path) -> None:
    (corpus / "dev" / "11" / "7" / "11-7.trans.txt").write_bytes(b"11-7-0000 \xe9\n")
    result = prepare(corpus)
    assert result.exit_code == 0
    assert "11-7.trans.txt, line 1: byte 0xe9 at position 11 is not UTF-8" in result.output


def audio_is_a_pipe(chapter: Path) -> None:
    os.mkfifo(chapter / "11-7-0009.flac")


def audio_is_a_device(chapter: Path) -> None:
    (chapter / "11-7-0009.flac").symlink_to("/dev/zero")


def audio_is_a_loop(chapter: Path) -> None:
    (chapter / "11-7-0009.flac").symlink_to("11-7-0009.flac")


def folders_are_a_loop(chapter: Path) -> None:
    (chapter / "up").symlink_to("..")


@pytest.mark.parametrize("spoil", [audio_is_a_pipe, audio_is_a_device, audio_is_a_loop, folders_are_a_loop])
def test_what_is_no_file_is_not_read(corpus: Path, spoil: Callable[[Path], None]) -> None:
    spoil(corpus / "dev" / "11" / "7")
    result = prepare(corpus)
    assert result.exit_code == 0, result.output
    assert result.stderr.endswith("3 utterances\n")


def test_a_file_larger_than_any_recording_is_skipped(corpus: Path) -> None:
    with (corpus / "dev" / "11" / "7" / "11-7-0009.wav").open("wb") as file:
        file.truncate(5 * 2**30)
    result = prepare(corpus, "--validation-fraction", "0", "--test-fraction", "0")
    assert result.exit_code == 0, result.output
    assert "5368709120 bytes, at most 4294967296 are read" in result.stdout
