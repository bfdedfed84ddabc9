"""Runs are read from their folders; what is missing, damaged or does not compare is noted."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from vgim.cli import main
from vgim.compare.picture import comparison_picture
from vgim.compare.read import compare
from vgim.compare.table import as_markdown, as_text, comparison_table
from vgim.errors import CheckpointError, ConfigError
from vgim.plotting import as_png
from vgim.pretrained.encoder import load_encoder


def test_metrics_cost_and_parameters_are_those_of_the_run(runs: tuple[Path, Path]) -> None:
    (run,) = compare([str(runs[0])]).runs
    lines = [json.loads(line) for line in (runs[0] / "metrics.jsonl").read_text().splitlines()]
    last = [line for line in lines if line["kind"] == "validation"][-1]
    assert [m.nce for m in run.modules] == [m["nce"] for m in last["modules"]]
    assert [m.kl_per_element is None for m in run.modules] == [False, False, False, True]
    assert [m.kl_per_frame for m in run.modules[:3]] == pytest.approx(
        [m["kl_per_frame"] for m in last["modules"][:3]]
    )
    assert run.modules[3].kl_per_frame is None
    assert run.cost is not None
    steps = [line["compute_s"] for line in lines if line["kind"] == "train"]
    assert run.cost.step_s == pytest.approx(sum(steps))
    assert (run.cost.utterances, run.step, run.workers) == (80, 20, 0)
    every = sum(p.numel() for p in load_encoder(str(runs[0])).encoder.parameters())
    assert run.encoder_parameters + run.predictor_parameters == every
    assert run.predictor_parameters == 4 * 3 * 8 * 8  # modules, steps, channels


def test_a_module_at_chance_without_active_units_is_flagged_where_it_has_had_the_steps_to_learn(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    run = Path(shutil.copytree(runs[0], tmp_path / "fallen"))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    last = {line["kind"]: line for line in lines}
    figures = ((1.7, 0.0), (1.79, 0.0), (1.79, 0.9), (1.7, 0.9))  # chance is ln 6 = 1.7918
    for module, (nce, active) in zip(last["validation"]["modules"], figures, strict=True):
        module |= {"nce": nce, "active_units": active}

    def collapsed(step: int) -> list[bool | None]:
        records = [last["train"] | {"step": step}, last["validation"] | {"step": step}]
        with (run / "metrics.jsonl").open("a") as out:
            out.write("".join(json.dumps(record) + "\n" for record in records))
        return [module.collapsed for module in compare([str(run)]).runs[0].modules]

    assert collapsed(100) == [False] * 4  # it has not begun
    assert collapsed(208) == [False, True, False, False]  # the warm-up and objective.collapse_patience_steps


def test_what_does_not_compare_does_not_read_or_is_old_is_noted(runs: tuple[Path, Path]) -> None:
    notes = "\n".join(compare([str(run) for run in runs]).notes)
    for words in (
        "two: probes/foreign/result.json is left out",
        "two: probes/cut/result.json is left out",
        "two: probes/bytes/result.json is left out",
        "two: speaker has no mfcc and no random baseline",
        "two: probed at step 10, and its newest checkpoint is of step 20",
        "trained on different data",
        "objective.num_negatives is 5 or 6",
    ):
        assert words in notes
    assert compare([str(runs[0])]).notes == ()


def test_heads_that_differ_are_noted_and_counted(runs: tuple[Path, Path], tmp_path: Path) -> None:
    folders = []
    for head in ("none", "linear"):
        folder = tmp_path / head
        folder.mkdir()
        config = (runs[0] / "config.yaml").read_text()
        config = config.replace("family: sim", "family: gim").replace("head: none", f"head: {head}")
        (folder / "config.yaml").write_text(re.sub("kld_weight: .*", "kld_weight: 0", config))
        folders.append(str(folder))
    compared = compare([*folders, str(runs[0])])
    assert [run.head for run in compared.runs] == ["none", "linear", None]
    assert "runs of family gim differ in model.head: none in none; linear in linear" in compared.notes
    plain, headed, _ = (run.encoder_parameters for run in compared.runs)
    assert headed - plain == 3 * (8 * 8 + 8)  # a head for each module with convolutions
    assert not any("model.head" in note for note in compare([folders[0], str(runs[0])]).notes)
    bare = tmp_path / "bare"
    bare.mkdir()
    config = (runs[0] / "config.yaml").read_text()
    (bare / "config.yaml").write_text(config.replace("relus: []", "relus: [true, false, true, true, true]"))
    notes = compare([str(runs[0]), str(bare)]).notes
    assert (
        "runs of family sim differ in model.relus: all in one; [true, false, true, true, true] in bare"
        in notes
    )


def test_kl_weights_of_different_widths_are_noted(runs: tuple[Path, Path], tmp_path: Path) -> None:
    wide = Path(shutil.copytree(runs[0], tmp_path / "wide"))
    text = (wide / "config.yaml").read_text()
    assert "channels: 8\n" in text
    (wide / "config.yaml").write_text(text.replace("channels: 8\n", "channels: 16\n"))
    (note,) = compare([str(runs[0]), str(wide)]).notes
    assert "kld_weight does not compare" in note
    assert "2 times as much in module 0 of one as in module 0 of wide" in note


@pytest.mark.parametrize(
    ("steps", "notes"),
    [
        ("[32, 3, 3, 3]", ["InfoNCE does not compare: objective.prediction_steps is 3 or [32, 3, 3, 3]"]),
        ("[3, 3, 3, 3]", []),
    ],
)
def test_steps_that_differ_in_a_module_are_noted(
    runs: tuple[Path, Path], tmp_path: Path, steps: str, notes: list[str]
) -> None:
    other = Path(shutil.copytree(runs[0], tmp_path / "other"))
    text = (other / "config.yaml").read_text()
    assert "prediction_steps: 3\n" in text
    (other / "config.yaml").write_text(text.replace("prediction_steps: 3\n", f"prediction_steps: {steps}\n"))
    compared = compare([str(runs[0]), str(other)])
    assert list(compared.notes) == notes
    first, second = (run.predictor_parameters for run in compared.runs)
    assert second - first == (29 * 8 * 8 if notes else 0)


def test_a_run_without_record_or_metrics_has_unknown_values(runs: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copy(runs[0] / "config.yaml", tmp_path / "config.yaml")
    (run,) = compare([str(tmp_path)]).runs
    assert (run.state, run.cost, run.probes, run.modules[0].nce) == (None, None, (), None)
    (tmp_path / "run.json").write_text("{}")
    comparison = compare([str(tmp_path)])
    assert "its record or metrics cannot be read" in comparison.notes[0]
    assert as_png(comparison_picture(comparison))


def test_a_folder_that_is_no_run_is_refused(runs: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is no run"):
        compare([str(runs[0]), str(tmp_path)])
    with pytest.raises(ConfigError, match="is one checkpoint; name its run"):
        compare([str(runs[0] / "checkpoints" / "step-00000020")])


def test_the_command_prints_and_writes(runs: tuple[Path, Path], tmp_path: Path) -> None:
    files = [f"--{kind}={tmp_path}/{kind}" for kind in ("csv", "markdown", "picture")]
    result = CliRunner().invoke(main, ["compare", *map(str, runs), *files])
    assert result.exit_code == 0, result.stderr
    table = comparison_table(compare([str(run) for run in runs]))
    assert result.stdout == as_text(table) + "\n"
    assert (tmp_path / "markdown").read_text() == as_markdown(table)
    assert (tmp_path / "picture").read_bytes().startswith(b"\x89PNG")
    command = ["compare", *map(str, runs), f"--picture={tmp_path}/runs.pdf"]
    assert CliRunner().invoke(main, command).exit_code == 0
    assert (tmp_path / "runs.pdf").read_bytes().startswith(b"%PDF")
    records = json.loads(CliRunner().invoke(main, ["compare", str(runs[0]), "--json"]).stdout)
    assert records["runs"][0]["verdict"]["modules"][0]["state"] == "chance"
    assert records["runs"][0]["name"] == "one"
