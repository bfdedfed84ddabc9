"""Put the utterances of a shard folder into new splits, by the rules of a preparation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vgim.data.corpora.corpus import SourceUtterance
from vgim.data.reshard.job import hash_of
from vgim.data.reshard.rows import Choice, write_choice
from vgim.data.reshard.source import open_source
from vgim.data.shards.index import recordings_of
from vgim.data.shards.manifest import SPLITS, Manifest
from vgim.data.shards.plan import TARGET_SHARD_BYTES
from vgim.data.shards.splits import (
    Assignment,
    check_fractions,
    check_seed,
    hash_split,
    read_list,
    split_by_lists,
)
from vgim.progress import SILENT, Progress
from vgim.storage import Location


def split(
    shards: str | Path | Location,
    out: str | Path | Location,
    *,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    train_list: str | None = None,
    validation_list: str | None = None,
    test_list: str | None = None,
    disjoint_speakers: bool = False,
    seed: int = 0,
    target_shard_bytes: int = TARGET_SHARD_BYTES,
    progress: Progress = SILENT,
) -> Manifest:
    """Write the utterances of a shard folder as another one with other splits. No audio is decoded.

    The splits are those that `vgim data prepare` gives with the same options: by hash within each speaker, by hash of
    the speakers, or by lists. Utterances of one recording are in one split. An interrupted call goes on after the
    finished shards.

    Args:
        shards: The shard folder.
        out: Folder or URI for the new shards.
        validation_fraction: Share of each speaker's recordings for validation; with lists but none for validation, the
            share of train. 0 makes no validation split.
        test_fraction: Share of each speaker's recordings for test; without effect with lists.
        train_list: File with the utterance ids of the train split, one a line.
        validation_list: The same for validation.
        test_list: The same for test.
        disjoint_speakers: Keep each speaker in one split; the shares are then of the speakers.
        seed: Seed of the hash.
        target_shard_bytes: Bytes in a shard, roughly.
        progress: Where to report how many utterances are written.

    Returns:
        The manifest of the new shards.

    Raises:
        ConfigError: An option is out of bounds, or lists are given but none for train.
        DataError: The folder is damaged, a list does not fit it, or `out` holds something else.
        ClaimHeldError: Another live process makes `out`.
        StorageError: The storage cannot be read or written.
    """
    check_fractions(validation_fraction, test_fraction)
    check_seed(seed)
    source = open_source(Location(shards))
    columns = ("utterance_id", "speaker_id")
    speaker_of = dict(zip(*(source.index[name].to_pylist() for name in columns), strict=True))
    recording_of = recordings_of(source.index, source.manifest)
    files = dict(zip(SPLITS, (train_list, validation_list, test_list), strict=True))
    lists = {name: read_list(file) for name, file in files.items() if file is not None}
    assignment = (
        _by_lists(speaker_of, recording_of, lists, validation_fraction, seed, disjoint_speakers)
        if lists
        else Assignment(
            hash_split(
                speaker_of,
                validation_fraction=validation_fraction,
                test_fraction=test_fraction,
                seed=seed,
                recording_of=recording_of,
                disjoint_speakers=disjoint_speakers,
            )
        )
    )
    choice = Choice(
        split_of=assignment.split_of,
        options={
            "validation_fraction": validation_fraction,
            "test_fraction": test_fraction,
            **{f"{name}_list": hash_of(sorted(lists[name])) if name in lists else None for name in SPLITS},
            "seed": seed,
            **({"disjoint_speakers": True} if disjoint_speakers else {}),
        },
        warnings=assignment.warnings,
        left_out=assignment.left_out,
        beyond_max_hours=source.manifest.beyond_max_hours,
    )
    return write_choice(source, Location(out), "split", choice, progress, target_shard_bytes)


def _by_lists(
    speaker_of: Mapping[str, str],
    recording_of: Mapping[str, str],
    lists: Mapping[str, frozenset[str]],
    validation_fraction: float,
    seed: int,
    disjoint_speakers: bool,
) -> Assignment:
    utterances = [
        SourceUtterance(name, speaker, chapter_id="", path="", size_bytes=0, transcript="")
        for name, speaker in speaker_of.items()
    ]
    return split_by_lists(
        utterances,
        lists,
        validation_fraction=validation_fraction,
        seed=seed,
        recording_of=recording_of,
        disjoint_speakers=disjoint_speakers,
    )
