"""Faults of the folder that keeps copies of shards (`data.cache_dir`): training must give the same results."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path

from tests.chaos.arena import Arena
from tests.chaos.attacks.kind import Draw, Finding, Kind, operation_class
from tests.chaos.damage import MANNERS, damage
from tests.chaos.digest import Digest, differences
from tests.chaos.operations import Hook, Operation
from tests.chaos.oracle import ending_complaints, success_complaints
from tests.chaos.scenarios import CACHED, FILLED
from tests.chaos.template import CACHE
from tests.disk_reads import watch_reads

ERRORS = (errno.ENOSPC, errno.EROFS, errno.EIO, errno.EACCES, errno.EDQUOT)


def damaged_copies(arena: Arena, draw: Draw) -> Finding:
    """Damage a file of a filled cache, before a training or at any operation of it."""
    reference, rng = arena.reference(FILLED), draw.random
    case = arena.fresh(FILLED.part)
    files = sorted(path for path in (case / CACHE).iterdir() if path.is_file())
    pairs = [(file, manner) for file in files for manner in MANNERS]
    file, manner = draw.spread(pairs, lambda pair: (pair[0].suffix, pair[1]))
    moment = rng.choice((None, rng.randrange(len(reference.operations))))
    other = files[(files.index(file) + 1) % len(files)]
    hook: Hook | None = None
    if moment is None:
        damage(file, manner, rng, other)
    else:
        done = arena.root / "damaged"
        done.unlink(missing_ok=True)

        def strike(number: int, operation: Operation) -> None:
            if number >= moment and not done.exists() and file.is_file():
                done.touch()
                damage(file, manner, rng, other)

        hook = strike
    complaints = success_complaints(arena.run(FILLED.command, hook)) or differences(
        reference.results, arena.results(FILLED)
    )
    when = "before the command" if moment is None else f"at operation {moment}"
    return Finding(f"a cache's {file.name}: {manner}, {when}", tuple(complaints))


def failing_disk(arena: Arena, draw: Draw) -> Finding:
    """Let an operation on the cache fail, once or from then on."""
    reference, rng = arena.reference(CACHED), draw.random
    numbered = [
        (number, operation)
        for number, operation in enumerate(o for o in reference.operations if is_of_cache(o))
    ]
    site, operation = draw.spread(numbered, lambda item: operation_class(item[1]))
    code, lasts = rng.choice(ERRORS if operation.changes else (errno.EIO, errno.EACCES)), rng.random() < 0.5
    seen = 0

    def hook(number: int, operation: Operation) -> None:
        nonlocal seen
        if not is_of_cache(operation):
            return
        is_due = seen == site or (lasts and seen > site)
        seen += 1
        if is_due:
            raise OSError(code, os.strerror(code), str(arena.case / operation.path))

    arena.fresh(CACHED.part)
    complaints = success_complaints(arena.run(CACHED.command, hook)) or differences(
        reference.results, arena.results(CACHED)
    )
    how = "from" if lasts else "at"
    return Finding(
        f"a cache's disk: {errno.errorcode[code]} {how} its operation {site}, {operation}", tuple(complaints)
    )


def failing_reads(arena: Arena, draw: Draw) -> Finding:
    """Let a read of a copy fail, once or from then on, in the middle of a training."""
    reference, rng = arena.reference(FILLED), draw.random
    site, lasts = rng.randrange(_num_reads(arena)), rng.random() < 0.5
    seen = 0

    def on_read(what: str) -> None:
        nonlocal seen
        is_due = seen == site or (lasts and seen > site)
        seen += 1
        if is_due:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    case = arena.fresh(FILLED.part)
    child = arena.start(FILLED.command, before=lambda: watch_reads(case / CACHE, on_read))
    complaints = success_complaints(child.wait(arena.timeout_s)) or differences(
        reference.results, arena.results(FILLED)
    )
    return Finding(
        f"a cache's disk: EIO {'from' if lasts else 'at'} read {site} of a copy", tuple(complaints)
    )


def _num_reads(arena: Arena) -> int:
    """Reads of copies in a training, counted in the arena's first attack of this kind."""
    counted = arena.root / "reads-of-copies"
    if not counted.exists():

        def on_read(what: str) -> None:
            with counted.open("ab") as file:
                file.write(b".")

        case = arena.fresh(FILLED.part)
        child = arena.start(FILLED.command, before=lambda: watch_reads(case / CACHE, on_read))
        assert not success_complaints(child.wait(arena.timeout_s))
    return counted.stat().st_size


def _file(place: Path) -> None:
    place.write_bytes(b"a file")


def _link_to_nothing(place: Path) -> None:
    place.symlink_to(place.parent / "nothing" / "there")


def _loop(place: Path) -> None:
    place.symlink_to(place)


