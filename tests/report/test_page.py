"""The page of a run: its content, damaged files, escaping, and limits."""

from __future__ import annotations

import json
import math
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from tests.report.page_cases import Reading, read
from tests.report.report_cases import (
    png,
    write_analysis,
    write_decoder,
    write_metrics,
    write_probe,
    write_probes,
    write_run,
    write_wav,
)
from vgim.config import RunConfig, to_yaml
from vgim.downstream.result import ProbeResult
from vgim.errors import CheckpointError
from vgim.report.curves import metric_chart
from vgim.report.embed import Limits
from vgim.report.line_chart import FRAME
from vgim.report.metrics import MetricsLine
from vgim.report.page import write_report
from vgim.report.probe_chart import probe_chart
from vgim.storage import Location


def test_the_page_says_what_was_trained_and_how_far(whole_run: Path, tmp_path: Path) -> None:
    page = read(whole_run, out=str(tmp_path / "page.html"))
    for words in (
        "A V-GIM encoder of 4 greedy modules, 8 channels wide, trained with InfoNCE and a KL term of weight 0.001",
        "of the embedded synthetic corpus by 4 speakers. It finished at step 300, epoch 10.",
        "chance is ln 6 = 1.792 nats",
        "60 s in optimizer steps",  # 300 steps, 5 a second
        "convolutions 10/5, 8/4, Gaussian posterior 8 1.25 ms",
        "vgim train tiny.yaml 'storage.name=a run'",
    ):
        assert words in page.words, words
    assert not (whole_run / "report.html").exists()


def test_curves_are_drawn_for_every_module_with_chance(whole_run: Path, tmp_path: Path) -> None:
    page = read(whole_run, out=str(tmp_path / "page.html"))
    assert "InfoNCE (nats) over optimizer steps: module 0 from" in page.words
    assert f"Chance, ln 6: {math.log(6):.3g}." in page.words
    assert (
        "module 2 from" in page.words.partition("KL to N(0, 1), per element (nats) over optimizer steps")[2]
    )
    kl = page.words.partition("KL to N(0, 1), per element (nats) over optimizer steps")[2].partition(". ")[0]
    assert "module 3" not in kl  # the GRU has no posterior


def test_a_module_without_active_units_is_drawn_at_zero() -> None:
    records = [
        MetricsLine(kind="validation", step=step, modules=({"active_units": 0.9}, {"active_units": 0.0}))
        for step in (10, 20)
    ]
    chart = metric_chart("units", "Active units", "active_units", records)
    assert chart is not None
    assert "module 0 from 0.9 to 0.9; module 1 from 0 to 0" in chart.description
    dead = [record.model_copy(update={"modules": record.modules[1:]}) for record in records]
    assert metric_chart("units", "Active units", "active_units", dead) is not None


def test_a_majority_above_all_accuracies_lies_within_the_chart(run: Path, config: RunConfig) -> None:
    write_probe(run, config, "speaker", "trained", 0, majority=0.9)
    (result,) = (run / "probes").glob("speaker-*/result.json")
    chart = probe_chart("p", "title", [ProbeResult.model_validate_json(result.read_text())])
    assert chart is not None
    assert FRAME.top <= chart.levels[0].y <= FRAME.bottom
    assert chart.note == ""


def test_probes_stand_beside_their_baselines_with_intervals(whole_run: Path, tmp_path: Path) -> None:
    page = read(whole_run, out=str(tmp_path / "page.html"))
    assert "0 trained 50.0% 44.0 to 55.0" in page.words
    assert "Intervals cover 95 %, over test utterances, or over speakers where it is said." in page.words
    assert "0 random 30.0% 24.0 to 35.0" in page.words
    assert "– MFCC 40.0% 34.0 to 45.0" in page.words
    assert "Confusion matrices (9)" in page.words
    assert "baseline" not in page.words
    probe = (
        f"vgim probe {whole_run} --task phone --all-modules --encoder trained --encoder random --encoder mfcc"
    )
    assert page.words.count(probe) == 2  # among the commands, and in the verdict, for the newest checkpoint


def test_a_probe_without_baselines_is_named_as_such_with_the_command_that_adds_them(
    run: Path, config: RunConfig
) -> None:
    write_probe(run, config, "speaker", "trained", 3, options={"encoders": ("trained",), "module": -1})
    page = read(run)
    assert "the speaker probe has no random and mfcc baseline beside it" in page.words
    assert f"vgim probe {run} --task speaker --encoder random --encoder mfcc" in page.words
    options = {"encoders": ("trained",), "module": -1, "max_utterances": 9}
    write_probe(run, config, "speaker", "trained", 3, options=options)
    assert "the speaker probe (first9) has no random and mfcc baseline beside it" in read(run).words


