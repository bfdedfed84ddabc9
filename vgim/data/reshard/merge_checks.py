"""Whether shard folders can be joined, and the phone classes that they then have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations

from vgim.data.reshard.source import Source
from vgim.errors import ConfigError, DataError
from vgim.text import first_few, plural


def check_joinable(sources: Sequence[Source], *, same_speakers: bool) -> None:
    """Refuse folders whose rows cannot stand in one folder.

    Args:
        sources: The folders.
        same_speakers: Speakers of equal ids are the same persons.

    Raises:
        ConfigError: There are fewer than two folders, or one is given twice.
        DataError: Codecs differ, or an utterance or, unless `same_speakers`, a speaker is in several folders.
    """
    if len(sources) < 2:
        raise ConfigError("there is one shard folder, and nothing to join it with; name two or more")
    given = Counter(source.folder.uri for source in sources)
    if twice := [uri for uri, count in given.items() if count > 1]:
        raise ConfigError(f"{twice[0]} is given twice; name each shard folder once")
    first = sources[0]
    for other in sources[1:]:
        if other.manifest.codec != first.manifest.codec:
            raise DataError(
                f"{first.folder} holds {first.manifest.codec} and {other.folder} {other.manifest.codec}; prepare one "
                "of them again with the other's --codec"
            )
        if other.manifest.sample_rate_hz != first.manifest.sample_rate_hz:
            raise DataError(
                f"{first.folder} has {first.manifest.sample_rate_hz} Hz and {other.folder} "
                f"{other.manifest.sample_rate_hz} Hz; prepare one of them again"
            )
    for one, other in combinations(sources, 2):
        _check_ids(one, other, same_speakers)


def _check_ids(one: Source, other: Source, same_speakers: bool) -> None:
    first, second = (set(source.index["utterance_id"].to_pylist()) for source in (one, other))
    if both := first & second:
        raise DataError(
            f"{plural(len(both), 'utterance id')} in {one.folder} and in {other.folder}, such as {min(both)}; if they "
            "are the same recordings, leave them out of one folder with `vgim data split` and lists; if not, use "
            "`vgim data prepare folder` on a folder above both corpora, whose ids are paths"
        )
    speakers = set(one.manifest.speakers) & set(other.manifest.speakers)
    if speakers and not same_speakers:
        raise DataError(
            f"{plural(len(speakers), 'speaker id')} in {one.folder} and in {other.folder}, such as {min(speakers)}; "
            "add --same-speakers if they are the same persons; if not, use `vgim data prepare folder` on a folder "
            "above both corpora, which tells them apart"
        )


def joined_inventory(sources: Sequence[Source], *, join_phones: bool) -> tuple[str, ...] | None:
    """Name of each phone class of the joined shards; None if no folder has labels.

    Folders with the same names keep them, in their order if it is the same, else sorted.

    Args:
        sources: The folders.
        join_phones: Take the names of all folders, if they differ.

    Raises:
        DataError: The names differ, and `join_phones` is not set.
    """
    labeled = [source for source in sources if source.manifest.phone_inventory is not None]
    inventories = [source.manifest.phone_inventory or () for source in labeled]
    if not inventories:
        return None
    if all(inventory == inventories[0] for inventory in inventories):
        return inventories[0]
    for source, inventory in zip(labeled, inventories, strict=True):
        repeated = [name for name, count in Counter(inventory).items() if count > 1]
        if repeated:
            raise DataError(
                f"{source.folder} calls several phone classes {repeated[0]}, so that its classes cannot be matched by "
                "name; prepare it again with another phone_inventory.txt"
            )
    every = {name for inventory in inventories for name in inventory}
    for source, inventory in zip(labeled, inventories, strict=True):
        if not join_phones and (missing := every.difference(inventory)):
            others = [other for other in labeled if missing & set(other.manifest.phone_inventory or ())]
            raise DataError(
                f"the phone classes differ: {source.folder} has no {first_few(sorted(missing))}, which "
                f"{others[0].folder} has; add --join-phones if equal names mean the same phone in both, or label one "
                "of them again as the other"
            )
    return tuple(sorted(every))


def merge_warnings(sources: Sequence[Source], num_split_recordings: int, example: str) -> list[str]:
    """What the manifest of the joined shards says that should be known, each folder's own warnings included."""
    warnings = [f"{source.folder.name}: {text}" for source in sources for text in source.manifest.warnings]
    labeled = [source.manifest.phone_inventory is not None for source in sources]
    if any(labeled) and not all(labeled):
        without = [source.folder.name for source, has in zip(sources, labeled, strict=True) if not has]
        num = sum(
            source.manifest.num_utterances for source, has in zip(sources, labeled, strict=True) if not has
        )
        warnings.append(f"{plural(num, 'utterance')} of {first_few(without)} without phone labels")
    if num_split_recordings:
        warnings.append(
            f"{plural(num_split_recordings, 'recording')} in several splits, such as {example}; `vgim data split` puts "
            "each into one"
        )
    return warnings
