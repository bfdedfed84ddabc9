"""`data.cache_dir`: shards on remote storage are read once, and nothing depends on the copies."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ray import cloudpickle

from tests.damage import DAMAGES
from tests.data.shards.cached_stream import SHARDS, copies, crops, forget, shard_of_train, stream_of
from tests.faulty_storage import Faults
from tests.training.cases import assert_same, last_checkpoint, records, run_location
from vgim.config import ResolvedConfig
from vgim.config.schema import DataConfig
from vgim.data.shards import cache as cache_module
from vgim.data.shards import cache_folder
from vgim.data.shards.cache import cache_plan, check_cache_dir, describe_cache, use_cache
from vgim.data.shards.file_entry import file_entry
from vgim.data.shards.manifest import read_manifest
from vgim.data.shards.read import read_row_group_utterances, shard_footer
from vgim.errors import ConfigError
from vgim.storage import Location
from vgim.training.trainer import train

Maker = Callable[..., ResolvedConfig]


@pytest.mark.parametrize("crop", ["random", "tile"])
def test_the_second_epoch_reads_the_same_crops_and_nothing_from_storage(
    faults: Faults, folder: Path, crop: str
) -> None:
    expected = [crops(stream_of(None, crop=crop), epoch) for epoch in range(2)]
    stream = stream_of(folder, crop=crop)
    np.testing.assert_array_equal(crops(stream), expected[0])
    before = faults.calls["read"], faults.calls["open_input"]
    np.testing.assert_array_equal(crops(stream, 1), expected[1])
    assert (faults.calls["read"], faults.calls["open_input"]) == before
    (copy,) = copies(folder)  # of the validation split nothing was read
    assert copy.read_bytes() == Location(shard_of_train()).read_bytes()


def test_a_reader_in_another_process_reads_the_copy(faults: Faults, folder: Path) -> None:
    stream = stream_of(folder)
    expected = crops(stream)
    stream._cut = cloudpickle.loads(cloudpickle.dumps(stream._cut))  # as Ray sends it
    forget()
    faults.permanent["open_input"] = lambda: OSError(errno.EACCES, "Permission denied")
    np.testing.assert_array_equal(crops(stream), expected)


@pytest.mark.parametrize("damage", [name for name in DAMAGES if name != "folder_in_its_place"])
def test_a_damaged_copy_is_fetched_anew_and_a_line_says_so(
    faults: Faults, folder: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    stream = stream_of(folder)
    expected = crops(stream)
    (copy,) = copies(folder)
    good = copy.read_bytes()
    DAMAGES[damage](copy)
    forget()
    np.testing.assert_array_equal(crops(stream), expected)
    assert copies(folder) == [copy]
    assert copy.read_bytes() == good
    lines = [record.getMessage() for record in caplog.records]
    same_size = damage in ("flip", "zero")  # a copy of another size is known without its hash
    assert [line for line in lines if "damaged (its SHA-256 is another); it is fetched anew" in line] == lines
    assert len(lines) == same_size


def test_a_copy_that_is_damaged_while_it_is_in_use_is_fetched_anew(faults: Faults, folder: Path) -> None:
    stream = stream_of(folder)
    expected = [crops(stream), crops(stream, 1)]
    (copy,) = copies(folder)
    DAMAGES["zero"](copy)
    np.testing.assert_array_equal(crops(stream, 1), expected[1])
    copy.unlink()
    np.testing.assert_array_equal(crops(stream), expected[0])
    assert copies(folder) == [copy]


def test_a_folder_in_the_place_of_a_copy_ends_the_cache_and_not_the_run(
    faults: Faults, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stream = stream_of(folder)
    expected = crops(stream)
    DAMAGES["folder_in_its_place"](copies(folder)[0])
    forget()
    np.testing.assert_array_equal(crops(stream), expected)
    (line,) = caplog.messages
    assert "cannot be used further" in line


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_disk_that_cannot_be_written_ends_the_cache_and_not_the_run(
    faults: Faults,
    folder: Path,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    expected = crops(stream_of(None))

    def refuse(descriptor: int) -> None:
        raise OSError(code, "refused")

    monkeypatch.setattr(cache_folder.os, "fsync", refuse)  # where full disks of network file systems show
    stream = stream_of(folder)
    # Its other files are synced too: the first refusal is that of the list of shards in use.
    np.testing.assert_array_equal(crops(stream), expected)
    np.testing.assert_array_equal(crops(stream), expected)
    (line,) = caplog.messages
    assert line.startswith(f"data.cache_dir={folder} cannot be used further (")
    assert line.endswith(f"shards that it lacks are read from {SHARDS}")
    assert not copies(folder)
    assert not list(folder.glob(".*.tmp-*"))


def test_a_folder_that_cannot_be_made_ends_the_cache_and_not_the_run(
    faults: Faults, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.write_bytes(b"a file")
    np.testing.assert_array_equal(crops(stream_of(folder)), crops(stream_of(None)))
    assert len(caplog.messages) == 1


def test_shards_that_find_no_room_are_read_where_they_are_and_a_line_says_so(
    faults: Faults, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stream = stream_of(folder, gib=2**-20)
    np.testing.assert_array_equal(crops(stream), crops(stream_of(None)))
    (line,) = caplog.messages  # once for all shards
    assert re.fullmatch(
        rf"data\.cache_dir={folder} has no room for {SHARDS}/train/\d+\.parquet \(\S+ GiB\) beside shards in use "
        rf"\(data\.cache_gib=9\.537e-07\); such shards are read from {SHARDS}",
        line,
    )
    assert not copies(folder)


def test_a_shard_that_is_too_large_leaves_the_cache_to_smaller_ones(faults: Faults, folder: Path) -> None:
    shards = Location(SHARDS)
    manifest = read_manifest(shards)
    entries = [shard for name in ("train", "validation") for shard in manifest.split(name).shards]
    small, large = (pick(entries, key=lambda shard: shard.bytes) for pick in (min, max))
    assert small.bytes < large.bytes
    plan = cache_plan(shards, manifest, DataConfig(shards=SHARDS, cache_dir=str(folder)))
    assert plan is not None
    use_cache(replace(plan, limit_bytes=small.bytes))
    for shard in (large, small):
        shard_footer(shards.child(shard.path).uri)
    assert [copy.name for copy in copies(folder)] == [f"{small.sha256}.parquet"]


def test_a_shard_that_is_not_the_manifests_is_not_copied(
    faults: Faults, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = crops(stream_of(None))
    path = tmp_path / "remote" / "store" / "shards" / shard_of_train().removeprefix(f"{SHARDS}/")
    data = bytearray(path.read_bytes())
    created_by = data.rindex(b"parquet-cpp")  # a byte that no reader minds
    data[created_by] ^= 1
    path.write_bytes(data)
    np.testing.assert_array_equal(crops(stream_of(folder)), expected)
    assert not copies(folder)
    (line,) = caplog.messages
    assert "has another size or SHA-256 than the manifest says and is not cached" in line


def test_shards_of_another_folder_with_the_same_names_and_sizes_are_other_copies(
    faults: Faults, folder: Path, tmp_path: Path, tiny_shards: Path
) -> None:
    """Names of copies are hashes of their content, so that it is enough to look at two contents of one size."""
    crops(stream_of(folder))
    plan = cache_plan(
        Location(SHARDS), read_manifest(SHARDS), DataConfig(shards=SHARDS, cache_dir=str(folder))
    )
    assert plan is not None
    (copy,) = copies(folder)
    path = shard_of_train()
    other = bytes(copy.stat().st_size)
    place = tmp_path / "remote" / "store" / "other" / "train" / "00000.parquet"
    place.parent.mkdir(parents=True)
    place.write_bytes(other)
    shards = SHARDS.replace("shards", "other")
    there = path.replace(SHARDS, shards)
    use_cache(replace(plan, shards=shards, entries={there: file_entry(other)}))
    assert cache_module.read_cached(there, lambda at: Path(at).read_bytes()) == other
    assert len(copies(folder)) == 2


def test_a_job_reads_the_copies_that_are_there_and_makes_none(faults: Faults, folder: Path) -> None:
    config = DataConfig(shards=SHARDS, cache_dir=str(folder))
    manifest = read_manifest(SHARDS)
    use_cache(cache_plan(Location(SHARDS), manifest, config, fills=False))
    path = shard_of_train()
    read = [u.audio for u in read_row_group_utterances(path, 0, manifest.codec)]
    assert not folder.exists()
    crops(stream_of(folder))
    forget()
    use_cache(cache_plan(Location(SHARDS), manifest, config, fills=False))
    faults.permanent["open_input"] = lambda: OSError(errno.EACCES, "Permission denied")
    again = [u.audio for u in read_row_group_utterances(path, 0, manifest.codec)]
    for one, other in zip(read, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_shards_on_the_disk_of_the_cache_are_read_in_place(
    tiny_shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards, folder = tmp_path / "shards", tmp_path / "cache"
    shutil.copytree(tiny_shards, shards)
    manifest = read_manifest(shards)
    config = DataConfig(shards=str(shards), cache_dir=str(folder))
    path = str(shards / manifest.split("train").shards[0].path)
    use_cache(cache_plan(Location(shards), manifest, config))
    expected = next(iter(read_row_group_utterances(path, 0, manifest.codec))).utterance_id
    assert not copies(folder)
    assert caplog.messages == [
        f"data.cache_dir={folder} is on the disk of data.shards={shards}, which is read in place"
    ]
    monkeypatch.setattr(cache_module, "on_same_disk", lambda one, other: False)  # a shared mount
    forget()
    use_cache(cache_plan(Location(shards), manifest, config))
    assert next(iter(read_row_group_utterances(path, 0, manifest.codec))).utterance_id == expected
    assert len(copies(folder)) == 1


def test_training_with_a_cache_equals_training_without_one_also_from_a_checkpoint(
    faults: Faults, folder: Path, tiny_config: Maker
) -> None:
    remote = (f"data.shards={SHARDS}", "train.epochs=3")
    straight = tiny_config(*remote, "storage.name=straight")
    train(straight)
    cached = tiny_config(*remote, "storage.name=cached", f"data.cache_dir={folder}", "data.cache_gib=1")
    train(tiny_config(*remote, "storage.name=cached"), until_epoch=1)
    train(cached, until_epoch=2)
    forget()
    train(cached)
    assert_same(last_checkpoint(cached.config).weights(), last_checkpoint(straight.config).weights())
    assert len(copies(folder)) == 2  # train and validation
    assert not [line for line in events(cached) if line.startswith("cache: ")]


def events(resolved: ResolvedConfig) -> list[str]:
    return [record["message"] for record in records(run_location(resolved.config), "event")]


def test_shards_that_do_not_fit_are_said_before_the_run(
    faults: Faults, folder: Path, tiny_config: Maker
) -> None:
    resolved = tiny_config(
        f"data.shards={SHARDS}", "train.epochs=1", f"data.cache_dir={folder}", "data.cache_gib=0.001"
    )
    train(resolved)
    (line,) = (line for line in events(resolved) if line.startswith("cache: "))
    assert "do not fit data.cache_gib=0.001: " in line
    assert line == describe_cache(read_manifest(SHARDS), resolved.config.data)[0]


def test_a_cache_that_cannot_help_is_refused(tmp_path: Path, tiny_config: Maker) -> None:
    with pytest.raises(ConfigError, match="is a URI; give a folder on the node's own disk"):
        tiny_config("data.cache_dir=s3://bucket/cache")
    with pytest.raises(ConfigError, match="cache_gib=5 has no effect without cache_dir"):
        tiny_config("data.cache_gib=5")
    inside = DataConfig(shards=str(tmp_path), cache_dir=str(tmp_path / "cache"))
    with pytest.raises(ConfigError, match=r"is inside data\.shards="):
        check_cache_dir(inside)
    check_cache_dir(DataConfig(shards=str(tmp_path / "shards"), cache_dir=str(tmp_path / "cache")))
