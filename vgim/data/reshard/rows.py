"""Write a shard folder of chosen rows of another: plan its shards, write them, and sum up the manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from vgim.claims.claim import Claim
from vgim.data.reshard.job import Made, hash_of, in_threads, make_folder
from vgim.data.reshard.rewrite import RowPlace, RowPlan, RowSource, write_rows
from vgim.data.reshard.source import Source
from vgim.data.shards.alignment import Alignment, phone_path
from vgim.data.shards.columns import RECORDING_FIELD
from vgim.data.shards.file_entry import file_entry
from vgim.data.shards.manifest import SPLITS, DerivingVerb, Manifest, OptionValue, Origin, fingerprint
from vgim.data.shards.plan import TARGET_SHARD_BYTES
from vgim.data.shards.record import ShardResult, index_table, read_record
from vgim.data.shards.summarize import split_summary, train_statistics
from vgim.errors import DataError
from vgim.progress import Progress
from vgim.storage import Location


@dataclass(frozen=True)
class Choice:
    """Which utterances of a folder the new one has, and in which split."""

    split_of: Mapping[str, str]
    """Utterance id → split; utterances without one are left out."""
    options: Mapping[str, OptionValue]
    """What is changed in the options of the preparation."""
    warnings: tuple[str, ...] = ()
    left_out: int = 0
    beyond_max_hours: int = 0


def write_choice(
    source: Source,
    out: Location,
    verb: DerivingVerb,
    choice: Choice,
    progress: Progress,
    target_shard_bytes: int = TARGET_SHARD_BYTES,
) -> Manifest:
    """Write the chosen utterances of a folder as another one.

    Raises:
        DataError: A shard is damaged, no utterance is chosen, or `out` holds something else.
        ClaimHeldError: Another live process makes `out`.
        StorageError: The storage cannot be read or written.
    """
    if not choice.split_of:
        raise DataError(f"no utterance of {source.folder} is chosen; nothing is written")
    given = hash_of([verb, source.identity, dict(choice.options), target_shard_bytes])
    plans = plan_rows(source, choice.split_of, target_shard_bytes, given)
    alignment = source.manifest.alignment
    facts = {} if alignment is None else {"aligner": alignment.aligner, "dictionary": alignment.dictionary}
    rows = RowSource(source.folder, source.manifest.codec, None if alignment is None else facts)
    planned = {plan.path for plan in plans}
    if alignment is not None:
        planned |= {phone_path(path) for path in planned}

    def write(held: Claim) -> Made:
        results = _write_all(plans, rows, out, held, progress)
        manifest = _manifest(source, verb, choice, results)
        labels = None if alignment is None else _labels(alignment, manifest, results, out)
        return Made(manifest, index_table(results), labels)

    return make_folder(out, verb, hash_of([plan.digest for plan in plans]), planned, write, progress)


def plan_rows(
    source: Source, split_of: Mapping[str, str], target_shard_bytes: int, given: str
) -> list[RowPlan]:
    """Cut the utterances of each split into shards of about equally many bytes.

    Rows stay in the order of the shards that they come from. Rows of several splits that come together are mixed in
    proportion, so that the first utterances of a split are a choice of all.

    Args:
        source: The folder that holds the utterances.
        split_of: Utterance id → new split.
        target_shard_bytes: Bytes in a shard, roughly.
        given: Hash of all else that shapes the shards.
    """
    index = source.index
    columns = ("split", "shard", "row_group", "row", "utterance_id", "num_samples")
    recordings = (
        index[RECORDING_FIELD.name].to_pylist()
        if RECORDING_FIELD.name in index.column_names
        else [None] * index.num_rows
    )
    rows = list(zip(*(index[name].to_pylist() for name in columns), recordings, strict=True))
    num_bytes = sum(shard.bytes for split in source.manifest.splits.values() for shard in split.shards)
    bytes_per_sample = num_bytes / max(1, sum(row[5] for row in rows))
    plans = []
    for split in SPLITS:
        streams: dict[str, list[RowPlace]] = {name: [] for name in SPLITS}
        for before, shard, group, row, utterance_id, num_samples, recording in rows:
            if split_of.get(utterance_id) == split:
                path = f"{before}/{shard:05d}.parquet"
                streams[before].append(RowPlace(path, group, row, utterance_id, num_samples, recording))
        mixed = _mix(list(streams.values()))
        for number, group_of_rows in enumerate(_cut(mixed, bytes_per_sample, target_shard_bytes)):
            digest = hash_of([given, split, number, group_of_rows])
            plans.append(RowPlan(split, number, tuple(group_of_rows), digest))
    return plans


def _mix(streams: Sequence[list[RowPlace]]) -> list[RowPlace]:
    """Merge lists so that each is spread evenly over the result, in its own order."""
    keys = np.concatenate([(np.arange(len(rows)) + 0.5) / max(1, len(rows)) for rows in streams])
    every = [row for rows in streams for row in rows]
    return [every[position] for position in np.argsort(keys, kind="stable")]


def _cut(rows: list[RowPlace], bytes_per_sample: float, target_shard_bytes: int) -> list[list[RowPlace]]:
    if not rows:
        return []
    samples = np.array([row.num_samples for row in rows], np.float64)
    total = max(1.0, samples.sum())
    num_groups = min(len(rows), max(1, round(total * bytes_per_sample / target_shard_bytes)))
    middles = np.cumsum(samples) - samples / 2
    group = np.minimum(num_groups - 1, middles / total * num_groups).astype(np.int64)
    borders = np.flatnonzero(np.diff(group)) + 1
    return [rows[first:last] for first, last in zip([0, *borders], [*borders, len(rows)], strict=True)]


def _write_all(
    plans: Sequence[RowPlan], source: RowSource, out: Location, held: Claim, progress: Progress
) -> list[ShardResult]:
    results = {
        plan.path: result
        for plan in plans
        if (result := read_record(plan, out)) is not None and _has_labels(plan, source, out)
    }
    if results:
        progress.message(f"{len(results)} of {len(plans)} shards were finished earlier")
    num_all = sum(len(plan.rows) for plan in plans)
    num_done = sum(len(result.rows) for result in results.values())
    with progress.stage("writing shards", total=num_all, unit="utterance", done=num_done) as stage:

        def write(plan: RowPlan) -> None:
            results[plan.path] = write_rows(plan, source, out)
            stage.advance(len(plan.rows))

        in_threads(write, [plan for plan in plans if plan.path not in results], held.raise_if_lost)
    return [results[plan.path] for plan in plans]


def _has_labels(plan: RowPlan, source: RowSource, out: Location) -> bool:
    return source.label_facts is None or out.child(phone_path(plan.path)).exists()


def _manifest(source: Source, verb: DerivingVerb, choice: Choice, results: Sequence[ShardResult]) -> Manifest:
    mean, std, warnings = train_statistics(results)
    before = source.manifest
    return before.model_copy(
        update={
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "splits": {split: split_summary(split, results) for split in SPLITS},
            "speakers": tuple(sorted({row.speaker_id for result in results for row in result.rows})),
            "corpus_mean": mean,
            "corpus_std": std,
            # With labels beside the shards, `read_manifest` puts their classes here.
            "phone_inventory": None if before.alignment is not None else before.phone_inventory,
            "left_out": choice.left_out,
            "beyond_max_hours": choice.beyond_max_hours,
            "warnings": (
                *(text for text in before.warnings if text not in warnings),
                *choice.warnings,
                *warnings,
            ),
            "options": {**before.options, **choice.options},
            "fingerprint": fingerprint(result.entry for result in results),
            "origin": Origin(verb=verb, sources=(source.facts,)),
            "index": None,
            "alignment": None,
        }
    )


def _labels(
    before: Alignment, manifest: Manifest, results: Sequence[ShardResult], out: Location
) -> Alignment:
    paths = [phone_path(result.entry.path) for result in results]
    chosen = {row.utterance_id for result in results for row in result.rows}
    return before.model_copy(
        update={
            "fingerprint": manifest.fingerprint,
            "files": {path: file_entry(out.child(path).read_bytes()) for path in paths},
            "unaligned": {name: reason for name, reason in before.unaligned.items() if name in chosen},
        }
    )
