"""Prepare a corpus: read it once and write it as a shard folder.

Preparing again is safe: a complete folder of the same corpus and options is left alone, and an interrupted
preparation goes on after its finished shards. The manifest and its hash are written last. Shards are
written in this process or, for large corpora, by Ray Data; the result has the same fingerprint either way.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from vgim.claims.claim import take_claim
from vgim.claims.record import CLAIMS
from vgim.claims.ticket import Work
from vgim.data.corpora.corpus import Corpus
from vgim.data.corpora.phone_intervals import read_interval_labels
from vgim.data.corpora.phone_labels import PhoneLabels, read_labels
from vgim.data.corpora.registry import corpus_traits
from vgim.data.shards.check import check_shards_present
from vgim.data.shards.corpus_hours import cut_to_hours
from vgim.data.shards.earlier_ids import current_ids
from vgim.data.shards.file_entry import file_entry
from vgim.data.shards.hours import check_max_hours
from vgim.data.shards.label_match import FitCheck, named_by_utterance, refuse_other_ids
from vgim.data.shards.manifest import (
    INDEX_NAME,
    MANIFEST_NAME,
    PROGRESS_DIR,
    SCHEMA_VERSION,
    SPLITS,
    Codec,
    Manifest,
    OptionValue,
    is_complete,
    read_manifest,
    write_manifest,
)
from vgim.data.shards.plan import TARGET_SHARD_BYTES, ShardPlan, plan_shards
from vgim.data.shards.read import read_lengths
from vgim.data.shards.record import index_table
from vgim.data.shards.splits import (
    Assignment,
    check_fractions,
    check_seed,
    hash_split,
    read_list,
    split_by_folders,
    split_by_lists,
)
from vgim.data.shards.summarize import summarize
from vgim.data.shards.unfinished import failures_noted
from vgim.data.shards.write import ReadOptions
from vgim.data.shards.write_all import begin, check_out, fail_strictly, write_all
from vgim.errors import ConfigError, DataError
from vgim.progress import SILENT, Progress
from vgim.storage import Location
from vgim.text import plural

log = logging.getLogger(__name__)

PREPARING = Work("preparing the shards", "choose another --out")
RAY_ABOVE_BYTES = 1_000_000_000
"""Bytes of PCM16 above which starting Ray takes less time than it saves."""
LEFT_OUT: dict[str, OptionValue] = {"max_hours": None, "disjoint_speakers": False}
"""Options that a manifest has only if they have another value: plans of earlier versions have neither."""
UNCHANGED = "already prepared from the same corpus with the same options; nothing to do"


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
    disjoint_speakers: bool = False,
    labels: str | None = None,
    min_samples: int | None = None,
    max_hours: float | None = None,
    resample: bool | None = None,
    mixdown: bool = False,
    strict: bool = False,
    target_shard_bytes: int = TARGET_SHARD_BYTES,
    seed: int = 0,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> Manifest:
    """Write the shards, the index and the manifest of a corpus.

    Args:
        corpus: The corpus as its `find_...` function listed it.
        out: Folder or URI for the shards.
        codec: `pcm16` is fast to read; `flac` is half the size.
        validation_fraction: Share of each speaker's recordings for validation. With lists or folders for train and
            test only, the share of train. 0 makes no validation split.
        test_fraction: Share of each speaker's recordings for test; without effect with lists or folders.
        train_list: File with the utterance ids of the train split, one a line.
        validation_list: The same for validation.
        test_list: The same for test.
        disjoint_speakers: Keep each speaker in one split; the shares are then of the speakers.
        labels: Phone labels; by default the file that lies beside the corpus, if any.
        min_samples: Utterances with fewer samples at 16 kHz are skipped; by default `corpus.min_samples`.
        max_hours: Most hours of all splits together. Each speaker has one utterance after the other in turn, so that
            few hours are a part of more. None takes all.
        resample: Convert other sample rates to 16 kHz instead of skipping the file; by default `corpus.resample`.
        mixdown: Average the channels of a file instead of skipping it.
        strict: Raise at the first file that would be skipped.
        target_shard_bytes: Bytes of audio in a shard, roughly.
        seed: Seed of the split by hash and of the order in the shards.
        workers: Ray tasks at once; 0 writes in this process, None decides by the corpus's size.
        progress: Where to report how far the work is.

    Returns:
        The manifest. It lists what was skipped, and why.

    Raises:
        DataError: Corpus, labels or lists cannot be used, or `out` holds something else.
        ClaimHeldError: Another live process is preparing `out`.
        ConfigError: An option is out of bounds, or options contradict one another.
        StorageError: `out` cannot be written.
    """
    folder = Location(out)
    reading = ReadOptions(
        codec=codec,
        min_samples=corpus.min_samples if min_samples is None else min_samples,
        resample=corpus.resample if resample is None else resample,
        mixdown=mixdown,
        strict=strict,
    )
    _check(corpus, reading, target_shard_bytes, validation_fraction, test_fraction)
    check_seed(seed)
    lists = {
        split: frozenset(current_ids(read_list(file), corpus.utterances, f"the {split} list").values())
        for split, file in zip(SPLITS, (train_list, validation_list, test_list), strict=True)
        if file is not None
    }
    assignment = _assign_splits(corpus, lists, validation_fraction, test_fraction, seed, disjoint_speakers)
    num_assigned = len(assignment.split_of)
    if max_hours is not None:
        check_max_hours(max_hours)
        assignment = cut_to_hours(corpus, assignment, max_hours, reading, seed, progress)
    phone_labels = _read_labels(corpus, labels)
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
        **({} if max_hours is None else {"max_hours": max_hours}),
        **({"disjoint_speakers": True} if disjoint_speakers else {}),
    }
    plans = plan_shards(
        corpus.utterances,
        assignment.split_of,
        corpus_root=corpus.root,
        phones=phone_labels.phones if phone_labels else {},
        bytes_per_file_byte=corpus.pcm_bytes_per_file_byte,
        target_shard_bytes=target_shard_bytes,
        seed=seed,
        options_digest=_hash_of([SCHEMA_VERSION, corpus.name, options]),
    )
    inventory = phone_labels.inventory if phone_labels else None
    plan_hash = _hash_of([[plan.digest for plan in plans], inventory])

    def unchanged() -> Manifest:
        manifest = _read_unchanged(folder, plan_hash, corpus, options)
        progress.message(UNCHANGED)
        return manifest

    def is_prepared() -> bool:
        has_lost_marker = folder.child(MANIFEST_NAME).exists() and not folder.child(PROGRESS_DIR).exists()
        return is_complete(folder) or has_lost_marker

    if is_prepared():
        return unchanged()
    check_out(folder)
    with take_claim(folder, PREPARING) as held, failures_noted(folder.child(PROGRESS_DIR), held):
        if is_prepared():  # by another process, before this one had the claim
            return unchanged()
        begin(folder, plan_hash, {plan.path for plan in plans})
        use_ray = _use_ray(corpus, plans, workers)
        fit = FitCheck(phone_labels, labels) if phone_labels is not None and labels is not None else None
        results = write_all(
            plans,
            folder,
            reading,
            use_ray,
            workers,
            progress,
            held.raise_if_lost,
            look=fit.add if fit is not None else lambda result: None,
        )
        if fit is not None:
            fit.finish()
        manifest = summarize(corpus, codec, options, plan_hash, assignment, phone_labels, results)
        held.ticket.check()
        index = io.BytesIO()
        pq.write_table(index_table(results), index, compression="zstd")
        folder.child(INDEX_NAME).write_bytes_atomic(index.getvalue())
        update = {
            "index": file_entry(index.getvalue()),
            "beyond_max_hours": num_assigned - len(assignment.split_of),
        }
        write_manifest(folder, manifest := manifest.model_copy(update=update))
        folder.child(PROGRESS_DIR).delete()
    folder.child(
        CLAIMS
    ).delete()  # nobody claims a complete folder, and its files are those of the corpus alone
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
    if repeated := sorted(utterance_id for utterance_id, count in counts.items() if count > 1):
        paths = [item.path for item in corpus.utterances if item.utterance_id == repeated[0]]
        raise DataError(
            f"{plural(len(repeated), 'utterance id')} more than once in {corpus.root}, such as {repeated[0]} in "
            f"{' and '.join(paths)}; remove or rename one of the files"
        )
    if reading.strict and corpus.skipped:
        fail_strictly(corpus.skipped[0], corpus.root)


def _assign_splits(
    corpus: Corpus,
    lists: Mapping[str, frozenset[str]],
    validation_fraction: float,
    test_fraction: float,
    seed: int,
    disjoint_speakers: bool,
) -> Assignment:
    speaker_of = {item.utterance_id: item.speaker_id for item in corpus.utterances}
    recording_of = corpus_traits(corpus.name, corpus.variant).recordings_of(speaker_of) | {
        item.utterance_id: item.recording_id for item in corpus.utterances if item.recording_id is not None
    }
    if lists:
        return split_by_lists(
            corpus.utterances,
            lists,
            validation_fraction=validation_fraction,
            seed=seed,
            recording_of=recording_of,
            disjoint_speakers=disjoint_speakers,
        )
    if any(item.split is not None for item in corpus.utterances):
        return split_by_folders(
            corpus.utterances,
            validation_fraction=validation_fraction,
            seed=seed,
            recording_of=recording_of,
            disjoint_speakers=disjoint_speakers,
        )
    return Assignment(
        hash_split(
            speaker_of,
            validation_fraction=validation_fraction,
            test_fraction=test_fraction,
            seed=seed,
            recording_of=recording_of,
            disjoint_speakers=disjoint_speakers,
        )
    )


def _read_labels(corpus: Corpus, labels: str | None) -> PhoneLabels | None:
    file = corpus.labels if labels is None else (given := Location(labels))
    if file is None:
        return None
    of_corpus = {item.utterance_id for item in corpus.utterances}
    if labels is not None and given.is_dir():
        read = named_by_utterance(read_interval_labels(given), of_corpus, f"the label folder {file}")
    else:
        read = read_labels(file)
    ids = current_ids(read.phones, corpus.utterances, f"the label file {file}")
    found = PhoneLabels({ids[name]: classes for name, classes in read.phones.items()}, read.inventory)
    if labels is not None:
        refuse_other_ids(found, of_corpus, f"the label file {file}")
    return found


def _hash_of(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _read_unchanged(
    folder: Location, plan_hash: str, corpus: Corpus, options: Mapping[str, OptionValue]
) -> Manifest:
    """The manifest of a complete folder. DataError if preparing again would change anything."""
    manifest = read_manifest(folder)
    remedy = "choose another --out, or remove the folder"
    if manifest.origin is not None:
        raise DataError(f"{folder} holds shards that `vgim data {manifest.origin.verb}` made; {remedy}")
    if manifest.corpus != corpus.name:
        raise DataError(f"{folder} holds the corpus {manifest.corpus}, not {corpus.name}; {remedy}")
    for name, value in {**LEFT_OUT, **options}.items():
        before = manifest.options.get(name, LEFT_OUT.get(name))
        if before != value:
            was, given = _option_text(name, before), _option_text(name, value)
            raise DataError(f"{folder} was prepared with {was}, not with {given}; {remedy}")
    if manifest.plan != plan_hash:
        raise DataError(
            f"{folder} was prepared from other files{_by_earlier_vgim(folder, corpus)}: utterances, sizes, transcripts "
            f"or labels in {corpus.root} differ; {remedy}"
        )
    check_shards_present(folder, manifest)
    for left in (PROGRESS_DIR, CLAIMS):  # if the last call was killed after the manifest
        folder.child(left).delete()
    log.info("%s is complete; nothing changed", folder)
    return manifest


def _by_earlier_vgim(folder: Location, corpus: Corpus) -> str:
    earlier = {item.earlier_id for item in corpus.utterances}
    if any(name in earlier for split in SPLITS for name in read_lengths(folder, split)):
        return " or by an earlier vgim, whose utterance ids had no split (training and probes still read it)"
    if any(item.recording_id is not None for item in corpus.utterances):
        return (
            " or by an earlier vgim, which put segments of recordings into other shards and splits (training and "
            "probes still read it)"
        )
    return ""


def _option_text(name: str, value: OptionValue) -> str:
    if value is None:
        return f"no {name}"
    if isinstance(value, str) and len(value) == 64:  # the hash of a split list
        return f"{name}=(list {value[:8]})"
    return f"{name}={value}"


def _use_ray(corpus: Corpus, plans: Sequence[ShardPlan], workers: int | None) -> bool:
    if workers is not None:
        if workers < 0:
            raise ConfigError(f"workers={workers} must not be negative; 0 prepares without Ray")
        return workers > 0
    return len(plans) > 1 and corpus.estimated_pcm_bytes > RAY_ABOVE_BYTES
