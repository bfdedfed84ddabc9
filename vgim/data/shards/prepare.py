"""`vgim data prepare`: a corpus, read once, becomes a shard folder.

Idempotent (a complete folder of the same corpus and options is left alone), resumable (finished shards are
not written again) and atomic (the manifest comes last). Shards are written in this process or, for large
corpora, by Ray Data; the result has the same fingerprint either way.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from vgim.data.corpora.corpus import Corpus
from vgim.data.corpora.phone_labels import PhoneLabels, read_labels
from vgim.data.shards.manifest import (
    INDEX_NAME,
    PROGRESS_DIR,
    SAMPLE_RATE_HZ,
    SCHEMA_VERSION,
    SPLITS,
    Codec,
    Manifest,
    OptionValue,
    SplitSummary,
    check_shards_present,
    count_by_reason,
    counts_in_words,
    fingerprint,
    is_complete,
    read_manifest,
    write_manifest,
)
from vgim.data.shards.splits import (
    Assignment,
    check_fractions,
    counted,
    few,
    hash_split,
    read_list,
    split_by_folders,
    split_by_lists,
)
from vgim.data.shards.write import (
    TARGET_SHARD_BYTES,
    ReadOptions,
    ShardPlan,
    ShardResult,
    index_table,
    moments,
    plan_shards,
)
from vgim.data.shards.write_all import Progress, claim, fail_strictly, write_all
from vgim.errors import ConfigError, DataError
from vgim.storage import Location

log = logging.getLogger(__name__)

MIN_SAMPLES = 20_480 + 160
"""A crop of 1.28 s that starts at least 10 ms into the utterance."""
RAY_ABOVE_BYTES = 1_000_000_000
"""Audio above which starting Ray pays off."""


def prepare(
    corpus: Corpus,
    out: str | Path | Location,
    *,
    codec: Codec = "pcm16",
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    train_list: str | None = None,
    validation_list: str | None = None,
    test_list: str | None = None,
    labels: str | None = None,
    min_samples: int | None = None,
    resample: bool | None = None,
    mixdown: bool = False,
    strict: bool = False,
    target_shard_bytes: int = TARGET_SHARD_BYTES,
    seed: int = 0,
    workers: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Manifest:
    """Write the shards, the index and the manifest of a corpus to `out` (a folder or URI).

    codec: keep audio as PCM16 (fast to read) or FLAC (half the size).
    validation_fraction, test_fraction: for the hash split; with lists or folders of train and test only, the
        share of train that becomes validation.
    labels: a `phones.txt`; without it, the one found beside the corpus.
    min_samples: shorter utterances are skipped; by default 20,640, and 0 for Artificial Speech.
    resample: convert other sample rates to 16 kHz instead of skipping; by default for Artificial Speech only.
    mixdown: average channels instead of skipping. strict: fail at the first file that would be skipped.
    workers: 0 writes in this process, 1 or more in so many Ray tasks at once, None decides by size.

    Raises DataError (corpus, labels, lists, or an `out` that holds something else), ConfigError (options that
    cannot be), StorageError (disk full, no permission). What was skipped, and why, is in the manifest.
    """
    folder = Location(out)
    artificial = corpus.name == "artificial-speech"
    reading = ReadOptions(
        codec=codec,
        min_samples=(0 if artificial else MIN_SAMPLES) if min_samples is None else min_samples,
        resample=artificial if resample is None else resample,
        mixdown=mixdown,
        strict=strict,
    )
    _check(corpus, reading, target_shard_bytes, validation_fraction, test_fraction)
    lists = {
        split: read_list(place)
        for split, place in zip(SPLITS, (train_list, validation_list, test_list), strict=True)
        if place is not None
    }
    assignment = _assign(corpus, lists, validation_fraction, test_fraction, seed)
    phone_labels = _labels(corpus, labels)
    options: dict[str, OptionValue] = {
        "codec": codec,
        "validation_fraction": validation_fraction,
        "test_fraction": test_fraction,
        **{f"{split}_list": _hash_of(sorted(lists[split])) if split in lists else None for split in SPLITS},
        "min_samples": reading.min_samples,
        "resample": reading.resample,
        "mixdown": mixdown,
        "target_shard_bytes": target_shard_bytes,
        "seed": seed,
        "part": corpus.variant,
    }
    plans = plan_shards(
        corpus.utterances,
        assignment.split_of,
        corpus_root=corpus.root.uri,
        phones=phone_labels.phones if phone_labels else {},
        bytes_per_file_byte=corpus.pcm_bytes_per_file_byte,
        target_shard_bytes=target_shard_bytes,
        seed=seed,
        options_digest=_hash_of([SCHEMA_VERSION, corpus.name, options]),
    )
    inventory = phone_labels.inventory if phone_labels else None
    plan_hash = _hash_of([[plan.digest for plan in plans], inventory])
    report = progress or (lambda _: None)

    if is_complete(folder):
        manifest = _unchanged(folder, plan_hash, corpus, options)
        total = sum(len(split.shards) for split in manifest.splits.values())
        report(Progress(total, total, manifest.num_utterances, total, unchanged=True))
        return manifest
    claim(folder, plan_hash, plans)
    results = write_all(plans, folder, reading, _use_ray(corpus, plans, workers), workers, report)
    manifest = _summarize(corpus, codec, options, plan_hash, assignment, phone_labels, results)
    with folder.child(INDEX_NAME).atomic_output() as file:
        pq.write_table(index_table(results), file, compression="zstd")
    write_manifest(folder, manifest)
    folder.child(PROGRESS_DIR).delete()
    return manifest


def _check(
    corpus: Corpus,
    reading: ReadOptions,
    target_shard_bytes: int,
    validation_fraction: float,
    test_fraction: float,
) -> None:
    check_fractions(validation_fraction, test_fraction)
    if reading.min_samples < 0:
        raise ConfigError(f"min_samples={reading.min_samples} must not be negative")
    if target_shard_bytes < 1:
        raise ConfigError(
            f"target_shard_bytes={target_shard_bytes} must be positive; 64 to 256 MiB serve well"
        )
    counts = Counter(item.utterance_id for item in corpus.utterances)
    if double := sorted(utterance_id for utterance_id, count in counts.items() if count > 1):
        paths = [item.path for item in corpus.utterances if item.utterance_id == double[0]]
        raise DataError(
            f"{counted(len(double), 'utterance id')} more than once in {corpus.root}, such as {double[0]} in "
            f"{' and '.join(paths)}; remove or rename one of the files"
        )
    if reading.strict and corpus.skipped:
        fail_strictly(corpus.skipped[0], corpus.root)


def _assign(
    corpus: Corpus,
    lists: dict[str, frozenset[str]],
    validation_fraction: float,
    test_fraction: float,
    seed: int,
) -> Assignment:
    if lists:
        return split_by_lists(corpus.utterances, lists, validation_fraction=validation_fraction, seed=seed)
    if any(item.split is not None for item in corpus.utterances):
        return split_by_folders(corpus.utterances, validation_fraction=validation_fraction, seed=seed)
    speaker_of = {item.utterance_id: item.speaker_id for item in corpus.utterances}
    return Assignment(
        hash_split(
            speaker_of, validation_fraction=validation_fraction, test_fraction=test_fraction, seed=seed
        )
    )


def _labels(corpus: Corpus, given: str | None) -> PhoneLabels | None:
    place = corpus.labels if given is None else Location(given)
    return None if place is None else read_labels(place)


def _hash_of(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _unchanged(folder: Location, plan_hash: str, corpus: Corpus, options: dict[str, OptionValue]) -> Manifest:
    """The manifest of a complete folder, if preparing again would change nothing; DataError otherwise."""
    manifest = read_manifest(folder)
    remedy = "choose another --out, or remove the folder"
    if manifest.corpus != corpus.name:
        raise DataError(f"{folder} holds the corpus {manifest.corpus}, not {corpus.name}; {remedy}")
    for name, value in options.items():
        if manifest.options.get(name) != value:
            before, now = _shown(manifest.options.get(name)), _shown(value)
            raise DataError(f"{folder} was prepared with {name}={before}, not {now}; {remedy}")
    if manifest.plan != plan_hash:
        raise DataError(
            f"{folder} was prepared from other files: utterances, sizes, transcripts or labels in "
            f"{corpus.root} differ; {remedy}"
        )
    check_shards_present(folder, manifest)
    folder.child(PROGRESS_DIR).delete()  # left if the last call was killed after the manifest
    log.info("%s is complete; nothing changed", folder)
    return manifest


def _shown(value: OptionValue) -> str:
    return f"(list {value[:8]})" if isinstance(value, str) and len(value) == 64 else str(value)


def _use_ray(corpus: Corpus, plans: Sequence[ShardPlan], workers: int | None) -> bool:
    if workers is not None:
        if workers < 0:
            raise ConfigError(f"workers={workers} must not be negative; 0 prepares without Ray")
        return workers > 0
    return len(plans) > 1 and corpus.estimated_pcm_bytes > RAY_ABOVE_BYTES


def _summarize(
    corpus: Corpus,
    codec: Codec,
    options: dict[str, OptionValue],
    plan_hash: str,
    assignment: Assignment,
    labels: PhoneLabels | None,
    results: Sequence[ShardResult],
) -> Manifest:
    skipped = (*corpus.skipped, *(item for result in results for item in result.skipped))
    if not any(result.rows for result in results):
        num_files = len(corpus.utterances) + len(corpus.skipped)
        raise DataError(
            f"none of the {num_files} audio files in {corpus.root} could be used: "
            f"{counts_in_words(count_by_reason(skipped))}; the first is {skipped[0].path_or_id}: "
            f"{skipped[0].reason}"
        )
    warnings = [*corpus.warnings, *assignment.warnings, *_label_warnings(labels, results)]
    train = [result for result in results if result.split == "train"]
    if not any(result.rows for result in train):
        warnings.append("the train split is empty, so corpus mean and deviation are over all splits")
        train = list(results)
    mean, std = moments(
        sum(result.sample_sum for result in train),
        sum(result.sample_square_sum for result in train),
        sum(row.num_samples for result in train for row in result.rows),
    )
    entries = [result.entry for result in results]
    return Manifest(
        corpus=corpus.name,
        codec=codec,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        splits={split: _split_summary(split, results) for split in SPLITS},
        speakers=tuple(sorted({row.speaker_id for result in results for row in result.rows})),
        corpus_mean=mean,
        corpus_std=std,
        phone_inventory=labels.inventory if labels else None,
        skipped=skipped,
        skipped_by_reason=count_by_reason(skipped),
        left_out=assignment.left_out,
        warnings=tuple(warnings),
        options=options,
        plan=plan_hash,
        fingerprint=fingerprint(entries),
    )


def _split_summary(split: str, results: Sequence[ShardResult]) -> SplitSummary:
    mine = [result for result in results if result.split == split]
    rows = [row for result in mine for row in result.rows]
    return SplitSummary(
        utterances=len(rows),
        hours=round(sum(row.num_samples for row in rows) / SAMPLE_RATE_HZ / 3600, 6),
        speakers=len({row.speaker_id for row in rows}),
        shards=tuple(result.entry for result in mine),
    )


def _label_warnings(labels: PhoneLabels | None, results: Sequence[ShardResult]) -> Iterator[str]:
    if labels is None:
        return
    misfits = [name for result in results for name in result.misfit_labels]
    without = [
        row.utterance_id for result in results for row in result.rows if row.utterance_id not in labels.phones
    ]
    if misfits:
        yield f"labels not as long as the audio, so left out, for {counted(len(misfits), 'utterance')}: {few(misfits)}"
    if without:
        yield f"no phone labels for {counted(len(without), 'utterance')}: {few(without)}"
