"""Align the transcripts of a shard folder with its audio, and write the phones beside the shards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from vgim.claims.claim import take_claim
from vgim.claims.record import CLAIMS
from vgim.claims.ticket import Work
from vgim.data.align.aligner import DEFAULT, Aligner, NoAlignment, make_aligner
from vgim.data.shards.alignment import Alignment, phone_path, write_alignment
from vgim.data.shards.check import check_shards_present
from vgim.data.shards.file_entry import file_entry
from vgim.data.shards.manifest import Codec, Manifest, ShardEntry, read_manifest
from vgim.data.shards.phone_file import PhoneRow, phone_bytes, read_facts, read_problems
from vgim.data.shards.read import read_row_group_utterances, shard_footer
from vgim.errors import DataError, VgimError
from vgim.progress import SILENT, Progress
from vgim.storage import Location

ALIGNING = Work("aligning", "wait for it")
NEW = ".aligning"
"""Folder in the shards' folder for labels until all are there: those from before stay whole until then."""


@dataclass(frozen=True)
class AlignWork:
    """What every task is told."""

    shards: str
    codec: Codec
    aligner: str
    dictionary: str | None


def align(
    shards: str | Location,
    *,
    aligner: str = DEFAULT,
    dictionary: str | None = None,
    workers: int = 0,
    address: str | None = None,
    progress: Progress = SILENT,
) -> Manifest:
    """Give the utterances of a shard folder phone labels by forced alignment of their transcripts.

    Labels are written beside the shards, a file for each; the shards and their fingerprint stay as they are. An
    interrupted call goes on with the shards that have no labels yet.

    Args:
        shards: The shard folder.
        aligner: Name of the aligner, in `vgim.data.align.aligner.ALIGNERS`.
        dictionary: Local file with pronunciations of words that the aligner does not know.
        workers: Ray tasks at the same time; 0 aligns in this process.
        address: Ray cluster; None uses $RAY_ADDRESS if it is set, else starts Ray on this machine.
        progress: Where to report how many utterances are aligned.

    Returns:
        The manifest with the labels.

    Raises:
        ConfigError: There is no such aligner, or its package is missing.
        DataError: The shards are damaged or have labels of their own, or no utterance can be aligned.
        StorageError: The storage cannot be read or written.
        ClaimHeldError: Another live process aligns these shards.
    """
    folder = Location(shards)
    manifest = read_manifest(folder)
    if manifest.phone_inventory is not None and manifest.alignment is None:
        raise DataError(
            f"{folder} has phone labels of {len(manifest.phone_inventory)} classes already, from its preparation; "
            "prepare it without labels to align it"
        )
    # Labels that are missing or damaged are made again.
    check_shards_present(folder, manifest.model_copy(update={"alignment": None}))
    work = AlignWork(folder.uri, manifest.codec, aligner, dictionary)
    made = make_aligner(aligner, dictionary)
    facts = {"aligner": made.description, "dictionary": _hash(dictionary)}
    entries = [entry for split in manifest.splits.values() for entry in split.shards]
    with take_claim(folder, ALIGNING, say=progress.message) as held:
        missing = [entry for entry in entries if not _is_done(folder, manifest.alignment, entry, facts)]
        num_all, num_missing = (sum(entry.utterances for entry in some) for some in (entries, missing))
        if not missing and manifest.alignment is not None:
            progress.message("these shards are aligned already; nothing to do")
        with progress.stage("aligning", total=num_all, unit="utterance", done=num_all - num_missing) as stage:
            if not workers:
                for entry in missing:
                    held.raise_if_lost()
                    _align_shard(work, facts, made, entry, stage.advance)
            elif missing:
                _align_on_ray(work, facts, missing, workers, address, progress, stage.advance)
        held.ticket.check()
        if missing or not _is_by(manifest.alignment, facts):
            manifest = _finish(folder, manifest, made, facts, entries)
    folder.child(CLAIMS).delete()
    return manifest


