"""Runs on Ray Train: two workers, a worker that is killed, errors that end a run with their message.

That one worker trains as this process does is part of tests/tune/test_on_ray.py, whose trials have one.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.train.cases import assert_same, last_checkpoint, records, run_location, without_timings
from vgim.config import ResolvedConfig, RunConfig
from vgim.errors import DataError, TrainingError, VgimError
from vgim.runs.folder import RunFolder
from vgim.train.trainer import train

Maker = Callable[..., ResolvedConfig]

# Long enough for a worker to be killed: 40 steps, of some hundredths of a second each.
LONG = (
    "train.epochs=8",
    "train.checkpoint_every_steps=10",
    "train.validate_every_epochs=4",
    "cluster.workers=2",
)


@pytest.fixture(scope="module")
def undisturbed(
    ray_session: None,
    tiny_config_in: Callable[..., ResolvedConfig],
    tmp_path_factory: pytest.TempPathFactory,
) -> RunConfig:
    """A finished run on two workers, none of which was killed."""
    resolved = tiny_config_in(tmp_path_factory.mktemp("undisturbed"), *LONG)
    assert train(resolved) == 0
    return resolved.config


def state_of(config: RunConfig) -> tuple[str, str]:
    record = RunFolder(run_location(config)).record()
    assert record is not None
    return record.state, record.message


def test_two_workers_train_and_leave_the_same_folder(undisturbed: RunConfig) -> None:
    run = run_location(undisturbed)
    assert run.list() == ["checkpoints", "config.yaml", "metrics.jsonl", "run.json", "tensorboard"]
    assert state_of(undisturbed) == ("finished", "finished at step 40, epoch 8")
    state = last_checkpoint(undisturbed).state
    assert (state.world_size, state.step, state.epoch) == (2, 40, 8)
    written = records(run, "train")
    assert [r["step"] for r in written] == list(range(1, 41))
    assert [r["crops"] for r in records(run, "validation")] == [4, 4]  # of both workers together
    for record in written:
        assert record["crops_per_s"] == pytest.approx(8 * record["steps_per_s"])  # of both workers
    first, last = (sum(m["nce"] for m in r["modules"]) for r in (written[0], written[-1]))
    assert last < first


def descendants(pid: int) -> Iterator[int]:
    """All processes that a process started, directly or through others."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # the process has just ended
                continue
            parents[int(folder.name)] = int(fields[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    yield from found - {pid}


def train_workers() -> list[int]:
    def title(pid: int) -> str:
        try:
            return Path(f"/proc/{pid}/cmdline").read_text()
        except OSError:
            return ""

    return [pid for pid in descendants(os.getpid()) if "RayTrainWorker" in title(pid)]


class Killer(threading.Thread):
    """Kills one Ray Train worker of this process once a run has its first checkpoint."""

    def __init__(self, config: RunConfig) -> None:
        super().__init__(daemon=True)
        self._checkpoints = run_location(config).local_path / "checkpoints"
        self.killed: list[int] = []

    def run(self) -> None:
        deadline = time.monotonic() + 300
        workers: list[int] = []
        while time.monotonic() < deadline:
            if workers and any(self._checkpoints.glob("*/state.json")):
                os.kill(workers[0], signal.SIGKILL)
                self.killed.append(workers[0])
                return
            workers = train_workers()  # listed anew each time: workers of an earlier run may still be ending
            time.sleep(0.05)


def test_a_run_whose_worker_was_killed_equals_an_undisturbed_one(
    ray_session: None, undisturbed: RunConfig, tiny_config: Maker
) -> None:
    resolved = tiny_config(*LONG)
    killer = Killer(resolved.config)
    killer.start()
    assert train(resolved) == 0
    assert len(killer.killed) == 1
    run = run_location(resolved.config)
    messages = [r["message"] for r in records(run, "event")]
    assert messages[0] == "weights drawn afresh from seed 0"
    assert messages[-1].startswith("continuing from this run's checkpoint")
    assert state_of(resolved.config) == ("finished", "finished at step 40, epoch 8")
    assert_same(last_checkpoint(resolved.config).weights(), last_checkpoint(undisturbed).weights())
    assert_same(last_checkpoint(resolved.config).optimizer(), last_checkpoint(undisturbed).optimizer())
    found, expected = (
        without_timings(records(r, "train", "validation")) for r in (run, run_location(undisturbed))
    )
    assert found == expected


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


@pytest.mark.parametrize("fault", ["damaged shard", "not finite"])
def test_a_user_error_in_a_worker_ends_the_run_with_its_message(
    ray_session: None, tiny_config: Maker, tiny_shards: Path, tmp_path: Path, fault: str
) -> None:
    if fault == "damaged shard":  # one rank raises the error while the other waits for its gradients
        settings = ["cluster.workers=2", f"data.shards={damaged_shards(tiny_shards, tmp_path / 'damaged')}"]
        kind: type[VgimError] = DataError
        message = r"^row group 3 of shard .*train/00000\.parquet cannot be read"
    else:
        settings = ["cluster.workers=1", "optim.learning_rate=1e30"]
        kind = TrainingError
        message = r"^the gradient of module \d is not finite at step \d"
    import ray.train

    resolved = tiny_config(*settings)
    with pytest.raises(kind, match=message) as e:
        train(resolved)
    assert "\n" not in str(e.value)
    assert state_of(resolved.config) == ("failed", str(e.value))
    # Ray gave up. New workers would have found the run failed, and ended without an error.
    if fault == "damaged shard":
        assert isinstance(e.value.__cause__, ray.train.ControllerError)
