"""A reading of several modules side by side: where it goes, and what it is worth where modules share the answer."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from tests.recorded import Recorded
from vgim.compare.grouped_picture import grouped_picture
from vgim.compare.grouped_table import tables_as_text
from vgim.compare.picture import comparison_picture
from vgim.compare.read import compare
from vgim.compare.read_groups import compare_groups
from vgim.compare.table import as_csv, as_text, comparison_table
from vgim.compare.weights import read_weights
from vgim.data.shards.manifest import read_manifest
from vgim.data.shards.read import read_utterances
from vgim.downstream import pictures
from vgim.downstream.apply import open_applied
from vgim.downstream.classifier import CLASSIFIER
from vgim.downstream.features.encoder_features import EncoderFeatures
from vgim.downstream.features.source import ClipBatch, FeatureSpec
from vgim.downstream.job import probe, probe_many
from vgim.downstream.options import ProbeOptions
from vgim.downstream.result import ProbeResult
from vgim.downstream.result_table import format_table
from vgim.errors import ConfigError, StorageError
from vgim.model.padded import num_frames
from vgim.plotting import as_png
from vgim.report.commands import probe_command
from vgim.report.embed import Embedder, Limits
from vgim.report.notes import Notes
from vgim.report.probes import read_probes
from vgim.storage import Location

pytestmark = pytest.mark.usefixtures("without_confusion_pictures")


@pytest.fixture
def run(probed_run: Path, tmp_path: Path) -> Path:
    copied = tmp_path / "run"
    shutil.copytree(probed_run, copied, ignore=shutil.ignore_patterns("probes", "features"))
    return copied


def options(**given: object) -> ProbeOptions:
    return ProbeOptions.model_validate(
        {"task": "speaker", "module": None, "concat": True, "device": "cpu", **given}
    )


def read_side_by_side(run: Path, *encoders: str, **given: object) -> list[ProbeResult]:
    return probe(str(run), options(encoders=encoders or ("trained",), **given))


def tell_in_two_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let module 0 tell in which pair of four speakers one is, module 1 which of the pair, and the others nothing."""
    numbers: dict[str, int] = {}

    def encode(source: EncoderFeatures, x_BL: torch.Tensor, clips: ClipBatch) -> list[torch.Tensor]:
        features = []
        for output, convs in source._convs.items():
            frames = torch.zeros(
                len(x_BL), num_frames(convs, x_BL.shape[1]), source.encoder.channels(*output)
            )
            for row, utterance in enumerate(clips.utterances):
                number = numbers.setdefault(utterance.speaker_id, len(numbers))
                frames[row, :, 0] = (number // 2, number % 2, 0, 0)[output.module]
            features.append(frames)
        return features

    monkeypatch.setattr(EncoderFeatures, "_encode", encode)


def test_what_two_modules_know_together_is_read_from_both_and_from_neither_alone(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell_in_two_modules(monkeypatch)
    results = read_side_by_side(run)
    assert [result.output.name for result in results] == [
        *(f"module {m}" for m in range(4)),
        "modules 0+1+2+3",
    ]
    *single, several = (result.accuracy for result in results)
    assert several == 1
    assert max(single) <= 0.5
    (_, pair) = read_side_by_side(run, module=2, concat=(1, 0))
    assert (pair.output.name, pair.accuracy, pair.num_features) == ("modules 0+1", 1, 16)
    (_, other) = read_side_by_side(run, module=2, concat=(1, 2, -1))
    assert (other.output.name, other.accuracy, other.num_features) == ("modules 1+2+3", max(single), 24)


def test_it_stands_beside_modules_and_baselines_without_being_one(run: Path) -> None:
    results = read_side_by_side(run, "trained", "random", "mfcc")
    assert [(r.encoder, r.module, r.concat) for r in results if r.concat] == [
        ("trained", None, (0, 1, 2, 3)),
        ("random", None, (0, 1, 2, 3)),
    ]
    assert (run / "probes" / "speaker-trained-concat0_1_2_3" / "result.json").exists()
    assert [line.split()[2] for line in format_table(results).splitlines()[1:]] == [
        *("0", "1", "2", "3", "0+1+2+3") * 2,
        "-",
    ]
    assert as_png(pictures.modules_picture(results))
    assert as_png(pictures.epochs_picture(results))
    comparison = compare([str(run)])
    section = comparison_table(comparison).sections[-1]
    assert [row[0] for row in section.rows] == [
        "majority",
        "mfcc",
        *(f"random module {m}" for m in range(4)),
        "random modules 0+1+2+3",
        *(f"trained module {m}" for m in range(4)),
        "trained modules 0+1+2+3",
    ]
    assert "speaker_trained_modules_0+1+2+3_accuracy" in as_csv(comparison).splitlines()[0]
    assert as_png(comparison_picture(comparison))
    probes, noted = read_weights(comparison, "--weights")
    assert [p.key.module for p in probes] == [0, 1, 2, 3]
    assert "run: no weights of speaker-trained-concat0_1_2_3: panels are of one module" in noted.notes
    assert "trained modules 0+1+2+3" in as_text(comparison_table(comparison))


def test_groups_of_runs_of_which_mfcc_alone_was_probed_have_a_row(run: Path) -> None:
    read_side_by_side(run, "mfcc", concat=False)
    grouped = compare_groups({"a": [Location(run)]})
    (mfcc,) = grouped.accuracies
    assert re.search(rf"\nno module +- +{100 * mfcc.accuracy.mean:.1f} ", tables_as_text(grouped))
    assert as_png(grouped_picture(grouped))


def test_groups_of_runs_have_a_row_of_several_modules(run: Path) -> None:
    other = Path(shutil.copytree(run, run.parent / "other"))
    for folder in (run, other):
        read_side_by_side(folder, "trained", "random", "mfcc")
    read_side_by_side(run, module=0, concat=(0, 1))
    grouped = compare_groups({"a": [Location(run)], "b": [Location(other)]})
    assert grouped.depth_names == ("module 0", "module 1", "module 2", "module 3 (GRU)")
    assert set(grouped.several_names) == {"modules 0+1+2+3", "modules 0+1"}
    found = {
        (a.column, grouped.row_names[a.depth])
        for a in grouped.accuracies
        if a.depth is not None and a.depth >= 4
    }
    assert found == {
        ("a", "modules 0+1+2+3"),
        ("b", "modules 0+1+2+3"),
        ("random", "modules 0+1+2+3"),
        ("a", "modules 0+1"),
    }
    assert "\nmodules 0+1+2+3  " in tables_as_text(grouped)
    assert as_png(grouped_picture(grouped))
    (mfcc,) = (a for a in grouped.accuracies if a.encoder == "mfcc")
    assert mfcc.depth is None


def test_the_same_command_takes_it_and_computes_it_alone_where_it_is_missing(run: Path) -> None:
    first = read_side_by_side(run)
    heard = Recorded()
    folder = run / "probes" / "speaker-trained-concat0_1_2_3"
    assert _go_on(run, heard) == first
    assert any("5 of 5 results are taken" in line for line in heard.messages)
    shutil.rmtree(folder)
    again = _go_on(run, heard)
    assert any(line.startswith("speaker from trained: 4 of 5 results are taken") for line in heard.messages)
    assert again[:4] == first[:4]
    assert again[4].fits == first[4].fits
    shutil.rmtree(run / "probes" / "speaker-trained-module2")
    assert [r.fits for r in _go_on(run, heard)] == [r.fits for r in first]
    without = probe(str(run), options(concat=False))
    assert [r.fits for r in without] == [r.fits for r in first[:4]]


def _go_on(run: Path, heard: Recorded) -> list[ProbeResult]:
    ((_, _, results),), error = probe_many([str(run)], [options()], goes_on=True, progress=heard)
    assert error is None
    return results


@pytest.mark.parametrize("encoder", ["trained", "random"])
@pytest.mark.parametrize("concat", [True, (0, 2)])
def test_its_classifier_says_of_files_what_it_said_in_the_probe(
    run: Path, tiny_shards: Path, encoder: str, concat: object
) -> None:
    (_, result) = read_side_by_side(run, encoder, module=1, concat=concat)
    name = "_".join(map(str, result.concat))
    applied = open_applied(str(run / "probes" / f"speaker-{encoder}-concat{name}"))
    shards, hits = Location(tiny_shards), []
    for utterance in read_utterances(shards, read_manifest(shards), "test"):
        file = run / f"{utterance.utterance_id}.wav"
        soundfile.write(file, utterance.audio, 16_000, subtype="PCM_16")
        hits.append(applied.predict(str(file)).label == utterance.speaker_id)
    assert np.mean(hits) == pytest.approx(result.accuracy)


def test_a_classifier_of_other_modules_is_refused(run: Path) -> None:
    for concat in ((0, 1), (2, 3)):
        read_side_by_side(run, module=0, concat=concat)
    folder = run / "probes" / "speaker-trained-concat0_1"
    shutil.copy(run / "probes" / "speaker-trained-concat2_3" / CLASSIFIER, folder)
    with pytest.raises(StorageError, match=r"of two probes: concat is \(2, 3\) and \(0, 1\)"):
        open_applied(str(folder))


def test_kept_features_equal_computed_ones(run: Path) -> None:
    plain = read_side_by_side(run)
    for _ in range(2):
        assert [r.fits for r in read_side_by_side(run, cache_features=True)] == [r.fits for r in plain]


def test_hashes_of_single_modules_are_those_of_versions_without_it() -> None:
    assert FeatureSpec(1, 80, 8, 0).view() == {"module": 1, "hop_samples": 80, "channels": 8, "layer": 0}
    assert FeatureSpec(None, 160, 8, concat=(0, 1)).view()["concat"] == (0, 1)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"concat": (0, 4)}, "--concat-modules 0,4, but the run's encoder has its modules 0 to 3; use these"),
        ({"concat": (1,)}, "--concat-modules 1 names one module alone or twice; name two modules or more"),
        ({"concat": (3, -1)}, "--concat-modules 3,-1 names one module alone or twice"),
        (
            {"solver": "adam"},
            "--concat needs features that are standardized, which only the lbfgs solver does",
        ),
        ({"protocol": "published", "module": 0}, "leave --solver adam and --protocol published out"),
        (
            {"task": "abx-within"},
            "--task abx-within compares features as they are, and modules differ in scale",
        ),
    ],
)
def test_what_has_no_meaning_side_by_side_is_refused_in_one_line(
    run: Path, given: dict[str, object], reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason) as refusal:
        read_side_by_side(run, **given)
    assert "\n" not in str(refusal.value)


