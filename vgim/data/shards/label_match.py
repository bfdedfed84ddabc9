"""Whether phone labels belong to a corpus: which utterances they name, and whether they are as long as the audio."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from vgim.data.corpora.folder import utterance_id_of
from vgim.data.corpora.phone_labels import PhoneLabels
from vgim.data.pcm import HOP_SAMPLES
from vgim.data.shards.record import IndexRow, ShardResult
from vgim.data.shards.spelling import explain_unknown, plain_id
from vgim.errors import DataError
from vgim.text import first_few, plural

ENOUGH = 20
"""Labels that do not fit, and none that does, after which no other will."""


def named_by_utterance(labels: PhoneLabels, ids: Collection[str], source: str) -> PhoneLabels:
    """Labels of a folder of files by utterance id: a file's path with `-` for `/`, or else its name.

    Args:
        labels: By path, without suffix.
        ids: The utterance ids of the corpus.
        source: The folder, for the message.

    Raises:
        DataError: Two files label the same utterance.
    """
    path_of: dict[str, str] = {}
    for path in labels.phones:
        whole, name = utterance_id_of(path), path.rpartition("/")[2]
        utterance_id = whole if whole in ids or name not in ids else name
        if utterance_id in path_of:
            raise DataError(
                f"{source} has {path_of[utterance_id]} and {path} for {utterance_id}; remove one of them"
            )
        path_of[utterance_id] = path
    phones = {name: labels.phones[path] for name, path in path_of.items()}
    return PhoneLabels(phones, labels.inventory)


def refuse_other_ids(labels: PhoneLabels, ids: Collection[str], source: str) -> None:
    """Refuse labels that name no utterance of the corpus.

    Args:
        ids: The utterance ids of the corpus.
        source: The label file, for the message.

    Raises:
        DataError: No utterance has labels.
    """
    if not labels.phones.keys().isdisjoint(ids):
        return
    raise DataError(
        f"{source} labels none of the {plural(len(ids), 'utterance')} of the corpus: "
        f"{explain_unknown(labels.phones, ids)}; the labels are of another corpus, or their ids are written otherwise"
    )


class FitCheck:
    """Refuses labels of which none is as long as its audio, after the shards that show it.

    Args:
        source: The label file, for the message.
    """

    def __init__(self, labels: PhoneLabels, source: str) -> None:
        self._labels, self._source = labels, source
        self._misfits: list[str] = []
        self._has_fitting = False

    def add(self, result: ShardResult) -> None:
        """Look at a shard's labels.

        Raises:
            DataError: No label has fitted so far, and enough have not.
        """
        misfits = set(result.misfit_labels)
        labeled = (row for row in result.rows if row.utterance_id in self._labels.phones)
        self._has_fitting |= any(row.utterance_id not in misfits for row in labeled)
        self._misfits += _lengths(self._labels, result)
        if len(self._misfits) >= ENOUGH:
            self.finish()

    def finish(self) -> None:
        """Raise DataError if no label has fitted, though there are some."""
        if self._misfits and not self._has_fitting:
            raise DataError(
                f"no labels of {self._source} are as long as their audio: {first_few(self._misfits)}; vgim reads one "
                "class per 10 ms: repeat each class where the file has fewer"
            )


def label_warnings(labels: PhoneLabels | None, results: Sequence[ShardResult]) -> Iterator[str]:
    """Sentences on utterances whose labels are missing or not as long as the audio, with examples."""
    if labels is None:
        return
    misfits = [text for result in results for text in _lengths(labels, result)]
    rows = [row for result in results for row in result.rows]
    unlabeled = [row.utterance_id for row in rows if row.utterance_id not in labels.phones]
    if misfits:
        yield (
            f"labels not as long as the audio, so left out, for {plural(len(misfits), 'utterance')}: "
            f"{first_few(misfits)}"
        )
    if unlabeled:
        spelled = {plain_id(name): name for name in labels.phones}
        examples = (
            f"{name} (the labels name {spelled[plain_id(name)]})" if plain_id(name) in spelled else name
            for name in unlabeled
        )
        yield f"no phone labels for {len(unlabeled)} of {plural(len(rows), 'utterance')}: {first_few(examples)}"


def _lengths(labels: PhoneLabels, result: ShardResult) -> list[str]:
    """`ID (54 labels for 108 frames)` for each utterance of a shard whose labels do not fit."""
    rows: dict[str, IndexRow] = {row.utterance_id: row for row in result.rows}
    return [
        f"{name} ({len(labels.phones[name])} labels for {rows[name].num_samples // HOP_SAMPLES} frames of 10 ms)"
        for name in result.misfit_labels
        if name in labels.phones and name in rows
    ]
