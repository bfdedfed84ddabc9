"""Phone labels beside joined shards, where those in the shards do not do for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from vgim.data.reshard.job import in_threads
from vgim.data.reshard.place import Place
from vgim.data.reshard.source import Source
from vgim.data.shards.alignment import ALIGNMENT_NAME, OF_PREPARATION, Alignment, phone_path
from vgim.data.shards.file_entry import file_entry
from vgim.data.shards.phone_file import PhoneRow, phone_bytes, read_facts, read_problems
from vgim.data.shards.read import column_values, open_anew, other_content, read_opened_row_group
from vgim.errors import DataError
from vgim.storage import Location, give_second_place


def needs_label_files(sources: Sequence[Source], inventory: tuple[str, ...] | None) -> bool:
    """Whether labels have to lie beside the shards: they do already, or classes have other numbers in the shards."""
    return any(
        source.manifest.alignment is not None or source.manifest.phone_inventory not in (None, inventory)
        for source in sources
    )


def write_label_files(
    sources: Sequence[Source],
    places: Sequence[Place],
    out: Location,
    inventory: tuple[str, ...],
    fingerprint: str,
    check: Callable[[], None],
) -> Alignment:
    """Write labels beside each shard: the file that its folder has, or a new one with the joined classes.

    Args:
        sources: The folders that are joined.
        places: Where each shard goes.
        out: The joined folder. Files that are there are kept.
        inventory: Name of each phone class of the joined shards.
        fingerprint: Of the joined shards.
        check: Called in between; raises an error to end the work.

    Raises:
        DataError: Labels of a folder are damaged.
        StorageError: The storage cannot be read or written.
    """

    def write(place: Place) -> None:
        target = out.child(phone_path(place.path))
        if target.exists():
            return
        source = sources[place.source]
        known = source.manifest.phones_of(place.entry)
        if known is not None and source.manifest.phone_inventory == inventory:
            give_second_place(source.folder.child(known), target)
        else:
            facts = {"aligner": "", "dictionary": "", "shard": place.entry.sha256}
            target.write_bytes_atomic(phone_bytes(_groups(source, place, inventory), facts))

    in_threads(write, places, check)
    files, unaligned = {}, dict[str, str]()
    for place in places:
        path, source = phone_path(place.path), sources[place.source]
        data = out.child(path).read_bytes()
        files[path] = file_entry(data)
        known = source.manifest.phones_of(place.entry)
        is_taken_over = known is not None and source.manifest.phone_inventory == inventory
        if known is not None and is_taken_over and source.manifest.alignment is not None:
            if files[path] != source.manifest.alignment.files.get(known):
                out.child(path).delete()
                raise DataError(
                    f"{source.folder.child(known)} is damaged (its SHA-256 is not that of {ALIGNMENT_NAME}); run "
                    f"`vgim data align {source.folder}` again"
                )
        elif (read_facts(data) or {}).get("shard") != place.entry.sha256:
            raise other_content(out.child(path).uri)
        unaligned |= read_problems(data)[1]
    alignments = [source.manifest.alignment for source in sources]
    makers = {
        OF_PREPARATION if made is None else made.aligner
        for source, made in zip(sources, alignments, strict=True)
        if source.manifest.phone_inventory is not None
    }
    return Alignment(
        fingerprint=fingerprint,
        aligner=" + ".join(sorted(makers)),
        dictionary=" + ".join(sorted({made.dictionary for made in alignments if made is not None})),
        inventory=inventory,
        files=files,
        unaligned=unaligned,
    )


def _groups(source: Source, place: Place, inventory: tuple[str, ...]) -> Iterator[list[PhoneRow]]:
    """The rows of each row group of a shard with its labels, by the joined classes."""
    own = source.manifest.phone_inventory
    labels = source.manifest.phones_of(place.entry)
    path = source.folder.child(labels if labels is not None else place.entry.path).uri
    columns = ("utterance_id", "phones") if labels is None else ("utterance_id", "phones", "problem")
    new_class_K = np.array([inventory.index(name) for name in own or ()], np.int16)
    shard = open_anew(path)
    for number in range(shard.metadata.num_row_groups):
        table = read_opened_row_group(shard, path, number, columns)
        values = [column_values(table, name, path) for name in columns]
        rows = []
        for utterance_id, phones, *problem in zip(*values, strict=True):
            if phones is not None and phones and not 0 <= min(phones) <= max(phones) < len(new_class_K):
                raise other_content(path)
            mapped = None if phones is None else new_class_K[np.array(phones, np.int64)]
            rows.append(PhoneRow(utterance_id, mapped, *(text or "" for text in problem)))
        yield rows
