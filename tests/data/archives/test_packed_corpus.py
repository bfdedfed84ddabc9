"""Corpora in archives become the shards that they become when they are unpacked."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from tests.data.archives.packing import archive, member, pack_folder
from tests.faulty_storage import Faults, faulty_storage
from tests.recorded import Recorded, RecordedStage
from vgim import extras
from vgim.cli import main
from vgim.data.archives.random_access import opened, with_indexes
from vgim.data.corpora.artificial_speech import find_artificial_speech
from vgim.data.corpora.folder import find_folder
from vgim.data.corpora.librispeech import find_librispeech
from vgim.data.corpora.open_corpus import open_packed
from vgim.data.shards.manifest import Manifest, read_manifest
from vgim.data.shards.prepare import UNCHANGED, prepare
from vgim.data.shards.prepare_named import prepare_named
from vgim.data.source import LostSourceError
from vgim.errors import ConfigError, DataError, StorageError
from vgim.storage import Location

SMALL = 300_000  # bytes per shard: about six of the fixture's utterances
CorpusMaker = Callable[..., Path]


def contents(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*.parquet"))}


def told(manifest: Manifest) -> Manifest:
    return manifest.model_copy(update={"created": ""})


def prepare_small(root: Path | str, out: Path, **options: object) -> Manifest:
    return prepare_named("librispeech", root, out, target_shard_bytes=SMALL, **options)


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_an_archive_becomes_the_shards_of_its_folder(
    make_corpus: CorpusMaker, tmp_path: Path, mode: str
) -> None:
    root = make_corpus(labels=True)
    file = pack_folder(root, tmp_path / ("corpus.tar" if mode == "w" else "corpus.tgz"), mode)
    unpacked, packed = tmp_path / "unpacked", tmp_path / "packed"
    before = prepare_small(root, unpacked)
    progress = Recorded()
    assert told(prepare_small(file, packed, progress=progress)) == told(before)
    assert contents(packed) == contents(unpacked)
    assert {path.name for path in packed.iterdir()} == {path.name for path in unpacked.iterdir()}
    assert before.phone_inventory == ("SIL", "AA", "T")
    indexing = ["indexing corpus.tgz"] if mode == "w:gz" else []
    assert progress.titles == [f"listing {file.name}", "listing the corpus", *indexing, "writing shards"]

    again = Recorded()
    prepare_small(file, unpacked, progress=again)
    assert again.messages == [UNCHANGED]


def test_labels_are_found_where_one_folder_holds_the_archive(
    make_corpus: CorpusMaker, tmp_path: Path
) -> None:
    root = make_corpus("top/corpus", labels=True)
    packed = find_librispeech(pack_folder(tmp_path / "top", tmp_path / "corpus.tar", "w"))
    assert packed.labels is not None
    assert packed.labels.read_bytes() == (root / "phones.txt").read_bytes()


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_some_hours_of_an_archive_are_those_of_its_folder(
    make_corpus: CorpusMaker, tmp_path: Path, mode: str
) -> None:
    root = make_corpus()
    file = pack_folder(root, tmp_path / "corpus.tar.gz", mode)
    manifest = prepare_small(file, tmp_path / "packed", max_hours=0.006)
    assert told(manifest) == told(prepare_small(root, tmp_path / "unpacked", max_hours=0.006))
    assert 0 < manifest.num_utterances < 30
    assert contents(tmp_path / "packed") == contents(tmp_path / "unpacked")


def test_a_folder_of_archives_is_the_folder_into_which_they_would_be_unpacked(
    make_corpus: CorpusMaker, tmp_path: Path
) -> None:
    root = make_corpus()
    (root / "README.TXT").write_text("of all")
    archives = tmp_path / "archives"
    archives.mkdir()
    for number in (1, 2, 3):
        part = tmp_path / f"part{number}"
        shutil.copytree(root, part, ignore=lambda _, names, n=number: {"1", "2", "3"} & set(names) - {str(n)})
        pack_folder(
            part, archives / f"{number}.tar{'' if number == 2 else '.gz'}", "w:gz" if number != 2 else "w"
        )
    manifest = prepare_small(archives, tmp_path / "packed")
    assert told(manifest) == told(prepare_small(root, tmp_path / "unpacked"))
    assert contents(tmp_path / "packed") == contents(tmp_path / "unpacked")


def test_with_subsets_only_the_archives_of_these_are_read(make_corpus: CorpusMaker, tmp_path: Path) -> None:
    root = make_corpus()
    (root / "some-clean").rename(root / "dev-clean")
    (tmp_path / "archives").mkdir()
    pack_folder(root, tmp_path / "archives" / "dev-clean.tar.gz")
    (tmp_path / "archives" / "train-clean-360.tar.gz").write_bytes(b"half of a download")
    manifest = prepare_small(tmp_path / "archives", tmp_path / "out", subsets=["dev-clean"])
    assert manifest.num_utterances == 30
    with pytest.raises(DataError, match=r"train-clean-360\.tar\.gz is damaged"):
        prepare_small(tmp_path / "archives", tmp_path / "other")


def test_archives_beside_sound_files_are_not_read_and_named_unless_they_are_unpacked_there(
    make_corpus: CorpusMaker, tmp_path: Path
) -> None:
    root = make_corpus()
    (root / "some-clean.tar.gz").write_bytes(b"unpacked")
    assert find_librispeech(root).warnings == ()
    (root / "dev-other.tar.gz").write_bytes(b"forgotten")
    for corpus in (find_librispeech(root), find_folder(root)):
        assert len(corpus.utterances) == 30
        assert any("1 archive, dev-other.tar.gz; unpack" in warning for warning in corpus.warnings)


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_an_interrupted_preparation_goes_on_from_the_archive(
    make_corpus: CorpusMaker, tmp_path: Path, mode: str
) -> None:
    file = pack_folder(make_corpus(), tmp_path / "corpus.tar.gz", mode)
    prepare_small(file, tmp_path / "straight")

    def interrupt(stage: RecordedStage) -> None:
        if stage.title == "writing shards" and stage.done == 15:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        prepare_small(file, out, progress=Recorded(interrupt))
    progress = Recorded()
    prepare_small(file, out, progress=progress)
    assert progress.messages[0] == "3 of 8 shards were finished earlier"
    assert contents(out) == contents(tmp_path / "straight")
    assert sorted(path.name for path in out.iterdir()) == sorted(
        path.name for path in (tmp_path / "straight").iterdir()
    )


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("change", ["other", "cut", "gone"])
def test_an_archive_that_changes_while_it_is_read_ends_the_preparation(
    make_corpus: CorpusMaker, tmp_path: Path, mode: str, change: str
) -> None:
    root = make_corpus()
    file = pack_folder(root, tmp_path / "corpus.tar.gz", mode)
    corpus = find_librispeech(file)
    data = file.read_bytes()
    if change == "other":
        for number, path in enumerate(sorted(root.rglob("*.flac"))):
            soundfile.write(path, np.full(24_000 + number, 100 + number, np.int16), 16_000)
        pack_folder(root, file, mode)
    elif change == "cut":
        file.write_bytes(data[: len(data) // 2])
    else:
        file.unlink()
    with pytest.raises(StorageError, match=r"corpus\.tar\.gz"):
        prepare(corpus, tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_an_archive_that_is_gone_is_no_reason_to_skip_a_file(
    make_corpus: CorpusMaker, tmp_path: Path, mode: str
) -> None:
    file = pack_folder(make_corpus(), tmp_path / "corpus.tar.gz", mode)
    corpus = find_librispeech(file)
    with opened(with_indexes(corpus.root, Location(tmp_path))) as root:
        file.unlink()
        with pytest.raises(LostSourceError, match=r"corpus\.tar\.gz"):
            root.child(corpus.utterances[0].path).read_bytes()


def test_a_tar_on_remote_storage_is_read_and_a_packed_one_is_refused(
    make_corpus: CorpusMaker, tmp_path: Path
) -> None:
    root = make_corpus()
    (tmp_path / "store").mkdir()
    pack_folder(root, tmp_path / "store" / "corpus.tar", "w")
    pack_folder(root, tmp_path / "store" / "corpus.tar.gz")
    prepare_small(root, tmp_path / "unpacked")
    with faulty_storage(tmp_path, Faults(error_rate=0.05)):
        prepare_small("faulty://store/corpus.tar", tmp_path / "packed")
        assert contents(tmp_path / "packed") == contents(tmp_path / "unpacked")
        with pytest.raises(
            ConfigError, match=r"corpus\.tar\.gz is packed with gzip.*copy it to a local folder"
        ):
            prepare_small("faulty://store/corpus.tar.gz", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_shards_may_lie_on_remote_storage(make_corpus: CorpusMaker, tmp_path: Path) -> None:
    root = make_corpus()
    file = pack_folder(root, tmp_path / "corpus.tar.gz")
    prepare_small(root, tmp_path / "unpacked")
    with faulty_storage(tmp_path, Faults(error_rate=0.02)):
        prepare_small(file, "faulty://store/out")
    assert contents(tmp_path / "store" / "out") == contents(tmp_path / "unpacked")


def test_artificial_speech_is_read_from_the_archive_of_its_repository(tmp_path: Path) -> None:
    top = tmp_path / "all" / "Repository-1f65"
    for split in ("train", "test"):
        folder = top / "reshuffledv2" / split
        folder.mkdir(parents=True)
        for number in range(4):
            rng = np.random.default_rng(number)
            soundfile.write(folder / f"bagidu_{number}.wav", rng.normal(0, 0.1, 70_000), 44_100)
    file = pack_folder(tmp_path / "all", tmp_path / "all.tar.gz")
    manifest = prepare_named("artificial-speech", file, tmp_path / "packed")
    assert told(manifest) == told(prepare_named("artificial-speech", top, tmp_path / "unpacked"))
    assert manifest.num_utterances == 8
    assert contents(tmp_path / "packed") == contents(tmp_path / "unpacked")
    with pytest.raises(DataError, match="no syllables in"):
        find_artificial_speech(file, part="syllables")


def test_any_folder_is_read_from_an_archive_with_transcripts_and_a_list(tmp_path: Path) -> None:
    top = tmp_path / "all" / "recordings"
    for speaker in ("alice", "bob"):
        (top / speaker).mkdir(parents=True)
        for number in range(3):
            rng = np.random.default_rng([len(speaker), number])
            soundfile.write(top / speaker / f"{number} a.ogg", rng.normal(0, 0.1, 30_000), 16_000)
            (top / speaker / f"{number} a.txt").write_text(f"words {number}")
    file = pack_folder(tmp_path / "all", tmp_path / "recordings.tar.gz")
    manifest = prepare_named("folder", file, tmp_path / "packed")
    assert told(manifest) == told(prepare_named("folder", top, tmp_path / "unpacked"))
    assert manifest.speakers == ("alice", "bob")
    assert contents(tmp_path / "packed") == contents(tmp_path / "unpacked")
    rows = tmp_path / "list.csv"
    rows.write_text("path,speaker\nrecordings/bob/1 a.ogg,x\nrecordings/../../etc/passwd,y\n")
    corpus = find_folder(file, manifest=str(rows))
    assert [(item.path, item.speaker_id) for item in corpus.utterances] == [("recordings/bob/1 a.ogg", "x")]
    assert [item.path_or_id for item in corpus.skipped] == ["list.csv, line 3"]


def test_a_wrong_archive_is_one_line(make_corpus: CorpusMaker, tmp_path: Path) -> None:
    file = pack_folder(make_corpus(), tmp_path / "corpus.tar.gz")
    data = file.read_bytes()

    def error(corpus: Path, code: int) -> str:
        command = ["data", "prepare", "librispeech", "--corpus", str(corpus), "--out", str(tmp_path / "out")]
        result = CliRunner().invoke(main, command)
        assert result.exit_code == code, result.output
        assert not (tmp_path / "out").exists()
        (line,) = result.stderr.splitlines()
        return line

    file.write_bytes(data[:-9])
    assert "corpus.tar.gz is damaged or no tar archive (Compressed file ended" in error(file, 3)
    assert "'../out' leads out of the folder" in error(archive(tmp_path, member("../out")), 3)
    assert "no utterance in" in error(archive(tmp_path, member("README.TXT")), 3)
    assert "there is no folder" in error(tmp_path / "none.tar.gz", 3)
    other = tmp_path / "corpus.tar.bz2"
    other.write_bytes(data)
    assert "is a file, but no folder and no .tar.gz or .tgz or .tar" in error(other, 3)
    (tmp_path / "archives").mkdir()
    (tmp_path / "archives" / "lost.tar").symlink_to("nowhere")
    assert "lost.tar cannot be read: a link to nowhere, which is not there" in error(tmp_path / "archives", 3)


def test_without_rapidgzip_the_extra_is_named_before_the_archive_is_read(
    make_corpus: CorpusMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_corpus()
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    progress = Recorded()
    with pytest.raises(ConfigError, match=r"needs rapidgzip, not installed here; pip install 'vgim\[data\]'"):
        open_packed(pack_folder(root, tmp_path / "corpus.tar.gz"), progress=progress)
    assert progress.stages == []
    assert len(find_librispeech(pack_folder(root, tmp_path / "corpus.tar", "w")).utterances) == 30


def test_a_file_whose_name_is_no_text_is_skipped_as_in_a_folder(
    make_corpus: CorpusMaker, tmp_path: Path
) -> None:
    root = make_corpus()
    (root / b"a\xff.flac".decode(errors="surrogateescape")).write_bytes(b"x")
    packed, unpacked = (find_librispeech(place) for place in (pack_folder(root, tmp_path / "x.tar"), root))
    assert packed.skipped == unpacked.skipped
    assert packed.skipped[0].path_or_id == "a\\xff.flac"
    assert packed.utterances == unpacked.utterances


@pytest.mark.ray
def test_archives_are_read_by_several_tasks_on_ray(
    make_corpus: CorpusMaker, tmp_path: Path, ray_session: None
) -> None:
    root = make_corpus()
    file = pack_folder(root, tmp_path / "corpus.tar.gz")
    before = prepare_small(root, tmp_path / "unpacked", workers=0)
    assert told(prepare_small(file, tmp_path / "packed", workers=2)) == told(before)
    assert contents(tmp_path / "packed") == contents(tmp_path / "unpacked")
    corpus = find_librispeech(file)
    pack_folder(root / "some-clean" / "1", file)
    with pytest.raises(StorageError, match=r"corpus\.tar\.gz was whole when it was listed"):
        prepare(corpus, tmp_path / "other", target_shard_bytes=SMALL, workers=2)
    assert read_manifest(tmp_path / "packed").num_utterances == 30
