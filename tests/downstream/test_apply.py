"""A probe's classifier on sound files says what it said of the same utterances in the probe."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner, Result

from tests.recorded import Recorded
from vgim.cli import main
from vgim.data.shards.manifest import read_manifest
from vgim.data.shards.read import Utterance, read_utterances
from vgim.downstream.apply import open_applied, segments
from vgim.downstream.classifier import CLASSIFIER
from vgim.downstream.job import probe
from vgim.downstream.options import ProbeOptions
from vgim.errors import CheckpointError, ConfigError, DataError, StorageError
from vgim.storage import Location

pytestmark = pytest.mark.usefixtures("without_confusion_pictures")


@pytest.fixture(scope="module")
def run(probed_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the run, in another place than it was trained in."""
    copy = tmp_path_factory.mktemp("moved") / "run"
    shutil.copytree(probed_run, copy, ignore=shutil.ignore_patterns("probes", "tensorboard", "features"))
    return copy


@pytest.fixture(scope="module")
def spoken(tiny_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Utterance]]:
    """The test split's utterances as files, named by their ids."""
    folder, shards = tmp_path_factory.mktemp("spoken"), Location(tiny_shards)
    files = []
    for utterance in read_utterances(shards, read_manifest(shards), "test"):
        files.append((str(folder / f"{utterance.utterance_id}.wav"), utterance))
        soundfile.write(files[-1][0], utterance.audio, 16_000, subtype="PCM_16")
    return files


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"module": 1}, "speaker-trained-module1"),
        ({"module": 1, "layer": 0, "whole_utterances": True}, "speaker-trained-module1-layer0-whole"),
        ({"sampled": True}, "speaker-trained-module3-sampled"),
        ({"encoders": ("mfcc",)}, "speaker-mfcc"),
        ({"encoders": ("random",), "module": 0}, "speaker-random-module0"),
    ],
)
def test_the_test_splits_own_files_give_the_results_accuracy(
    run: Path, spoken: list[tuple[str, Utterance]], options: dict[str, object], name: str
) -> None:
    (result,) = probe(str(run), ProbeOptions.model_validate({"task": "speaker", **options}))
    heard = Recorded()
    applied = open_applied(str(run / "probes" / name), progress=heard)
    assert heard.titles == [
        "preparing MFCCs" if "mfcc" in name else f"preparing the {result.encoder} encoder"
    ]
    predicted = [(applied.predict(file), utterance) for file, utterance in spoken]
    hits = [found.label == utterance.speaker_id for found, utterance in predicted]
    assert len(hits) == result.num_test
    assert np.mean(hits) == pytest.approx(result.accuracy)
    first = predicted[0][0]
    assert first.label is not None
    assert first.probability == max(first.probabilities.values())
    assert sum(first.probabilities.values()) == pytest.approx(1, abs=1e-5)


def test_samples_of_artificial_speech_are_those_of_the_split_that_a_files_folder_names(
    run: Path, syllables: Path, tmp_path: Path
) -> None:
    (result,) = probe(
        str(run), ProbeOptions(task="syllable", shards=str(syllables), sampled=True, module=0, seeds=2)
    )
    (folder,) = (run / "probes").glob("syllable-trained-module0-sampled-data*")
    applied = open_applied(str(folder), seed=1)
    files = sorted((syllables.parent / "artificial" / "split up data padded" / "test").glob("*.wav"))
    predicted = [applied.predict(str(file)) for file in files]
    hits = [found.label == file.stem[-2:] for found, file in zip(predicted, files, strict=True)]
    assert len(hits) == result.num_test
    assert np.mean(hits) == pytest.approx(result.fits[1].accuracy)
    for name, is_the_same in ((f"test-{files[0].name}", True), (files[0].name, False)):
        found = applied.predict(str(shutil.copy(files[0], tmp_path / name)))
        assert (found.probabilities == predicted[0].probabilities) is is_the_same