def _pipe(place: Path) -> None:
    os.mkfifo(place)


def _folders_for_files(place: Path) -> None:
    for name in ("lock", *(f"lock-{number:02x}" for number in range(256))):
        (place / name).mkdir(parents=True)


PLACES: dict[str, Callable[[Path], None]] = {
    "a file": _file,
    "a link to nothing": _link_to_nothing,
    "a link to itself": _loop,
    "a pipe": _pipe,
    "a folder with folders for its locks": _folders_for_files,
}


def wrong_place(arena: Arena, draw: Draw) -> Finding:
    """Put something else where the cache's folder is to be."""
    reference = arena.reference(CACHED)
    case = arena.fresh(CACHED.part)
    what = draw.spread(list(PLACES), lambda name: name)
    PLACES[what](case / CACHE)
    complaints = success_complaints(arena.run(CACHED.command)) or differences(
        reference.results, arena.results(CACHED)
    )
    return Finding(f"in the place of a cache: {what}", tuple(complaints))


def filled_at_once(arena: Arena, draw: Draw) -> Finding:
    """Fill a cache from two trainings in one instant, one of which may be killed at any operation on the cache."""
    reference, rng = arena.reference(CACHED), draw.random
    count = sum(is_of_cache(operation) for operation in reference.operations)
    killed_at = rng.choice((None, rng.randrange(count)))
    arena.fresh(CACHED.part)
    copied = arena.root / "copied"
    copied.unlink(missing_ok=True)
    read, write = os.pipe()

    def wait() -> None:
        os.close(write)
        os.read(read, 1)

    def hook_of(kill_at: int | None) -> Hook:
        seen = 0

        def hook(number: int, operation: Operation) -> None:
            nonlocal seen
            if not is_of_cache(operation):
                return
            if seen == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            seen += 1
            if operation.kind == "rename" and operation.path.endswith(".parquet"):
                with copied.open("a", encoding="utf-8") as file:
                    file.write(operation.path + "\n")

        return hook

    names = ("one", "two")
    children = [
        arena.start(
            (*CACHED.command, f"storage.name={name}"),
            hook_of(killed_at if name == "two" else None),
            name=f"command-{name}",
            before=wait,
        )
        for name in names
    ]
    os.close(read)
    os.close(write)
    one, two = (child.wait(2 * arena.timeout_s) for child in children)
    complaints = success_complaints(one)
    complaints += ending_complaints(two, also=() if killed_at is None else (-signal.SIGKILL,))
    if two.code:
        complaints += success_complaints(arena.run((*CACHED.command, "storage.name=two")))
    found = arena.results(CACHED)
    for name in names:
        complaints += differences(trained(reference.results, "run"), trained(found, name))
    copies = copied.read_text().splitlines() if copied.exists() else []
    if killed_at is None and len(copies) != len(set(copies)):
        complaints.append(f"shards were copied more than once: {copies}")
    how = "" if killed_at is None else f", one killed (SIGKILL) at its operation {killed_at} on the cache"
    return Finding(f"two trainings fill one cache{how}", tuple(dict.fromkeys(complaints)))


def is_of_cache(operation: Operation) -> bool:
    """Whether an operation is on the cache's folder or a file in it."""
    return operation.path.split("/")[0] == CACHE


def trained(results: Digest, run: str) -> Digest:
    """What a run of a name has trained: its checkpoints, without the configs, which hold the name."""
    start = f"runs/{run}/checkpoints/"
    return {
        path.removeprefix(start): value
        for path, value in results.items()
        if path.startswith(start) and path.endswith(".safetensors")
    }


NOTHING = "nothing: the shards are read from storage"
KINDS = (
    Kind(
        "cache-damage",
        "a damaged, cut or deleted file of a node's cache of shards, before or while `vgim train` reads it",
        "the copy, which is fetched anew",
        damaged_copies,
        3,
        2,
    ),
    Kind(
        "cache-disk",
        "a full, read-only or failing disk under a cache of shards, at any operation on it: `vgim train`",
        NOTHING,
        failing_disk,
        3,
        2,
    ),
    Kind(
        "cache-read",
        "a disk that no longer reads a copy in a cache of shards (EIO), at any read, once or always: `vgim train`",
        "the copy: its shard is read from storage",
        failing_reads,
        3,
    ),
    Kind(
        "cache-place",
        "a file, a pipe, a link or foreign folders in the place of a cache of shards: `vgim train`",
        NOTHING,
        wrong_place,
        3,
    ),
    Kind(
        "cache-race",
        "two runs of `vgim train` fill one cache of shards in one instant; one of them may be killed (SIGKILL)",
        "nothing: each shard is copied once",
        filled_at_once,
        6,
    ),
)
