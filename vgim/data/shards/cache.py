"""Copies of shards on the node's own disk (`data.cache_dir`), which all readers of a process then read.

A process says once which cache a shard folder has: `use_cache`. From then on `read_cached` reads a shard's copy, and
makes it first if there is none. Nothing depends on the cache: what it cannot hold, or can no longer, is read from the
shard folder, and a line says so. A copy that does not read is given up for the shard itself: `read_past_copy`.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from vgim.cluster.working_dir import refuse_job_folder
from vgim.config.schema import DataConfig
from vgim.data.shards.cache_folder import CacheFolder, OtherContentError, sha256_of
from vgim.data.shards.file_entry import FileEntry
from vgim.data.shards.manifest import Manifest
from vgim.errors import ConfigError, DataError, StorageError
from vgim.storage import Location
from vgim.storage.causes import reason_and_fix
from vgim.storage.errors import storage_errors
from vgim.text import first_line

GIB = 2**30
T = TypeVar("T")
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CachePlan:
    """Which shards are to be cached, and where; small enough to be sent to every reader."""

    folder: str
    """The cache's folder."""
    limit_bytes: int
    shards: str
    """The shard folder."""
    entries: Mapping[str, FileEntry]
    """Path or URI of each shard → its size and hash."""
    fills: bool
    """Whether shards that are missing are copied; else only what is there is read."""


def cache_plan(
    shards: Location, manifest: Manifest, config: DataConfig, *, fills: bool = True
) -> CachePlan | None:
    """The cache of a shard folder; None without `data.cache_dir`."""
    if not config.cache_dir:
        return None
    entries = {
        shards.child(shard.path).uri: FileEntry(bytes=shard.bytes, sha256=shard.sha256)
        for split in manifest.splits.values()
        for shard in split.shards
    }
    return CachePlan(config.cache_dir, int(config.cache_gib * GIB), shards.uri, entries, fills)


def describe_cache(manifest: Manifest, config: DataConfig) -> tuple[str, bool]:
    """What the cache would hold of the shards that a training reads, in words, and whether that is all of them."""
    shards, at = Location(config.shards), Path(config.cache_dir)
    there = next(folder for folder in (at, *at.parents) if folder.exists())
    if _is_read_in_place(shards, there):
        return f"cache: {at} is on the disk of {shards.uri}, which is read in place", True
    needed = (
        sum(shard.bytes for name in ("train", "validation") for shard in manifest.split(name).shards) / GIB
    )
    line = f"cache: {needed:,.3g} GiB of shards in {config.cache_dir} on each node"
    if needed <= config.cache_gib:
        return f"{line}, of data.cache_gib={config.cache_gib:g}", True
    share = 1 - config.cache_gib / needed
    return (
        f"{line} do not fit data.cache_gib={config.cache_gib:g}: at least {share:.0%} of them are read from "
        f"{config.shards} in each epoch"
    ), False


def check_cache_dir(config: DataConfig) -> None:
    """Refuse a cache inside the shard folder, which is as slow as the shards are, or in a folder that is thrown away.

    Raises:
        ConfigError: It is there.
    """
    if not config.cache_dir:
        return
    refuse_job_folder("data.cache_dir", config.cache_dir)
    shards = Location(config.shards)
    if shards.is_local:
        cache = os.path.realpath(config.cache_dir)
        if Path(cache).is_relative_to(os.path.realpath(shards.local_path)):
            raise ConfigError(
                f"data.cache_dir={config.cache_dir} is inside data.shards={config.shards}, which it is to save reads "
                "of; give a folder on the node's own disk"
            )


def use_cache(plan: CachePlan | None) -> None:
    """Let this process read shards through their cache, until it ends."""
    if plan is None:
        return
    known = _caches.get((plan.folder, plan.shards))
    if known is None or (known.plan != plan and (plan.fills or not known.plan.fills)):
        cache = _Cache(plan)
        _caches[plan.folder, plan.shards] = cache
        _cache_of.update(dict.fromkeys(plan.entries, cache))


def read_cached(path: str, read: Callable[[str], T]) -> T:
    """Call `read` with the path of a shard's copy; with the shard's own where there is no copy, or it does not read."""
    cache = _cache_of.get(path)
    copy = cache.copy_of(path) if cache is not None else None
    if copy is None:
        return read(path)
    try:
        return read(str(copy))
    except DataError as error:
        return read_past_copy(path, error, read)


def read_past_copy(path: str, failure: DataError, read: Callable[[str], T]) -> T:
    """Call `read` with the path of a shard itself, after its copy did not read.

    If the shard reads, the disk is to blame: a copy that is still there, and unchanged, is given up.

    Args:
        path: Path or URI of the shard, which has a cache.
        failure: The error of reading the copy.
    """
    found = read(path)  # raises where the shard is no better
    _cache_of[path].give_up(path, failure.__cause__ or failure)
    return found


