"""A run is trained by one launch at a time, and the listing says `running` of a run that one trains."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.training.cases import last_checkpoint, records, run_location
from tests.waiting import wait_until
from vgim.claims.process import ProcessIdentity, this_process
from vgim.claims.record import ClaimRecord, claim_path, newest_claim
from vgim.claims.ticket import ClaimHeldError, ClaimLostError
from vgim.config import ResolvedConfig
from vgim.progress import MessagesOnly
from vgim.runs.checkpoint import complete_checkpoints
from vgim.runs.claim import RecordedProcess, claim_run, refuse_recorded_holder
from vgim.runs.folder import RunFolder, RunRecord
from vgim.runs.listing import list_runs
from vgim.storage import Location
from vgim.training import in_process, loop, trainer
from vgim.training.trainer import train
from vgim.tune.folder import WORK

Maker = Callable[..., ResolvedConfig]
ELSEWHERE = ProcessIdentity("far-away", "another-boot", "pid:[1]", 123, 456)
SETTINGS = ("train.epochs=1", "train.max_steps=6", "train.checkpoint_every_steps=2")


@pytest.fixture
def other_process() -> Iterator[subprocess.Popen[bytes]]:
    """A live Python process that is not this one."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def running(config: ResolvedConfig) -> tuple[RunFolder, RunRecord]:
    """A run whose record says `running`, without a claim, as an older vgim leaves it."""
    folder = RunFolder(run_location(config.config))
    folder.claim(config.config, "f" * 64)
    record = folder.record()
    assert record is not None
    return folder, record


def state_of(folder: RunFolder) -> str:
    return list_runs(folder.location.uri)[0].state


def claim_of(process: ProcessIdentity, **changes: Any) -> bytes:
    return ClaimRecord.of(process, "of-another", 60.0).model_copy(update=changes).to_bytes()


def test_a_run_is_listed_as_running_while_its_claim_is_held(tiny_config: Maker) -> None:
    folder, record = running(tiny_config())
    folder.write(record.model_copy(update={"updated": "2020-01-01T00:00:00+00:00"}))
    with claim_run(folder.location):
        assert state_of(folder) == "running"  # it may compute a long time between two records
    assert state_of(folder) == "interrupted"


def test_a_run_of_another_machine_is_listed_by_the_age_of_its_claim(tiny_config: Maker) -> None:
    folder, record = running(tiny_config())
    folder.write(record.model_copy(update={"host": ELSEWHERE.host, "pid": ELSEWHERE.pid}))
    path, hours_ago = claim_path(folder.location, 1), time.time() - 7_200
    path.write_bytes_atomic(claim_of(ELSEWHERE))
    assert state_of(folder) == "running"
    path.write_bytes_atomic(claim_of(ELSEWHERE, renewed=hours_ago))  # its clock is slow
    assert state_of(folder) == "running"
    os.utime(path.local_path, (hours_ago, hours_ago))
    assert state_of(folder) == "interrupted"
    path.write_bytes_atomic(claim_of(ELSEWHERE, released=True))
    assert state_of(folder) == "interrupted"


@pytest.mark.parametrize("pid", [0, -1, 10**30])
def test_numbers_that_are_no_process_ids_block_no_run(tiny_config: Maker, pid: int) -> None:
    folder, record = running(tiny_config())
    folder.write(record.model_copy(update={"pid": pid}))
    assert state_of(folder) == "interrupted"
    assert folder.check(tiny_config().config, "f" * 64) is not None


def test_a_process_that_got_the_id_of_an_older_vgims_process_blocks_no_run(
    tiny_config: Maker, other_process: subprocess.Popen[bytes]
) -> None:
    folder, record = running(tiny_config())
    folder.write(record.model_copy(update={"pid": other_process.pid}))
    with pytest.raises(ClaimHeldError, match=f"process {other_process.pid} is training the run"):
        folder.check(tiny_config().config, "f" * 64)
    update = {"pid": other_process.pid, "updated": "2026-01-01T00:00:00+00:00"}
    folder.write(record.model_copy(update=update))
    assert folder.check(tiny_config().config, "f" * 64) is not None
    assert state_of(folder) == "interrupted"


def test_a_time_that_does_not_read_is_no_traceback(
    tiny_config: Maker, other_process: subprocess.Popen[bytes]
) -> None:
    folder, record = running(tiny_config())
    folder.write(record.model_copy(update={"pid": other_process.pid, "updated": "yesterday"}))
    with pytest.raises(ClaimHeldError):  # it may be the process
        folder.check(tiny_config().config, "f" * 64)
    assert state_of(folder) == "interrupted"
    assert not RecordedProcess("another-host", other_process.pid, "").is_alive()


def test_a_run_that_another_launch_trains_is_refused(tiny_config: Maker) -> None:
    run = run_location(tiny_config().config)
    with claim_run(run), pytest.raises(ClaimHeldError, match="is training the run") as e:
        train(tiny_config(*SETTINGS))
    assert e.value.exit_code == 6
    assert run.list() == [".claim"]
    assert train(tiny_config(*SETTINGS)) == 0


