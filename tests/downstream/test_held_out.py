"""Without a validation split, probes validate on recordings of the train split that they do not train on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.downstream.cases import make_syllables
from tests.embedded import shards_of_train_alone
from vgim.data.corpora.artificial_speech import recordings_of
from vgim.data.shards.read import read_lengths
from vgim.downstream import held_out
from vgim.downstream.few_labels.result import FewLabelsOptions
from vgim.downstream.few_labels.study import study
from vgim.downstream.held_out import NOT_HELD_OUT, held_out_ids, held_out_note, read_probe_utterances
from vgim.downstream.job import probe
from vgim.downstream.options import ProbeOptions
from vgim.downstream.result import ProbeResult
from vgim.errors import DataError
from vgim.pretrained.opened_run import open_run
from vgim.progress import MessagesOnly
from vgim.storage import Location

pytestmark = pytest.mark.usefixtures("without_confusion_pictures")

NUM_TRAIN, NUM_HELD_OUT = 54, 9
"""Train utterances, and those of the one of six recordings that is held out."""


@pytest.fixture(scope="module")
def whole_train(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Syllables of six recordings to train on and of two to test on, without a validation split."""
    return make_syllables(tmp_path_factory.mktemp("whole"), validation_fraction=0)


def ids(run: Path, shards: Path, split: str, limit: int = 0) -> list[str]:
    opened = open_run(str(run), shards=str(shards))
    return [utterance.utterance_id for utterance in read_probe_utterances(opened, split, limit)]


def result_of(run: Path, shards: Path, **options: Any) -> ProbeResult:
    (result,) = probe(
        str(run), ProbeOptions.model_validate({"task": "vowel", "shards": str(shards), **options})
    )
    return result


def test_whole_recordings_are_held_out_and_nothing_is_lost(probed_run: Path, whole_train: Path) -> None:
    train, validation = ids(probed_run, whole_train, "train"), ids(probed_run, whole_train, "validation")
    assert (len(train), len(validation)) == (NUM_TRAIN - NUM_HELD_OUT, NUM_HELD_OUT)
    every = read_lengths(Location(whole_train), "train")
    assert sorted(train + validation) == sorted(every)
    recording_of = recordings_of(every)
    assert len({recording_of[name] for name in validation}) == 1
    assert not {recording_of[name] for name in validation} & {recording_of[name] for name in train}
    assert ids(probed_run, whole_train, "train", 5) == train[:5]
    assert len(ids(probed_run, whole_train, "test")) == 18


def test_shards_with_a_validation_split_hold_nothing_out(probed_run: Path, syllables: Path) -> None:
    opened = open_run(str(probed_run), shards=str(syllables))
    assert held_out_ids(opened) == frozenset()
    assert held_out_note(opened) is None
    assert ids(probed_run, syllables, "validation") == list(read_lengths(Location(syllables), "validation"))


@pytest.mark.parametrize(
    "options",
    [
        {"encoders": ("mfcc",)},
        {"encoders": ("mfcc",), "solver": "adam", "patience": 2},
        {"encoders": ("mfcc",), "cache_features": True},
        {"encoders": ("supervised",), "supervised_epochs": 1},
    ],
)
def test_probes_train_on_the_rest_and_say_so(
    probed_run: Path, whole_train: Path, options: dict[str, Any]
) -> None:
    result = result_of(probed_run, whole_train, **options)
    assert (result.num_train_utterances, result.num_validation_utterances) == (
        NUM_TRAIN - NUM_HELD_OUT,
        NUM_HELD_OUT,
    )
    assert result.num_test_utterances == 18
    assert any(
        note.startswith("the shards have no validation split: 9 of the 54 train") for note in result.notes
    )
    if options["encoders"] == ("mfcc",) and "solver" not in options:
        assert result.accuracy > 0.9


def test_kept_features_of_a_divided_train_split_are_not_those_of_the_whole(
    probed_run: Path, whole_train: Path
) -> None:
    options: dict[str, Any] = {
        "task": "syllable",
        "shards": str(whole_train),
        "encoders": ("mfcc",),
        "cache_features": True,
    }
    for _ in range(2):
        result = probe(str(probed_run), ProbeOptions.model_validate(options))[0]
        assert result.num_train_utterances == NUM_TRAIN - NUM_HELD_OUT
        (few,) = study(
            str(probed_run), FewLabelsOptions.model_validate({**options, "labels_per_class": (None,)})
        )
        assert few.points[0].num_labels == NUM_TRAIN  # nothing is chosen on validation


def test_each_speaker_is_held_out_of_or_some_if_each_has_one_recording(
    probed_run: Path, tmp_path: Path
) -> None:
    several, one = (
        shards_of_train_alone(tmp_path / name, speakers=4, utterances=utterances)
        for name, utterances in (("several", 20), ("one", 4))
    )
    speakers = {name.partition("-")[0] for name in ids(probed_run, several, "validation")}
    assert len(speakers) == 4
    assert len(ids(probed_run, one, "validation")) == 1


def test_one_recording_is_refused(probed_run: Path, tmp_path: Path) -> None:
    one = shards_of_train_alone(tmp_path, speakers=1, utterances=1)
    with pytest.raises(
        DataError, match=r"no validation split, and its train split is one recording, .* more audio"
    ):
        ids(probed_run, one, "train")
    assert held_out.holds_out(open_run(str(probed_run), shards=str(one)))


def test_the_published_protocol_trains_on_all_of_train(probed_run: Path, whole_train: Path) -> None:
    published = {"protocol": "published", "module": 1, "epochs": 1}
    result = result_of(probed_run, whole_train, **published)
    assert (result.num_train_utterances, result.num_validation_utterances) == (NUM_TRAIN, NUM_HELD_OUT)
    assert NOT_HELD_OUT in result.notes
    patient = result_of(probed_run, whole_train, **published, patience=1)
    assert patient.num_train_utterances == NUM_TRAIN - NUM_HELD_OUT
    assert NOT_HELD_OUT not in patient.notes


def test_the_note_is_printed_once_for_all_modules_and_encoders(probed_run: Path, whole_train: Path) -> None:
    options = ProbeOptions(
        task="vowel",
        shards=str(whole_train),
        protocol="published",
        epochs=1,
        module=None,
        encoders=("trained", "random"),
    )
    lines: list[str] = []
    results = probe(str(probed_run), options, MessagesOnly(lines.append))
    assert len(results) > 2
    assert [line for line in lines if "validation split" in line] == [f"note: {NOT_HELD_OUT}"]
    assert all(NOT_HELD_OUT in result.notes for result in results)
