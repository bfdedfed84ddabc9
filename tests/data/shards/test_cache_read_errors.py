"""A node's disk that no longer reads a copy of a shard (EIO) costs a read of the shard, and never the run."""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from tests.data.shards.cached_stream import SHARDS, copies, crops, forget, shard_of_train, stream_of
from tests.disk_reads import PART, ROW_GROUP, watch_reads
from tests.faulty_storage import Faults
from vgim.config.schema import DataConfig
from vgim.data.shards import cache as cache_module
from vgim.data.shards import read as read_module
from vgim.data.shards.cache import cache_plan, use_cache
from vgim.data.shards.manifest import read_manifest
from vgim.data.stream import row_audio
from vgim.errors import StorageError
from vgim.storage import Location

WHY = "the device reports an input/output error"
Break = Callable[[Path, pytest.MonkeyPatch], None]


def fail() -> None:
    raise OSError(errno.EIO, "Input/output error")


def break_crops(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The third read of a part of a copy fails, and all after it: in the middle of a row group's crops."""
    reads = 0

    def on_read(what: str) -> None:
        nonlocal reads
        reads += what == PART
        if reads > 2:
            fail()

    watch_reads(folder, on_read, monkeypatch.setattr)


def break_row_groups(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row groups of a copy, which Arrow reads when a process first needs them, do not read."""

    def on_read(what: str) -> None:
        if what == ROW_GROUP:
            fail()

    watch_reads(folder, on_read, monkeypatch.setattr)
    forget_what_was_read(monkeypatch)


def break_hashes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy does not read when a process begins and compares its hash."""
    forget()
    monkeypatch.setattr(cache_module, "sha256_of", lambda path: fail())


def forget_what_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a new process begins: it has opened no file and knows no place in one."""
    monkeypatch.setattr(read_module, "_readers", lru_cache(maxsize=32)(read_module._readers.__wrapped__))
    monkeypatch.setattr(row_audio, "_found", lru_cache(maxsize=32)(row_audio._found.__wrapped__))


@pytest.mark.parametrize("break_disk", [break_crops, break_row_groups, break_hashes])
def test_a_copy_that_does_not_read_is_dropped_with_a_line_and_the_shard_is_read_instead(
    faults: Faults,
    folder: Path,
    break_disk: Break,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    forget_what_was_read(monkeypatch)  # remote files of this name that another test has opened
    expected = [crops(stream_of(None), epoch) for epoch in range(4)]
    stream = stream_of(folder)
    np.testing.assert_array_equal(crops(stream), expected[0])
    np.testing.assert_array_equal(crops(stream, 1), expected[1])
    (copy,) = copies(folder)
    assert not caplog.messages
    break_disk(folder, monkeypatch)
    before = faults.calls["read"]
    if break_disk is break_hashes:
        stream = stream_of(folder)
    np.testing.assert_array_equal(crops(stream, 2), expected[2])
    assert faults.calls["read"] > before
    assert not copies(folder)
    np.testing.assert_array_equal(crops(stream, 3), expected[3])
    assert not copies(folder)  # a disk that does not read is not filled again by the same process
    assert caplog.messages == [
        f"the copy {copy} of {shard_of_train()} cannot be read ({WHY}); it is removed, and this process reads the "
        "shard from now on"
    ]


def test_a_job_that_makes_no_copies_leaves_one_that_does_not_read(
    faults: Faults, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    crops(stream_of(folder))
    (copy,) = copies(folder)
    forget()
    plan = cache_plan(
        Location(SHARDS),
        read_manifest(SHARDS),
        DataConfig(shards=SHARDS, cache_dir=str(folder)),
        fills=False,
    )
    use_cache(plan)
    break_row_groups(folder, monkeypatch)
    for _ in range(2):
        read_module.read_row_group(shard_of_train(), 0, ("utterance_id",))
    assert copies(folder) == [copy]
    (line,) = caplog.messages
    assert line.endswith(
        "cannot be read (the device reports an input/output error); this process reads the shard from now on"
    )


def test_where_neither_the_copy_nor_the_shard_reads_the_error_is_the_shards_and_the_copy_stays(
    faults: Faults, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    forget_what_was_read(monkeypatch)  # remote files of this name that another test has opened
    stream = stream_of(folder)
    crops(stream)
    break_crops(folder, monkeypatch)
    faults.permanent["open_input"] = lambda: OSError(errno.EACCES, "Permission denied")
    with pytest.raises(StorageError, match=f"cannot read {SHARDS}/train/00000.parquet: access denied"):
        crops(stream, 1)
    assert len(copies(folder)) == 1
    assert not caplog.messages
