"""The examples of one split of the shards, from features that are computed or kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from vgim.data.shards.read import Utterance, read_utterances
from vgim.downstream.context import ProbeContext
from vgim.downstream.features.cache import DamagedCacheError, FeatureCache
from vgim.downstream.features.examples import FeatureStream, SplitExamples, collect_examples
from vgim.downstream.features.source import FeatureSource, stream_features
from vgim.downstream.held_out import SHARE, held_out_ids, holds_out, read_probe_utterances
from vgim.progress import SILENT, Progress, Stage
from vgim.runs.layout import FEATURES


def examples_of_split(
    context: ProbeContext,
    source: FeatureSource,
    split: str,
    *,
    validates: bool = True,
    progress: Progress = SILENT,
) -> list[SplitExamples]:
    """Encode and label a split, or read its features if they are kept and `--cache-features` is given.

    Args:
        validates: Whether something is chosen by validation loss. If so, and if the shards have no validation split,
            a share of the train split takes its place.
        progress: Where to report how many utterances are encoded, and a note if kept features are damaged.

    Returns:
        The examples for each of the source's specs.
    """
    opened = context.opened
    limit = context.options.max_utterances if split == "train" else 0
    is_divided = validates and split != "test" and holds_out(opened)

    def collect(stream: FeatureStream) -> list[SplitExamples]:
        if is_divided:
            utterances = read_probe_utterances(opened, split, limit)
        else:
            utterances = read_utterances(opened.shards, opened.manifest, split, limit)
        title = f"features of the {split} split, {context.options.task}"
        with progress.stage(
            title, total=_count(context, split, limit, is_divided), unit="utterance"
        ) as stage:
            counted = _advancing(utterances, stage)
            return collect_examples(source, context.task, counted, context.clip, split, stream)

    if not context.options.cache_features:
        return collect(stream_features)
    data = opened.config.data
    key = {
        "shards": opened.manifest.fingerprint,
        "split": split,
        "limit": limit,
        "clip": [data.crop, data.crop_samples] if context.uses_crops else "whole",
    }
    if opened.manifest.labels_digest:
        key["labels"] = opened.manifest.labels_digest
    if is_divided:
        key["held_out"] = SHARE
    cache = FeatureCache(opened.folder.child(FEATURES), key)
    try:
        return collect(cache.stream)
    except DamagedCacheError as error:
        progress.message(f"note: {error}; its features are computed anew")
        cache.delete(source)
        return collect(cache.stream)


def _count(context: ProbeContext, split: str, limit: int, is_divided: bool) -> int:
    """Utterances of a split that are read."""
    opened = context.opened
    num = opened.manifest.split(split).utterances
    if is_divided:
        num_held_out = len(held_out_ids(opened))
        num = (
            num_held_out
            if split == "validation"
            else opened.manifest.split("train").utterances - num_held_out
        )
    return min(num, limit) if limit else num


def _advancing(utterances: Iterable[Utterance], stage: Stage) -> Iterator[Utterance]:
    for utterance in utterances:
        yield utterance
        stage.advance()
