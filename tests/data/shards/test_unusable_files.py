"""Files that cannot be used are skipped, counted and listed, or end a strict preparation."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.data.hostile import add_hostile_files
from vgim.claims.claim import take_claim
from vgim.data.audio import DecodedAudio
from vgim.data.corpora.artificial_speech import find_artificial_speech
from vgim.data.corpora.folder import find_folder
from vgim.data.corpora.librispeech import find_librispeech
from vgim.data.shards import write
from vgim.data.shards.manifest import PROGRESS_DIR, read_manifest
from vgim.data.shards.prepare import PREPARING, prepare
from vgim.data.shards.unfinished import FAILED_NAME
from vgim.errors import DataError, StorageError
from vgim.storage import Location


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
        DataError,
        match=r"none of the 3 audio files in .* could be used: 3 too short; most like .*: [0-9]+ samples",
    ):
        prepare(find_librispeech(root), tmp_path / "out", min_samples=1_000_000)


def test_if_no_file_is_usable_the_error_has_an_example_of_the_most_frequent_reason_and_its_remedy(
    make_corpus, tmp_path: Path
) -> None:
    root = make_corpus(speakers=1, utterances=3)
    for file in root.rglob("*.flac"):
        samples, rate = soundfile.read(file)
        soundfile.write(file, np.stack([samples, samples], axis=1), rate)
    (root / "some-clean" / "1" / "7" / "._1-7-0000.flac").write_bytes(b"what macOS leaves")
    with pytest.raises(
        DataError, match=r"could be used: 3 channels, 1 .*; most like .*: 2 channels.*--mixdown"
    ):
        prepare(find_librispeech(root), tmp_path / "out")


def test_the_second_file_of_an_id_is_skipped(make_corpus, tmp_path: Path) -> None:
    root = make_corpus(speakers=1, utterances=3)
    chapter = root / "some-clean" / "1" / "7"
    (root / "other" / "1" / "7").mkdir(parents=True)
    (root / "other" / "1" / "7" / "1-7-0000.flac").write_bytes((chapter / "1-7-0000.flac").read_bytes())
    found = find_librispeech(root)
    assert {item.path for item in found.utterances} == {
        "other/1/7/1-7-0000.flac",
        "some-clean/1/7/1-7-0001.flac",
        "some-clean/1/7/1-7-0002.flac",
    }
    (second,) = prepare(found, tmp_path / "out").skipped
    assert second.path_or_id == "some-clean/1/7/1-7-0000.flac"
    assert second.reason == "it has the same id as other/1/7/1-7-0000.flac, 1-7-0000"


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


def names(root: Path, suffix: str, at: str = "") -> dict[str, str]:
    return {f"{at}{path}": reason for path, reason in add_hostile_files(root, suffix).items()}


def test_every_file_of_a_hostile_corpus_is_used_or_listed(make_corpus, tmp_path: Path) -> None:
    root = make_corpus(speakers=1, utterances=4)
    chapter = root / "some-clean/1/7"
    noise = (chapter / "1-7-0000.flac").read_bytes()
    reasons = names(chapter, ".flac", "some-clean/1/7/")
    (chapter / "1-7-0009.mp3").write_bytes(noise)
    (root / "some-clean/2/7").mkdir(parents=True)
    (root / "some-clean/2/7/2-7-0000.flac").write_bytes(noise)
    (root / "some-clean/2/7/2-7.trans.txt").symlink_to("nowhere")
    reasons |= {
        "some-clean/1/7/1-7-0009.mp3": "it ends in .mp3, none of .flac, .wav; convert it",
        "some-clean/2/7/2-7.trans.txt": "a link to nowhere, which is not there",
    }
    found = find_librispeech(root)
    manifest = prepare(found, tmp_path / "librispeech")
    assert manifest.num_utterances == 5
    assert {item.path_or_id: item.reason for item in manifest.skipped} == reasons
    assert manifest.warnings == ("no transcript for 1 utterance: 2-7-0000",)
    with pytest.raises(DataError, match=r"/bad/.*leave out --strict to skip it"):
        prepare(found, tmp_path / "strict", strict=True)
    del reasons["some-clean/1/7/1-7-0009.mp3"]  # which a folder takes
    manifest = prepare(find_folder(root), tmp_path / "folder")
    assert manifest.num_utterances == 6
    assert {item.path_or_id: item.reason for item in manifest.skipped} == reasons


def test_files_that_change_or_go_after_the_listing_are_skipped(make_corpus, tmp_path: Path) -> None:
    root = make_corpus(speakers=1, utterances=4)
    found = find_librispeech(root)
    chapter = root / "some-clean/1/7"
    (chapter / "1-7-0000.flac").unlink()
    with (chapter / "1-7-0001.flac").open("ab") as file:
        file.write(b"more")
    (chapter / "1-7-0002.flac").unlink()
    os.mkfifo(chapter / "1-7-0002.flac")
    manifest = prepare(found, tmp_path / "out")
    reasons = {item.path_or_id[-13:-5]: item.reason for item in manifest.skipped}
    assert manifest.num_utterances == 1
    assert "there is no such file" in reasons["1-7-0000"]
    assert re.match(
        r"it had \d+ bytes when the corpus was listed, and has \d+ now; wait until it is whole",
        reasons["1-7-0001"],
    )
    assert "it is a pipe, a socket or a device" in reasons["1-7-0002"]


def test_a_corpus_whose_disk_goes_ends_the_work_and_goes_on_later(make_corpus, tmp_path: Path) -> None:
    root = make_corpus(speakers=1, utterances=4)
    found = find_librispeech(root)
    root.rename(tmp_path / "unplugged")
    with pytest.raises(StorageError, match="there is no such file"):
        prepare(found, tmp_path / "out")
    root.mkdir()  # where it was mounted
    with pytest.raises(StorageError, match="there is no such file"):
        prepare(found, tmp_path / "out")
    root.rmdir()
    (tmp_path / "unplugged").rename(root)
    manifest = prepare(found, tmp_path / "out")
    assert (manifest.num_utterances, manifest.skipped) == (4, ())


def test_an_error_of_a_decoder_that_nobody_foresaw_skips_the_file(
    make_corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_corpus(speakers=1, utterances=4)
    first = (root / "some-clean/1/7/1-7-0000.flac").read_bytes()
    decode = write.decode

    def fails(data: bytes, **options: Any) -> DecodedAudio:
        if data == first:
            raise ValueError("of no kind\nthat is known")
        return decode(data, **options)

    monkeypatch.setattr(write, "decode", fails)
    (skipped,) = prepare(find_librispeech(root), tmp_path / "out").skipped
    assert skipped.reason == "decoding stopped with an error (ValueError: of no kind)"


def test_a_folder_of_nothing_usable_says_why(tmp_path: Path) -> None:
    (tmp_path / "a.flac").symlink_to("nowhere")
    told = "1 file cannot be used, such as a.flac: a link to nowhere, which is not there; check the path"
    for find in (find_librispeech, find_folder, find_artificial_speech):
        with pytest.raises(DataError, match=told):
            find(tmp_path)


def test_what_became_of_a_preparation_is_told_as_it_is(make_corpus, tmp_path: Path) -> None:
    root = make_corpus(speakers=1, utterances=4)
    (root / "some-clean/1/7/1-7-0000.flac").write_bytes(b"no sound")
    out = Location(tmp_path / "out")
    with pytest.raises(DataError, match="leave out --strict"):
        prepare(find_librispeech(root), out, strict=True)
    with pytest.raises(
        DataError, match=r"its preparation failed: .*1-7-0000\.flac: corrupt: .*; then run `vgim data"
    ):
        read_manifest(out)
    with (
        take_claim(out, PREPARING),
        pytest.raises(DataError, match=rf"process {os.getpid()} on .* is preparing it"),
    ):
        read_manifest(out)
    out.child(PROGRESS_DIR, FAILED_NAME).delete()  # as after a kill
    with pytest.raises(DataError, match="its preparation was interrupted; run the same"):
        read_manifest(out)
    prepare(find_librispeech(root), out)
    assert read_manifest(out).num_utterances == 3
