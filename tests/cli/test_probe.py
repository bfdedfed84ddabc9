"""`vgim probe`: what it passes on, what it prints, what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
from click.testing import CliRunner, Result

from vgim.cli import main
from vgim.cli.groups import GroupedCommand
from vgim.cli.probe import probe as probe_command
from vgim.cluster.tasks import run_tasks
from vgim.config import ResolvedConfig
from vgim.downstream.job import SEEDS_IDLE
from vgim.downstream.probe_plan import one_after_the_other


def vgim(*args: str) -> Result:
    return CliRunner().invoke(main, args)


@pytest.fixture(scope="module")
def run(tiny_config_in: Callable[..., ResolvedConfig], tmp_path_factory: pytest.TempPathFactory) -> Path:
    from vgim.training.trainer import train

    resolved = tiny_config_in(tmp_path_factory.mktemp("cli-probe"), "train.max_steps=2")
    train(resolved)
    return Path(resolved.config.storage.root, "run")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the job was given, which does nothing."""
    given: list[Any] = []

    def probe_many(runs: list[str], wanted: list[Any], **how: object) -> tuple[list[object], None]:
        how.pop("progress")
        given.extend([*runs, *wanted, how])
        return [], None

    monkeypatch.setattr("vgim.downstream.job.probe_many", probe_many)
    return given


def test_it_prints_a_table_and_writes_below_the_run(run: Path) -> None:
    result = vgim("probe", str(run), "--task", "speaker", "--encoder", "trained", "--encoder", "mfcc")
    assert result.exit_code == 0, result.stderr
    header, trained, mfcc = result.stdout.splitlines()
    assert header.split()[:4] == ["encoder", "step", "module", "accuracy"]
    assert trained.split()[:3] == ["trained", "2", "3"]
    assert mfcc.split()[:3] == ["mfcc", "-", "-"]
    assert "speaker from trained module 3, seed 0: " in result.stderr
    assert (run / "probes" / "speaker-mfcc" / "result.json").exists()


def test_notes_that_results_carry_stand_below_the_table(run: Path) -> None:
    args = ("probe", str(run), "--task", "phone", "--encoder", "trained", "--encoder", "mfcc", "--seeds", "2")
    for kind in ((), ("--encoder", "random")):
        result = vgim(*args, *kind)
        assert result.exit_code == 0, result.stderr
        idle, few = result.stdout.splitlines()[-2:]
        assert few.startswith("note: the test examples are of 4 utterances, which tell little")
        assert idle == f"note: {'trained module 3 and mfcc: ' if kind else ''}{SEEDS_IDLE}"
        assert result.stdout.count("note: ") == 2


def test_as_json_it_prints_the_records(run: Path) -> None:
    result = vgim("probe", str(run), "--task", "speaker", "--module", "0", "--json")
    (record,) = json.loads(result.stdout)
    assert record == json.loads((run / "probes" / "speaker-trained-module0" / "result.json").read_text())


def test_a_bare_name_is_a_run_at_home_and_defaults_are_the_last_module_and_checkpoint(
    asked: list[Any], vgim_home: Path
) -> None:
    assert vgim("probe", "sim-4", "--task", "phone").exit_code == 0
    where, options, how = asked
    assert where == f"{vgim_home}/runs/sim-4"
    assert how == {"all_epochs": False, "runner": one_after_the_other, "pdf": False, "goes_on": True}
    assert (options.module, options.encoders, options.checkpoint) == (-1, ("trained",), "last")
    assert (options.solver, options.bias, options.seeds, options.shards) == ("lbfgs", True, 1, None)


