"""The examples of one split of the shards, from features that are computed or kept."""

from __future__ import annotations

from collections.abc import Callable

from vgim.data.shards.read import read_utterances
from vgim.downstream.context import ProbeContext
from vgim.downstream.features.cache import DamagedCacheError, FeatureCache
from vgim.downstream.features.examples import FeatureStream, SplitExamples, collect_examples
from vgim.downstream.features.source import FeatureSource, stream_features
from vgim.runs.layout import FEATURES


def examples_of_split(
    context: ProbeContext,
    source: FeatureSource,
    split: str,
    log: Callable[[str], None] = lambda line: None,
) -> list[SplitExamples]:
    """Encode and label a split, or read its features if they are kept and `--cache-features` is given.

    Args:
        log: Called with a note if kept features are damaged.

    Returns:
        The examples for each of the source's specs.
    """
    opened = context.opened
    limit = context.options.max_utterances if split == "train" else 0

    def collect(stream: FeatureStream) -> list[SplitExamples]:
        utterances = read_utterances(opened.shards, opened.manifest, split, limit)
        return collect_examples(source, context.task, utterances, context.clip, split, stream)

    if not context.options.cache_features:
        return collect(stream_features)
    data = opened.config.data
    key = {
        "shards": opened.manifest.fingerprint,
        "split": split,
        "limit": limit,
        "clip": [data.crop, data.crop_samples] if context.uses_crops else "whole",
    }
    cache = FeatureCache(opened.folder.child(FEATURES), key)
    try:
        return collect(cache.stream)
    except DamagedCacheError as error:
        log(f"note: {error}; its features are computed anew")
        cache.delete(source)
        return collect(cache.stream)
