"""All corpora by name. `vgim data prepare`, `vgim.prepare`, manifests and reports read this table."""

from __future__ import annotations

from collections.abc import Iterable

from vgim.data.corpora.artificial_speech import ARTIFICIAL_SPEECH
from vgim.data.corpora.corpus import Corpus
from vgim.data.corpora.folder import FOLDER
from vgim.data.corpora.kind import CorpusKind, CorpusTraits, OptionInput
from vgim.data.corpora.librispeech import LIBRISPEECH, SYNTHETIC
from vgim.data.corpora.open_corpus import CorpusRoot
from vgim.errors import ConfigError

CORPORA: dict[str, CorpusKind] = {
    LIBRISPEECH.name: LIBRISPEECH,
    ARTIFICIAL_SPEECH.name: ARTIFICIAL_SPEECH,
    FOLDER.name: FOLDER,
    SYNTHETIC.name: SYNTHETIC,
}


def preparable_corpora() -> list[str]:
    """Names of the corpora that `vgim data prepare` can be given."""
    return [name for name, kind in CORPORA.items() if kind.find is not None]


def find_corpus(name: str, root: CorpusRoot, **options: OptionInput) -> Corpus:
    """List a corpus by its name.

    Args:
        name: A name in `CORPORA`.
        root: Folder or archive of the corpus, or a folder of its archives, by path or URI.
        options: The corpus's own options, such as `part="syllables"`. None leaves the default.

    Raises:
        ConfigError: The corpus or an option is unknown, or an option has a value that is not allowed.
        DataError: The corpus is not in `root`.
    """
    kind = CORPORA.get(name)
    if kind is None or kind.find is None:
        raise ConfigError(
            f"no corpus {name!r} can be prepared; choose from {', '.join(preparable_corpora())}"
        )
    declared = {option.keyword: option for option in kind.options}
    for keyword, value in options.items():
        if keyword not in declared:
            known = f"; it has {', '.join(declared)}" if declared else ""
            raise ConfigError(f"the corpus {name} has no option {keyword!r}{known}")
        choices = declared[keyword].choices
        if choices and value is not None and value not in choices:
            raise ConfigError(f"{keyword}={value!r}: choose from {', '.join(choices)}")
    return kind.find(root, **{keyword: value for keyword, value in options.items() if value is not None})


JOINED = "+"
"""Between the names of the corpora, or of their forms, of shards that were joined."""


def joined_name(names: Iterable[str]) -> str:
    """The name of several corpora together: `folder+librispeech`. Joined names are taken apart first."""
    return JOINED.join(sorted({part for name in names for part in name.split(JOINED)}))


def corpora_of(name: str) -> frozenset[str]:
    """The names in a joined name."""
    return frozenset(name.split(JOINED))


def corpus_title(name: str) -> str:
    """The name of a corpus for readers; a corpus that is not in the registry keeps its name in the manifest."""
    return f" {JOINED} ".join(CORPORA[part].title if part in CORPORA else part for part in name.split(JOINED))


def corpus_traits(name: str, variant: str | None) -> CorpusTraits:
    """Properties of a corpus's utterances; the defaults for a corpus that is not in the registry.

    Of several corpora, utterance ids are recordings by the rules of each, and only of one corpus are they syllables.
    """
    traits = [CORPORA[part].traits(variant) for part in sorted(corpora_of(name)) if part in CORPORA]
    if len(corpora_of(name)) == 1:
        return traits[0] if traits else CorpusTraits()

    def recordings_of(utterance_ids: Iterable[str]) -> dict[str, str]:
        found = {utterance_id: utterance_id for utterance_id in utterance_ids}
        for each in traits:
            of_corpus = each.recordings_of(found.values())
            found = {utterance_id: of_corpus[name] for utterance_id, name in found.items()}
        return found

    return CorpusTraits(recordings_of=recordings_of)
