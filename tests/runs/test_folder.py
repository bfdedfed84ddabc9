"""A run's folder belongs to one config and one data set, and a finished run is left alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.training.cases import last_checkpoint, records, run_location
from vgim.config import ResolvedConfig, RunConfig, from_yaml
from vgim.data.shards.manifest import fingerprint, read_manifest, write_manifest
from vgim.errors import CheckpointError, ConfigError, DataError, StorageError, TrainingError
from vgim.progress import MessagesOnly
from vgim.runs.folder import Attempt, RunFolder, RunRecord
from vgim.runs.listing import format_runs, list_runs
from vgim.storage import Location
from vgim.training.errors import NotFiniteError, error_of
from vgim.training.trainer import train

Maker = Callable[..., ResolvedConfig]
FINGERPRINT = "a" * 64


def claim(resolved: ResolvedConfig, fingerprint: str = FINGERPRINT) -> tuple[RunFolder, RunRecord | None]:
    folder = RunFolder(run_location(resolved.config))
    return folder, folder.claim(resolved.config, fingerprint)


def record_of(folder: RunFolder) -> RunRecord:
    record = folder.record()
    assert record is not None
    return record


def files_of(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Time and content of each file."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def other_process() -> Iterator[subprocess.Popen[bytes]]:
    """A live Python process that is not this one."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()
    assert process.stdin is not None
    process.stdin.close()


