"""Join shard folders: every shard is linked or copied as it is, and index, labels and manifest are made anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from vgim.claims.claim import Claim
from vgim.data.corpora.registry import joined_name
from vgim.data.pcm import PCM16_SCALE, SAMPLE_RATE_HZ
from vgim.data.reshard.job import Made, common, hash_of, in_threads, make_folder
from vgim.data.reshard.merge_checks import check_joinable, joined_inventory, merge_warnings
from vgim.data.reshard.merge_labels import needs_label_files, write_label_files
from vgim.data.reshard.place import Place, in_several_splits, joined_index, place_shards
from vgim.data.reshard.source import Source, open_source
from vgim.data.shards.alignment import phone_path
from vgim.data.shards.index import of_split, recordings_of
from vgim.data.shards.manifest import (
    SPLITS,
    Manifest,
    OptionValue,
    Origin,
    SplitSummary,
    count_by_reason,
    fingerprint,
)
from vgim.data.shards.write import mean_and_std
from vgim.errors import DataError
from vgim.progress import SILENT, Progress
from vgim.storage import Location, Manner, give_second_place
from vgim.text import plural


def merge(
    shards: Sequence[str | Path | Location],
    out: str | Path | Location,
    *,
    same_speakers: bool = False,
    join_phones: bool = False,
    progress: Progress = SILENT,
) -> Manifest:
    """Join shard folders to one. No audio is decoded, and the splits stay.

    Shards on the same local file system are linked, on the same object store copied by the storage, and else copied
    through this process. The result does not depend on the order of the folders. An interrupted call goes on after the
    shards that are there.

    Args:
        shards: Two or more shard folders.
        out: Folder or URI for the joined shards.
        same_speakers: Speakers of equal ids in several folders are the same persons.
        join_phones: Take the phone classes of all folders, matched by name, where their names differ.
        progress: Where to report how many shards are joined.

    Returns:
        The manifest of the joined shards.

    Raises:
        ConfigError: A folder is given twice, or there are fewer than two.
        DataError: A folder is damaged, the folders cannot be joined, or `out` holds something else.
        ClaimHeldError: Another live process makes `out`.
        StorageError: The storage cannot be read or written.
    """
    folder = Location(out)
    sources = [open_source(Location(each)) for each in shards]
    check_joinable(sources, same_speakers=same_speakers)
    inventory = joined_inventory(sources, join_phones=join_phones)
    places = place_shards(sources)
    has_label_files = needs_label_files(sources, inventory)
    planned = {place.path for place in places}
    if has_label_files:
        planned |= {phone_path(place.path) for place in places}
    plan_hash = hash_of(["merge", sorted(source.identity for source in sources), inventory])

    def write(held: Claim) -> Made:
        _copy_all(sources, places, folder, held, progress)
        index = joined_index(sources, places)
        manifest = _manifest(sources, places, index, inventory)
        alignment = None
        if has_label_files and inventory is not None:
            with progress.stage("joining labels"):
                alignment = write_label_files(
                    sources, places, folder, inventory, manifest.fingerprint, held.raise_if_lost
                )
            # Classes in the shards have other numbers, or there are none.
            manifest = manifest.model_copy(update={"phone_inventory": None})
        return Made(manifest, index, alignment)

    return make_folder(folder, "merge", plan_hash, planned, write, progress)


def _copy_all(
    sources: Sequence[Source], places: Sequence[Place], out: Location, held: Claim, progress: Progress
) -> None:
    there = {
        f"{split}/{name}": size for split in SPLITS for name, size in out.child(split).list_files()
    }  # of this plan: what another left is deleted
    missing = [place for place in places if there.get(place.path) != place.entry.bytes]
    if len(missing) < len(places):
        progress.message(f"{len(places) - len(missing)} of {plural(len(places), 'shard')} were there")
    manners = Counter[Manner]()
    with progress.stage(
        "joining shards", total=len(places), unit="shard", done=len(places) - len(missing)
    ) as stage:

        def copy(place: Place) -> None:
            source = sources[place.source].folder.child(place.entry.path)
            copied = give_second_place(source, out.child(place.path))
            if copied.sha256 not in (None, place.entry.sha256):
                out.child(place.path).delete()
                raise DataError(
                    f"{source} is damaged (its SHA-256 is not the manifest's); copy its folder again, or remove it and "
                    "prepare it again"
                )
            manners[copied.manner] += 1
            stage.advance()

        in_threads(copy, missing, held.raise_if_lost)
    if manners:
        progress.message(", ".join(f"{plural(count, 'shard')} {manner}" for manner, count in manners.items()))


def _manifest(
    sources: Sequence[Source],
    places: Sequence[Place],
    index: pa.Table,
    inventory: tuple[str, ...] | None,
) -> Manifest:
    manifests = [source.manifest for source in sources]
    corpus = joined_name(manifest.corpus for manifest in manifests)
    variants = [manifest.variant for manifest in manifests]
    options: dict[str, OptionValue] = common([manifest.options for manifest in manifests])
    named = [variant for variant in variants if variant is not None]
    options["part"] = joined_name(named) if len(named) == len(variants) else None
    mean, std = _statistics(sources)
    skipped = tuple(item for manifest in manifests for item in manifest.skipped)
    manifest = Manifest(
        corpus=corpus,
        codec=manifests[0].codec,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        splits={split: _summary(split, places, of_split(index, split)) for split in SPLITS},
        speakers=tuple(sorted({speaker for manifest in manifests for speaker in manifest.speakers})),
        corpus_mean=mean,
        corpus_std=std,
        phone_inventory=inventory,
        skipped=skipped,
        skipped_by_reason=count_by_reason(skipped),
        left_out=sum(manifest.left_out for manifest in manifests),
        options=options,
        plan="",
        fingerprint=fingerprint(place.entry for place in places),
        origin=Origin(verb="merge", sources=tuple(source.facts for source in sources)),
        beyond_max_hours=sum(manifest.beyond_max_hours for manifest in manifests),
    )

    torn = in_several_splits(index, recordings_of(index, manifest))
    warnings = tuple(merge_warnings(sources, len(torn), torn[0] if torn else ""))
    return manifest.model_copy(update={"warnings": warnings})


def _summary(split: str, places: Sequence[Place], rows: pa.Table) -> SplitSummary:
    samples = pc.sum(rows["num_samples"], min_count=0).as_py()
    return SplitSummary(
        utterances=rows.num_rows,
        hours=round(samples / SAMPLE_RATE_HZ / 3600, 6),
        speakers=pc.count_distinct(rows["speaker_id"]).as_py(),
        shards=tuple(
            place.entry.model_copy(update={"path": place.path})
            for place in places
            if place.path.startswith(f"{split}/")
        ),
    )


def _statistics(sources: Sequence[Source]) -> tuple[float, float]:
    """Mean and standard deviation over the train splits of all folders; over all splits if no folder has one."""
    has_train = any(source.manifest.split("train").utterances for source in sources)
    total = square_total = num_total = 0
    for source in sources:
        rows = of_split(source.index, "train") if has_train else source.index
        num = pc.sum(rows["num_samples"], min_count=0).as_py()
        if num:
            mean, std = (
                Fraction(value) * PCM16_SCALE
                for value in (source.manifest.corpus_mean, source.manifest.corpus_std)
            )
            # The sums were integers before they were divided and rounded.
            sample_sum = round(mean * num)
            total += sample_sum
            square_total += round(std * std * num + Fraction(sample_sum * sample_sum, num))
            num_total += num
    return mean_and_std(total, square_total, num_total)
