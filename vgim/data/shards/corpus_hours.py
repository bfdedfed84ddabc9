"""Choose utterances of a corpus that last some hours together, by the headers of their files."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import islice

from vgim.data.archives.random_access import opened_with_indexes
from vgim.data.audio import read_length
from vgim.data.audio_problem import AudioProblem
from vgim.data.corpora.corpus import Corpus, SourceUtterance
from vgim.data.foreign import own_problems, read_foreign
from vgim.data.shards.hours import SAMPLES_PER_HOUR, take_until, turn_order
from vgim.data.shards.manifest import SPLITS
from vgim.data.shards.splits import Assignment
from vgim.data.shards.write import ReadOptions
from vgim.data.source import Source
from vgim.errors import DataError
from vgim.progress import Progress
from vgim.storage import Location

HEADERS_AT_ONCE = 16
"""Files whose headers are read at once: each waits for storage."""


def cut_to_hours(
    corpus: Corpus,
    assignment: Assignment,
    max_hours: float,
    reading: ReadOptions,
    seed: int,
    progress: Progress,
) -> Assignment:
    """Leave out utterances beyond some hours of all splits together, of which each is cut by about the same share.

    Each speaker has one utterance after the other in turn, so that few hours are a part of more. Only headers of the
    files that are chosen are read. A file without a usable header is chosen too, for nothing, so that it is listed as
    skipped.

    Args:
        corpus: The listed corpus.
        assignment: The split of every utterance.
        max_hours: Most hours.
        reading: How files become rows; a file that it skips counts for nothing.
        seed: Seed of the order.
        progress: Where to report how many headers are read.

    Raises:
        DataError: The first utterances last longer.
        StorageError: The storage cannot be read.
    """
    by_split: dict[str, dict[str, SourceUtterance]] = {name: {} for name in SPLITS}
    for item in corpus.utterances:
        if item.utterance_id in assignment.split_of:
            by_split[assignment.split_of[item.utterance_id]][item.utterance_id] = item
    ratio = corpus.pcm_bytes_per_file_byte
    weights = {
        name: sum(item.estimated_bytes(ratio) * ratio for item in items.values())
        for name, items in by_split.items()
    }
    split_of: dict[str, str] = {}
    usable: dict[str, bool] = {}
    with (
        opened_with_indexes(corpus.root, progress) as root,
        progress.stage("choosing utterances", unit="header") as stage,
    ):
        for name, items in by_split.items():
            share = weights[name] / max(1.0, sum(weights.values()))
            max_samples = max_hours * SAMPLES_PER_HOUR * share
            taken, usable[name] = _take(root, items, max_samples, reading, seed, stage.advance)
            split_of |= dict.fromkeys(taken, name)
    if not any(usable.values()) and len(split_of) < len(assignment.split_of):
        raise DataError(
            f"max_hours={max_hours:g} is less than one utterance of {corpus.root} lasts; give more hours"
        )
    warnings = tuple(
        f"the {name} split has no utterance within max_hours"
        for name, items in by_split.items()
        if items and not usable[name]
    )
    return replace(assignment, split_of=split_of, warnings=(*assignment.warnings, *warnings))


def _take(
    root: Source,
    items: Mapping[str, SourceUtterance],
    max_samples: float,
    reading: ReadOptions,
    seed: int,
    advance: Callable[[], None],
) -> tuple[list[str], bool]:
    """The utterances of a split that are taken, and whether any of them can be used."""
    lengths: dict[str, int] = {}

    def read() -> Iterator[tuple[str, int]]:
        order = turn_order({name: item.speaker_id for name, item in items.items()}, seed)
        for name, length in _lengths(root, [items[name] for name in order], reading):
            lengths[name] = length
            advance()
            yield name, length

    taken = take_until(read(), max_samples)
    return taken, any(lengths[name] for name in taken)


def _lengths(
    root: Source, items: Sequence[SourceUtterance], reading: ReadOptions
) -> Iterator[tuple[str, int]]:
    """Id and samples at 16 kHz of each utterance, in order; 0 for one that is skipped."""
    waiting = iter(items)
    with ThreadPoolExecutor(HEADERS_AT_ONCE) as pool:
        while batch := list(islice(waiting, 4 * HEADERS_AT_ONCE)):
            lengths = pool.map(partial(_length, root, reading), batch)
            yield from zip((item.utterance_id for item in batch), lengths, strict=True)


def _length(root: Source, reading: ReadOptions, item: SourceUtterance) -> int:
    file = root.child(item.path)
    how = {"resample": reading.resample, "mixdown": reading.mixdown}
    try:
        with own_problems(root):
            if isinstance(file, Location) and file.is_local:
                with file.open_input() as stream:
                    length = read_length(stream, **how, segment_s=item.segment_s)
            else:  # whole, as an error of storage would get lost within libsndfile, and archives check whole files
                data = io.BytesIO(read_foreign(file, item.size_bytes))
                length = read_length(data, **how, segment_s=item.segment_s)
    except AudioProblem:
        return 0
    return length if length >= reading.min_samples else 0
