"""Take some hours of a shard folder."""

from __future__ import annotations

from pathlib import Path

from vgim.data.reshard.rows import Choice, write_choice
from vgim.data.reshard.source import open_source
from vgim.data.shards.hours import check_max_hours, take_until, turn_order
from vgim.data.shards.index import of_split
from vgim.data.shards.manifest import SPLITS, Manifest, Split
from vgim.data.shards.plan import TARGET_SHARD_BYTES
from vgim.data.shards.splits import check_seed
from vgim.errors import ConfigError, DataError
from vgim.progress import SILENT, Progress
from vgim.storage import Location


def subset(
    shards: str | Path | Location,
    out: str | Path | Location,
    *,
    max_hours: float,
    only: Split | None = None,
    seed: int = 0,
    target_shard_bytes: int = TARGET_SHARD_BYTES,
    progress: Progress = SILENT,
) -> Manifest:
    """Write some hours of a shard folder as another one. No audio is decoded, and the splits stay.

    Each speaker has one utterance after the other in turn, chosen by a hash, so that one hour has as many speakers as
    it can, and is a part of ten. An interrupted call goes on after the finished shards.

    Args:
        shards: The shard folder.
        out: Folder or URI for the new shards.
        max_hours: Most hours of all splits together, each of which is cut by the same share; or of `only`.
        only: Split to cut; the others stay whole.
        seed: Seed of the choice. With the seed of the preparation, the least is read.
        target_shard_bytes: Bytes in a shard, roughly.
        progress: Where to report how many utterances are written.

    Returns:
        The manifest of the new shards.

    Raises:
        ConfigError: `max_hours`, `only` or `seed` is not allowed.
        DataError: The folder is damaged, the shortest choice lasts longer, or `out` holds something else.
        ClaimHeldError: Another live process makes `out`.
        StorageError: The storage cannot be read or written.
    """
    check_max_hours(max_hours)
    check_seed(seed)
    if only is not None and only not in SPLITS:
        raise ConfigError(f"only={only!r} is no split; choose from {', '.join(SPLITS)}")
    source = open_source(Location(shards))
    cut = SPLITS if only is None else (only,)
    total = sum(source.manifest.split(name).hours for name in cut)
    if not total:
        raise DataError(f"{source.folder} has no {only} split to cut; choose another")
    if max_hours >= total:
        of_what = "" if only is None else f" of {only}"
        raise ConfigError(
            f"max_hours={max_hours:g}, but {source.folder} has {total:.2f} hours{of_what}; give fewer, or read the "
            "folder as it is"
        )
    split_of: dict[str, str] = {}
    for name in SPLITS:
        rows = of_split(source.index, name)
        columns = ("utterance_id", "speaker_id", "num_samples")
        ids, speakers, lengths = (rows[column].to_pylist() for column in columns)
        if name in cut:
            length_of = dict(zip(ids, lengths, strict=True))
            order = turn_order(dict(zip(ids, speakers, strict=True)), seed)
            share = max_hours / total
            ids = take_until(((each, length_of[each]) for each in order), sum(lengths) * share)
        split_of |= dict.fromkeys(ids, name)
    empty = [name for name in cut if source.manifest.split(name).utterances and name not in split_of.values()]
    if only in empty or len(empty) == len(cut):
        raise DataError(
            f"max_hours={max_hours:g} is less than one utterance of {source.folder} lasts; give more hours"
        )
    choice = Choice(
        split_of=split_of,
        options={"max_hours": max_hours, "max_hours_of": only, "max_hours_seed": seed},
        warnings=tuple(f"the {name} split has no utterance within max_hours" for name in empty),
        left_out=source.manifest.left_out,
        beyond_max_hours=source.manifest.beyond_max_hours + source.manifest.num_utterances - len(split_of),
    )
    return write_choice(source, Location(out), "subset", choice, progress, target_shard_bytes)