def test_a_classifier_of_another_probe_is_refused(run: Path) -> None:
    for options in ({"encoders": ("trained", "random")}, {"bias": False}, {"whole_utterances": True}):
        probe(str(run), ProbeOptions.model_validate({"task": "speaker", "module": None, **options}))
    folder = run / "probes" / "speaker-trained-module2"
    own = (folder / CLASSIFIER).read_bytes()
    for other, differing in (
        ("speaker-trained-module0", "module is 0 and 2"),
        ("speaker-random-module2", "encoder is random and trained"),
        ("speaker-trained-module2-nobias", "bias is False and True"),
        ("speaker-trained-module2-whole", "whole_utterances is True and False"),
    ):
        shutil.copy(run / "probes" / other / CLASSIFIER, folder)
        with pytest.raises(StorageError, match=f"are of two probes: {differing}; copy whole folders"):
            open_applied(str(folder))
    (folder / CLASSIFIER).write_bytes(own)
    open_applied(str(folder))
    text = (folder / "result.json").read_text()
    (folder / "result.json").write_text(text.replace('"module": 2', '"module": 1'))
    with pytest.raises(StorageError, match="are of two probes: module is 2 and 1"):
        open_applied(str(folder))
    (folder / "result.json").write_text(text.replace('"crop_samples": ', '"crop_samples": 1'))
    with pytest.raises(CheckpointError, match=r"or the crops of .* are others than those that were probed"):
        open_applied(str(folder))


def test_segments_of_phones_give_the_results_accuracy(run: Path, spoken: list[tuple[str, Utterance]]) -> None:
    (result,) = probe(str(run), ProbeOptions(task="phone", module=1))
    applied = open_applied(str(run / "probes" / "phone-trained-module1"))
    num_right = 0
    for file, utterance in spoken:
        found = applied.predict(file).segments
        labels = [part.label for part in found for _ in range(round(100 * (part.end_s - part.start_s)))]
        assert [part.start_s for part in found[1:]] == [part.end_s for part in found[:-1]]
        assert utterance.phones is not None
        num = min(len(labels), len(utterance.phones))
        truth = [applied.classifier.info.classes[phone] for phone in utterance.phones[:num]]
        num_right += sum(a == b for a, b in zip(labels[len(labels) - num :], truth, strict=True))
    assert num_right / result.num_test == pytest.approx(result.accuracy)


def test_segments_join_equal_neighbors() -> None:
    p_NK = torch.tensor([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8]])
    found = list(segments(p_NK, ("a", "b")))
    assert [(part.label, part.start_s, part.end_s) for part in found] == [("a", 0.0, 0.02), ("b", 0.02, 0.03)]
    assert found[0].probability == pytest.approx(0.8)


def vgim(*words: str) -> Result:
    return CliRunner().invoke(main, ["probe", *words])


