"""Downloads from a server on loopback: what arrives, what goes on, what is refused."""

from __future__ import annotations

import errno
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pooch
import pytest
import soundfile
from click.testing import CliRunner

from tests.data.archives.packing import packed
from tests.data.download.server import Archives as Server
from tests.data.download.server import serve
from vgim.cli import main
from vgim.data.corpora.archive import Archive
from vgim.data.corpora.registry import CORPORA
from vgim.data.download import fetch
from vgim.data.download.job import RECORDS, download
from vgim.errors import ConfigError, DataError, StorageError
from vgim.progress import MessagesOnly

SUBSET = "dev-tiny"


def flac() -> bytes:
    out = io.BytesIO()
    rng = np.random.default_rng(0)
    soundfile.write(out, rng.integers(-3000, 3000, 24_000, dtype=np.int16), 16_000, format="FLAC")
    return out.getvalue()


CORPUS = {f"LibriSpeech/{SUBSET}/1/7/1-7-{number:04}.flac": flac() for number in range(10)}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of one subset of LibriSpeech, which the registry knows."""
    data = packed(CORPUS)
    with serve(Server({f"{SUBSET}.tar.gz": data, "other.tar.gz": packed({"x/README": b"text"})})) as server:
        archives = {
            SUBSET: Archive(f"{server.address}/{SUBSET}.tar.gz", md5=hashlib.md5(data).hexdigest()),
            "other": Archive(f"{server.address}/other.tar.gz", content="0" * 64, strip=1),
        }
        monkeypatch.setitem(CORPORA, "librispeech", replace(CORPORA["librispeech"], archives=archives))
        yield server


def holds_all(folder: Path) -> bool:
    return all((folder / name).read_bytes() == data for name, data in CORPUS.items())


def test_what_is_downloaded_can_be_prepared_and_is_not_downloaded_again(
    server: Server, tmp_path: Path
) -> None:
    out = tmp_path / "corpus"
    command = ["data", "download", "librispeech", "--subset", SUBSET, "--out", str(out)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{out}\n"
    assert "license: CC BY 4.0" in result.stderr
    assert holds_all(out)
    assert not list(out.rglob("*.gz"))
    shards = ["data", "prepare", "librispeech", "--corpus", str(out), "--out", str(tmp_path / "shards")]
    assert CliRunner().invoke(main, shards).exit_code == 0
    asked = len(server.asked)
    again = CliRunner().invoke(main, command)
    assert again.exit_code == 0
    assert f"{SUBSET} is in {out} already" in again.stderr
    assert len(server.asked) == asked


def test_a_download_goes_on_after_the_bytes_that_arrived(server: Server, tmp_path: Path) -> None:
    some = 2 * fetch.CHUNK_BYTES
    server.sends = [some, 0, 0, some]
    download("librispeech", tmp_path, subsets=[SUBSET])
    assert server.asked == ["", *[f"bytes={some}-"] * 3, f"bytes={2 * some}-"]
    assert holds_all(tmp_path)


def test_a_server_without_ranges_sends_the_file_anew(server: Server, tmp_path: Path) -> None:
    part = tmp_path / RECORDS / f"{SUBSET}.tar.gz.part"
    part.parent.mkdir()
    part.write_bytes(b"something else")
    server.has_ranges = False
    download("librispeech", tmp_path, subsets=[SUBSET])
    assert holds_all(tmp_path)


@pytest.mark.parametrize("extra", [0, 9])
def test_a_part_that_is_whole_or_of_another_file_is_told_by_its_hash(
    server: Server, tmp_path: Path, extra: int
) -> None:
    part = tmp_path / RECORDS / f"{SUBSET}.tar.gz.part"
    part.parent.mkdir()
    part.write_bytes(server.files[f"{SUBSET}.tar.gz"] + b"x" * extra)
    download("librispeech", tmp_path, subsets=[SUBSET])
    assert len(server.asked) == (2 if extra else 1)
    assert holds_all(tmp_path)


def test_a_server_that_is_gone_leaves_the_part_and_the_same_command_goes_on(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = fetch.CHUNK_BYTES
    server.sends = [some, 0, 0]
    monkeypatch.setattr(fetch, "TRIES", 2)
    with pytest.raises(StorageError, match=r"broke off; 65,536 bytes are kept in .*\.part: the same command"):
        download("librispeech", tmp_path, subsets=[SUBSET])
    part = tmp_path / RECORDS / f"{SUBSET}.tar.gz.part"
    assert part.read_bytes() == server.files[f"{SUBSET}.tar.gz"][:some]
    download("librispeech", tmp_path, subsets=[SUBSET])
    assert server.asked[-1] == f"bytes={some}-"
    assert holds_all(tmp_path)


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip"])
def test_an_archive_that_a_server_calls_encoded_stays_packed(
    server: Server, tmp_path: Path, encoding: str
) -> None:
    server.encoding = encoding
    server.sends = [fetch.CHUNK_BYTES]
    download("librispeech", tmp_path, subsets=[SUBSET])
    assert len(server.asked) == 2
    assert holds_all(tmp_path)


def test_a_server_that_never_sends_what_it_promises_is_given_up(server: Server, tmp_path: Path) -> None:
    server.promised_more = 1
    with pytest.raises(StorageError, match=r"cannot download .*: the connection broke off"):
        download("librispeech", tmp_path, subsets=[SUBSET])
    assert len(server.asked) == 1 + fetch.TRIES


def test_a_download_that_was_killed_while_its_hash_was_compared_asks_for_nothing_again(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(pooch.core, "hash_matches", die)
        with pytest.raises(Killed):
            download("librispeech", tmp_path, subsets=[SUBSET])
    records = tmp_path / RECORDS
    (records / "tmpabc").write_bytes(b"what a kill leaves of a file that is compared")
    asked = len(server.asked)
    download("librispeech", tmp_path, subsets=[SUBSET])
    assert not any(wanted == "" for wanted in server.asked[asked:])
    assert holds_all(tmp_path)
    assert [path.name for path in records.iterdir()] == [f"{SUBSET}.json"]


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = tmp_path / RECORDS / f"{SUBSET}.tar.gz.part"
    original = Path.open

    def open_on_a_full_disk(path: Path, *arguments: Any, **options: Any) -> Any:
        opened = original(path, *arguments, **options)
        if path == part:
            limited = MagicMock(wraps=opened)
            limited.__enter__.return_value = limited
            limited.write.side_effect = [opened.write(b""), OSError(errno.ENOSPC, "No space left on device")]
            return limited
        return opened

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", open_on_a_full_disk)
        with pytest.raises(StorageError, match=r"cannot write .*\.part: no space left") as caught:
            download("librispeech", tmp_path, subsets=[SUBSET])
    assert "\n" not in str(caught.value)
    download("librispeech", tmp_path, subsets=[SUBSET])
    assert holds_all(tmp_path)


def test_archives_that_share_files_are_not_downloaded_again(server: Server, tmp_path: Path) -> None:
    archives = CORPORA["librispeech"].archives
    shared = {f"LibriSpeech/{name}.TXT": 5000 * b"x" for name in ("BOOKS", "LICENSE", "README", "SPEAKERS")}
    for name, files in (
        (SUBSET, CORPUS),
        ("other", {path.replace(SUBSET, "other"): data for path, data in CORPUS.items()}),
    ):
        data = server.files[f"{name}.tar.gz"] = packed({**shared, **files})
        url = f"{server.address}/{name}.tar.gz"
        archives[name] = Archive(url, md5=hashlib.md5(data).hexdigest())  # type: ignore[index]
    for subsets in ([SUBSET], ["other"]):
        download("librispeech", tmp_path, subsets=subsets)
    asked = len(server.asked)
    told: list[str] = []
    download("librispeech", tmp_path, subsets=[SUBSET, "other"], progress=MessagesOnly(told.append))
    assert told == [f"{name} is in {tmp_path} already" for name in (SUBSET, "other")]
    (tmp_path / next(iter(CORPUS))).unlink()
    (tmp_path / "LibriSpeech" / "notes.txt").write_bytes(100_000 * b"x")
    (tmp_path / RECORDS / "kept.tar.gz").write_bytes(100_000 * b"x")
    download("librispeech", tmp_path, subsets=[SUBSET, "other"])
    assert len(server.asked) == asked + 1
    assert holds_all(tmp_path)


def test_a_record_of_an_earlier_version_is_read(server: Server, tmp_path: Path) -> None:
    download("librispeech", tmp_path, subsets=[SUBSET])
    record = tmp_path / RECORDS / f"{SUBSET}.json"
    facts = json.loads(record.read_bytes())
    del facts["folders"]
    record.write_text(json.dumps(facts))
    asked = len(server.asked)
    download("librispeech", tmp_path, subsets=[SUBSET])
    assert len(server.asked) == asked


@pytest.mark.parametrize("damage", ["deleted", "shorter"])
def test_a_folder_that_lacks_files_is_unpacked_again(server: Server, tmp_path: Path, damage: str) -> None:
    told: list[str] = []
    download("librispeech", tmp_path, subsets=[SUBSET])
    victim = tmp_path / next(iter(CORPUS))
    if damage == "deleted":
        victim.unlink()
    else:
        victim.write_bytes(victim.read_bytes()[:100])
    download("librispeech", tmp_path, subsets=[SUBSET], progress=MessagesOnly(told.append))
    assert any("files are missing in" in line for line in told)
    assert holds_all(tmp_path)


def test_a_wrong_file_is_refused_with_both_hashes_and_removed(server: Server, tmp_path: Path) -> None:
    right = server.files[f"{SUBSET}.tar.gz"]
    server.files[f"{SUBSET}.tar.gz"] = wrong = packed({"x": b"y"})
    hashes = f"MD5 {hashlib.md5(wrong).hexdigest()} instead of {hashlib.md5(right).hexdigest()}"
    with pytest.raises(DataError, match=rf"is not the archive that its publisher has \({hashes}\)"):
        download("librispeech", tmp_path, subsets=[SUBSET])
    assert [path.name for path in tmp_path.rglob("*.gz*")] == []
    server.files[f"{SUBSET}.tar.gz"] = right
    download("librispeech", tmp_path, subsets=[SUBSET])
    assert holds_all(tmp_path)


def test_an_archive_that_is_packed_anew_is_told_by_its_files(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not hold the files of its publisher"):
        download("librispeech", tmp_path, subsets=["other"])
    digest = hashlib.sha256(b"text").hexdigest()
    listing = hashlib.sha256(f"{digest}  README\n".encode()).hexdigest()
    archives = CORPORA["librispeech"].archives
    archives["other"] = replace(archives["other"], content=listing)
    download("librispeech", tmp_path, subsets=["other"])
    assert (tmp_path / "README").read_text() == "text"


def test_a_mirror_has_the_same_files_at_another_address(server: Server, tmp_path: Path) -> None:
    archives = CORPORA["librispeech"].archives
    archives[SUBSET] = replace(archives[SUBSET], url=f"http://127.0.0.1:9/{SUBSET}.tar.gz")
    download("librispeech", tmp_path, subsets=[SUBSET], mirror=f"{server.address}/", keep_archives=True)
    assert holds_all(tmp_path)
    assert (tmp_path / RECORDS / f"{SUBSET}.tar.gz").read_bytes() == server.files[f"{SUBSET}.tar.gz"]


def test_archives_that_stay_packed_are_prepared_and_can_be_unpacked_later(
    server: Server, tmp_path: Path
) -> None:
    out, packed = tmp_path / "corpus", tmp_path / "corpus" / f"{SUBSET}.tar.gz"
    command = ["data", "download", "librispeech", "--subset", SUBSET, "--out", str(out)]
    assert CliRunner().invoke(main, [*command, "--no-unpack"]).exit_code == 0
    assert packed.read_bytes() == server.files[f"{SUBSET}.tar.gz"]
    assert not (out / "LibriSpeech").exists()
    shards = ["data", "prepare", "librispeech", "--corpus", str(out), "--out", str(tmp_path / "shards")]
    result = CliRunner().invoke(main, shards)
    assert result.exit_code == 0, result.output
    again = CliRunner().invoke(main, [*command, "--no-unpack"])
    assert f"{packed} is there already" in again.stderr
    assert CliRunner().invoke(main, command).exit_code == 0
    assert holds_all(out)
    assert not packed.exists()
    assert len(server.asked) == 1
    result = CliRunner().invoke(main, shards)
    assert "already prepared from the same corpus" in result.stderr


def test_a_file_that_lies_where_an_archive_would_is_left_alone(server: Server, tmp_path: Path) -> None:
    own = tmp_path / f"{SUBSET}.tar.gz"
    own.write_bytes(b"mine")
    with pytest.raises(DataError, match=rf"{own} is there already, not downloaded by this command"):
        download("librispeech", tmp_path, subsets=[SUBSET], unpack_archives=False)
    download("librispeech", tmp_path, subsets=[SUBSET])
    assert own.read_bytes() == b"mine"
    assert holds_all(tmp_path)


def test_an_archive_that_is_packed_anew_is_checked_without_unpacking_it(
    server: Server, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="does not hold the files of its publisher"):
        download("librispeech", tmp_path, subsets=["other"], unpack_archives=False)
    assert [path.name for path in tmp_path.rglob("*.gz*")] == []
    digest = hashlib.sha256(b"text").hexdigest()
    listing = hashlib.sha256(f"{digest}  README\n".encode()).hexdigest()
    archives = CORPORA["librispeech"].archives
    archives["other"] = replace(archives["other"], content=listing)
    download("librispeech", tmp_path, subsets=["other"], unpack_archives=False)
    assert (tmp_path / "other.tar.gz").read_bytes() == server.files["other.tar.gz"]
    assert not (tmp_path / "README").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"subsets": ["dev"]}, f"has no subset dev; choose from {SUBSET}, other"),
        ({}, f"name what to download with --subset: {SUBSET} and other"),
        ({"subsets": [SUBSET], "mirror": "ftp://x/y"}, "--mirror ftp://x/y is no address"),
        ({"subsets": [SUBSET], "mirror": "http://[::1"}, r"--mirror http://\[::1 is no address"),
        ({"subsets": [SUBSET], "out": "s3://bucket/x"}, "is no local folder"),
        ({"subsets": [SUBSET], "name": "timit"}, "no corpus 'timit' can be downloaded"),
    ],
)
def test_mistakes_are_told_before_anything_is_downloaded(
    server: Server, tmp_path: Path, options: dict[str, object], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        download(**{"name": "librispeech", "out": tmp_path / "out", **options})
    assert not server.asked
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_not_there_is_told_at_once(server: Server, tmp_path: Path) -> None:
    del server.files[f"{SUBSET}.tar.gz"]
    with pytest.raises(
        StorageError, match=r"cannot download http://.*: the server answers 404 Not Found; look"
    ):
        download("librispeech", tmp_path, subsets=[SUBSET], progress=MessagesOnly(print))
    assert len(server.asked) == 1
