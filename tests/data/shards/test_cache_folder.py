"""The folder of copies: one process copies, others wait; kills leave no wrong copy; what is in use stays."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.waiting import wait_until
from vgim.data.shards.cache_folder import CacheFolder, OtherContentError
from vgim.data.shards.file_entry import FileEntry, file_entry

CHILD = """
import io, sys, time
from contextlib import contextmanager
from pathlib import Path
from vgim.data.shards.cache_folder import CacheFolder
from vgim.data.shards.file_entry import file_entry

folder, content, log, task = Path(sys.argv[1]), sys.argv[2].encode(), Path(sys.argv[3]), sys.argv[4]
cache, entry = CacheFolder(folder, 10**6), file_entry(content)

class Slow(io.BytesIO):
    def read(self, size=-1):
        with log.open("a") as file:
            file.write("read\\n")
        while task == "hang" and self.tell():
            time.sleep(0.1)
        time.sleep(0.2)
        return super().read(max(len(content) // 2, 1))

@contextmanager
def source():
    with log.open("a") as file:
        file.write("opened\\n")
    yield Slow(content)

if task == "use":
    cache.begin_use([entry.sha256])
    log.write_text("opened")
    time.sleep(600)
found = cache.fill(entry, source)
assert found.read_bytes() == content
"""


def child(folder: Path, content: str, log: Path, task: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", CHILD, str(folder), content, str(log), task])


@contextmanager
def source_of(content: bytes) -> Iterator[io.BytesIO]:
    yield io.BytesIO(content)


def fill(cache: CacheFolder, content: bytes) -> Path | None:
    return cache.fill(file_entry(content), lambda: source_of(content))


def copies(folder: Path) -> list[bytes]:
    return sorted(path.read_bytes() for path in folder.glob("*.parquet"))


def unfinished(folder: Path) -> list[Path]:
    return list(folder.glob(".*.tmp-*"))


def test_of_processes_that_fill_at_once_one_reads_the_source(tmp_path: Path) -> None:
    folder, log = tmp_path / "cache", tmp_path / "log"
    processes = [child(folder, "x" * 1000, log, "fill") for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert log.read_text().split().count("opened") == 1
    assert copies(folder) == [b"x" * 1000]
    assert not unfinished(folder)


def test_a_process_that_is_killed_while_it_fills_leaves_no_copy_and_no_lock(tmp_path: Path) -> None:
    folder, log = tmp_path / "cache", tmp_path / "log"
    content = b"x" * 1000
    process = child(folder, content.decode(), log, "hang")
    try:
        wait_until(
            lambda: log.exists() and log.read_text().count("read") == 2, "the child has half of the shard"
        )
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(unfinished(folder)) == 1
    assert not copies(folder)
    cache = CacheFolder(folder, 1500)  # what the killed one wrote does not count
    assert fill(cache, content) == folder / f"{hashlib.sha256(content).hexdigest()}.parquet"
    assert copies(folder) == [content]
    assert not unfinished(folder)


@pytest.mark.parametrize("came", [b"x" * 999, b"x" * 1001, b"y" * 1000, b""])
def test_a_source_with_other_content_is_not_copied(tmp_path: Path, came: bytes) -> None:
    with pytest.raises(OtherContentError):
        CacheFolder(tmp_path, 10**6).fill(file_entry(b"x" * 1000), lambda: source_of(came))
    assert not copies(tmp_path)
    assert not unfinished(tmp_path)


def test_copies_that_no_process_uses_go_first_and_those_longest_unused_before_others(tmp_path: Path) -> None:
    cache = CacheFolder(tmp_path, 350)
    contents = [bytes([number]) * 100 for number in range(4)]
    for number, content in enumerate(contents[:3]):
        assert fill(cache, content) is not None
        os.close(cache.begin_use([file_entry(content).sha256]))
        (use,) = (path for path in tmp_path.glob("use-*") if file_entry(content).sha256 in path.read_text())
        os.utime(use, (1000 - number, 1000 - number))  # the last one is the longest unused
    assert fill(cache, contents[3]) is not None
    assert copies(tmp_path) == [contents[0], contents[1], contents[3]]
    held = cache.begin_use([file_entry(content).sha256 for content in (contents[1], contents[3])])
    try:
        assert fill(cache, b"z" * 150) is not None
        assert copies(tmp_path) == [contents[1], contents[3], b"z" * 150]
        assert fill(cache, b"w" * 160) is None  # the copy without a user has less
        assert copies(tmp_path) == [contents[1], contents[3], b"z" * 150]
    finally:
        os.close(held)
    assert fill(cache, b"w" * 350) is not None
    assert copies(tmp_path) == [b"w" * 350]
    assert fill(cache, b"v" * 351) is None
    assert copies(tmp_path) == [b"w" * 350]


def test_copies_stay_as_long_as_a_process_that_uses_them_lives(tmp_path: Path) -> None:
    folder, log = tmp_path / "cache", tmp_path / "log"
    cache = CacheFolder(folder, 150)
    assert fill(cache, b"x" * 100) is not None
    process = child(folder, "x" * 100, log, "use")
    try:
        wait_until(log.exists, "the child uses the copy")
        assert fill(cache, b"y" * 100) is None
        assert copies(folder) == [b"x" * 100]
    finally:
        process.kill()
        process.wait()
    assert fill(cache, b"y" * 100) is not None
    assert copies(folder) == [b"y" * 100]


def test_files_of_others_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "train.parquet"
    mine.write_bytes(b"mine" * 100)
    (tmp_path / "use-me.json").write_text("[]")
    cache = CacheFolder(tmp_path, 100)
    for content in (b"x" * 100, b"y" * 100):
        assert fill(cache, content) is not None
    assert copies(tmp_path) == [b"mine" * 100, b"y" * 100]
    assert (tmp_path / "use-me.json").exists()


def test_a_copy_of_another_size_is_none(tmp_path: Path) -> None:
    cache, entry = CacheFolder(tmp_path, 10**6), FileEntry(bytes=3, sha256="0" * 64)
    (tmp_path / f"{'0' * 64}.parquet").write_bytes(b"four")
    assert cache.copy_of(entry) is None


def test_a_use_that_is_removed_as_it_begins_again_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, hashes = CacheFolder(tmp_path, 1000), [file_entry(b"x").sha256]
    os.close(cache.begin_use(hashes))
    (use,) = tmp_path.glob("use-*")
    utime, removed = os.utime, list[Path]()

    def utime_of_what_is_removed(path: Path) -> None:
        if not removed:  # by a process that made room
            removed.append(path)
            use.unlink()
        utime(path)

    monkeypatch.setattr(os, "utime", utime_of_what_is_removed)
    held = cache.begin_use(hashes)
    assert removed == [use]
    assert os.path.samestat(use.stat(), os.fstat(held))
    os.close(held)
