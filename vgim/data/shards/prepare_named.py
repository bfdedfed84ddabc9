"""Prepare a corpus by its name in the registry, with its own options and those of `prepare` side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ValidationError

from vgim.config.paths import resolve_path
from vgim.data.corpora.kind import CorpusOption, OptionInput
from vgim.data.corpora.open_corpus import open_packed
from vgim.data.corpora.registry import CORPORA, find_corpus
from vgim.data.shards.manifest import Codec, Manifest
from vgim.data.shards.plan import TARGET_SHARD_BYTES
from vgim.data.shards.prepare import prepare
from vgim.errors import ConfigError
from vgim.progress import SILENT, Progress
from vgim.storage import Location

_FILES = ("train_list", "validation_list", "test_list", "labels")
"""Options that are paths or URIs."""


class _PrepareOptions(BaseModel, frozen=True, extra="forbid"):
    """The options of `prepare`, which explains them and checks their bounds."""

    codec: Codec = "pcm16"
    validation_fraction: float = 0.1
    test_fraction: float = 0.1
    train_list: str | None = None
    validation_list: str | None = None
    test_list: str | None = None
    disjoint_speakers: bool = False
    labels: str | None = None
    min_samples: int | None = None
    max_hours: float | None = None
    resample: bool | None = None
    mixdown: bool = False
    strict: bool = False
    target_shard_bytes: int = TARGET_SHARD_BYTES
    seed: int = 0
    workers: int | None = None


def prepare_named(
    name: str,
    corpus: str | Path | Location,
    out: str | Path | Location,
    *,
    progress: Progress = SILENT,
    **options: OptionInput,
) -> Manifest:
    """Find a corpus and write it as shards.

    Args:
        name: Name of the corpus, such as `librispeech` or `artificial-speech`.
        corpus: Folder or archive of the corpus, or a folder of its archives, by path or URI.
        out: Folder or URI for the shards.
        progress: Where to report how far the work is.
        options: The corpus's own options, such as `part="syllables"`, and the options of `prepare`. None leaves the
            default.

    Returns:
        The manifest of the shards.

    Raises:
        ConfigError: The corpus or an option is unknown, or an option has a value that is not allowed.
        DataError: Corpus, labels or lists cannot be used, or `out` holds something else.
        StorageError: `out` cannot be written.
    """
    declared = CORPORA[name].options if name in CORPORA else ()
    of_corpus = {
        option.keyword: _resolved(option, options.pop(option.keyword))
        for option in declared
        if option.keyword in options
    }
    checked = _check({keyword: value for keyword, value in options.items() if value is not None})
    root = open_packed(corpus, only=_archives_of(name, of_corpus), progress=progress)
    with progress.stage("listing the corpus"):
        found = find_corpus(name, root, **of_corpus)
    return prepare(found, out, progress=progress, **checked.model_dump())


def _archives_of(name: str, options: Mapping[str, OptionInput]) -> set[str]:
    """Names of the published archives that hold what is chosen; empty if there are none of these."""
    archives = CORPORA[name].archives if name in CORPORA else {}
    subsets = options.get("subsets")
    chosen = list(subsets) if isinstance(subsets, tuple | list) else []
    return {archives[subset].file_name for subset in chosen} if set(chosen) <= set(archives) else set()


def _resolved(option: CorpusOption, value: OptionInput) -> OptionInput:
    return resolve_path(value, option.flag) if option.is_path and isinstance(value, str) else value


def _check(options: dict[str, OptionInput]) -> _PrepareOptions:
    for keyword in options:
        if keyword not in _PrepareOptions.model_fields:
            known = ", ".join(_PrepareOptions.model_fields)
            raise ConfigError(f"there is no option {keyword!r} for this corpus; `prepare` has {known}")
    files = {name: resolve_path(file, name) for name in _FILES if isinstance(file := options.get(name), str)}
    try:
        return _PrepareOptions.model_validate({**options, **files})
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{first['loc'][0]}={first['input']!r}: {first['msg']}") from error
