"""Runs on Ray Train: two workers, a worker that is killed, errors that end a run with their message.

tests/tune/test_on_ray.py compares a run on one worker with a run in this process.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.faults import kill_once, signal_driver_once, workers_with
from tests.training.cases import (
    assert_same,
    last_checkpoint,
    records,
    run_location,
    state_of,
    without_timings,
)
from vgim.config import ResolvedConfig, RunConfig
from vgim.errors import DataError, Interrupted, TrainingError, VgimError
from vgim.progress import MessagesOnly
from vgim.training import on_ray
from vgim.training.console import step_detail
from vgim.training.trainer import train

Maker = Callable[..., ResolvedConfig]

# Five steps an epoch on two workers.
TWO_WORKERS = (
    "train.epochs=4",
    "train.checkpoint_every_steps=5",
    "train.validate_every_epochs=2",
    "cluster.workers=2",
)


@pytest.fixture(scope="module")
def undisturbed(
    ray_session: None,
    tiny_config_in: Callable[..., ResolvedConfig],
    tmp_path_factory: pytest.TempPathFactory,
) -> RunConfig:
    """A finished run on two workers, neither of which was killed."""
    resolved = tiny_config_in(tmp_path_factory.mktemp("undisturbed"), *TWO_WORKERS)
    assert train(resolved) == 0
    return resolved.config


def test_two_workers_train_and_leave_the_same_folder(undisturbed: RunConfig) -> None:
    run = run_location(undisturbed)
    assert run.list() == [".claim", "checkpoints", "config.yaml", "metrics.jsonl", "run.json", "tensorboard"]
    assert state_of(undisturbed) == ("finished", "finished at step 20, epoch 4")
    state = last_checkpoint(undisturbed).state
    assert (state.world_size, state.step, state.epoch) == (2, 20, 4)
    written = records(run, "train")
    assert [r["step"] for r in written] == list(range(1, 21))
    assert [r["crops"] for r in records(run, "validation")] == [4, 4]  # of both workers together
    for record in written:
        assert record["crops_per_s"] == pytest.approx(8 * record["steps_per_s"])  # of both workers
    first, last = (sum(m["nce"] for m in r["modules"]) for r in (written[0], written[-1]))
    assert last < first


@pytest.mark.slow
def test_a_run_whose_worker_is_killed_equals_the_undisturbed_run(
    ray_session: None,
    undisturbed: RunConfig,
    tiny_config: Maker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    killed = tmp_path / "killed"
    fault = kill_once(killed, rank=0, at_step=8)  # three steps after the first checkpoint
    monkeypatch.setattr(on_ray, "_train_worker", workers_with(fault))
    resolved = tiny_config(*TWO_WORKERS)
    assert train(resolved) == 0
    assert killed.exists()
    run = run_location(resolved.config)
    placed, *messages = [r["message"] for r in records(run, "event")]
    assert placed.startswith("2 workers on ")
    assert placed.endswith(" each")
    assert messages[0] == "weights drawn afresh from seed 0"
    assert messages[-1].startswith("continuing from this run's checkpoint")
    assert "step-00000005 " in messages[-1]
    assert state_of(resolved.config) == ("finished", "finished at step 20, epoch 4")
    assert_same(last_checkpoint(resolved.config).weights(), last_checkpoint(undisturbed).weights())
    assert_same(last_checkpoint(resolved.config).optimizer(), last_checkpoint(undisturbed).optimizer())
    found, expected = (
        without_timings(records(r, "train", "validation")) for r in (run, run_location(undisturbed))
    )
    assert found == expected


@pytest.mark.slow
def test_sigterm_writes_a_checkpoint_of_all_ranks_and_the_same_command_ends_as_the_undisturbed_run(
    ray_session: None,
    undisturbed: RunConfig,
    tiny_config: Maker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    resolved = tiny_config(*TWO_WORKERS)
    config = resolved.config
    with monkeypatch.context() as patch:
        fault = signal_driver_once(tmp_path / "sent", os.getpid(), signal.SIGTERM, at_step=7)
        patch.setattr(on_ray, "_train_worker", workers_with(fault))
        with pytest.raises(Interrupted) as e:
            train(resolved, progress=MessagesOnly(print))
    assert e.value.exit_code == 143
    state = last_checkpoint(config).state
    assert 8 <= state.step < 20
    assert state.world_size == 2
    message = f"stopped by SIGTERM at step {state.step}, epoch {state.epoch}"
    assert state_of(config) == ("interrupted", message)
    said = capsys.readouterr().out
    assert "stopping after SIGTERM: " in said
    assert said.endswith(
        f"interrupted; the same command continues from the checkpoint of step {state.step}\n"
    )
    assert train(resolved, progress=MessagesOnly(print)) == 0
    assert state_of(config) == ("finished", "finished at step 20, epoch 4")
    assert_same(last_checkpoint(config).weights(), last_checkpoint(undisturbed).weights())
    assert_same(last_checkpoint(config).optimizer(), last_checkpoint(undisturbed).optimizer())


def damaged_shards(shards: Path, folder: Path) -> Path:
    """A copy of the shards with one damaged page, in the fourth row group; file sizes are unchanged."""
    shutil.copytree(shards, folder)
    shard = folder / "train" / "00000.parquet"
    group = pq.ParquetFile(shard).metadata.row_group(3)
    columns = [group.column(number) for number in range(group.num_columns)]
    (offset,) = [c.data_page_offset for c in columns if c.path_in_schema == "audio"]
    data = bytearray(shard.read_bytes())
    data[offset : offset + 16] = b"\xff" * 16
    shard.write_bytes(data)
    return folder


@pytest.mark.parametrize("fault", ["damaged shard", "not finite", "not finite in one stage", "collapsed"])
def test_a_user_error_in_a_worker_ends_the_run_with_its_message(
    ray_session: None, tiny_config: Maker, tiny_shards: Path, tmp_path: Path, fault: str
) -> None:
    if fault == "damaged shard":  # one rank raises the error while the other waits for its gradients
        settings = ["cluster.workers=2", f"data.shards={damaged_shards(tiny_shards, tmp_path / 'damaged')}"]
        kind: type[VgimError] = DataError
        message = r"^row group 3 of shard .*train/00000\.parquet cannot be read"
    elif fault == "collapsed":  # in the first stage, which tells rank 0 before it ends the run
        settings = ["cluster.workers=2", "train.schedule=parallel", "train.placement=[[0,1,2],[3]]"]
        settings += ["objective.kld_weight=100", "objective.kld_warmup_steps=0", "train.epochs=50"]
        settings += ["objective.on_collapse=stop", "objective.collapse_patience_steps=1"]
        kind, message = TrainingError, r"collapsed.*objective\.on_collapse=stop"
    else:
        settings = ["cluster.workers=1", "optim.learning_rate=1e6"]
        if fault.endswith("stage"):  # its ranks raise the error while the other stage waits for their latents
            settings = ["cluster.workers=2", "optim.learning_rate=1e6", "train.schedule=parallel"]
        kind = TrainingError
        message = r"^the gradient of module \d is not finite at step \d"
    import ray.train

    resolved = tiny_config(*settings)
    with pytest.raises(kind, match=message) as e:
        train(resolved)
    assert "\n" not in str(e.value)
    assert state_of(resolved.config) == ("failed", str(e.value))
    # Ray gave up. New workers would have found the run failed, and ended without an error.
    if fault == "collapsed":
        told = [r["message"] for r in records(run_location(resolved.config), "event")]
        assert any("collapsed" in sentence for sentence in told)
    if fault != "not finite":
        assert isinstance(e.value.__cause__, ray.train.ControllerError)


def test_two_stages_train_on_two_workers_and_say_how_busy_they_are(
    ray_session: None, tiny_config: Maker
) -> None:
    resolved = tiny_config(
        *("train.schedule=parallel", "cluster.workers=2", "train.epochs=1", "train.placement=[[0],[1,2,3]]")
    )
    config = resolved.config
    assert train(resolved) == 0
    run = run_location(config)
    assert state_of(config) == ("finished", "finished at step 5, epoch 1")
    told = [record["message"] for record in records(run, "event")]
    assert "2 stages: module 0 on rank 1; modules 1 to 3 on rank 0" in told
    for record in records(run, "train"):
        assert [module["module"] for module in record["modules"]] == [0, 1, 2, 3]
        first, second = record["stages"]
        assert (first["first_module"], second["first_module"], second["last_module"]) == (0, 1, 3)
        assert first["input_wait_s"] == 0.0
        assert first["sent_mb_per_s"] > 0 == second["sent_mb_per_s"]
        assert first["buffer_fill"] is None
        assert 0 <= second["buffer_fill"] <= 1
        step_s = 1 / record["steps_per_s"]
        assert all(stage["compute_s"] <= step_s * 1.5 for stage in record["stages"])
    assert "  busy " in step_detail(records(run, "train")[-1])