class _Cache:
    """The cache of one shard folder, in this process."""

    def __init__(self, plan: CachePlan) -> None:
        self.plan = plan
        self._folder = CacheFolder(Path(plan.folder), plan.limit_bytes)
        self._fills, self._reads = plan.fills, True
        self._begun, self._is_full = False, False
        self._compared: dict[tuple[int, ...], bool] = {}
        """State of a copy → whether its hash is right, as far as this process has compared it."""
        self._not_copied: set[str] = set()
        self._given_up: set[str] = set()
        """Shards whose copies did not read."""
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}

    def copy_of(self, path: str) -> Path | None:
        """The whole copy of a shard, made now if need be; None if the shard itself is to be read."""
        entry = self.plan.entries[path]
        with self._locks.setdefault(path, threading.Lock()):
            try:
                self._begin()
                return self._whole_copy(path, entry) if self._reads else None
            except FileNotFoundError:  # somebody has just removed it
                return None
            except OSError as error:
                reason, _ = reason_and_fix(error, is_remote=False)
                if self._fills:
                    _logger.warning(
                        "data.cache_dir=%s cannot be used further (%s); shards that it lacks are read from %s",
                        self.plan.folder,
                        reason,
                        self.plan.shards,
                    )
                self._fills = False
                return None

    def give_up(self, path: str, reason: BaseException) -> None:
        """Read a shard from its folder from now on, if the copy is the file whose hash was right before.

        A copy that was removed or changed since is looked at anew.
        """
        entry = self.plan.entries[path]
        with self._locks[path], suppress(OSError):  # then the next look at the copy ends the cache
            copy = self._folder.copy_of(entry)
            if copy is not None and self._compared.get(state := _state(copy.stat())):
                self._give_up(copy, state, path, entry, reason)

    def _give_up(
        self, copy: Path, state: tuple[int, ...], path: str, entry: FileEntry, reason: BaseException
    ) -> None:
        if path in self._given_up:
            return
        self._given_up.add(path)
        words = first_line(reason)
        if isinstance(reason, OSError):
            words, _ = reason_and_fix(reason, is_remote=False)
        removed = "it is removed, and " if self._fills else ""
        _logger.warning(
            "the copy %s of %s cannot be read (%s); %sthis process reads the shard from now on",
            copy,
            path,
            words,
            removed,
        )
        if self._fills:
            with suppress(OSError):  # others find out by themselves
                self._folder.drop(entry, lambda now: _state(now) == state)

    def _begin(self) -> None:
        """Say, before the first read, that this process uses the shards."""
        with self._lock:
            if self._begun:
                return
            self._begun = True
            shards, folder = Location(self.plan.shards), Path(self.plan.folder)
            if not self._fills and not folder.is_dir():
                self._reads = False
                return
            folder.mkdir(parents=True, exist_ok=True)
            if _is_read_in_place(shards, folder):
                self._reads = False
                _logger.warning(
                    "data.cache_dir=%s is on the disk of data.shards=%s, which is read in place",
                    folder,
                    shards.uri,
                )
                return
            # The descriptor stays open for as long as the process lives.
            self._folder.begin_use([entry.sha256 for entry in self.plan.entries.values()])

    def _whole_copy(self, path: str, entry: FileEntry) -> Path | None:
        if path in self._given_up:
            return None
        copy = self._folder.copy_of(entry)
        if copy is not None and not self._is_whole(copy, path, entry):
            copy = None
        if copy is None and self._fills and path not in self._not_copied | self._given_up:
            copy = self._filled(path, entry)
            if copy is not None:
                self._compared[_state(copy.stat())] = True  # as it was written, or by another process
        return copy

    def _filled(self, path: str, entry: FileEntry) -> Path | None:
        try:
            copy = self._folder.fill(entry, lambda: _opened(Location(path)))
        except OtherContentError:
            _logger.warning(
                "%s has another size or SHA-256 than the manifest says and is not cached; check the shards with "
                "`vgim data info --verify`",
                path,
            )
            self._not_copied.add(path)
            return None
        except StorageError:
            return None  # the read of the shard itself says what is wrong, or succeeds
        if copy is None:
            if not self._is_full:
                _logger.warning(
                    "data.cache_dir=%s has no room for %s (%.3g GiB) beside shards in use (data.cache_gib=%.4g); such "
                    "shards are read from %s",
                    self.plan.folder,
                    path,
                    entry.bytes / GIB,
                    self.plan.limit_bytes / GIB,
                    self.plan.shards,
                )
            self._is_full = True  # a smaller shard may still have room
            self._not_copied.add(path)
        return copy

    def _is_whole(self, copy: Path, path: str, entry: FileEntry) -> bool:
        """Whether a copy has its hash, which is compared once for each state of the file; a damaged one is removed."""
        state = _state(copy.stat())
        if state not in self._compared:
            try:
                self._compared[state] = sha256_of(copy) == entry.sha256
            except FileNotFoundError:
                raise  # somebody has just removed it
            except OSError as error:
                self._give_up(copy, state, path, entry, error)
                return False
            if not self._compared[state]:
                instead = "it is fetched anew" if self._fills else "the shard is read instead"
                _logger.warning(
                    "the copy %s of %s is damaged (its SHA-256 is another); %s", copy, path, instead
                )
                if self._fills:
                    self._folder.drop(entry, lambda now: _state(now) == state)
        return self._compared[state]


_caches: dict[tuple[str, str], _Cache] = {}
_cache_of: dict[str, _Cache] = {}
"""Path or URI of a shard → its cache."""


def _is_read_in_place(shards: Location, folder: Path) -> bool:
    """Whether copies in a folder would be no faster than the shards."""
    return shards.is_local and on_same_disk(shards.local_path, folder)


def on_same_disk(one: Path, other: Path) -> bool:
    """Whether two folders are on the same file system."""
    return one.stat().st_dev == other.stat().st_dev


def _state(found: os.stat_result) -> tuple[int, ...]:
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


class _Source:
    """A shard that is read from its start; its errors are StorageErrors, unlike those of the cache."""

    def __init__(self, location: Location, file: Any) -> None:
        self._location, self._file = location, file

    def read(self, num_bytes: int) -> bytes:
        with storage_errors("read", self._location.uri):
            return bytes(self._file.read(num_bytes))


@contextmanager
def _opened(location: Location) -> Iterator[_Source]:
    with location.open_input() as file:
        yield _Source(location, file)