def test_results_in_different_settings_have_separate_tables(run: Path, config: RunConfig) -> None:
    for encoder in ("trained", "random", "mfcc"):
        module = None if encoder == "mfcc" else 0
        write_probe(run, config, "phone", encoder, module, options={"max_utterances": 5})
    page = read(run)
    headings = [text for level, text in page.headings if level == 3]
    assert headings.count("Phone") == headings.count("Phone, fitted on at most 5 utterances") == 1


def test_a_kl_weight_that_was_not_reached_is_told_where_the_verdict_has_no_room(
    run: Path, config: RunConfig
) -> None:
    """The first sentences of the page name the config's weight."""
    longer = config.model_copy(
        update={"objective": config.objective.model_copy(update={"kld_warmup_steps": 1200})}
    )
    (run / "config.yaml").write_text(to_yaml(longer))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        if line["kind"] == "train":
            line["kld_weight"] = longer.objective.kld_weight * line["step"] / 1200
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = read(run)
    said = "The KL weight reached 25.0% of objective.kld_weight=0.001: its warm-up takes 1,200 steps"
    assert page.words.count(said) == 1


def test_a_module_without_a_posterior_has_no_kl(whole_run: Path, tmp_path: Path) -> None:
    page = read(whole_run, out=str(tmp_path / "page.html"))
    table = page.words.partition("Latest metrics of each module")[2].partition("Events")[0]
    assert " – – – " in table


def test_sounds_have_their_original_beside_them_and_their_length(whole_run: Path, tmp_path: Path) -> None:
    page = read(whole_run, out=str(tmp_path / "page.html"))
    labels = [sound["aria-label"] for sound in page.of("audio")]
    assert "utterance 0, original, 0.75 seconds" in labels
    assert "utterance 0, decoded, 0.50 seconds" in labels
    assert len(labels) == 15
    assert len(page.of("img")) - len(page.pictures) == 15  # a spectrogram above each
    assert (
        "Decodes the latents of module 1, of a checkpoint at step 20; loss mse + 0.003 × stft" in page.words
    )
    assert "8 channels; 300 steps; finished" in page.words
    assert "SI-SDR, dB 5.9 log-spectral distance, dB 12.3" in page.words
    assert "SI-SDR (dB, higher is better) over optimizer steps: module 1 from -3.13 to 5.87." in page.words
    for heading in ("Reconstructions", "Samples from N(0, 1)", "Interpolations", "Traversals"):
        assert (4, heading) in page.headings


def test_interpolations_of_some_dimensions_and_masks_are_named(run: Path) -> None:
    index = run / "decoder" / "module1-mse" / "audio" / "index.json"
    entries = json.loads(index.read_text())
    shown = [entry for entry in entries if entry["group"] == "interpolation"]
    shown[1] |= {"title": "0 to 1, the 20 most different dimensions", "moved": list(range(100, 120))}
    shown[2] |= {"title": "0 to 1, the 2 most different dimensions", "moved": [3, 1], "mask": "zero:5"}
    next(entry for entry in entries if entry["group"] == "traversal")["mask"] = "keep:0-3"
    last = entries[-1]
    entries += [last | {"sources": [f"/corpus/{split}/x.wav"]} for split in ("train", "test")]
    index.write_text(json.dumps(entries))
    page = read(run)
    headings = [text for level, text in page.headings if level == 5]
    assert headings == [
        "0 to 1",
        "0 to 1, the 20 most different dimensions",
        "0 to 1, the 2 most different dimensions, mask zero:5",
        "Dimension 3, mask keep:0-3",
        *["Dimension 3"] * 3,
    ]
    assert "Decoded: train/x.wav." in page.words
    assert "Decoded: test/x.wav." in page.words
    assert "the most different first: 100, 101" in page.words
    assert "114, 115 and 4 more." in page.words
    assert "the most different first: 3, 1." in page.words


def test_commands_are_listed_in_the_order_of_the_work(run: Path, tmp_path: Path) -> None:
    index = run / "decoder" / "module1-mse" / "audio" / "index.json"
    entries = json.loads(index.read_text())
    for entry in entries:
        if entry["group"] == "traversal":
            entry["command"] = ["/opt/bin/vgim", "decode", "traverse", str(run), "a b.flac", "--dims", "3"]
    index.write_text(json.dumps(entries))
    write_analysis(run)
    words = read(run).words.partition("Commands The commands behind this page")[2]
    told = (
        "vgim train",
        "vgim probe",
        f"vgim decode traverse {run} 'a b.flac' --dims 3",
        f"vgim latents {run} --all-modules",
        "vgim report",
    )
    places = [words.index(command) for command in told]
    assert places == sorted(places)
    assert words.count("vgim decode traverse") == 1


