"""Assign utterances to train, validation and test: by published lists, by published folders, or by hash."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vgim.data.corpora.corpus import SourceUtterance
from vgim.data.shards.spelling import explain_unknown
from vgim.data.text_lines import read_whole_lines
from vgim.errors import ConfigError, DataError
from vgim.storage import Location
from vgim.text import first_few, plural, shorten


@dataclass(frozen=True)
class Assignment:
    """The split of every utterance that is used."""

    split_of: dict[str, str]
    """Utterance id → `train`, `validation` or `test`."""
    left_out: int = 0
    """Utterances that no list names."""
    warnings: tuple[str, ...] = ()


MAX_SEED = 2**63


def check_seed(seed: int) -> None:
    """Check the seed of a hash.

    Raises:
        ConfigError: It is negative or has more than 63 bits.
    """
    if not 0 <= seed < MAX_SEED:
        raise ConfigError(f"seed={shorten(str(seed))} must be at least 0 and below 2^63")


def hash_order(utterance_id: str, seed: int) -> bytes:
    """A sort key that shuffles utterances. It depends on the id and the seed alone, not on other utterances."""
    return hashlib.blake2b(utterance_id.encode(), digest_size=16, salt=seed.to_bytes(16, "little")).digest()


def check_fractions(validation_fraction: float, test_fraction: float) -> None:
    """Check the shares of validation and test.

    Raises:
        ConfigError: A fraction is not in [0, 1), or nothing is left to train on.
    """
    for name, value in (("validation_fraction", validation_fraction), ("test_fraction", test_fraction)):
        if not 0 <= value < 1:
            raise ConfigError(f"{name}={value} must be at least 0 and below 1")
    if validation_fraction + test_fraction >= 1:
        raise ConfigError(
            f"validation_fraction={validation_fraction} and test_fraction={test_fraction} leave nothing to "
            "train on; lower one of them"
        )


def hash_split(
    speaker_of: Mapping[str, str],
    *,
    validation_fraction: float,
    test_fraction: float,
    seed: int = 0,
    recording_of: Mapping[str, str] | None = None,
    disjoint_speakers: bool = False,
) -> dict[str, str]:
    """Split by hash within each speaker. Utterances that are cut from one recording are in one split.

    A speaker's recordings are sorted by hash; the first are test, the next validation, the rest train. So a speaker
    with enough recordings is in every split, other speakers change nothing, and a new recording of a speaker moves at
    most the two recordings at the borders. A speaker with fewer recordings than splits is in train only. A recording of
    several speakers counts as one of the speaker with the most recordings.

    With `disjoint_speakers`, speakers are divided in the same way, each with all of its recordings. Speakers who share
    a recording count as one.

    Args:
        speaker_of: Utterance id → speaker id.
        validation_fraction: Share of each speaker's recordings, or of the speakers, for validation.
        test_fraction: The same for test.
        seed: Seed of the hash.
        recording_of: Utterance id → id of the recording that it is cut from; by default each is its own recording.
        disjoint_speakers: Keep each speaker in one split.

    Returns:
        Utterance id → split.

    Raises:
        ConfigError: The fractions leave nothing to train on.
        DataError: There are fewer speakers than splits that are to have speakers of their own.
    """
    check_fractions(validation_fraction, test_fraction)
    unit_of = {name: name for name in speaker_of} if recording_of is None else recording_of
    if disjoint_speakers:
        first_of = _linked_speakers(speaker_of, unit_of)
        unit_of = {name: first_of[speaker] for name, speaker in speaker_of.items()}
        _refuse_few_speakers(len(set(unit_of.values())), validation_fraction, test_fraction)
    ids_of: dict[str, list[str]] = defaultdict(list)
    for utterance_id in speaker_of:
        ids_of[unit_of[utterance_id]].append(utterance_id)
    splits: dict[str, str] = {}
    for units in [ids_of] if disjoint_speakers else _recordings_by_speaker(ids_of, speaker_of):
        ordered = sorted(units, key=lambda unit: (hash_order(unit, seed), unit))
        num_test, num_validation = _num_held_out(len(ordered), validation_fraction, test_fraction)
        for position, unit in enumerate(ordered):
            if position < num_test:
                split = "test"
            elif position < num_test + num_validation:
                split = "validation"
            else:
                split = "train"
            splits.update(dict.fromkeys(ids_of[unit], split))
    return splits


def _recordings_by_speaker(
    ids_of: Mapping[str, Sequence[str]], speaker_of: Mapping[str, str]
) -> Iterable[list[str]]:
    """A list of recordings for each speaker. Of several speakers, a recording's is the one with the most recordings.

    Args:
        ids_of: Recording → its utterances.
        speaker_of: Utterance id → speaker id.
    """
    by_speaker: dict[str, list[str]] = defaultdict(list)
    shared: dict[str, set[str]] = {}
    for recording, ids in ids_of.items():
        speakers = {speaker_of[name] for name in ids}
        if len(speakers) > 1:
            shared[recording] = speakers
        else:
            by_speaker[speakers.pop()].append(recording)
    num_recordings = Counter({speaker: len(own) for speaker, own in by_speaker.items()})
    num_recordings.update(speaker for speakers in shared.values() for speaker in speakers)
    for recording, speakers in shared.items():
        by_speaker[min(speakers, key=lambda speaker: (-num_recordings[speaker], speaker))].append(recording)
    return by_speaker.values()


def _linked_speakers(speaker_of: Mapping[str, str], recording_of: Mapping[str, str]) -> dict[str, str]:
    """Speaker → the smallest id among the speakers that it is linked to by recordings of several speakers."""
    speakers_of: dict[str, set[str]] = defaultdict(set)
    for name, speaker in speaker_of.items():
        speakers_of[recording_of[name]].add(speaker)
    group_of = {speaker: {speaker} for speaker in speaker_of.values()}
    for together in speakers_of.values():
        largest = max((group_of[speaker] for speaker in together), key=len)
        for speaker in together - largest:
            # The largest group takes in the others, so that a host of many recordings moves into a new group seldom.
            if (smaller := group_of[speaker]) is not largest:
                largest |= smaller
                group_of |= dict.fromkeys(smaller, largest)
    first_of: dict[str, str] = {}
    for group in {id(group): group for group in group_of.values()}.values():
        first_of |= dict.fromkeys(group, min(group))
    return first_of


def _refuse_few_speakers(num_speakers: int, validation_fraction: float, test_fraction: float) -> None:
    num_splits = 1 + (validation_fraction > 0) + (test_fraction > 0)
    if num_speakers < num_splits:
        raise DataError(
            f"disjoint_speakers needs a speaker for each of {plural(num_splits, 'split')}; of this corpus "
            f"{plural(num_speakers, 'speaker')} can be told apart, those of one recording counted as one; leave it "
            "out, or set validation_fraction or test_fraction to 0"
        )


def _refuse_shared_speakers(split_of: Mapping[str, str], speaker_of: Mapping[str, str]) -> None:
    """Refuse splits of lists or folders in which a speaker is in two.

    Raises:
        DataError: A speaker is in two splits.
    """
    first_split: dict[str, str] = {}
    for name, split in split_of.items():
        other = first_split.setdefault(speaker_of[name], split)
        if other != split:
            raise DataError(
                f"disjoint_speakers, but lists or folders of the corpus put speaker {speaker_of[name]} into {other} "
                f"and {split}; give other lists, or leave it out"
            )


def _num_held_out(num_recordings: int, validation_fraction: float, test_fraction: float) -> tuple[int, int]:
    """Recordings of one speaker for test and for validation."""
    num_splits_beside_train = (test_fraction > 0) + (validation_fraction > 0)
    if num_recordings <= num_splits_beside_train:
        return 0, 0
    num_test = max(1, int(num_recordings * test_fraction + 0.5)) if test_fraction > 0 else 0
    num_validation = max(1, int(num_recordings * validation_fraction + 0.5)) if validation_fraction > 0 else 0
    while num_test + num_validation >= num_recordings:  # large fractions of few recordings: train keeps one
        if num_test >= num_validation:
            num_test -= 1
        else:
            num_validation -= 1
    return num_test, num_validation


def read_list(path: str | Path | Location) -> frozenset[str]:
    """Read a split list: one utterance id a line, such as `103-1240-0000`. Comments start with `#`.

    Raises:
        DataError: The file is missing or empty, or a line holds more than one id.
    """
    file = Location(path)
    if not file.exists():
        raise DataError(f"there is no split list {file}; check the path")
    ids = set()
    for line in read_whole_lines(file):
        words = line.text.partition("#")[0].split()
        if len(words) > 1:
            raise DataError(
                f"{file}, line {line.number}: expected one utterance id, got {shorten(line.text.strip())!r}"
            )
        ids.update(words)
    if not ids:
        raise DataError(f"the split list {file} names no utterance; expected one id a line")
    return frozenset(ids)


def split_by_lists(
    utterances: Sequence[SourceUtterance],
    lists: Mapping[str, frozenset[str]],
    *,
    validation_fraction: float,
    seed: int = 0,
    recording_of: Mapping[str, str] | None = None,
    disjoint_speakers: bool = False,
) -> Assignment:
    """Split by published lists. Without a list for validation, it is taken from train, never from test.

    Args:
        utterances: All utterances of the corpus.
        lists: Split → its utterance ids.
        validation_fraction: Share of train's recordings for validation, if validation has no list.
        seed: Seed of the hash that chooses the recordings for validation.
        recording_of: As for `hash_split`.
        disjoint_speakers: As for `hash_split`.

    Raises:
        ConfigError: There is no list for train.
        DataError: An utterance is in two lists, none of a list's utterances is in the corpus, or a speaker whose
            utterances are to be in one split is in two lists.
    """
    if "train" not in lists:
        raise ConfigError(f"split lists are given for {', '.join(lists)} but not for train; add --train-list")
    names = list(lists)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            if both := lists[first] & lists[second]:
                raise DataError(
                    f"the {first} and {second} lists share {plural(len(both), 'utterance')}, such as {min(both)}; an "
                    "utterance can be in one split only"
                )
    listed = {utterance_id: name for name, ids in lists.items() for utterance_id in ids}
    speaker_of = {item.utterance_id: item.speaker_id for item in utterances}
    split_of = {utterance_id: listed[utterance_id] for utterance_id in speaker_of if utterance_id in listed}
    warnings = []
    for name, ids in lists.items():
        absent = sorted(ids - speaker_of.keys())
        if len(absent) == len(ids):
            raise DataError(
                f"none of the {len(ids)} utterances in the {name} list is in the corpus: "
                f"{explain_unknown(ids, speaker_of)}; the list belongs to another subset, or its ids are written "
                "otherwise"
            )
        if absent:
            warnings.append(
                f"not in the corpus, but in the {name} list: {plural(len(absent), 'utterance')}: {first_few(absent)}"
            )
    if "validation" not in lists and validation_fraction > 0:
        split_of = _take_validation(
            split_of, speaker_of, validation_fraction, seed, recording_of, disjoint_speakers
        )
    if disjoint_speakers:
        _refuse_shared_speakers(split_of, speaker_of)
    return Assignment(split_of, left_out=len(speaker_of) - len(split_of), warnings=tuple(warnings))


def split_by_folders(
    utterances: Sequence[SourceUtterance],
    *,
    validation_fraction: float,
    seed: int = 0,
    recording_of: Mapping[str, str] | None = None,
    disjoint_speakers: bool = False,
) -> Assignment:
    """Split by the corpus's own folders. Without a folder for validation, it is taken from train.

    Args:
        utterances: All utterances of the corpus, each with the split that its folder names, if any.
        validation_fraction: Share of train's recordings for validation, if validation has no folder.
        seed: Seed of the hash that chooses the recordings for validation.
        recording_of: As for `hash_split`.
        disjoint_speakers: As for `hash_split`.

    Raises:
        DataError: A speaker whose utterances are to be in one split is in two folders.
    """
    split_of = {item.utterance_id: item.split for item in utterances if item.split is not None}
    speaker_of = {item.utterance_id: item.speaker_id for item in utterances}
    if "validation" not in split_of.values() and validation_fraction > 0:
        split_of = _take_validation(
            split_of, speaker_of, validation_fraction, seed, recording_of, disjoint_speakers
        )
    if disjoint_speakers:
        _refuse_shared_speakers(split_of, speaker_of)
    return Assignment(split_of, left_out=len(utterances) - len(split_of))


def _take_validation(
    split_of: Mapping[str, str],
    speaker_of: Mapping[str, str],
    fraction: float,
    seed: int,
    recording_of: Mapping[str, str] | None,
    disjoint_speakers: bool,
) -> dict[str, str]:
    train = {
        utterance_id: speaker_of[utterance_id] for utterance_id, split in split_of.items() if split == "train"
    }
    held_out = hash_split(
        train,
        validation_fraction=fraction,
        test_fraction=0.0,
        seed=seed,
        recording_of=recording_of,
        disjoint_speakers=disjoint_speakers,
    )
    return {**split_of, **held_out}
