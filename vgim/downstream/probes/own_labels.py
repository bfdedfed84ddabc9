"""What a user's own labels say of an utterance: `vgim probe --labels TABLE`."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING

from vgim.data.shards.index import read_index
from vgim.data.shards.manifest import SPLITS, Manifest
from vgim.downstream.probes.label_table import problem_of_classes, read_label_table
from vgim.downstream.probes.probe import UtteranceProbe
from vgim.errors import ConfigError, DataError
from vgim.storage import Location
from vgim.text import plural, shorten

if TYPE_CHECKING:
    from vgim.data.shards.read import Utterance


STRAYS = 0.05
"""Share of the labels beside the most frequent one that may differ from their speaker's in labels of speakers."""


class OwnLabelsProbe(UtteranceProbe):
    """A class for each label that a column of a table gives utterances of the shards."""

    def __init__(
        self,
        name: str,
        label_of: Mapping[str, str],
        speaker_of: Mapping[str, str] | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        """Take the labels.

        Args:
            name: The column.
            label_of: Utterance id → label.
            speaker_of: Utterance id → speaker, where the labels are the speakers'; None otherwise.
            notes: What to know of the labels, a sentence each.
        """
        self.name = name
        self.classes = tuple(sorted(set(label_of.values())))
        self.cluster_of = speaker_of
        self.notes = notes
        class_of = {label: index for index, label in enumerate(self.classes)}
        self._class_of = {utterance: class_of[label] for utterance, label in label_of.items()}
        content = json.dumps(sorted(label_of.items())).encode()
        self.labels_digest = hashlib.sha256(content).hexdigest()

    @classmethod
    def find_classes(cls, manifest: Manifest) -> tuple[str, ...]:
        """Shards hold no labels of this kind."""
        raise DataError("shards hold no labels of one's own; give the table with --labels")

    def label(self, utterance: Utterance) -> int | None:
        """The utterance's class by the table."""
        return self._class_of.get(utterance.utterance_id)


def own_labels_probe(task: str, file: str, shards: Location, manifest: Manifest) -> OwnLabelsProbe:
    """The probe of a column of a table on the utterances of shards.

    Raises:
        ConfigError: The table has no such column.
        DataError: The table does not read, or its labels are no classes of these utterances.
    """
    table = read_label_table(file)
    if task in table.problems:
        raise DataError(table.problems[task])
    if task not in table.columns:
        raise ConfigError(
            f"--task {shorten(task)}, but {file} has the columns {', '.join(table.columns)}; use one of them"
        )
    index = read_index(shards, manifest, ["utterance_id", "speaker_id", "split"])
    names, speakers, splits = (index[name].to_pylist() for name in ("utterance_id", "speaker_id", "split"))
    speaker_of = dict(zip(names, speakers, strict=True))
    label_of = table.labels_of(task, speaker_of)
    if problem := problem_of_classes(label_of.values()):
        raise DataError(f"{file}, column {task}: {problem}")
    split_of = dict(zip(names, splits, strict=True))
    if problem := _problem_of_splits(label_of, split_of):
        raise DataError(
            f"{file}, column {task}: {problem}; label more utterances, or give --shards with other splits, as "
            "`vgim data split --seed` makes them"
        )
    notes = []
    if len(label_of) < len(names):
        num_all = plural(len(names), "utterance")
        notes.append(f"{file} has a {task} for {len(label_of):,} of the {num_all}; others are left out")
    if not _are_of_speakers(label_of, speaker_of):
        return OwnLabelsProbe(task, label_of, notes=tuple(notes))
    if known := _note_on_known_speakers(task, label_of, speaker_of, split_of):
        notes.append(known)
    return OwnLabelsProbe(task, label_of, speaker_of, tuple(notes))


def _problem_of_splits(label_of: Mapping[str, str], split_of: Mapping[str, str]) -> str | None:
    """Why the labels teach or test nothing; None if they do."""
    labels: dict[str, set[str]] = {split: set() for split in SPLITS}
    for name, label in label_of.items():
        labels[split_of[name]].add(label)
    for split in ("train", "test"):
        if not labels[split] and split in split_of.values():
            return f"no utterance of the {split} split has a label"
    if len(labels["train"]) == 1:
        return f"all labels of the train split are {shorten(min(labels['train']))!r}, and a probe needs two classes"
    return None


def _are_of_speakers(label_of: Mapping[str, str], speaker_of: Mapping[str, str]) -> bool:
    """Whether speakers of several utterances have one label each, but for strays such as a mistake in the table."""
    labels: dict[str, Counter[str]] = defaultdict(Counter)
    for name, label in label_of.items():
        labels[speaker_of[name]][label] += 1
    several = [of_speaker for of_speaker in labels.values() if of_speaker.total() > 1]
    if not several:
        return False
    all_of_them: Counter[str] = Counter()
    for of_speaker in several:
        all_of_them.update(of_speaker)
    num_strays = sum(map(_num_rarer, several))
    return num_strays <= STRAYS * _num_rarer(all_of_them)


def _num_rarer(labels: Counter[str]) -> int:
    """Labels that are not the most frequent one."""
    return labels.total() - max(labels.values())


def _note_on_known_speakers(
    task: str, label_of: Mapping[str, str], speaker_of: Mapping[str, str], split_of: Mapping[str, str]
) -> str | None:
    """A note if a classifier may know test speakers from train, and so their labels; None without such speakers."""
    learned = {speaker_of[name] for name in label_of if split_of[name] == "train"}
    tested = [speaker_of[name] for name in label_of if split_of[name] == "test"]
    num_known = sum(speaker in learned for speaker in tested)
    if not num_known:
        return None
    return (
        f"speakers have one {task} each, and {num_known:,} of {plural(len(tested), 'test utterance')} are of "
        "speakers in train, whom a classifier may know instead; `vgim data split --disjoint-speakers` makes "
        "--shards without them"
    )
