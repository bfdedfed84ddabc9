"""What a corpus declares about itself, so that no other module compares its name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from vgim.data.corpora.archive import Archive
from vgim.data.corpora.corpus import Corpus

OptionInput = str | int | float | bool | tuple[str, ...] | list[str] | None


@dataclass(frozen=True)
class CorpusOption:
    """An option of a corpus: a keyword of its `find`, and an option of `vgim data prepare NAME`."""

    keyword: str
    flag: str
    """As typed on the command line, such as `--part`."""
    help: str | None = None
    choices: tuple[str, ...] = ()
    """The values that are allowed; empty allows any text."""
    default: str | None = None
    is_path: bool = False
    """Whether the value is a path or URI, in which `~` and environment variables are filled in."""
    is_repeatable: bool = False
    """Whether the option may be given several times. `find` then gets all values as a sequence."""


def _own_recordings(utterance_ids: Iterable[str]) -> dict[str, str]:
    return {utterance_id: utterance_id for utterance_id in utterance_ids}


def _stem(path: str) -> str:
    return PurePosixPath(path).stem


@dataclass(frozen=True)
class CorpusTraits:
    """Properties of a corpus's utterances. The defaults hold for a corpus that is not in the registry."""

    syllables: tuple[str, ...] = ()
    """All syllables, if every utterance is one syllable and its transcript names it; else empty."""
    recordings_of: Callable[[Iterable[str]], dict[str, str]] = _own_recordings
    """All utterance ids of a corpus or shard folder → id of the recording that each utterance is cut from, or is."""
    utterance_id: Callable[[str], str] = _stem
    """Path or URI of an audio file → utterance id."""


def default_traits(variant: str | None) -> CorpusTraits:
    """The traits of a corpus that declares none."""
    return CorpusTraits()


@dataclass(frozen=True)
class CorpusKind:
    """A corpus that vgim knows: how it is found, and what is special about it."""

    name: str
    """Name on the command line and in manifests."""
    title: str
    """Name in reports and messages."""
    license: str = ""
    """License of its recordings as their publisher states it, for model cards; empty if it is not known."""
    help: str = ""
    """The help text of `vgim data prepare NAME`: its first sentence stands in the list of verbs."""
    find: Callable[..., Corpus] | None = None
    """`find(root, **options)` lists the corpus; DataError if it is not there. None for a corpus that another kind's
    `find` recognizes."""
    options: tuple[CorpusOption, ...] = ()
    archives: Mapping[str, Archive] = field(default_factory=dict)
    """What `vgim data download` gets: name on the command line, such as `train-clean-100` → the archive."""
    traits: Callable[[str | None], CorpusTraits] = default_traits
    """Traits of the form of the corpus that `Corpus.variant` names."""