def test_mfccs_are_not_read_side_by_side_which_a_note_says(run: Path) -> None:
    (result,) = read_side_by_side(run, "mfcc")
    assert "--concat has no effect on mfcc" in result.notes
    assert result.output.name == ""


def test_a_report_has_it_behind_the_modules_in_table_and_chart(run: Path) -> None:
    read_side_by_side(run, "trained", "random", "mfcc")
    notes = Notes(Location(run))
    (section,) = read_probes(Location(run), Embedder(Limits(), notes), notes).tables
    assert [row[0] for row in section.table.rows] == [
        *(number for number in ("0", "1", "2", "3", "0+1+2+3") for _ in range(2)),
        "–",
    ]
    assert section.chart is not None
    assert [tick.text for tick in section.chart.x_ticks] == ["0", "1", "2", "3", "0+1+2+3"]
    assert "trained at modules 0+1+2+3 " in section.chart.description


def test_the_commands_of_a_report_ask_for_it_again(run: Path) -> None:
    every, pair = read_side_by_side(run)[-1], read_side_by_side(run, module=0, concat=(0, 2))[-1]
    assert probe_command("runs/a", [every]) == ["vgim probe runs/a --task speaker --all-modules --concat"]
    assert probe_command("runs/a", [pair]) == [
        "vgim probe runs/a --task speaker --module 0 --concat-modules 0,2"
    ]
