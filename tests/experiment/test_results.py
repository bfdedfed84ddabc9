"""What an experiment's comparison says, by hand from the files of its probes, and which probes are computed."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.experiment.cases import write_file
from vgim.cli import main
from vgim.compare.columns import baseline_identity
from vgim.compare.crossed import Hits, estimate
from vgim.compare.grouped import GroupedComparison
from vgim.compare.grouped_picture import grouped_picture
from vgim.compare.grouped_table import grouped_tables
from vgim.compare.hits import hits_of
from vgim.compare.read import compare
from vgim.compare.seed_groups import group_by_seed
from vgim.compare.weights import read_weights, standardized
from vgim.data.reshard.split import split
from vgim.downstream.classifier import read_classifier
from vgim.downstream.options import ProbeOptions
from vgim.downstream.predictions import read_predictions
from vgim.errors import ConfigError, DataError, StorageError, TrainingError
from vgim.experiment import job
from vgim.experiment.folder import ExperimentFolder
from vgim.experiment.job import run_experiment
from vgim.experiment.plan import Experiment, PlannedProbe, load_experiment
from vgim.experiment.probes import missing_probes
from vgim.experiment.results import for_all_runs, show
from vgim.progress import MessagesOnly
from vgim.storage import Location
from vgim.verdict.verdict import NextCommand


@pytest.fixture
def comparison(probed_folder: Path) -> GroupedComparison:
    return GroupedComparison.model_validate_json((probed_folder / "results.json").read_bytes())


def stored(run: Path, name: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    with np.load(run / "probes" / name / "predictions.npz") as file:
        return file["truth"], file["predicted"], file["classes"].tolist()


@pytest.mark.parametrize(
    ("uri", "of_a_run", "expected"),
    [
        (
            "/e",
            "vgim train /r/config.yaml train.epochs=9",
            "vgim experiment /e/experiment.yaml train.epochs=9 --out /e",
        ),
        ("/e", "vgim train /r/config.yaml", "vgim experiment /e/experiment.yaml --out /e"),
        ("/e", "vgim train /r/config.yaml storage.name=other objective.kld_weight=1", None),
        ("/e", "vgim latents /r", None),
        ("s3://bucket/e", "vgim train /r/config.yaml train.epochs=9", None),
    ],
)
def test_what_would_train_one_run_on_is_advised_for_all_runs(
    uri: str, of_a_run: str, expected: str | None
) -> None:
    folder = ExperimentFolder(Location(uri))
    found = for_all_runs(NextCommand(purpose="learn", command=of_a_run), folder)
    assert (found.purpose, found.command) == ("learn", expected or of_a_run)


def test_the_advice_after_an_experiment_trains_no_run_alone(comparison: GroupedComparison) -> None:
    assert comparison.verdict is not None
    assert comparison.verdict.next is not None
    assert not comparison.verdict.next.command.startswith("vgim train")


def test_accuracies_and_differences_are_those_of_the_stored_predictions(
    probed_folder: Path, comparison: GroupedComparison
) -> None:
    right = {}
    for arm, probe in (("sim", "module2"), ("cpc", "module0-layer4")):
        for seed in (0, 1):
            run = probed_folder / "runs" / f"{arm}-seed{seed}"
            truth, predicted, classes = stored(run, f"syllable-trained-{probe}")
            right[arm, seed] = predicted[0] == truth
            onset = np.array([name[0] for name in classes])
            right[arm, seed, "consonant"] = onset[predicted[0]] == onset[truth]
    for part, key in (("", ()), ("consonant", ("consonant",))):
        for arm in ("sim", "cpc"):
            (cell,) = (
                a
                for a in comparison.accuracies
                if (a.task, a.part, a.column, a.depth) == ("syllable", part, arm, 2)
            )
            assert cell.accuracy.mean == pytest.approx(np.mean([right[arm, s, *key] for s in (0, 1)]))
            assert cell.accuracy.num_seeds == 2
        (difference,) = (
            d
            for d in comparison.differences
            if (d.task, d.part, d.column, d.minus, d.depth) == ("syllable", part, "sim", "cpc", 2)
        )
        expected = np.mean([right["sim", s, *key].astype(float) - right["cpc", s, *key] for s in (0, 1)])
        assert difference.difference.mean == pytest.approx(expected)


def test_baselines_are_computed_once_for_the_runs_that_share_them(
    probed_folder: Path, comparison: GroupedComparison
) -> None:
    def has(run: str, encoder: str) -> bool:
        return any((probed_folder / "runs" / run / "probes").glob(f"*-{encoder}*"))

    runs = [f"{arm}-seed{seed}" for seed in (0, 1) for arm in ("sim", "sim-strong", "cpc")]
    assert [run for run in runs if has(run, "mfcc")] == ["sim-seed0"]
    assert [run for run in runs if has(run, "random")] == ["sim-seed0", "cpc-seed0", "sim-seed1", "cpc-seed1"]
    assert comparison.columns() == [
        "sim",
        "sim-strong",
        "cpc",
        "mfcc",
        "random sim, sim-strong",
        "random cpc",
    ]
    (shared,) = {a.groups for a in comparison.accuracies if a.column == "random sim, sim-strong"}
    assert shared == ("sim", "sim-strong")
    random = [a for a in comparison.accuracies if a.column == "random cpc" and a.task == "vowel"]
    assert [(a.depth, a.accuracy.num_seeds) for a in random] == [(0, 2), (1, 2), (2, 2), (3, 2)]


def test_tables_and_pictures_are_written(probed_folder: Path, comparison: GroupedComparison) -> None:
    table = (probed_folder / "table.md").read_text()
    for line in (
        "| **syllable: consonant, % (18 test utterances)** |",
        "| **syllable, percentage points** |",
        "| module 3 (GRU) |",
        "- cpc is one module: the rows hold its layer 1, layer 3, layer 4, output",
        "| runs finished | 2 of 2 | 2 of 2 | 2 of 2 |",
    ):
        assert line in table
    accuracies, differences, training = grouped_tables(comparison)
    assert accuracies.notes == ()
    assert "± half of the 95 % interval" in differences.notes[0]
    assert "* marks an interval without 0" in differences.notes[0]
    (alone, _) = grouped_tables(comparison.model_copy(update={"differences": ()}))
    assert "± half" in alone.notes[0]
    assert "*" not in alone.notes[0]
    assert [s.title for s in training.sections if "InfoNCE" in s.title] == [
        "validation: InfoNCE, nats (± 95 % over seeds)",
        "last epoch: InfoNCE, nats (± 95 % over seeds)",
    ]
    without = [
        group.model_copy(update={"modules": tuple(m.model_copy(update={"nce": None}) for m in group.modules)})
        for group in comparison.groups
    ]
    training = grouped_tables(comparison.model_copy(update={"groups": tuple(without)}))[-1]
    assert not any("validation: InfoNCE" in section.title for section in training.sections)
    for axes in grouped_picture(comparison).axes:
        assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "1", "2", "3"]
        assert axes.get_xlabel() == "module (3: GRU)"
    with (probed_folder / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    first = comparison.accuracies[0]
    assert (float(rows[0]["mean"]), rows[0]["column"]) == (first.accuracy.mean, first.column)
    assert {row["minus"] for row in rows if row["kind"] == "difference"} == {"cpc", "random", "mfcc"}
    assert (probed_folder / "picture.png").read_bytes().startswith(b"\x89PNG")
    (sim, *_) = comparison.groups
    assert [module.nce is not None for module in sim.modules] == [True] * 4
    assert sim.step_s is not None


def test_nothing_is_computed_again(
    probed: Experiment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("train", "probe_many"):
        monkeypatch.setattr(job, name, lambda *args, name=name, **options: pytest.fail(name))
    run_experiment(probed, progress=MessagesOnly(print))
    assert "sim-seed0: finished\n" in capsys.readouterr().out


def test_only_probes_whose_result_is_missing_or_old_are_computed(probed: Experiment, tmp_path: Path) -> None:
    sim, strong, _ = probed.runs[:3]
    assert missing_probes(probed, strong) == []
    folder = Path(sim.location.uri)
    moved = {name: tmp_path / name for name in ("syllable-trained-module1", "vowel-mfcc")}
    for name, away in moved.items():
        (folder / "probes" / name).rename(away)
    try:
        assert [(o.task, o.encoders) for o in missing_probes(probed, sim)] == [
            ("syllable", ("trained",)),
            ("vowel", ("mfcc",)),
        ]
        # any run may hold a baseline that all share
        assert [(o.task, o.encoders) for o in missing_probes(probed, strong)] == [("vowel", ("mfcc",))]
    finally:
        for name, away in moved.items():
            away.rename(folder / "probes" / name)
    result = folder / "probes" / "vowel-trained-module0" / "result.json"
    before = result.read_text()
    try:
        result.write_text(json.dumps({**json.loads(before), "step": 1}))
        assert [(o.task, o.encoders) for o in missing_probes(probed, sim)] == [("vowel", ("trained",))]
    finally:
        result.write_text(before)


def test_the_published_protocol_probes_each_output_of_cpc_by_itself(
    probed: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = ProbeOptions(
        task="vowel", protocol="published", epochs=1, module=None, encoders=("trained", "mfcc")
    )
    planned = PlannedProbe(published, ("sim", "cpc"))
    copied = tmp_path / "probed"
    shutil.copytree(probed.folder.uri, copied)
    moved = []
    for run in probed.runs[:3]:
        storage = run.config.storage.model_copy(update={"root": str(copied / "runs")})
        moved.append(replace(run, config=run.config.model_copy(update={"storage": storage})))
    experiment = replace(probed, folder=Location(str(copied)), runs=tuple(moved), probes=(planned,))
    sim, _, cpc = moved
    assert [(o.module, o.layer, o.encoders) for o in missing_probes(experiment, cpc)] == [
        (0, None, ("trained", "mfcc")),
        (0, 1, ("trained",)),
        (0, 3, ("trained",)),
        (0, 4, ("trained",)),
    ]
    run_experiment(experiment)
    assert missing_probes(experiment, sim) == missing_probes(experiment, cpc) == []
    comparison = GroupedComparison.model_validate_json((copied / "results.json").read_bytes())
    depths = {
        (a.column, a.depth)
        for a in comparison.accuracies
        if a.task == "vowel" and "published" in a.variant and a.encoder == "trained"
    }
    assert depths == {(arm, depth) for arm in ("sim", "cpc") for depth in range(4)}


def test_labels_of_ones_own_are_probed_once_and_those_of_speakers_compared_over_speakers(
    tmp_path: Path, tiny_shards: Path
) -> None:
    manifest = split(tiny_shards, tmp_path / "half", test_fraction=0.5)
    assert manifest.splits["test"].utterances > manifest.splits["test"].speakers
    table = tmp_path / "gender.csv"
    rows = [f"{speaker},{'FM'[number % 2]}" for number, speaker in enumerate(manifest.speakers)]
    table.write_text("\n".join(["speaker,gender", *rows]))
    text = f"""