def test_every_option_is_passed_on(asked: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    flags = "--all-epochs --all-modules --sampled --whole-utterances --no-bias --solver adam"
    layers = "--layer -1 --all-layers --concat --supervised-epochs 7 --cache-features"
    numbers = "--pdf --seeds 3 --patience 2 --max-utterances 9 --device cpu --shards sh"
    encoders = "--encoder random --encoder mfcc --encoder random"
    adam = "--protocol published --epochs 4 --learning-rate 0.1 --batch-size 8 --clip-norm 2"
    words = f"{flags} {layers} {numbers} {encoders} {adam}".split()
    assert vgim("probe", "runs/x", "--task", "vowel", *words).exit_code == 0
    where, options, how = asked
    assert where == f"{tmp_path}/runs/x"
    assert how["all_epochs"]
    assert how["pdf"]
    assert options.model_dump() == {
        "task": "vowel",
        "labels": None,
        "encoders": ("random", "mfcc"),
        "module": None,
        "layer": -1,
        "all_layers": True,
        "concat": True,
        "checkpoint": "last",
        "protocol": "published",
        "solver": "adam",
        "epochs": 4,
        "learning_rate": 0.1,
        "batch_size": 8,
        "clip_norm": 2.0,
        "seeds": 3,
        "sampled": True,
        "whole_utterances": True,
        "bias": False,
        "shards": f"{tmp_path}/sh",
        "max_utterances": 9,
        "patience": 2,
        "supervised_epochs": 7,
        "cache_features": True,
        "device": "cpu",
    }


def test_modules_to_read_side_by_side_are_a_list_of_numbers(asked: list[Any]) -> None:
    assert vgim("probe", "runs/x", "--task", "vowel").exit_code == 0
    assert asked[1].concat is False
    asked.clear()
    assert vgim("probe", "runs/x", "--task", "vowel", "--concat-modules", "0,2,-1").exit_code == 0
    assert asked[1].concat == (0, 2, -1)
    asked.clear()
    refused = vgim("probe", "runs/x", "--task", "vowel", "--concat-modules", "last")
    assert refused.exit_code == 2
    assert "--concat-modules last is no list of modules; write their numbers, such as 0,2,3" in refused.stderr
    assert not asked


@pytest.mark.parametrize("option", ["--learning-rate", "--clip-norm"])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_number_that_is_not_finite_is_one_line(asked: list[Any], option: str, value: str) -> None:
    result = vgim("probe", "runs/x", "--task", "vowel", "--solver", "adam", option, value)
    assert result.exit_code == 2
    assert (
        f"Invalid value for '{option}': {value} is not finite; give a number such as 0.001" in result.stderr
    )
    assert not asked


def test_runs_and_tasks_are_probed_each_once_by_as_many_workers(
    asked: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tasks = "--task phone --task speaker --task phone"
    cluster = "--workers 3 --address auto --device cpu"
    assert vgim("probe", "runs/x", "y", "./runs/x", *f"{tasks} {cluster}".split()).exit_code == 0
    *where, phone, speaker, how = asked
    assert [Path(run).name for run in where] == ["x", "y"]
    assert (phone.task, speaker.task) == ("phone", "speaker")
    assert how["runner"].func is run_tasks
    assert how["runner"].keywords == {"workers": 3, "device": "cpu", "address": "auto", "progress": ANY}


def test_the_tables_of_several_are_told_apart_and_a_failure_leaves_the_others(
    run: Path, tmp_path: Path
) -> None:
    result = vgim("probe", str(run), f"{tmp_path}/none", "--task", "speaker", "--task", "vowel")
    assert result.exit_code == 3
    assert result.stdout.splitlines()[0] == "run, speaker:"
    assert result.stdout.splitlines()[2].startswith("trained")
    told = [line for line in result.stderr.splitlines() if " failed: " in line]
    assert [line.partition(" failed: ")[0] for line in told] == [
        "run vowel",
        "none speaker",
        "none vowel",
        "error: 3 of 4 probes",
    ]


def test_mistakes_are_one_line_and_an_exit_code(run: Path, tmp_path: Path) -> None:
    for args, code, words in (
        (
            [str(run), "--task", "speaker", "--module", "9"],
            2,
            "--module 9, but the run's encoder has 4 modules",
        ),
        ([str(run), "--task", "speaker", "--module", "1", "--all-modules"], 2, "exclude each other"),
        ([str(run), "--task", "speaker", "--all-epochs", "--checkpoint", "best"], 2, "exclude each other"),
        ([f"{tmp_path}/none", "--task", "speaker", "--all-epochs"], 4, "is no run: it has no config.yaml"),
        (
            [f"{run}/checkpoints/step-00000002", "--task", "speaker", "--all-epochs"],
            2,
            "is one checkpoint; name its run",
        ),
        ([str(run), "--task", "speaker", "--address", "auto"], 2, "no effect without Ray; give --workers"),
        ([str(run), "--task", "vowel"], 3, "--task vowel needs the syllables of Artificial Speech"),
        ([f"{tmp_path}/none", "--task", "speaker"], 4, "is no run: it has no config.yaml"),
    ):
        result = vgim("probe", *args)
        assert (result.exit_code, result.stdout) == (code, "")
        assert words in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_the_job_takes_what_the_command_takes() -> None:
    script = Path(__file__).parents[2] / "ray_jobs" / "probe.py"
    said = subprocess.check_output([sys.executable, script, "--help"], text=True)
    ours = vgim("probe", "--help").stdout
    assert "--solver" in ours.partition("What is measured:")[2]
    assert said.partition("What is measured:")[2].split() == ours.partition("What is measured:")[2].split()


def test_help_lists_every_option_once_under_a_heading() -> None:
    command = probe_command.commands[""]
    assert isinstance(command, GroupedCommand)
    grouped = [name for names in command.groups.values() for name in names]
    assert sorted(grouped) == sorted(param.name or "" for param in command.params if param.name != "runs")
    said = vgim("probe", "--help").stdout
    assert all(f"\n{heading}:\n" in said for heading in command.groups)


def test_without_a_task_all_are_probed_that_the_shards_have_labels_for(
    run: Path, asked: list[Any], tmp_path: Path
) -> None:
    result = vgim("probe", str(run))
    assert result.exit_code == 0, result.stderr
    assert [options.task for options in asked[1:-1]] == ["speaker", "phone"]
    assert result.stderr == "tasks: speaker, phone, for which the shards have labels; --task chooses\n"
    refused = vgim("probe", str(run), "--labels-per-class", "1,2")
    assert refused.exit_code == 2
    assert "give one --task" in refused.stderr
    missing = vgim("probe", f"{tmp_path}/none")
    assert missing.exit_code == 4
    assert "is no run: it has no config.yaml" in missing.stderr


def test_a_table_gives_tasks_of_its_columns(run: Path, asked: list[Any], tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("id,mood,same,Of whom?\na,calm,x,\nb,angry,x,\n")
    result = vgim("probe", str(run), "--labels", str(table))
    assert result.exit_code == 0, result.stderr
    assert [(options.task, options.labels) for options in asked[1:-1]] == [("mood", str(table))]
    unnamed, left_out, tasks = result.stderr.splitlines()
    assert unnamed.startswith(f"note: {table} has a column 'of whom?', which cannot name a task;")
    assert unnamed.endswith("; it is left out")
    assert left_out.startswith(f"note: {table}, column same: it has only 'x'")
    assert tasks == f"tasks: mood, the columns of {table}; --task chooses"
    asked.clear()
    assert vgim("probe", str(run), "--labels", str(table), "--task", "phone", "--task", "mood").exit_code == 0
    assert [(options.task, options.labels) for options in asked[1:-1]] == [
        ("phone", None),
        ("mood", str(table)),
    ]
    for words, told in (
        (["--labels", str(table), "--task", "tone"], "has the columns mood, same; use one of them"),
        (["--labels", str(table), "--task", "of whom?"], "has a column 'of whom?', which cannot name a task"),
        (["--labels", str(table), "--task", "phone"], "has no effect on --task phone"),
        (["--task", "mood"], "--task mood is not a task; use speaker, phone"),
        (["--labels", str(table), "--task", "mood", "--task", "phone", "--labels-per-class", "1"], "--task"),
        (["--labels", f"{table}x"], "there is no table of labels"),
    ):
        refused = vgim("probe", str(run), *words)
        assert refused.exit_code in (2, 3)
        assert told in refused.stderr


def test_shards_without_labels_are_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vgim.downstream.probes.registry.available_probes", lambda manifest: {})
    result = vgim("probe", str(run))
    assert result.exit_code == 3
    assert "no labels in common that a probe can learn" in result.stderr


def test_an_interrupted_command_says_that_the_same_command_does_the_rest(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vgim.downstream.job.probe_many", stop)
    result = vgim("probe", str(run), "--task", "speaker")
    assert result.exit_code == 130
    assert "finished results are written, and the same command computes the rest" in result.stderr


def test_a_job_refuses_places_in_its_throw_away_copy(
    asked: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "working_dir_files" / "pkg"
    scratch.mkdir(parents=True)
    monkeypatch.chdir(scratch)
    for args, key in ((["runs/x"], "RUN=runs/x"), (["/shared/x", "--shards", "sh"], "--shards=sh")):
        result = vgim("probe", *args, "--task", "phone")
        assert result.exit_code == 2
        assert f"{key} is relative, and a job's working directory" in result.stderr
    assert asked == []


def test_a_pdf_without_matplotlib_is_refused_before_the_probe(
    asked: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = vgim("probe", str(tmp_path), "--task", "speaker", "--pdf")
    assert result.exit_code == 2
    assert "--pdf, but matplotlib is not installed; pip install 'vgim[analysis]'" in result.stderr
    assert asked == []
