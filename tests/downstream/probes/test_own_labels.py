"""Probes of labels of one's own, from a table to result, classifier and comparison."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.recorded import Recorded
from vgim.compare.read import compare
from vgim.data.reshard.split import split
from vgim.data.shards.index import read_index
from vgim.data.shards.manifest import read_manifest
from vgim.downstream.apply import open_applied
from vgim.downstream.few_labels.result import FewLabelsOptions
from vgim.downstream.few_labels.study import study
from vgim.downstream.intervals import wilson_interval
from vgim.downstream.job import probe, probe_many
from vgim.downstream.options import ProbeOptions
from vgim.downstream.predictions import read_predictions
from vgim.downstream.probes.own_labels import _are_of_speakers
from vgim.downstream.result import folder_name
from vgim.downstream.writing import read_result
from vgim.errors import ConfigError, DataError
from vgim.report.commands import probe_command
from vgim.storage import Location

MFCC = ("mfcc",)


@pytest.fixture(scope="module")
def index_of(tiny_shards: Path) -> dict[str, tuple[str, str]]:
    """Utterance id → speaker and split."""
    table = read_index(Location(tiny_shards), read_manifest(tiny_shards))
    columns = (table[name].to_pylist() for name in ("utterance_id", "speaker_id", "split"))
    return {name: (speaker, of) for name, speaker, of in zip(*columns, strict=True)}


def write_table(file: Path, key: str, labels: dict[str, str], task: str = "mood") -> str:
    file.write_text("\n".join([f"{key},{task}", *(f"{name},{label}" for name, label in labels.items())]))
    return str(file)


def by_parity(index_of: dict[str, tuple[str, str]]) -> dict[str, str]:
    """Two labels that every split and every speaker has."""
    return {name: ("calm", "angry")[number % 2] for number, name in enumerate(sorted(index_of))}


def test_a_probe_of_a_table_leaves_what_every_probe_leaves_and_is_applied(
    probed_run: Path, index_of: dict[str, tuple[str, str]], tmp_path: Path
) -> None:
    labels = by_parity(index_of)
    file = write_table(tmp_path / "mood.csv", "id", labels)
    options = ProbeOptions(task="mood", labels=file, encoders=("trained", "mfcc", "random"))
    trained, mfcc, random = probe(str(probed_run), options)
    folder = probed_run / "probes" / f"mood-trained-module3-labels{trained.labels[:8]}"
    assert read_result(Location(folder)) == trained
    assert mfcc.labels == trained.labels
    assert list(trained.per_class) == ["angry", "calm"]
    assert trained.num_train + trained.num_validation + trained.num_test == len(index_of)
    assert trained.num_left_out == 0
    assert trained.notes == ()
    predictions = read_predictions(Location(folder))
    assert predictions is not None
    truth = [predictions.classes[number] for number in predictions.truth_N]
    assert truth == [labels[name] for name in predictions.utterance_ids]
    told = f"--task mood --encoder trained --encoder mfcc --encoder random --labels {file}"
    assert told in probe_command("RUN", [trained])[0]
    sound = tmp_path / "a.wav"
    import soundfile

    soundfile.write(sound, 0.1 * np.random.default_rng(0).standard_normal(32_000), 16_000)
    (tmp_path / "mood.csv").unlink()  # the classifier knows its classes
    for result in (trained, mfcc, random):
        applied = open_applied(str(probed_run / "probes" / folder_name(result))).predict(str(sound))
        assert applied.label in ("angry", "calm")


def test_the_same_command_computes_what_changed_in_the_table_alone(
    probed_run: Path, index_of: dict[str, tuple[str, str]], tmp_path: Path
) -> None:
    labels = by_parity(index_of)
    options = ProbeOptions(task="mood", labels=write_table(tmp_path / "a.csv", "id", labels), encoders=MFCC)

    def again(labels: dict[str, str], name: str = "a.csv") -> tuple[str, bool]:
        file = write_table(tmp_path / name, "id", labels)
        heard = Recorded()
        ((_, _, (result,)),), _ = probe_many(
            [str(probed_run)], [options.model_copy(update={"labels": file})], goes_on=True, progress=heard
        )
        return result.labels, any("taken from before" in line for line in heard.messages)

    first, _ = again(labels)
    assert again(labels, "renamed.csv") == (first, True)
    assert again({**labels, "another corpus": "calm"}) == (first, True)
    name = next(iter(labels))
    changed, was_kept = again({**labels, name: "calm" if labels[name] == "angry" else "angry"})
    assert changed != first
    assert not was_kept
    assert again(labels) == (first, True)  # both results are kept, and never compared


@pytest.mark.parametrize("cache", [False, True])
def test_utterances_without_a_label_are_left_out_and_counted(
    probed_run: Path, index_of: dict[str, tuple[str, str]], tmp_path: Path, cache: bool
) -> None:
    labels = by_parity(index_of)
    left_out = sorted(labels)[3:9]
    some = {name: label for name, label in labels.items() if name not in left_out}
    file = write_table(tmp_path / "some.csv", "id", some, f"some{cache}".lower())
    options = ProbeOptions(task=f"some{cache}".lower(), labels=file, encoders=MFCC, cache_features=cache)
    (result,) = probe(str(probed_run), options)
    assert result.num_left_out == len(left_out)
    assert result.num_train_utterances + result.num_validation_utterances + result.num_test_utterances == len(
        some
    )
    assert result.notes[0].endswith(f"for {len(some)} of the {len(index_of)} utterances; others are left out")


def test_labels_of_speakers_note_that_the_classifier_may_know_the_speaker(
    probed_run: Path, tiny_shards: Path, index_of: dict[str, tuple[str, str]], tmp_path: Path
) -> None:
    speakers = sorted({speaker for speaker, _ in index_of.values()})
    labels = {speaker: "FM"[number % 2] for number, speaker in enumerate(speakers)}
    file = write_table(tmp_path / "gender.csv", "speaker", labels, "gender")
    options = ProbeOptions(task="gender", labels=file, encoders=MFCC)
    (result,) = probe(str(probed_run), options)
    assert result.num_left_out == 0
    num_test = result.num_test_utterances
    assert (
        result.notes[1]
        == "speakers have one gender each, so that the interval is over the 4 speakers of test"
    )
    assert (
        f"speakers have one gender each, and {num_test} of {num_test} test utterances are of"
        in result.notes[0]
    )
    apart = tmp_path / "apart"
    manifest = split(tiny_shards, apart, validation_fraction=0.25, test_fraction=0.25, disjoint_speakers=True)
    assert [of.speakers for of in manifest.splits.values()] == [2, 1, 1]
    (other,) = probe(str(probed_run), options.model_copy(update={"shards": str(apart)}))
    assert "so that the interval is over the 1 speaker of test" in other.notes[0]
    assert "1 speaker, which says nothing of others" in other.notes[1]
    assert (other.interval_over_utterances.low, other.interval_over_utterances.high) == (0, 1)
    fewer = tmp_path / "fewer"
    split(tiny_shards, fewer, validation_fraction=0, test_fraction=0.5, disjoint_speakers=True)
    (third,) = probe(str(probed_run), options.model_copy(update={"shards": str(fewer)}))
    assert "the test examples are of 2 speakers" in third.notes[-1]
    of_utterances = wilson_interval(third.accuracy, third.num_test)
    ends = third.interval_over_utterances
    assert ends.high - ends.low > 2 * (of_utterances[1] - of_utterances[0])
    with pytest.raises(DataError, match="no speaker of these shards is in two splits"):
        probe(str(probed_run), ProbeOptions(task="speaker", shards=str(apart)))


def test_few_labels_and_comparisons_take_own_labels(
    probed_run: Path, index_of: dict[str, tuple[str, str]], tmp_path: Path
) -> None:
    file = write_table(tmp_path / "few.csv", "id", by_parity(index_of), "few")
    options = FewLabelsOptions(task="few", labels=file, labels_per_class=(1, None), encoders=MFCC, seeds=2)
    (studied,) = study(str(probed_run), options)
    assert studied.labels
    assert (probed_run / "probes" / f"few-labels-labels{studied.labels[:8]}" / "result.json").exists()
    (result,) = probe(str(probed_run), ProbeOptions(task="few", labels=file, encoders=MFCC))
    (run,) = compare([str(probed_run)]).runs
    (found,) = [each for each in run.probes if each.task == "few"]
    assert (found.variant, found.accuracy) == (f"labels{result.labels[:8]}", result.accuracy)


def test_a_few_stray_labels_leave_labels_those_of_speakers() -> None:
    speaker_of = {f"{speaker}-{n}": speaker for speaker in "abcdef" for n in range(10)}
    label_of = {name: "FM"[speaker in "ace"] for name, speaker in speaker_of.items()}
    assert _are_of_speakers(label_of, speaker_of)
    assert _are_of_speakers({**label_of, "a-3": "F"}, speaker_of)
    assert not _are_of_speakers({**label_of, "a-3": "F", "b-1": "M"}, speaker_of)
    rare = {name: "noisy" if name in ("a-3", "b-1") else "clean" for name in speaker_of}
    assert not _are_of_speakers(rare, speaker_of)
    assert not _are_of_speakers({"a-1": "F", "b-1": "M"}, speaker_of)


def test_few_labels_of_speakers_have_no_interval_over_speakers(
    probed_run: Path, tiny_shards: Path, index_of: dict[str, tuple[str, str]], tmp_path: Path
) -> None:
    apart = tmp_path / "apart"
    split(tiny_shards, apart, validation_fraction=0, test_fraction=0.25, disjoint_speakers=True)
    speakers = sorted({speaker for speaker, _ in index_of.values()})
    labels = {speaker: "FM"[number % 2] for number, speaker in enumerate(speakers)}
    file = write_table(tmp_path / "g.csv", "speaker", labels, "gender")
    options = FewLabelsOptions(
        task="gender", labels=file, labels_per_class=(1,), encoders=MFCC, seeds=2, shards=str(apart)
    )
    (studied,) = study(str(probed_run), options)
    assert not [note for note in studied.notes if "interval" in note]


def test_a_supervised_encoder_learns_own_labels(
    probed_run: Path, index_of: dict[str, tuple[str, str]], tmp_path: Path
) -> None:
    file = write_table(tmp_path / "s.csv", "id", by_parity(index_of), "taught")
    options = ProbeOptions(task="taught", labels=file, encoders=("supervised",), supervised_epochs=1)
    (result,) = probe(str(probed_run), options)
    assert result.label_epochs == (1,)


@pytest.mark.parametrize(
    ("left_out", "told"),
    [
        (
            "train",
            "column mood: no utterance of the train split has a label; label more utterances, or give --shards",
        ),
        ("test", "column mood: no utterance of the test split has a label"),
        (
            "validation",
            "utterances of the validation split can be used for --task mood: each has no label; label some",
        ),
    ],
)
def test_labels_of_some_splits_alone_are_refused(
    probed_run: Path, index_of: dict[str, tuple[str, str]], tmp_path: Path, left_out: str, told: str
) -> None:
    labels = {name: label for name, label in by_parity(index_of).items() if index_of[name][1] != left_out}
    options = ProbeOptions(task="mood", labels=write_table(tmp_path / "t.csv", "id", labels), encoders=MFCC)
    with pytest.raises(DataError, match=told):
        probe(str(probed_run), options)


def test_a_single_class_in_train_is_refused(
    probed_run: Path, index_of: dict[str, tuple[str, str]], tmp_path: Path
) -> None:
    labels = {name: "calm" if index_of[name][1] == "train" else "angry" for name in index_of}
    file = write_table(tmp_path / "t.csv", "id", labels)
    with pytest.raises(
        DataError, match="all labels of the train split are 'calm', and a probe needs two classes"
    ):
        probe(str(probed_run), ProbeOptions(task="mood", labels=file, encoders=MFCC))


def test_tables_that_do_not_fit_are_refused(
    probed_run: Path, index_of: dict[str, tuple[str, str]], tmp_path: Path
) -> None:
    file = write_table(tmp_path / "one.csv", "id", dict.fromkeys(index_of, "calm"))
    with pytest.raises(DataError, match="column mood: it has only 'calm', and a probe needs two classes"):
        probe(str(probed_run), ProbeOptions(task="mood", labels=file))
    with pytest.raises(ConfigError, match=r"--task tone, but .* has the columns mood; use one of them"):
        probe(str(probed_run), ProbeOptions(task="tone", labels=file))
    with pytest.raises(ValueError, match="task=mood is not a probe; use speaker, phone"):
        ProbeOptions(task="mood")
    with pytest.raises(ValueError, match="labels have no effect on task=phone"):
        ProbeOptions(task="phone", labels=file)