def test_nothing_is_fetched_and_every_picture_and_control_is_described(
    whole_run: Path, tmp_path: Path
) -> None:
    page = read(whole_run, out=str(tmp_path / "page.html"))
    for _, attributes in page.attributes:
        for name in ("src", "href", "data", "action"):
            assert (attributes.get(name) or "#").startswith(("data:", "#"))
    assert all(picture["alt"] and picture["width"] for picture in page.of("img"))
    assert all(sound["aria-label"] for sound in page.of("audio"))
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    ids = [attributes["id"] for _, attributes in page.attributes if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {link["href"] for link in page.of("a")}
    assert targets <= {f"#{one}" for one in ids}


def test_the_same_files_give_the_same_bytes(whole_run: Path, tmp_path: Path) -> None:
    pages = [write_report(str(whole_run), out=str(tmp_path / name)).read_bytes() for name in ("a", "b")]
    assert pages[0] == pages[1]


def test_collapse_and_failure_stand_at_the_top(run: Path) -> None:
    write_metrics(run, collapsed=True)
    record = json.loads((run / "run.json").read_text())
    record |= {"state": "failed", "message": "the loss of module 1 is not finite"}
    (run / "run.json").write_text(json.dumps(record))
    page = read(run)
    top = page.words.partition("What was trained Encoder")[0]
    assert "the run failed: the loss of module 1 is not finite" in top
    assert "Modules 0, 2 and 3 learned (validation InfoNCE" in top
    assert (
        "module 1 has collapsed (validation InfoNCE 1.792, 0.0% of the units active), so that latents" in top
    )
    assert (
        f"Next, to train with a lower KL weight: vgim train {run}/config.yaml objective.kld_weight=0.0001"
        in top
    )


def test_the_verdict_stands_first_with_the_main_chart_and_the_next_command(
    whole_run: Path, tmp_path: Path
) -> None:
    page = read(whole_run, out=str(tmp_path / "page.html"))
    top = page.words.partition("What was trained")[0]
    assert "Verdict All 4 modules learned (validation InfoNCE 0.728" in top
    assert "Phone probe: 65.0% (95 %: 59.0 to 70.0) from module 3, 20.0 points (" in top
    assert "The probes are of step 20, and the run is at step 300." in top
    assert f"Next, to probe the encoder of step 300: vgim probe {whole_run} --task phone --all-modules" in top
    assert top.index("Accuracy of a linear phone probe on the test split") > top.index("Verdict")


def test_a_page_without_probes_shows_infonce_at_its_top(run: Path) -> None:
    (run / "probes").rename(run / "elsewhere")
    top = read(run).words.partition("What was trained")[0]
    assert "InfoNCE (nats)" in top


def test_a_run_of_a_few_steps_is_not_said_to_look_collapsed(run: Path) -> None:
    write_metrics(run, num_records=3, collapsed=True)
    words = read(run).words
    assert "module 1 is at chance" in words
    assert "collapsed" not in words


def test_there_is_no_warning_of_a_module_that_has_recovered(run: Path) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        for number, word in enumerate(("collapsed", "recovered")):
            line = {"kind": "event", "step": 300 + number, "message": f"module 1 has {word}: so"}
            file.write(json.dumps({**line, "time": 0}) + "\n")
    assert "Before you read on" not in read(run).words


def test_the_page_of_a_fresh_run_shows_the_commands_for_missing_sections(
    config: RunConfig, tmp_path: Path
) -> None:
    run = tmp_path / "a run"
    write_run(run, config)
    page = read(run)
    for command in ("vgim probe", "vgim latents", "vgim decode train"):
        assert f"{command} '{run}'" in page.words


def test_the_page_keeps_its_limits_and_says_what_it_left_out(run: Path) -> None:
    page = read(run, limits=Limits(clips=2))
    assert len(page.of("audio")) == 10
    assert "2 of 3" in page.words
    assert "--clips 3" in page.words
    page = read(run, limits=Limits(megabytes=0.02))
    assert len(page.of("audio")) < 5
    assert "more would not fit into 0.02 MB" in page.words


def test_the_command_that_makes_room_works_for_any_path_and_limit(run: Path, tmp_path: Path) -> None:
    spaced = tmp_path / "with a space"
    shutil.copytree(run, spaced)
    words = read(spaced, limits=Limits(megabytes=0.02)).words
    assert f"vgim report '{spaced}' --max-mb 0.04 makes room" in words
    assert "--max-mb 24 makes room" in read(spaced, limits=Limits(megabytes=0)).words


def test_other_runs_stand_beside_it(run: Path, config: RunConfig, tmp_path: Path) -> None:
    other = tmp_path / "other"
    changed = config.model_copy(update={"optim": config.optim.model_copy(update={"learning_rate": 0.5})})
    write_run(other, changed)
    write_probes(other, changed, ["trained"])
    page = read(run, compare=[str(other), str(tmp_path / "none")])
    assert "optim.learning_rate: 0.001 → 0.5" in page.words
    assert "run other run state finished finished" in page.words
    assert "trained module 0 50.0 (44.0 to 55.0) 50.0 (44.0 to 55.0)" in page.words
    assert "mfcc 40.0 (34.0 to 45.0) – " in page.words
    assert "other: phone has no mfcc and no random baseline" in page.words
    assert f"{tmp_path}/none is left out: {tmp_path}/none is no run" in page.words


def test_a_damaged_run_does_not_hide_those_beside_it(run: Path, config: RunConfig, tmp_path: Path) -> None:
    other = tmp_path / "other"
    write_run(other, config)
    (run / "config.yaml").write_text("model: 3")
    page = read(run, compare=[str(other)])
    assert "config.yaml is left out: " in page.words
    assert "other run state finished family" in page.words.partition("Comparison")[2]
    assert "What differs" not in page.words
    (other / "config.yaml").write_text("model: 3")
    assert (2, "Comparison") not in read(run, compare=[str(other)]).headings


def test_a_run_may_lie_on_any_storage(run: Path, tmp_path: Path) -> None:
    remote = Location(f"mock://report/{tmp_path.name}")
    remote.upload_dir(run)
    page = write_report(remote.uri)
    assert page.uri == f"{remote.uri}/report.html"
    here = Reading(write_report(str(run)).read_text())
    there = Reading(page.read_text())
    assert len(there.of("audio")) == len(here.of("audio")) == 15
    assert len(there.pictures) == len(here.pictures) == 10


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is no run: it has no config\.yaml; name a run's folder"):
        write_report(str(tmp_path))


def test_decoders_and_modules_come_in_the_order_of_their_numbers(run: Path, config: RunConfig) -> None:
    write_analysis(run, module=10)
    write_analysis(run, module=2)
    write_decoder(run, config, "module0-mse")
    write_wav(run / "decoder" / "module0-mse" / "audio" / "sample0.wav")
    page = read(run)
    titles = [text for level, text in page.headings if level == 3]
    assert [t.split()[-1] for t in titles if t.startswith("Distribution")] == ["latents"] * 3
    assert page.words.index("latents module 2") < page.words.index("latents module 10")
    assert titles.index("module0-mse") < titles.index("module1-mse")


def test_a_study_of_few_labels_is_a_table_and_its_picture(run: Path) -> None:
    folder = run / "probes" / "phone-labels-module2"
    folder.mkdir()
    point = {"encoder": "trained", "features": "mean", "num_labels": 40, "accuracy": 0.625, "more": 1}
    points = [
        {**point, "labels_per_class": 10, "interval": {"low": 0.6, "high": 0.65}},
        {**point, "labels_per_class": None, "interval": None},
    ]
    study = {"task": "phone", "module": 2, "points": points, "majority": 0.2, "notes": ["of ten subsets"]}
    (folder / "result.json").write_text(json.dumps(study))
    (folder / "labels.png").write_bytes(png())
    page = read(run)
    assert (3, "Phone from few labels, module 2") in page.headings
    assert "10 trained mean 62.5% 60.0 to 65.0 40 all trained mean 62.5% – 40" in page.words
    assert "of ten subsets" in page.words
    assert len(page.pictures) == 11
    assert "left out" not in page.words
    (folder / "result.json").write_text('{"points": 1}')
    assert "probes/phone-labels-module2/result.json is left out" in read(run).words


def test_inner_convolutions_stand_before_their_modules_output(run: Path, config: RunConfig) -> None:
    write_probe(run, config, "phone", "trained", 1, layer=0, accuracy=0.123)
    page = read(run)
    assert page.words.index("1 layer 0 trained 12.3%") < page.words.index("1 trained 55.0%")
