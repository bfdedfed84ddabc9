"""An experiment trains its runs, continues, and goes on when one fails."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from tests.experiment.cases import FILE, write_file
from vgim.claims.claim import take_claim
from vgim.claims.ticket import ClaimHeldError, Work
from vgim.errors import ConfigError, DataError, Interrupted, TrainingError
from vgim.experiment import job
from vgim.experiment.folder import CONFIG, RECORD, ExperimentFolder
from vgim.experiment.job import run_experiment
from vgim.experiment.plan import Experiment, load_experiment
from vgim.progress import MessagesOnly
from vgim.runs.environment import utc_now
from vgim.runs.folder import RunFolder
from vgim.runs.listing import list_runs
from vgim.runs.metrics import read_metrics
from vgim.storage import Location


def load(folder: Path, shards: Path, *overrides: str, text: str = FILE) -> Experiment:
    return load_experiment(write_file(folder, shards, text), overrides)


def launches(experiment: Experiment) -> list[int]:
    records = [RunFolder(run.location).record() for run in experiment.runs]
    return [record.launches if record is not None else 0 for record in records]


def test_runs_are_ordinary_runs_and_are_trained_once(
    tmp_path: Path, tiny_shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = load(tmp_path, tiny_shards)
    run_experiment(experiment, progress=MessagesOnly(print))
    runs = list_runs(experiment.folder.child("runs").uri)
    assert [(run.name, run.state, run.step) for run in runs] == [
        (name, "finished", 4) for name in ("gim-seed0", "gim-seed1", "sim-seed0", "sim-seed1")
    ]
    assert experiment.folder.child(CONFIG).exists()
    assert not experiment.folder.child(RECORD).exists()
    run_experiment(experiment, progress=MessagesOnly(print))
    assert launches(experiment) == [1, 1, 1, 1]
    assert "sim-seed1: finished" in capsys.readouterr().out
    # more steps and another seed: the same runs go on
    more = load(tmp_path, tiny_shards, "train.max_steps=6", "seeds=[0,2]")
    run_experiment(more, progress=MessagesOnly(print))
    assert launches(more) == [2, 2, 1, 1]
    assert [list(read_metrics(run.location))[-1]["step"] for run in more.runs] == [6, 6, 6, 6]


def test_an_interrupted_experiment_continues(
    tmp_path: Path, tiny_shards: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = load(tmp_path, tiny_shards)
    train, trained = job.train, []

    def interrupted_train(resolved, **options):
        trained.append(resolved.config.storage.name)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return train(resolved, **options)

    monkeypatch.setattr(job, "train", interrupted_train)
    with pytest.raises(Interrupted):
        run_experiment(experiment, progress=MessagesOnly(print))
    assert capsys.readouterr().out.endswith(
        "interrupted; 1 of 4 runs finished; the same command does the rest\n"
    )
    assert not experiment.folder.child(RECORD).exists()
    run_experiment(experiment, progress=MessagesOnly(print))
    assert trained == ["sim-seed0", "gim-seed0", "gim-seed0", "sim-seed1", "gim-seed1"]


def test_a_failed_run_does_not_stop_the_others(tmp_path: Path, tiny_shards: Path) -> None:
    text = FILE.replace("[objective.kld_weight=0.002", "[optim.learning_rate=1e6")
    experiment = load(tmp_path, tiny_shards, text=text)
    with pytest.raises(
        TrainingError, match=r"2 parts of the experiment failed: sim-seed0 \(.*; sim-seed1 \("
    ):
        run_experiment(experiment)
    states = [RunFolder(run.location).record().state for run in experiment.runs]  # type: ignore[union-attr]
    assert states == ["failed", "finished", "failed", "finished"]


def test_changed_settings_name_the_runs_that_they_would_change(tmp_path: Path, tiny_shards: Path) -> None:
    run_experiment(load(tmp_path, tiny_shards, "seeds=[0]"))
    changed = load(
        tmp_path, tiny_shards, text=FILE.replace("objective.kld_weight=0.002", "objective.kld_weight=0.5")
    )
    with pytest.raises(
        ConfigError, match=r"other settings: sim-seed0 \(objective.kld_weight: 0.002 → 0.5\); set"
    ):
        run_experiment(changed)
    assert launches(changed) == [1, 1, 0, 0]


def test_missing_shards_and_labels_are_refused_before_the_first_step(
    tmp_path: Path, tiny_shards: Path
) -> None:
    text = FILE + "probes: [{tasks: [phone, syllable]}]\n"
    with pytest.raises(DataError, match="probes: --task syllable needs the syllables"):
        run_experiment(load(tmp_path, tiny_shards, text=text))
    text = FILE + f"probes: [{{tasks: [phone], shards: {tmp_path / 'nowhere'}}}]\n"
    with pytest.raises(DataError, match="nowhere"):
        run_experiment(load(tmp_path, tiny_shards, text=text))
    text = FILE + f"probes: [{{tasks: [mood], labels: {tmp_path / 'none.csv'}}}]\n"
    with pytest.raises(DataError, match="probes: there is no table of labels"):
        run_experiment(load(tmp_path, tiny_shards, text=text))
    with pytest.raises(ConfigError, match="task=mood is not a probe"):
        load(tmp_path, tiny_shards, text=FILE + "probes: [{tasks: [mood]}]\n")
    text = FILE + "probes: [{tasks: [phone], sampled: true}]\n"
    with pytest.raises(ConfigError, match="run gim has no posterior"):
        run_experiment(load(tmp_path, tiny_shards, text=text))
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_writes_nothing(
    tmp_path: Path, tiny_shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_experiment(load(tmp_path, tiny_shards), dry_run=True, progress=MessagesOnly(print))
    assert "4 runs, sim, gim with 2 seeds" in capsys.readouterr().out
    assert not (tmp_path / "runs").exists()


def test_two_processes_do_not_work_on_one_experiment(tmp_path: Path, tiny_shards: Path) -> None:
    experiment = load(tmp_path, tiny_shards)
    with (
        take_claim(experiment.folder, Work("", "")),
        pytest.raises(ClaimHeldError, match=f"process {os.getpid()} is working on the experiment"),
    ):
        run_experiment(experiment)
    assert experiment.folder.list() == [".claim"]


def test_a_process_of_an_older_vgim_keeps_its_experiment(
    tmp_path: Path, tiny_shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = load(tmp_path, tiny_shards)
    record = {"host": socket.gethostname(), "pid": os.getppid(), "started": utc_now()}
    experiment.folder.child(RECORD).write_bytes_atomic(json.dumps(record).encode())
    monkeypatch.setattr("vgim.runs.claim.is_python_since", lambda pid, timestamp: pid == os.getppid())
    with pytest.raises(ClaimHeldError, match=f"process {os.getppid()} is working on the experiment"):
        run_experiment(experiment)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[1]",
        '{"pid": 1}',
        '{"pid": "1", "host": 3}',
        f'{{"pid": {10**30}, "host": "h"}}',
        "[" * 10_000,
    ],
)
def test_a_damaged_claim_is_no_process(tmp_path: Path, text: str) -> None:
    folder = ExperimentFolder(Location(str(tmp_path)))
    folder.location.child(RECORD).write_bytes_atomic(text.encode())
    folder.check_free()