def _align_on_ray(
    work: AlignWork,
    facts: dict[str, str],
    missing: Sequence[ShardEntry],
    workers: int,
    address: str | None,
    progress: Progress,
    advance: Callable[[int], None],
) -> None:
    from vgim.cluster.tasks import run_tasks

    results = run_tasks(
        partial(_align_in_task, work, facts),
        missing,
        progress.message,
        workers=workers,
        device="cpu",
        address=address,
        progress=progress,
        ended=lambda number: advance(missing[number].utterances),
    )
    for result in results:
        if isinstance(result, VgimError):
            raise type(result)(f"{result}; the same command goes on with the shards that are missing")


def _align_in_task(
    work: AlignWork, facts: dict[str, str], entry: ShardEntry, log: Callable[[str], None]
) -> VgimError | None:
    try:
        _align_shard(work, facts, make_aligner(work.aligner, work.dictionary), entry, lambda: None)
    except VgimError as error:
        return error
    return None


def _align_shard(
    work: AlignWork, facts: dict[str, str], aligner: Aligner, entry: ShardEntry, advance: Callable[[], None]
) -> None:
    """Align a shard's utterances and write its file of labels."""
    shard = Location(work.shards).child(entry.path).uri

    def groups() -> Iterator[list[PhoneRow]]:
        for row_group in range(shard_footer(shard).num_row_groups):
            rows = []
            for utterance in read_row_group_utterances(shard, row_group, work.codec):
                try:
                    row = PhoneRow(
                        utterance.utterance_id, aligner.align(utterance.audio, utterance.transcript)
                    )
                except NoAlignment as problem:
                    row = PhoneRow(utterance.utterance_id, None, str(problem))
                rows.append(row)
                advance()
            yield rows

    content = phone_bytes(groups(), {**facts, "shard": entry.sha256})
    Location(work.shards).child(NEW, phone_path(entry.path)).write_bytes_atomic(content)


def _is_done(folder: Location, alignment: Alignment | None, entry: ShardEntry, facts: dict[str, str]) -> bool:
    """Whether a shard has whole labels of this aligner."""
    if _labels(folder.child(NEW), entry, facts) is not None:
        return True
    data = _labels(folder, entry, facts)
    if data is None:
        return False
    if alignment is None or not _is_by(alignment, facts):
        return True  # an interrupted call moved it here, after the alignment that is recorded
    return alignment.files.get(phone_path(entry.path)) == file_entry(data)


def _labels(folder: Location, entry: ShardEntry, facts: dict[str, str]) -> bytes | None:
    """The file of a shard's labels in a folder; None unless it is there and by this aligner."""
    file = folder.child(phone_path(entry.path))
    data = file.read_bytes() if file.exists() else None
    return data if data is not None and read_facts(data) == {**facts, "shard": entry.sha256} else None


def _is_by(alignment: Alignment | None, facts: dict[str, str]) -> bool:
    made = None if alignment is None else (alignment.aligner, alignment.dictionary)
    return made == (facts["aligner"], facts["dictionary"])


def _finish(
    folder: Location,
    manifest: Manifest,
    aligner: Aligner,
    facts: dict[str, str],
    entries: Sequence[ShardEntry],
) -> Manifest:
    """Put the labels in their places, and write the manifest that names them.

    Raises:
        DataError: No utterance has labels; those from before stay.
    """
    files, problems, num_aligned = {}, dict[str, str](), 0
    new = []
    for entry in entries:
        data = _labels(folder.child(NEW), entry, facts)
        if data is None:
            data = folder.child(phone_path(entry.path)).read_bytes()
        else:
            new.append(entry)
        files[phone_path(entry.path)] = file_entry(data)
        aligned, of_shard = read_problems(data)
        num_aligned += aligned
        problems |= of_shard
    if not num_aligned:
        folder.child(NEW).delete()
        name, reason = next(iter(problems.items()))
        raise DataError(f"no utterance of {folder} could be aligned; the first is {name}: {reason}")
    alignment = Alignment(
        fingerprint=manifest.fingerprint,
        aligner=facts["aligner"],
        dictionary=facts["dictionary"],
        inventory=aligner.inventory,
        files=files,
        unaligned=problems,
    )
    for entry in new:
        folder.child(NEW, phone_path(entry.path)).move(folder.child(phone_path(entry.path)))
    write_alignment(folder, alignment)
    folder.child(NEW).delete()
    return read_manifest(folder)


def _hash(dictionary: str | None) -> str:
    return "" if dictionary is None else file_entry(Location(dictionary).read_bytes()).sha256
