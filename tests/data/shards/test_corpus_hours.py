"""`max_hours` of a preparation: of each speaker in turn, few hours a part of more, and no file read in vain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.faulty_storage import Faults, faulty_storage
from vgim.data.corpora.folder import find_folder
from vgim.data.corpora.librispeech import find_librispeech
from vgim.data.shards.index import read_index
from vgim.data.shards.manifest import Manifest, read_manifest
from vgim.data.shards.prepare import prepare
from vgim.data.shards.prepare_named import prepare_named
from vgim.errors import ConfigError, DataError
from vgim.storage import Location


def splits_of(shards: Path) -> dict[str, str]:
    index = read_index(Location(shards), read_manifest(shards))
    return dict(zip(index["utterance_id"].to_pylist(), index["split"].to_pylist(), strict=True))


def hours_of(manifest: Manifest) -> float:
    return sum(summary.hours for summary in manifest.splits.values())


def test_few_hours_are_a_part_of_more_in_the_splits_of_the_whole(make_corpus, tmp_path: Path) -> None:
    corpus = find_librispeech(make_corpus(speakers=4, labels=True))
    whole = prepare(corpus, tmp_path / "whole")
    total, chosen = hours_of(whole), list[set[tuple[str, str]]]()
    for share in (0.3, 0.6):
        out = tmp_path / str(share)
        manifest = prepare(corpus, out, max_hours=share * total)
        assert share * total - 4 * 2 / 3600 < hours_of(manifest) <= share * total
        assert manifest.beyond_max_hours == 40 - manifest.num_utterances
        assert manifest.options["max_hours"] == share * total
        assert manifest.speakers == ("1", "2", "3", "4")
        assert manifest.phone_inventory == ("SIL", "AA", "T")
        chosen.append(set(splits_of(out).items()))
    assert chosen[0] < chosen[1] < set(splits_of(tmp_path / "whole").items())
    assert "max_hours" not in whole.options


def test_the_same_call_does_nothing_and_another_number_is_refused(make_corpus, tmp_path: Path) -> None:
    corpus, out = find_librispeech(make_corpus()), tmp_path / "out"
    first = prepare(corpus, out, max_hours=0.005)
    assert prepare(corpus, out, max_hours=0.005) == first
    for other, text in ((0.006, "max_hours=0.006"), (None, "no max_hours")):
        with pytest.raises(DataError, match=rf"was prepared with max_hours=0.005, not with {text}"):
            prepare(corpus, out, max_hours=other)
    whole = prepare(corpus, tmp_path / "whole")
    with pytest.raises(DataError, match=r"was prepared with no max_hours, not with max_hours=9\.0"):
        prepare(corpus, tmp_path / "whole", max_hours=9.0)
    everything = prepare(corpus, tmp_path / "more", max_hours=9.0)
    assert (everything.fingerprint, everything.beyond_max_hours) == (whole.fingerprint, 0)


def test_hours_that_hold_no_utterance_are_refused(make_corpus, tmp_path: Path) -> None:
    root = make_corpus()
    with pytest.raises(DataError, match=r"max_hours=1e-05 is less than one utterance of .* lasts"):
        prepare(find_librispeech(root), tmp_path / "out", max_hours=1e-5)
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match=r"max_hours=.* must be above 0"):
            prepare_named("librispeech", root, tmp_path / "out", max_hours=wrong)
    assert not (tmp_path / "out").exists()


def test_files_that_are_skipped_count_for_nothing_and_are_listed(make_corpus, tmp_path: Path) -> None:
    root = make_corpus(speakers=1)
    chapter = root / "some-clean" / "1" / "7"
    for number in range(6):
        (chapter / f"1-7-{number:04d}.flac").write_bytes(b"noise")
    manifest = prepare(
        find_librispeech(root),
        tmp_path / "out",
        max_hours=4 * 1.8 / 3600,
        validation_fraction=0,
        test_fraction=0,
    )
    assert manifest.num_utterances == 4
    assert manifest.skipped_by_reason == {"corrupt": 6}
    for path in chapter.glob("*.flac"):
        path.write_bytes(b"noise")
    with pytest.raises(DataError, match=r"none of the 10 audio files in .* could be used: 10 corrupt"):
        prepare(find_librispeech(root), tmp_path / "none", max_hours=1.0)


def test_other_rates_and_segments_last_as_long_as_they_are(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    for speaker in ("a", "b"):
        (root / speaker).mkdir(parents=True)
        tone = np.random.default_rng(0).uniform(-0.1, 0.1, 8000 * 20)
        soundfile.write(root / speaker / "talk.wav", tone, 8000)
    rows = [f"{s}/talk.wav,{s},{start},2.5" for s in "ab" for start in range(0, 15, 3)]
    (tmp_path / "list.csv").write_text("\n".join(["path,speaker,start,duration", *rows]))
    corpus = find_folder(root, manifest=str(tmp_path / "list.csv"))
    options = {"validation_fraction": 0.0, "test_fraction": 0.0}
    manifest = prepare(corpus, tmp_path / "out", max_hours=11 / 3600, **options)  # type: ignore[arg-type]
    assert manifest.splits["train"].utterances == 4
    assert hours_of(manifest) == pytest.approx(10 / 3600, abs=1e-6)
    whole = prepare(find_folder(root), tmp_path / "whole", max_hours=25 / 3600, **options)  # type: ignore[arg-type]
    assert hours_of(whole) == pytest.approx(20 / 3600, abs=1e-6)


def test_remote_files_are_measured_too(make_corpus, tmp_path: Path) -> None:
    root = make_corpus()
    expected = prepare(find_librispeech(root), tmp_path / "local", max_hours=0.005)
    with faulty_storage(tmp_path, Faults(error_rate=0.03, seed=2)) as faults:
        remote = find_librispeech(f"faulty://{root.name}")
        found = prepare(remote, tmp_path / "remote", max_hours=0.005)
        assert faults.raised
    assert found.fingerprint == expected.fingerprint