def test_the_command_prints_a_line_a_file_or_json_and_reports_each_failure(
    run: Path, spoken: list[tuple[str, Utterance]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe(str(run), ProbeOptions(task="speaker", module=0))
    folder = str(run / "probes" / "speaker-trained-module0")
    high = str(tmp_path / "high.wav")
    soundfile.write(high, np.repeat(spoken[0][1].audio, 2), 32_000)
    result = vgim("apply", folder, spoken[0][0], high)
    assert result.exit_code == 0, result.output
    assert [line.split()[0] for line in result.stdout.splitlines()] == [spoken[0][0], high]
    assert result.stdout.splitlines()[0].endswith("%")
    assert f"note: {high}: resampled 32000 Hz to 16000 Hz" in result.stderr
    monkeypatch.setenv("VGIM_HOME", str(tmp_path))
    (tmp_path / "runs").symlink_to(run.parent)
    assert vgim("apply", "run/probes/speaker-trained-module0", spoken[0][0], high).stdout == result.stdout
    (record,) = json.loads(vgim("apply", folder, "--json", spoken[0][0]).stdout)
    assert record["label"] in record["probabilities"]

    (tmp_path / "text.wav").write_text("no audio")
    soundfile.write(tmp_path / "short.wav", np.zeros(100), 16_000)
    result = vgim("apply", folder, str(tmp_path / "text.wav"), spoken[0][0], str(tmp_path / "short.wav"))
    assert result.exit_code == DataError.exit_code
    assert len(result.stdout.splitlines()) == 1
    assert "100 samples at 16 kHz: too short for the probe" in result.stderr
    assert "2 of 3 files failed; the reasons are above" in result.stderr
    result = vgim("apply", folder, str(tmp_path))
    assert f"cannot read {tmp_path}: it is a folder, not a file; check the path" in result.stderr
    result = vgim("apply", folder, str(tmp_path / "text.wav"))
    assert "cannot be decoded: not readable as audio" in result.stderr


def test_the_command_shows_what_it_prepares_and_how_many_files_are_done(
    run: Path, spoken: list[tuple[str, Utterance]], monkeypatch: pytest.MonkeyPatch
) -> None:
    probe(str(run), ProbeOptions(task="speaker", module=0))
    heard = Recorded()
    monkeypatch.setattr("vgim.cli.probe_apply.show_progress", lambda **_: nullcontext(heard))
    assert vgim("apply", str(run / "probes" / "speaker-trained-module0"), spoken[0][0], "none").exit_code
    assert heard.titles == ["loading torch", "preparing the trained encoder", "predicting"]
    assert (heard.of("predicting").total, heard.of("predicting").done) == (2, 2)
    (message,) = heard.messages
    assert message.startswith("failed: ")


def test_what_cannot_be_applied_is_one_clear_line(run: Path, tmp_path: Path) -> None:
    with pytest.raises(
        StorageError, match=r"is no probe: it has no result.json; name a folder RUN/probes/NAME"
    ):
        open_applied(str(tmp_path))
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(StorageError, match=r"result.json does not read as a probe's result"):
        open_applied(str(tmp_path))
    probe(
        str(run),
        ProbeOptions(task="speaker", module=0, encoders=("trained", "supervised"), supervised_epochs=1),
    )
    with pytest.raises(ConfigError, match="the weights of an encoder that is trained on labels are not kept"):
        open_applied(str(run / "probes" / "speaker-supervised-module0-epochs1"))
    folder = run / "probes" / "speaker-trained-module0"
    with pytest.raises(ConfigError, match=r"--seed 4, but the probe has the seeds 0; use one of them"):
        open_applied(str(folder), seed=4)
    text = (folder / "result.json").read_text()
    (folder / "result.json").write_text(text.replace("step-00000020", "step-00000010"))
    with pytest.raises(
        CheckpointError, match=r"the weights, the normalization or the crops of .* are others"
    ):
        open_applied(str(folder))
    (folder / "result.json").write_text(text.replace("step-00000020", "step-00000099"))
    with pytest.raises(CheckpointError, match=r"step-00000099, which is gone; probe the run again"):
        open_applied(str(folder))


def test_any_other_first_word_is_a_run(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.parent)
    for name in ("run", "apply"):
        Path(name).exists() or shutil.copytree(run, name)
        named = name if name == "run" else "./apply"
        found = vgim(
            f"{run.parent}/run" if name == "run" else named, "--task", "speaker", "--encoder", "mfcc"
        )
        assert found.exit_code == 0, found.output
    assert (run.parent / "apply" / "probes" / "speaker-mfcc").is_dir()
    first = vgim("--task", "speaker", "--encoder", "mfcc", "./apply")
    assert first.exit_code == 0, first.output
    for words in (["--help"], ["run", "--help"]):
        page = vgim(*words).output
        assert page.startswith("Usage: main probe [OPTIONS] RUN...")
        assert "vgim probe apply RUN/probes/NAME FILE..." in page
    assert "Missing argument 'RUN...'" in vgim().output
    assert "RUN/probes/NAME FILE..." in vgim("apply", "--help").output