def test_a_new_run_notes_what_it_is(tiny_config: Maker) -> None:
    resolved = tiny_config("train.seed=5")
    folder, earlier = claim(resolved)
    assert earlier is None
    assert folder.config() == resolved.config
    record = record_of(folder)
    assert (record.state, record.launches, record.pid) == ("running", 1, os.getpid())
    assert (record.seed, record.family, record.kld_weight) == (5, "sim", 0.001)
    assert record.data_fingerprint == FINGERPRINT
    assert record.versions.keys() == {"python", "vgim", "torch", "ray", "numpy", "pyarrow"}
    assert record.command == tuple(sys.argv)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run counts as one that has a checkpoint."""
    monkeypatch.setattr("vgim.runs.folder.complete_checkpoints", lambda run: [run])


def test_a_run_without_a_checkpoint_gives_its_name_to_another_config(tiny_config: Maker) -> None:
    folder, _ = claim(tiny_config("train.batch_size=400"))
    folder.set_state("failed", "too few crops")
    claim(tiny_config("train.batch_size=4"), "b" * 64)
    found = folder.config()
    assert found is not None
    assert (found.train.batch_size, record_of(folder).data_fingerprint) == (4, "b" * 64)


@pytest.mark.usefixtures("trained")
def test_another_config_under_the_name_is_refused_with_the_difference(tiny_config: Maker) -> None:
    folder, _ = claim(tiny_config())
    before = files_of(folder.location.local_path)
    with pytest.raises(ConfigError) as e:
        claim(tiny_config("model.channels=16", "train.seed=3"))
    assert "model.channels: 8 → 16; train.seed: 0 → 3" in str(e.value)
    assert "storage.name of its own" in str(e.value)
    assert "\n" not in str(e.value)
    assert files_of(folder.location.local_path) == before


def test_keys_that_change_no_step_may_differ(tiny_config: Maker) -> None:
    folder, _ = claim(tiny_config())
    longer = tiny_config("train.epochs=7", "train.max_steps=9", "cluster.workers=2", "train.keep_last=5")
    _, earlier = claim(longer)
    assert earlier is not None
    assert record_of(folder).launches == 2
    assert record_of(folder).created == earlier.created
    assert folder.config() == longer.config


@pytest.mark.usefixtures("trained")
def test_other_data_is_refused_with_both_fingerprints(tiny_config: Maker) -> None:
    claim(tiny_config())
    with pytest.raises(DataError, match=r"was trained on data aaaaaaaaaaaa, but .* holds bbbbbbbbbbbb"):
        claim(tiny_config(), "b" * 64)


def test_a_run_that_a_live_process_trains_is_refused(
    tiny_config: Maker, other_process: subprocess.Popen[bytes]
) -> None:
    folder, _ = claim(tiny_config())
    record = record_of(folder)
    folder.write(record.model_copy(update={"pid": other_process.pid}))
    with pytest.raises(TrainingError, match=f"process {other_process.pid} is training the run"):
        claim(tiny_config())
    folder.set_state("interrupted")
    claim(tiny_config())  # it said that it stopped


def test_a_run_whose_process_is_gone_is_taken_over(
    tiny_config: Maker, other_process: subprocess.Popen[bytes]
) -> None:
    folder, _ = claim(tiny_config())
    folder.write(record_of(folder).model_copy(update={"pid": other_process.pid}))
    other_process.kill()
    other_process.wait()
    _, earlier = claim(tiny_config())
    assert earlier is not None
    assert record_of(folder).pid == os.getpid()


def test_a_record_that_does_not_read_is_told(tiny_config: Maker) -> None:
    folder, _ = claim(tiny_config())
    folder.location.child("run.json").write_bytes_atomic(b'{"name": "x"')
    with pytest.raises(StorageError, match=r"run\.json does not read as a run's record") as e:
        claim(tiny_config())
    assert "\n" not in str(e.value)


def test_training_leaves_the_folder_that_the_design_names(
    tiny_config: Maker, capsys: pytest.CaptureFixture[str]
) -> None:
    resolved = tiny_config("train.epochs=1", "train.max_steps=4", "train.checkpoint_every_steps=2")
    assert train(resolved, progress=MessagesOnly(print)) == 0
    run = run_location(resolved.config)
    assert run.list() == [".claim", "checkpoints", "config.yaml", "metrics.jsonl", "run.json", "tensorboard"]
    assert run.child("checkpoints").list() == ["index.json", "step-00000002", "step-00000004"]
    assert from_yaml(run.child("config.yaml").read_text()) == resolved.config
    record = record_of(RunFolder(run))
    assert (record.state, record.message) == ("finished", "finished at step 4, epoch 0")
    state = last_checkpoint(resolved.config).state
    assert (
        state.data_fingerprint
        == record.data_fingerprint
        == read_manifest(resolved.config.data.shards).fingerprint
    )
    printed = capsys.readouterr().out
    assert f"run folder: {run.uri}" in printed
    assert "tensorboard --logdir" in printed
    assert "weights drawn afresh from seed 0" in printed
    assert printed.endswith(f"finished at step 4, epoch 0: {run.uri}\n")


def test_a_finished_run_is_left_alone_and_says_how_to_go_on(
    tiny_config: Maker, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tiny_config("train.max_steps=3"))
    folder = run_location(tiny_config().config).local_path
    before = files_of(folder)
    capsys.readouterr()
    assert train(tiny_config("train.max_steps=3"), progress=MessagesOnly(print)) == 0
    after = files_of(folder)
    for name in before.keys() - {"run.json", "config.yaml"}:
        assert after[name] == before[name], name
    assert {name: content for name, (_, content) in after.items()} == {
        name: content for name, (_, content) in before.items()
    }
    assert (
        "is finished (finished at step 3, epoch 0); raise train.max_steps to go on" in capsys.readouterr().out
    )


def test_a_finished_run_goes_on_when_it_is_given_more_steps(tiny_config: Maker) -> None:
    train(tiny_config("train.max_steps=3"))
    train(tiny_config("train.max_steps=5"))
    config = tiny_config().config
    assert last_checkpoint(config).state.step == 5
    assert record_of(RunFolder(run_location(config))).launches == 2
    assert [r["step"] for r in records(run_location(config), "train")] == [1, 2, 3, 4, 5]


def test_a_finished_run_still_refuses_another_config(tiny_config: Maker) -> None:
    train(tiny_config("train.max_steps=3"))
    with pytest.raises(ConfigError, match=r"model\.channels: 8 → 16"):
        train(tiny_config("train.max_steps=3", "model.channels=16"))
    assert record_of(RunFolder(run_location(tiny_config().config))).state == "finished"


def test_shards_prepared_anew_from_other_audio_are_refused(
    tiny_config: Maker, tiny_shards: Path, tmp_path: Path
) -> None:
    train(tiny_config("train.max_steps=2"))
    other = tmp_path / "other"
    shutil.copytree(tiny_shards, other)
    manifest = read_manifest(other)
    test = manifest.splits["test"]
    of_other_audio = (test.shards[0].model_copy(update={"sha256": "c" * 64}), *test.shards[1:])
    splits = {**manifest.splits, "test": test.model_copy(update={"shards": of_other_audio})}
    now = fingerprint(shard for split in splits.values() for shard in split.shards)
    write_manifest(Location(other), manifest.model_copy(update={"splits": splits, "fingerprint": now}))
    with pytest.raises(
        DataError, match=rf"was trained on data [0-9a-f]{{12}}, but .*/other holds {now[:12]}"
    ):
        train(tiny_config("train.max_steps=4", f"data.shards={other}"))
    moved = tmp_path / "moved"
    shutil.copytree(tiny_shards, moved)  # the same data elsewhere is the same data
    assert train(tiny_config("train.max_steps=4", f"data.shards={moved}")) == 0


def test_storage_with_a_file_in_the_way_is_told_before_anything_starts(
    tiny_config: Maker, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file/runs") as e:
        train(tiny_config(f"storage.root={tmp_path}/file/runs"))
    assert "\n" not in str(e.value)


def test_a_shard_missing_from_the_start_is_told_before_a_run_is_begun(
    tiny_config: Maker, tiny_shards: Path, tmp_path: Path
) -> None:
    lacking = tmp_path / "lacking"
    shutil.copytree(tiny_shards, lacking)
    (lacking / "train" / "00000.parquet").unlink()
    with pytest.raises(DataError, match=r"train/00000\.parquet is missing"):
        train(tiny_config(f"data.shards={lacking}"))
    assert not run_location(tiny_config().config).exists()


@pytest.mark.parametrize(
    ("fault", "error"),
    [(NotFiniteError("module 1 is bad"), TrainingError), (CheckpointError("no room"), CheckpointError)],
)
def test_a_failed_run_says_why_and_can_be_continued(
    tiny_config: Maker, monkeypatch: pytest.MonkeyPatch, fault: Exception, error: type[Exception]
) -> None:
    from vgim.training.loop import RankTrainer

    def fail(self: RankTrainer) -> str:
        raise fault

    with monkeypatch.context() as patch:
        patch.setattr(RankTrainer, "run", fail)
        with pytest.raises(error):
            train(tiny_config("train.max_steps=2"))
    folder = RunFolder(run_location(tiny_config().config))
    assert (record_of(folder).state, record_of(folder).message) == ("failed", str(fault))
    revived = error_of(record_of(folder))
    assert (type(revived), str(revived)) == (type(fault), str(fault))
    assert train(tiny_config("train.max_steps=2")) == 0
    assert record_of(folder).state == "finished"


def test_a_stopped_run_says_so_and_goes_on_with_the_same_command(
    tiny_config: Maker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from vgim.training.loop import RankTrainer

    settings = ("train.epochs=1", "train.checkpoint_every_steps=3")
    log = RankTrainer._log

    def stop(self: RankTrainer, record: dict[str, Any], *more: Any) -> None:
        log(self, record, *more)
        if record["step"] == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RankTrainer, "_log", stop)
        with pytest.raises(KeyboardInterrupt):
            train(tiny_config(*settings), progress=MessagesOnly(print))
    folder = RunFolder(run_location(tiny_config().config))
    assert record_of(folder).state == "interrupted"
    assert "interrupted; the same command continues from the checkpoint of step 3" in capsys.readouterr().out
    assert train(tiny_config(*settings), progress=MessagesOnly(print)) == 0
    printed = capsys.readouterr().out
    assert "continuing from this run's checkpoint" in printed
    assert "step-00000003 (step 3, epoch 0, 3 steps into it)" in printed
    assert record_of(folder).state == "finished"


def test_the_embedded_corpus_is_made_where_the_config_asks_for_it_and_only_once(
    tiny_config: Maker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [
        f"data.shards={tmp_path}/new",
        "data.synthetic.speakers=2",
        "data.synthetic.utterances=12",
        "data.synthetic.seed=1",
        "train.epochs=1",
    ]
    assert train(tiny_config(*settings), progress=MessagesOnly(print)) == 0
    assert "making the embedded corpus in" in capsys.readouterr().out
    made = files_of(tmp_path / "new")
    assert train(tiny_config(*settings, "storage.name=again")) == 0
    assert "making the embedded corpus in" not in capsys.readouterr().out
    assert files_of(tmp_path / "new") == made


def test_a_config_survives_its_folder(tiny_config: Maker) -> None:
    config: RunConfig = tiny_config("data.normalize=utterance", "optim.learning_rate=0.00017").config
    folder, _ = claim(tiny_config("data.normalize=utterance", "optim.learning_rate=0.00017"))
    assert folder.config() == config


def test_a_resize_is_no_lost_worker(tiny_config: Maker) -> None:
    config = tiny_config("cluster.workers=1..4").config
    folder = RunFolder(run_location(config))
    assert folder.begin_attempt(2) == Attempt()  # nobody has claimed the folder
    folder.claim(config, "f" * 64)
    assert folder.begin_attempt(2) == Attempt(lost=0, world_size_before=0)
    folder.begin_resize()
    folder.begin_resize()  # the cluster has changed again before workers began
    assert folder.begin_attempt(4) == Attempt(lost=0, world_size_before=2)
    folder.tell_loss("worker 2: its node is gone")
    assert folder.begin_attempt(3) == Attempt(1, 4, "worker 2: its node is gone")
    record = folder.record()
    assert record is not None
    assert (record.attempts, record.resizes, record.world_size, record.workers) == (3, 1, 3, "1..4")
    (summary,) = list_runs(config.storage.root)
    assert "3 of 1..4" in format_runs([summary])
    folder.claim(config, "f" * 64)  # the next launch knows the ranks of the last one
    assert folder.begin_attempt(1) == Attempt(lost=0, world_size_before=3)


def test_a_move_off_a_node_that_is_taken_away_is_no_lost_worker(tiny_config: Maker) -> None:
    config = tiny_config("cluster.workers=2").config
    folder = RunFolder(run_location(config))
    folder.claim(config, "f" * 64)
    folder.begin_attempt(2)
    folder.begin_move()
    assert folder.begin_attempt(2).lost == 0
    folder.begin_move()
    folder.tell_loss("worker 0 died")  # meanwhile
    assert folder.begin_attempt(2) == Attempt(1, 2, "worker 0 died")
    record = folder.record()
    assert record is not None
    assert (record.attempts, record.moves, record.planned) == (3, 1, "")