def test_of_two_launches_in_one_instant_one_trains(tiny_config: Maker) -> None:
    barrier, ends = threading.Barrier(2), []

    def launch() -> None:
        barrier.wait()
        try:
            ends.append(train(tiny_config(*SETTINGS)))
        except ClaimHeldError:
            ends.append("refused")

    threads = [threading.Thread(target=launch) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # The second is refused while the first trains, and finds a finished run if it comes later than that.
    assert ends.count(0) >= 1
    assert [r["step"] for r in records(run_location(tiny_config().config), "train")] == list(range(1, 7))
    record = RunFolder(run_location(tiny_config().config)).record()
    assert record is not None
    assert record.launches == 1


def test_a_launch_that_lost_its_run_writes_nothing_more(
    tiny_config: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_location(tiny_config().config)
    log = loop.RankTrainer._log

    def lose(self: loop.RankTrainer, record: Any, *more: Any) -> None:
        log(self, record, *more)
        if record["step"] == 3:  # another machine has waited for the lease in vain, and taken the run over
            wait_until(lambda: complete_checkpoints(run), "the checkpoint of step 2, written beside step 3")
            claim_path(run, 2).write_bytes_atomic(claim_of(ELSEWHERE))
            run.child("run.json").write_bytes_atomic(b"of another")

    monkeypatch.setattr(loop.RankTrainer, "_log", lose)
    with pytest.raises(ClaimLostError, match="process 123 on far-away has taken over"):
        train(tiny_config(*SETTINGS))
    assert run.child("run.json").read_bytes() == b"of another"
    assert last_checkpoint(tiny_config().config).state.step == 2
    newest = newest_claim(run)
    assert newest is not None
    assert newest.record is not None
    assert newest.record.host == "far-away"


def test_a_launch_that_lost_its_run_ends_at_the_next_step(
    tiny_config: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_location(tiny_config().config)
    log = loop.RankTrainer._log
    watch_often = partial(loop.TicketWatch, every_s=0.01)
    monkeypatch.setattr(loop, "TicketWatch", watch_often)

    def lose(self: loop.RankTrainer, record: Any, *more: Any) -> None:
        log(self, record, *more)
        claim_path(run, 2).write_bytes_atomic(claim_of(ELSEWHERE))
        watch = self._watch
        assert watch is not None
        wait_until(lambda: watch._error is not None, "the watch notices")

    monkeypatch.setattr(loop.RankTrainer, "_log", lose)
    with pytest.raises(ClaimLostError):
        train(tiny_config("train.epochs=1", "train.checkpoint_every_steps=100"))
    assert [r["step"] for r in records(run, "train")] == [1]
    assert not run.child("checkpoints").exists()


def test_a_finished_launch_releases_its_claim_and_a_failed_one_too(
    tiny_config: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_location(tiny_config().config)

    def is_released() -> bool:
        newest = newest_claim(run)
        return newest is not None and newest.record is not None and newest.record.released

    train(tiny_config(*SETTINGS))
    assert is_released()

    def interrupt(*_: Any) -> str:
        assert not is_released()
        raise KeyboardInterrupt

    monkeypatch.setattr(in_process, "train_in_process", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(tiny_config("train.epochs=1", "train.max_steps=8"))
    assert is_released()


def test_shards_that_another_process_makes_are_waited_for(
    tiny_config: Maker, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = Location(tmp_path / "new")
    synthetic = [f"data.synthetic.{key}" for key in ("speakers=2", "utterances=12", "seed=1")]
    config = tiny_config(f"data.shards={shards}", *synthetic).config
    claim = claim_run(shards)
    slept: list[float] = []

    def release(seconds: float) -> None:
        slept.append(seconds)
        claim.release()

    monkeypatch.setattr(trainer.time, "sleep", release)
    assert trainer.ensure_data(config, MessagesOnly(print)) == shards
    assert len(slept) == 1
    assert "waiting for the shards: process" in capsys.readouterr().out


def test_a_folder_of_runs_is_judged_by_its_record_if_an_older_vgim_works_on_it(
    tmp_path: Path, other_process: subprocess.Popen[bytes]
) -> None:
    folder, here = Location(tmp_path), this_process()
    known = {"host": here.host, "pid": other_process.pid, "started": "2099-01-01T00:00:00+00:00"}
    folder.child("sweep.json").write_bytes_atomic(json.dumps(known).encode())
    with pytest.raises(ClaimHeldError, match=f"process {other_process.pid} is working on the sweep"):
        refuse_recorded_holder(folder, folder.child("sweep.json"), WORK)
    # The process has made and released a claim since, so that the claim decides.
    theirs = ProcessIdentity(here.host, here.boot, here.pid_namespace, other_process.pid, 1)
    claim_path(folder, 1).write_bytes_atomic(claim_of(theirs, released=True))
    refuse_recorded_holder(folder, folder.child("sweep.json"), WORK)
