"""A signal to an experiment that trains: what it leaves, and that the same command ends as if there had been none."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.experiment.cases import FILE, write_file
from tests.training.cases import assert_same, at_step, last_checkpoint, send
from vgim.errors import Interrupted
from vgim.experiment.job import run_experiment
from vgim.experiment.plan import Experiment, load_experiment
from vgim.experiment.results import RESULTS
from vgim.progress import MessagesOnly
from vgim.runs.folder import RunFolder
from vgim.signals import STOP_SIGNALS


def load(folder: Path, shards: Path) -> Experiment:
    folder.mkdir()
    return load_experiment(write_file(folder, shards, FILE), ["seeds=[0]"])


def states(experiment: Experiment) -> list[tuple[str, str] | None]:
    records = [RunFolder(run.location).record() for run in experiment.runs]
    return [record and (record.state, record.message) for record in records]


@pytest.fixture(scope="module")
def straight(tiny_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    experiment = load(tmp_path_factory.mktemp("straight") / "experiment", tiny_shards)
    run_experiment(experiment)
    return experiment


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_writes_the_step_under_way_and_the_same_command_ends_as_a_straight_one(
    tmp_path: Path,
    tiny_shards: Path,
    straight: Experiment,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
) -> None:
    experiment = load(tmp_path / "experiment", tiny_shards)
    at_step(monkeypatch, 3, send(number))
    with pytest.raises(Interrupted) as e:
        run_experiment(experiment, progress=MessagesOnly(print))
    assert e.value.exit_code == 128 + number
    # Its first run was trained at the signal, and the second had not begun.
    assert states(experiment) == [("interrupted", f"stopped by {number.name} at step 3, epoch 0"), None]
    assert last_checkpoint(experiment.runs[0].config).state.step == 3
    assert capsys.readouterr().out.endswith("0 of 2 runs finished; the same command does the rest\n")
    run_experiment(experiment, progress=MessagesOnly(print))
    assert states(experiment) == [("finished", "finished at step 4, epoch 0")] * 2
    for run, expected in zip(experiment.runs, straight.runs, strict=True):
        ours, theirs = last_checkpoint(run.config), last_checkpoint(expected.config)
        assert_same(ours.weights(), theirs.weights())
        assert_same(ours.optimizer(), theirs.optimizer())
    assert experiment.folder.child(RESULTS).exists()


def test_a_signal_in_the_last_step_of_a_run_lets_it_finish_and_begins_no_other(
    tmp_path: Path, tiny_shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = load(tmp_path / "experiment", tiny_shards)
    at_step(monkeypatch, 4, send(signal.SIGTERM))
    with pytest.raises(Interrupted) as e:
        run_experiment(experiment)
    assert e.value.exit_code == 143
    assert states(experiment) == [("finished", "finished at step 4, epoch 0"), None]
