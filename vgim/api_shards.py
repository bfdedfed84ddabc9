"""The functions of `import vgim` that make shards of shards."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from vgim.api_arguments import RunPath, SplitArguments, SubsetArguments, checked

if TYPE_CHECKING:
    from vgim.data.shards.manifest import Manifest, Split


def merge_shards(
    shards: Sequence[RunPath], out: RunPath, *, same_speakers: bool = False, join_phones: bool = False
) -> Manifest:
    """Join shard folders to one, as `vgim data merge` does. The same call again goes on where it stopped.

    Args:
        shards: Two or more folders or URIs of shards.
        out: Folder or URI for the joined shards.
        same_speakers: Equal speaker ids in several folders are the same persons.
        join_phones: Match phone classes by name where the folders have different ones, and keep them all.

    Returns:
        The manifest of the joined shards.

    Raises:
        ConfigError: A folder is given twice, or there are fewer than two.
        DataError: The folders cannot be joined, or `out` holds something else.
        StorageError: The storage cannot be read or written.

    Example:
        >>> one = vgim.prepare("librispeech", corpus="LibriSpeech", out="one", workers=0)
        >>> other = vgim.prepare("librispeech", corpus="OtherSpeech", out="other", workers=0)
        >>> both = vgim.merge_shards(["one", "other"], "both")
        >>> both.num_utterances == one.num_utterances + other.num_utterances
        True
    """
    from vgim.cli.live import show_progress
    from vgim.data.reshard.merge import merge

    if isinstance(shards, str | bytes | os.PathLike) or not isinstance(shards, Iterable):
        shards = [shards]  # which is then refused as one folder
    sources = [_path(each, "shards") for each in shards]
    with show_progress(sys.stderr) as progress:
        return merge(
            sources,
            _path(out, "out"),
            same_speakers=same_speakers,
            join_phones=join_phones,
            progress=progress,
        )


def split_shards(
    shards: RunPath,
    out: RunPath,
    *,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    train_list: RunPath | None = None,
    validation_list: RunPath | None = None,
    test_list: RunPath | None = None,
    disjoint_speakers: bool = False,
    seed: int = 0,
) -> Manifest:
    """Put the utterances of shards into new splits, as `vgim data split` does. The same call again goes on.

    Args:
        shards: Folder or URI of shards.
        out: Folder or URI for the new shards.
        validation_fraction: Share of each speaker's recordings for validation; with lists but none for validation, the
            share of train.
        test_fraction: Share of each speaker's recordings for test; without effect with lists.
        train_list: File with the utterance ids of the train split, one a line.
        validation_list: The same for validation.
        test_list: The same for test.
        disjoint_speakers: Keep each speaker in one split; the shares are then of the speakers.
        seed: Seed of the random split.

    Returns:
        The manifest of the new shards.

    Raises:
        ConfigError: An option is out of bounds, or lists are given but none for train.
        DataError: The folder or a list cannot be used, or `out` holds something else.
        StorageError: The storage cannot be read or written.

    Example:
        >>> manifest = vgim.split_shards("shards", "other-splits", validation_fraction=0.2, seed=1)
        >>> manifest.origin.verb
        'split'
    """
    from vgim.cli.live import show_progress
    from vgim.data.reshard.split import split

    def list_path(file: RunPath | None, name: str) -> str | None:
        return None if file is None else _path(file, name)

    numbers = checked(
        SplitArguments,
        "the options of split_shards",
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        seed=seed,
    )
    with show_progress(sys.stderr) as progress:
        return split(
            _path(shards, "shards"),
            _path(out, "out"),
            validation_fraction=numbers.validation_fraction,
            test_fraction=numbers.test_fraction,
            train_list=list_path(train_list, "train_list"),
            validation_list=list_path(validation_list, "validation_list"),
            test_list=list_path(test_list, "test_list"),
            disjoint_speakers=disjoint_speakers,
            seed=numbers.seed,
            progress=progress,
        )


def subset_shards(
    shards: RunPath, out: RunPath, *, max_hours: float, only: Split | None = None, seed: int = 0
) -> Manifest:
    """Take some hours of shards, of each speaker in turn, as `vgim data subset` does. The same call again goes on.

    Args:
        shards: Folder or URI of shards.
        out: Folder or URI for the new shards.
        max_hours: Most hours of all splits together, each cut by the same share; or of `only`.
        only: Split to cut; the others stay whole.
        seed: Seed of the choice. With one seed, few hours are a part of more.

    Returns:
        The manifest of the new shards.

    Raises:
        ConfigError: `max_hours` is not positive or not less than there is, or `only` is no split.
        DataError: The folder cannot be used, one utterance lasts longer, or `out` holds something else.
        StorageError: The storage cannot be read or written.

    Example:
        >>> manifest = vgim.subset_shards("shards", "some", max_hours=0.005, only="train")
        >>> 0 < manifest.splits["train"].hours <= 0.005
        True
    """
    from vgim.cli.live import show_progress
    from vgim.data.reshard.subset import subset

    numbers = checked(SubsetArguments, "the options of subset_shards", max_hours=max_hours, seed=seed)
    with show_progress(sys.stderr) as progress:
        return subset(
            _path(shards, "shards"),
            _path(out, "out"),
            max_hours=numbers.max_hours,
            only=only,
            seed=numbers.seed,
            progress=progress,
        )


def _path(path: RunPath, name: str) -> str:
    from vgim.config.arguments import path_text
    from vgim.config.paths import resolve_path

    return resolve_path(path_text(path, name), name)