seeds: [0]
overrides: [train.max_steps=2]
runs: {{a: {{preset: tiny}}, b: {{preset: tiny, overrides: [optim.learning_rate=0.01]}}}}
probes: [{{tasks: [gender], labels: {table}, shards: {tmp_path}/half, encoders: [trained, mfcc]}}]
"""
    experiment = load_experiment(write_file(tmp_path, tiny_shards, text))
    run_experiment(experiment)
    comparison = show(experiment.folder.uri)
    mfcc = next(each for each in comparison.accuracies if each.column == "mfcc")
    assert mfcc.task == "gender"
    run = experiment.runs[0].location
    (folder,) = Path(run.uri, "probes").glob("gender-mfcc-*")
    predictions = read_predictions(Location(folder))
    assert predictions is not None
    assert predictions.clusters is not None
    of_speakers = Hits({None: hits_of(predictions, lambda name: name)})
    assert len(of_speakers.first.utterance_ids) == manifest.splits["test"].speakers
    assert mfcc.accuracy == estimate(of_speakers)
    assert mfcc.num_test_utterances == manifest.splits["test"].utterances
    assert missing_probes(experiment, experiment.runs[0]) == []
    table.write_text(table.read_text().replace("F", "f"))
    assert [options.task for options in missing_probes(experiment, experiment.runs[0])] == ["gender"]


def test_a_failed_probe_does_not_stop_the_others(probed: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    probed_runs = []

    def failing(runs, tasks, **options):
        probed_runs.append((Path(runs[0]).name, tasks[0].task))
        return [], DataError("no example")

    monkeypatch.setattr(
        job, "missing_probes", lambda experiment, run: [run_probe.options for run_probe in experiment.probes]
    )
    monkeypatch.setattr(job, "probe_many", failing)
    with pytest.raises(
        TrainingError, match=r"12 parts of the experiment failed: sim-seed0 syllable \(no example\);"
    ):
        run_experiment(probed)
    assert len(probed_runs) == 12


def test_show_compares_what_is_there(
    probed_folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    main(["experiment", "show", str(probed_folder)], standalone_mode=False)
    text = capsys.readouterr().out
    assert "sim - random" in text
    assert text.count("syllable: vowel") == 2
    with pytest.raises(StorageError, match=r"is no experiment: .*or the experiment's file"):
        show(str(tmp_path))


def test_compare_groups_runs_by_seed_into_the_same_numbers(
    probed_folder: Path, comparison: GroupedComparison, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    runs = [str(run) for run in sorted((probed_folder / "runs").iterdir())]
    files = {"--csv": tmp_path / "t.csv", "--markdown": tmp_path / "t.md", "--picture": tmp_path / "t.pdf"}
    options = [word for option, path in files.items() for word in (option, str(path))]
    main(["compare", *runs, "--group-seeds", "--json", *options], standalone_mode=False)
    grouped = GroupedComparison.model_validate_json(capsys.readouterr().out)
    assert {group.name for group in grouped.groups} == {"sim", "sim-strong", "cpc"}

    def numbers(of: GroupedComparison) -> set[tuple[object, ...]]:
        return {
            (a.task, a.part, a.column, a.depth, round(a.accuracy.mean, 12))
            for a in of.accuracies
            if a.encoder == "trained"
        }

    assert numbers(grouped) == numbers(comparison)
    assert grouped.verdict is not None
    (on_syllables,) = (s for s in grouped.verdict.sentences if s.startswith("syllable"))
    assert "untrained encoder" in on_syllables
    assert "MFCC" in on_syllables
    assert files["--markdown"].read_text().startswith(f"- {grouped.verdict.sentences[0]}\n")
    assert files["--csv"].read_text().startswith("kind,task")
    assert "sim-strong" in files["--markdown"].read_text()
    assert files["--picture"].read_bytes().startswith(b"%PDF")


def test_two_runs_of_one_seed_are_no_group(probed_folder: Path, tmp_path: Path) -> None:
    run = probed_folder / "runs" / "sim-seed0"
    twin = tmp_path / "twin"
    twin.symlink_to(run)
    with pytest.raises(ConfigError, match="the seeds 0, 0; --group-seeds"):
        group_by_seed([str(run), str(twin)])


def test_differences_of_unknown_runs_are_refused(tmp_path: Path) -> None:
    text = "runs: {sim: {preset: tiny}}\ndifferences: [sim - gim]\n"
    with pytest.raises(
        ConfigError, match="differences has 'sim - gim'; write a run minus a run or a baseline"
    ):
        load_experiment(write_file(tmp_path, tmp_path, text))


def test_keys_that_change_no_weights_keep_a_baseline_shared(probed: Experiment) -> None:
    config = probed.runs[0].config
    moved = config.data.model_copy(update={"shards": "/elsewhere", "prefetch_batches": 9})
    cropped = config.data.model_copy(update={"crop_samples": 5120})
    rate = config.optim.model_copy(update={"learning_rate": 0.5})

    def shares(encoder: str, shards: str | None = "probed", **changes: object) -> bool:
        other = config.model_copy(update=changes)
        return baseline_identity(encoder, other, shards) == baseline_identity(encoder, config, shards)

    assert shares("random", data=moved)
    assert not shares("random", None, data=moved)
    assert not shares("mfcc", None, data=moved)
    assert shares("random", optim=rate)
    assert not shares("random", data=cropped)
    assert not shares("supervised", optim=rate)
    assert shares("mfcc", model=config.model.model_copy(update={"channels": 9}))
    assert not shares("mfcc", data=cropped)
    of_corpus = [
        config.model_copy(update={"data": data.model_copy(update={"normalize": "corpus"})})
        for data in (config.data, moved)
    ]
    for encoder, num in (("random", 2), ("mfcc", 1)):
        assert len({baseline_identity(encoder, other, "probed") for other in of_corpus}) == num


def test_runs_on_different_shards_share_no_baseline(
    probed: Experiment, probed_folder: Path, tmp_path: Path
) -> None:
    sim, strong, *others = probed.runs
    data = strong.config.data.model_copy(update={"shards": "/elsewhere"})
    moved = replace(strong, config=strong.config.model_copy(update={"data": data}))
    missing = missing_probes(replace(probed, runs=(sim, moved, *others)), moved)
    assert [(o.task, o.encoders) for o in missing] == [
        ("syllable", ("random", "mfcc")),
        ("vowel", ("random", "mfcc")),
    ]
    copied = shutil.copytree(probed_folder, tmp_path / "copied")
    for record in copied.glob("runs/sim-strong-*/run.json"):
        record.write_text(json.dumps({**json.loads(record.read_text()), "data_fingerprint": "0" * 64}))
    assert show(str(copied)).columns()[3:] == ["mfcc sim, cpc", "random sim", "random cpc"]


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04"])
def test_damaged_predictions_are_a_note_and_computed_again(
    probed: Experiment, probed_folder: Path, tmp_path: Path, content: bytes
) -> None:
    file = probed_folder / "runs" / "sim-seed0" / "probes" / "vowel-trained-module0" / "predictions.npz"
    before = file.read_bytes()
    try:
        file.write_bytes(content)
        assert [(o.task, o.encoders) for o in missing_probes(probed, probed.runs[0])] == [
            ("vowel", ("trained",))
        ]
        copied = shutil.copytree(probed_folder, tmp_path / "copied")
    finally:
        file.write_bytes(before)
    note = (
        "sim-seed0: probes/vowel-trained-module0 is left out, it has no predictions that read; probe it again"
    )
    assert note in show(str(copied)).notes


def test_weights_of_cpc_stand_beside_the_modules_that_they_correspond_to(probed_folder: Path) -> None:
    runs = [probed_folder / "runs" / name for name in ("sim-seed0", "cpc-seed0")]
    probes, comparison = read_weights(compare([str(run) for run in runs]), "--weights x")
    assert {(probe.key.module, probe.key.layer) for probe in probes} == {(m, None) for m in range(4)}
    for module, name in ((0, "module0-layer1"), (3, "module0")):
        (probe,) = (p for p in probes if (p.key.task, p.key.module) == ("vowel", module))
        classifier = read_classifier(Location(str(runs[1])).child("probes", f"vowel-trained-{name}"))
        np.testing.assert_array_equal(probe.weights_by_run["cpc-seed0"], standardized(classifier))
    notes = "\n".join(comparison.notes)
    assert "cpc-seed0: of its weights, layer 1 is in the panel of module 0, " in notes
    assert "cpc-seed0: no weights of vowel-trained-module0-layer0: its output corresponds to none" in notes
