"""Files that cannot be used are skipped, counted and listed, or end a strict preparation."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from vgim.data.corpora.librispeech import find_librispeech
from vgim.data.shards.prepare import prepare
from vgim.errors import DataError


@pytest.fixture
def damaged(make_corpus: Callable[..., Path]) -> Path:
    """A corpus with one of each kind of bad file."""
    root = make_corpus(utterances=12)
    chapter = root / "some-clean" / "1" / "7"
    noise = np.random.default_rng(0).integers(-3000, 3000, 40_000, dtype=np.int16)
    (chapter / "1-7-0000.flac").write_bytes(b"not audio at all" * 100)
    whole = (chapter / "1-7-0001.flac").read_bytes()
    (chapter / "1-7-0001.flac").write_bytes(whole[: len(whole) // 2])
    soundfile.write(chapter / "1-7-0002.flac", noise, 8_000)
    soundfile.write(chapter / "1-7-0003.flac", np.stack([noise, noise], axis=1), 16_000)
    (chapter / "1-7-0004.flac").write_bytes(b"")
    soundfile.write(chapter / "1-7-0005.flac", noise[:20_639], 16_000)
    soundfile.write(chapter / "1-7-0006.flac", noise[:20_640], 16_000)
    return root


def test_bad_files_are_skipped_counted_and_listed(damaged: Path, tmp_path: Path) -> None:
    manifest = prepare(find_librispeech(damaged), tmp_path / "out")
    assert manifest.num_utterances == 30
    kinds = {item.path_or_id[-13:-5]: item.kind for item in manifest.skipped}
    assert kinds["1-7-0000"] == "corrupt"
    assert kinds["1-7-0001"] == "truncated"
    assert kinds["1-7-0002"] == "sample rate"
    assert kinds["1-7-0003"] == "channels"
    assert kinds["1-7-0004"] == "empty"
    assert kinds["1-7-0005"] == "too short"
    assert sum(manifest.skipped_by_reason.values()) == len(kinds) == 6
    assert "20639 samples, at least 20640 needed" in {item.reason for item in manifest.skipped}


def test_resample_and_mixdown_use_files_that_would_be_skipped(damaged: Path, tmp_path: Path) -> None:
    manifest = prepare(find_librispeech(damaged), tmp_path / "out", resample=True, mixdown=True)
    assert manifest.num_utterances == 32
    assert "sample rate" not in manifest.skipped_by_reason


def test_strict_fails_at_the_first_bad_file(damaged: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"1-7-000\d\.flac: .*leave out --strict"):
        prepare(find_librispeech(damaged), tmp_path / "out", strict=True)
    assert prepare(find_librispeech(damaged), tmp_path / "out").num_utterances == 30


def test_a_corpus_without_any_usable_file_is_an_error(make_corpus, tmp_path: Path) -> None:
    root = make_corpus(speakers=1, utterances=3)
    with pytest.raises(
        DataError, match=r"none of the 3 audio files in .* could be used: 3 too short; the first is"
    ):
        prepare(find_librispeech(root), tmp_path / "out", min_samples=1_000_000)


def test_an_id_that_occurs_twice_is_an_error(make_corpus, tmp_path: Path) -> None:
    root = make_corpus(speakers=1, utterances=3)
    chapter = root / "some-clean" / "1" / "7"
    (root / "other" / "1" / "7").mkdir(parents=True)
    (root / "other" / "1" / "7" / "1-7-0000.flac").write_bytes((chapter / "1-7-0000.flac").read_bytes())
    with pytest.raises(DataError, match=r"1 utterance id more than once in .* such as 1-7-0000 in other/1/7"):
        prepare(find_librispeech(root), tmp_path / "out")


def test_labels_of_other_audio_are_left_out_with_a_warning(make_corpus, tmp_path: Path) -> None:
    root = make_corpus(speakers=1, utterances=4, labels=True)
    lines = (root / "phones.txt").read_text().splitlines()
    (root / "phones.txt").write_text(f"{lines[0]} 1 1 1 1\n{lines[1]}\n{lines[2]}\n")
    manifest = prepare(find_librispeech(root), tmp_path / "out")
    misfit, missing = manifest.warnings
    assert re.fullmatch(
        r"labels not as long as the audio, so left out, for 1 utterance: "
        r"1-7-0000 \(\d+ labels for \d+ frames of 10 ms\)",
        misfit,
    )
    assert missing == "no phone labels for 1 of 4 utterances: 1-7-0003"


@pytest.mark.parametrize(
    ("spelled", "reason"),
    [
        ("{}.flac", "1-7-0000.flac, which the corpus has as 1-7-0000"),
        ("some-clean/1/7/{}.wav", "some-clean/1/7/1-7-0000.wav, which the corpus has as 1-7-0000"),
        ("x{}", "they name x1-7-0000, x1-7-0001, x1-7-0002 and 1 more, and the corpus has 1-7-0000, "),
    ],
)
def test_labels_that_name_no_utterance_are_refused_before_any_is_read(
    make_corpus, tmp_path: Path, spelled: str, reason: str
) -> None:
    root = make_corpus(speakers=1, utterances=4, labels=True)
    file = tmp_path / "labels.txt"
    lines = (root / "phones.txt").read_text().splitlines()
    file.write_text("\n".join(f"{spelled.format(line[:8])}{line[8:]}" for line in lines))
    with pytest.raises(
        DataError, match=f"labels none of the 4 utterances of the corpus: .*{re.escape(reason)}"
    ):
        prepare(find_librispeech(root), tmp_path / "out", labels=str(file))
    assert not (tmp_path / "out").exists()
    file.write_text("\n".join([lines[0], lines[1], f"{spelled.format(lines[2][:8])}{lines[2][8:]}"]))
    (warning,) = prepare(find_librispeech(root), tmp_path / "out", labels=str(file)).warnings
    assert warning.startswith("no phone labels for 2 of 4 utterances: 1-7-0002")
    assert ("the labels name" in warning) == (reason[0] != "t")


@pytest.mark.parametrize("shard_bytes", [1, 2**26])
def test_labels_of_another_rate_are_refused(make_corpus, tmp_path: Path, shard_bytes: int) -> None:
    root = make_corpus(speakers=1, utterances=30, labels=True)
    file = tmp_path / "labels.txt"
    lines = [line.split() for line in (root / "phones.txt").read_text().splitlines()]
    file.write_text("\n".join(" ".join((name, *classes[::2])) for name, *classes in lines))
    with pytest.raises(
        DataError, match=r"as long as their audio: 1-7-\d{4} \(\d\d labels for 1\d\d frames of 10 ms\)"
    ):
        prepare(find_librispeech(root), tmp_path / "out", labels=str(file), target_shard_bytes=shard_bytes)
    num_written = len(list((tmp_path / "out").rglob("*.parquet")))
    assert num_written == (20 if shard_bytes == 1 else 1)  # it ends as soon as twenty do not fit
    file.write_text((root / "phones.txt").read_text())
    again = prepare(
        find_librispeech(root), tmp_path / "out", labels=str(file), target_shard_bytes=shard_bytes
    )
    assert not again.warnings


def test_a_transcript_with_other_bytes_ends_nothing(make_corpus, tmp_path: Path) -> None:
    root = make_corpus(speakers=1, utterances=3)
    (file,) = root.rglob("*.trans.txt")
    file.write_bytes(file.read_bytes().replace(b"WORDS", b"W\xf6RDS", 1))
    manifest = prepare(find_librispeech(root), tmp_path / "out")
    assert manifest.num_utterances == 3
    assert manifest.warnings == (
        "transcripts with bytes that are no text, kept as U+FFFD: some-clean/1/7/1-7.trans.txt, line 1: byte 0xf6 at "
        "position 11 is not UTF-8",
    )
