"""Make a shard folder of others as a preparation does: claimed, resumable, and with the manifest at the end."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from vgim.claims.claim import Claim, take_claim
from vgim.claims.record import CLAIMS
from vgim.claims.ticket import Work
from vgim.data.shards.alignment import Alignment, write_alignment
from vgim.data.shards.check import check_shards_present
from vgim.data.shards.file_entry import file_entry
from vgim.data.shards.manifest import (
    INDEX_NAME,
    MANIFEST_NAME,
    PROGRESS_DIR,
    DerivingVerb,
    Manifest,
    is_complete,
    read_manifest,
    write_manifest,
)
from vgim.data.shards.unfinished import failures_noted
from vgim.data.shards.write_all import begin, begun_plan, check_out
from vgim.errors import DataError
from vgim.progress import Progress
from vgim.storage import Location

MAKING = Work("making the shards", "choose another --out")
THREADS = max(2, min(8, os.cpu_count() or 2))
"""Shards that are written at once: each thread mostly waits for storage, copies memory, or hashes."""
UNCHANGED = "made already from the same shards with the same options; nothing to do"

T = TypeVar("T")


@dataclass(frozen=True)
class Made:
    """A shard folder whose shards are written."""

    manifest: Manifest
    index: pa.Table
    alignment: Alignment | None


def hash_of(content: Any) -> str:
    """SHA-256 of what JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def make_folder(
    out: Location,
    verb: DerivingVerb,
    plan_hash: str,
    planned: Collection[str],
    write: Callable[[Claim], Made],
    progress: Progress,
) -> Manifest:
    """Write a shard folder, or leave it alone if the same call made it already.

    Args:
        out: The folder.
        verb: The verb of `vgim data` that makes it.
        plan_hash: Hash of all that shapes the folder.
        planned: Paths of all files that are written below the folders of the splits.
        write: Writes the shards. Files of the same plan that an earlier call finished are there. It raises an error of
            the claim if that is lost.
        progress: Where to report.

    Raises:
        DataError: The folder holds something else.
        ClaimHeldError: Another live process makes it.
        StorageError: It cannot be written.
    """

    def is_made() -> bool:
        has_lost_marker = out.child(MANIFEST_NAME).exists() and not out.child(PROGRESS_DIR).exists()
        return is_complete(out) or has_lost_marker

    if is_made():
        return _unchanged(out, plan_hash, progress)
    check_out(out)
    with (
        take_claim(out, MAKING, say=progress.message) as held,
        failures_noted(out.child(PROGRESS_DIR), held),
    ):
        if is_made():  # by another process, before this one had the claim
            return _unchanged(out, plan_hash, progress)
        if begun_plan(out) != plan_hash:  # whose files may have the same names and sizes
            begin(out, "", (), verb)
        begin(out, plan_hash, planned, verb)
        made = write(held)
        held.ticket.check()
        index = io.BytesIO()
        pq.write_table(made.index, index, compression="zstd")
        out.child(INDEX_NAME).write_bytes_atomic(index.getvalue())
        if made.alignment is not None:
            write_alignment(out, made.alignment)
        manifest = made.manifest.model_copy(update={"plan": plan_hash, "index": file_entry(index.getvalue())})
        write_manifest(out, manifest)
        out.child(PROGRESS_DIR).delete()
    out.child(CLAIMS).delete()
    return read_manifest(out)


def in_threads(do: Callable[[T], object], items: Iterable[T], check: Callable[[], None]) -> None:
    """Do something with each item, several at once. The first error ends the work.

    Args:
        do: Called in a thread.
        items: Its arguments.
        check: Called before and in between, in this thread; raises an error to end the work.
    """
    check()
    with ThreadPoolExecutor(THREADS) as pool:
        running = {pool.submit(do, item) for item in items}
        try:
            while running:
                done, running = wait(running, timeout=1.0, return_when=FIRST_COMPLETED)
                for one in done:
                    one.result()
                check()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _unchanged(out: Location, plan_hash: str, progress: Progress) -> Manifest:
    manifest = read_manifest(out)
    if manifest.plan != plan_hash:
        verb = manifest.origin.verb if manifest.origin is not None else "prepare"
        raise DataError(
            f"{out} holds other shards already, which `vgim data {verb}` made; choose another --out, or remove the "
            "folder"
        )
    check_shards_present(out, manifest)
    for left in (PROGRESS_DIR, CLAIMS):  # if the last call was killed after the manifest
        out.child(left).delete()
    progress.message(UNCHANGED)
    return manifest


def common(values: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The entries that are equal in all dictionaries."""
    first, *others = values
    return {
        name: value
        for name, value in first.items()
        if all(name in other and other[name] == value for other in others)
    }
