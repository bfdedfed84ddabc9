"""The manifest of a preparation, summed up from its written shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from vgim.data.corpora.corpus import Corpus
from vgim.data.corpora.phone_labels import PhoneLabels
from vgim.data.pcm import SAMPLE_RATE_HZ
from vgim.data.shards.label_match import label_warnings
from vgim.data.shards.manifest import (
    SPLITS,
    Codec,
    Manifest,
    OptionValue,
    SplitSummary,
    count_by_reason,
    counts_in_words,
    fingerprint,
)
from vgim.data.shards.record import ShardResult
from vgim.data.shards.splits import Assignment
from vgim.data.shards.write import mean_and_std
from vgim.errors import DataError


def summarize(
    corpus: Corpus,
    codec: Codec,
    options: Mapping[str, OptionValue],
    plan_hash: str,
    assignment: Assignment,
    labels: PhoneLabels | None,
    results: Sequence[ShardResult],
) -> Manifest:
    """The manifest of the written shards.

    Raises:
        DataError: No file of the corpus could be used.
    """
    skipped = (*corpus.skipped, *(item for result in results for item in result.skipped))
    if not any(result.rows for result in results):
        num_files = len(corpus.utterances) + len(corpus.skipped)
        counts = count_by_reason(skipped)
        most = next(item for item in skipped if item.kind == next(iter(counts)))
        raise DataError(
            f"none of the {num_files} audio files in {corpus.root} could be used: {counts_in_words(counts)}; most like "
            f"{most.path_or_id}: {most.reason}"
        )
    warnings = [*corpus.warnings, *assignment.warnings, *label_warnings(labels, results)]
    mean, std, of_statistics = train_statistics(results)
    warnings += of_statistics
    return Manifest(
        corpus=corpus.name,
        codec=codec,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        splits={split: split_summary(split, results) for split in SPLITS},
        speakers=tuple(sorted({row.speaker_id for result in results for row in result.rows})),
        corpus_mean=mean,
        corpus_std=std,
        phone_inventory=labels.inventory if labels else None,
        skipped=skipped,
        skipped_by_reason=count_by_reason(skipped),
        left_out=assignment.left_out,
        warnings=tuple(warnings),
        options=dict(options),
        plan=plan_hash,
        fingerprint=fingerprint([result.entry for result in results]),
    )


def train_statistics(results: Sequence[ShardResult]) -> tuple[float, float, list[str]]:
    """Mean and standard deviation of the train split as float PCM, and warnings about them."""
    warnings = []
    train = [result for result in results if result.split == "train"]
    if not any(result.rows for result in train):
        warnings.append("the train split is empty, so corpus mean and deviation are over all splits")
        train = list(results)
    mean, std = mean_and_std(
        sum(result.sample_sum for result in train),
        sum(result.sample_square_sum for result in train),
        sum(row.num_samples for result in train for row in result.rows),
    )
    return mean, std, warnings


def split_summary(split: str, results: Sequence[ShardResult]) -> SplitSummary:
    """Size and shards of one split."""
    of_split = [result for result in results if result.split == split]
    rows = [row for result in of_split for row in result.rows]
    return SplitSummary(
        utterances=len(rows),
        hours=round(sum(row.num_samples for row in rows) / SAMPLE_RATE_HZ / 3600, 6),
        speakers=len({row.speaker_id for row in rows}),
        shards=tuple(result.entry for result in of_split),
    )
