"""Train, validation and test share no utterance, and an utterance keeps its split."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vgim.data.corpora.corpus import SourceUtterance
from vgim.data.shards.splits import hash_split, read_list, split_by_folders, split_by_lists
from vgim.errors import ConfigError, DataError

corpora = st.dictionaries(st.integers(0, 5000).map(str), st.sampled_from("abcd"), max_size=80)
fractions = st.floats(0, 0.49)


def source(utterance_id: str, speaker: str = "s", split: str | None = None) -> SourceUtterance:
    return SourceUtterance(utterance_id, speaker, "c", f"{utterance_id}.flac", 1, "", split)


@given(corpora, fractions, fractions, st.integers(0, 5))
def test_every_utterance_is_in_one_split_and_every_speaker_in_train(
    speaker_of: dict[str, str], validation: float, test: float, seed: int
) -> None:
    splits = hash_split(speaker_of, validation_fraction=validation, test_fraction=test, seed=seed)
    assert splits.keys() == speaker_of.keys()
    assert set(splits.values()) <= {"train", "validation", "test"}
    for speaker, count in Counter(speaker_of.values()).items():
        mine = Counter(splits[name] for name, who in speaker_of.items() if who == speaker)
        assert mine["train"] >= 1
        if count >= 3:
            assert (mine["validation"] >= 1) == (validation > 0)
            assert (mine["test"] >= 1) == (test > 0)


@given(corpora, corpora)
def test_utterances_of_other_speakers_do_not_change_a_split(
    before: dict[str, str], added: dict[str, str]
) -> None:
    options = {"validation_fraction": 0.1, "test_fraction": 0.1}
    others = {n: who for n, who in added.items() if n not in before and who not in before.values()}
    assert hash_split(before, **options).items() <= hash_split({**before, **others}, **options).items()


def test_one_more_utterance_moves_at_most_two_others() -> None:
    before = {f"u{i}": "s" for i in range(200)}
    old = hash_split(before, validation_fraction=0.1, test_fraction=0.1)
    for extra in range(50):
        new = hash_split({**before, f"x{extra}": "s"}, validation_fraction=0.1, test_fraction=0.1)
        assert sum(old[name] != new[name] for name in before) <= 2


@given(
    st.dictionaries(st.integers(0, 5000).map(str), st.tuples(st.sampled_from("abcd"), st.integers(0, 30))),
    fractions,
    fractions,
)
def test_recordings_of_several_speakers_are_in_one_split(
    facts: dict[str, tuple[str, int]], validation: float, test: float
) -> None:
    recording_of = {name: f"recording {number}" for name, (_, number) in facts.items()}
    splits = hash_split(
        {name: speaker for name, (speaker, _) in facts.items()},
        validation_fraction=validation,
        test_fraction=test,
        recording_of=recording_of,
    )
    assert splits.keys() == facts.keys()
    pairs = {(recording_of[name], split) for name, split in splits.items()}
    assert len(pairs) == len(set(recording_of.values()))


def test_a_host_of_all_recordings_and_guests_of_one_each_leave_no_split_empty() -> None:
    recording_of = {f"{who}{number}": str(number) for number in range(20) for who in ("guest", "host")}
    speaker_of = {name: "the host" if name.startswith("host") else name for name in recording_of}
    splits = hash_split(speaker_of, validation_fraction=0.1, test_fraction=0.1, recording_of=recording_of)
    assert Counter(splits.values()) == {"train": 32, "validation": 4, "test": 4}


@given(corpora, fractions, fractions, st.integers(0, 5), st.randoms(use_true_random=False))
def test_disjoint_speakers_are_each_in_one_split_with_the_recordings_that_they_share(
    speaker_of: dict[str, str], validation: float, test: float, seed: int, random: Random
) -> None:
    recording_of = {name: random.choice(["r1", "r2", name, name, name]) for name in speaker_of}
    try:
        splits = hash_split(
            speaker_of,
            validation_fraction=validation,
            test_fraction=test,
            seed=seed,
            recording_of=recording_of,
            disjoint_speakers=True,
        )
    except DataError:  # too few: "abcd" may be one through their recordings
        assert len(set(speaker_of.values())) < 3 or len(set(recording_of.values())) < len(recording_of)
        return
    assert splits.keys() == speaker_of.keys()
    for owner_of in (speaker_of, recording_of):
        found = {(owner_of[name], split) for name, split in splits.items()}
        assert len(found) == len(set(owner_of.values()))
    expected = {"train": True, "validation": validation > 0, "test": test > 0}
    assert set(splits.values()) == {split for split, is_there in expected.items() if is_there and splits}


def test_speakers_linked_by_a_chain_of_recordings_are_one() -> None:
    speaker_of = {"1": "a", "2": "b", "3": "b", "4": "c", "5": "d", "6": "e"}
    recording_of = {"1": "x", "2": "x", "3": "y", "4": "y", "5": "v", "6": "w"}
    for seed in range(20):
        splits = hash_split(
            speaker_of,
            validation_fraction=0.3,
            test_fraction=0.3,
            seed=seed,
            recording_of=recording_of,
            disjoint_speakers=True,
        )
        assert splits["1"] == splits["2"] == splits["3"] == splits["4"]
        assert len(set(splits.values())) == 3
    with pytest.raises(DataError, match="3 splits; of this corpus 2 speakers"):
        hash_split(
            {name: speaker_of[name] for name in "12345"},
            validation_fraction=0.3,
            test_fraction=0.3,
            recording_of=recording_of,
            disjoint_speakers=True,
        )


def test_lists_and_folders_that_part_a_speaker_are_refused_where_speakers_are_disjoint() -> None:
    utterances = [source(f"{speaker}{n}", speaker) for speaker in "abc" for n in range(3)]
    lists = {"train": frozenset(f"{speaker}{n}" for speaker in "ab" for n in range(3))}
    test = {"test": frozenset(["c0", "c1", "c2"])}
    taken = split_by_lists(
        utterances, {**lists, **test}, validation_fraction=0.1, disjoint_speakers=True
    ).split_of
    assert len({split for name, split in taken.items() if name[0] in "ab"}) == 2
    assert all(taken[f"{s}0"] == taken[f"{s}1"] == taken[f"{s}2"] for s in "abc")
    with pytest.raises(DataError, match="put speaker c into"):
        split_by_lists(
            utterances,
            {"train": lists["train"] | {"c0"}, "test": frozenset(["c1"])},
            validation_fraction=0,
            disjoint_speakers=True,
        )
    in_folders = [source("a0", "a", "train"), source("a1", "a", "test"), source("b0", "b", "validation")]
    with pytest.raises(DataError, match="put speaker a into train and test"):
        split_by_folders(in_folders, validation_fraction=0, disjoint_speakers=True)


def test_fractions_that_leave_nothing_to_train_on_are_refused() -> None:
    with pytest.raises(ConfigError, match="leave nothing to train"):
        hash_split({}, validation_fraction=0.5, test_fraction=0.5)
    with pytest.raises(ConfigError, match=r"test_fraction=-0\.1"):
        hash_split({}, validation_fraction=0.5, test_fraction=-0.1)


@given(st.sets(st.integers(0, 200), min_size=4, max_size=60))
def test_lists_are_followed_and_validation_is_taken_from_train(numbers: set[int]) -> None:
    names = [f"1-1-{number:04d}" for number in sorted(numbers)]
    test, train = frozenset(names[:1]), frozenset(names[1:-1])
    result = split_by_lists(
        [source(name) for name in names], {"train": train, "test": test}, validation_fraction=0.3
    )
    assert {name for name, split in result.split_of.items() if split == "test"} == test
    assert {name for name, split in result.split_of.items() if split != "test"} == train
    assert result.left_out == 1
    assert ("validation" in result.split_of.values()) == (len(train) >= 2)


def test_with_all_three_lists_no_validation_is_taken_from_train() -> None:
    lists = {"train": frozenset("a"), "validation": frozenset("b"), "test": frozenset("c")}
    result = split_by_lists([source(name) for name in "abcd"], lists, validation_fraction=0.5)
    assert result.split_of == {"a": "train", "b": "validation", "c": "test"}
    assert result.left_out == 1


def test_contradictory_lists_are_refused() -> None:
    utterances = [source(name) for name in "abc"]
    with pytest.raises(DataError, match="train and test lists share 1 utterance, such as b"):
        split_by_lists(
            utterances, {"train": frozenset("ab"), "test": frozenset("bc")}, validation_fraction=0.1
        )
    with pytest.raises(
        DataError, match="none of the 2 utterances in the test list is in the corpus: they name x"
    ):
        split_by_lists(
            utterances, {"train": frozenset("ab"), "test": frozenset("xy")}, validation_fraction=0.1
        )
    with pytest.raises(ConfigError, match="not for train"):
        split_by_lists(utterances, {"test": frozenset("a")}, validation_fraction=0.1)


def test_listed_utterances_that_the_corpus_lacks_are_counted() -> None:
    result = split_by_lists([source("a")], {"train": frozenset("abc")}, validation_fraction=0.0)
    assert result.warnings == ("not in the corpus, but in the train list: 2 utterances: b, c",)


def test_folders_are_splits() -> None:
    utterances = [source(f"u{i}", split="train") for i in range(20)] + [source("t", split="test")]
    split_of = split_by_folders(utterances, validation_fraction=0.1).split_of
    assert Counter(split_of.values()) == {"train": 18, "validation": 2, "test": 1}
    assert split_of["t"] == "test"


def test_list_files_may_have_comments(tmp_path: Path) -> None:
    file = tmp_path / "train_split.txt"
    file.write_text("# published\n103-1240-0000\n\n103-1240-0001  # odd one\r\n")
    assert read_list(file) == {"103-1240-0000", "103-1240-0001"}
    file.write_text("103-1240-0000\n103-1240-0001 extra\n")
    with pytest.raises(DataError, match=r"line 2: expected one utterance id, got '103-1240-0001 extra'"):
        read_list(file)
    file.write_text("# nothing\n")
    with pytest.raises(DataError, match="names no utterance"):
        read_list(file)
    with pytest.raises(DataError, match="no split list"):
        read_list(tmp_path / "absent")


class _CountedSpeaker(str):
    """A speaker id that counts how often speakers are compared."""

    num_compared = 0

    def __lt__(self, other: str) -> bool:
        _CountedSpeaker.num_compared += 1
        return str.__lt__(self, other)


def test_a_host_of_many_guests_is_linked_to_them_in_time_that_grows_with_their_number() -> None:
    num_guests = 500
    host, *guests = map(_CountedSpeaker, ("host", *(f"guest {number}" for number in range(num_guests))))
    speaker_of = {f"host {number}": host for number in range(num_guests)}
    speaker_of |= {f"guest {number}": guest for number, guest in enumerate(guests)}
    recording_of = {name: name.rpartition(" ")[2] for name in speaker_of}
    speaker_of |= {"alone": _CountedSpeaker("a"), "other": _CountedSpeaker("b")}
    recording_of |= {"alone": "x", "other": "y"}
    _CountedSpeaker.num_compared = 0
    splits = hash_split(
        speaker_of,
        validation_fraction=0.3,
        test_fraction=0.3,
        recording_of=recording_of,
        disjoint_speakers=True,
    )
    assert _CountedSpeaker.num_compared < 2 * num_guests
    assert len({splits[name] for name in speaker_of if name not in ("alone", "other")}) == 1
    assert set(splits.values()) == {"train", "validation", "test"}
