"""Utterance ids of vgim 0.1 in split lists and label files, where a corpus's utterances have other ids by now."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence

from vgim.data.corpora.corpus import SourceUtterance
from vgim.errors import DataError


def current_ids(names: Collection[str], utterances: Sequence[SourceUtterance], source: str) -> dict[str, str]:
    """The utterance id for each name. A name that is no id and no earlier id stays as it is.

    Args:
        names: Ids in a list or label file.
        utterances: All utterances of the corpus.
        source: What holds the names, for messages.

    Raises:
        DataError: A name is the earlier id of several utterances, or two names are one utterance.
    """
    ids = {item.utterance_id for item in utterances}
    by_earlier: dict[str, list[str]] = defaultdict(list)
    for item in utterances:
        if item.earlier_id is not None:
            by_earlier[item.earlier_id].append(item.utterance_id)
    found: dict[str, str] = {}
    name_of: dict[str, str] = {}
    for name in names:
        candidates = [name] if name in ids else by_earlier.get(name, [name])
        if len(candidates) > 1:
            raise DataError(
                f"{source} names {name}, which is {' or '.join(candidates)}; write the utterance id, split included"
            )
        found[name] = candidates[0]
        if name_of.setdefault(candidates[0], name) != name:
            raise DataError(
                f"{source} names {candidates[0]} also as {min(name, name_of[candidates[0]])}; remove one of the two"
            )
    return found
