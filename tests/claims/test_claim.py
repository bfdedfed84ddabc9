"""A folder is held by one process at a time, whatever becomes of the processes that held it before."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import wait_until
from vgim.claims import claim as claim_module
from vgim.claims.claim import Claim, holder_seen, is_held, take_claim
from vgim.claims.process import ProcessIdentity, is_python_since, pid_exists, this_process
from vgim.claims.record import ClaimRecord, claim_numbers, claim_path, newest_claim
from vgim.claims.ticket import ClaimHeldError, ClaimLostError, TicketWatch, Work
from vgim.errors import StorageError
from vgim.storage import Location

WORK = Work("training the run", "use another storage.name")
SHORT_S = 0.4
HOUR_S = 3_600.0
HOLDER = Path(__file__).with_name("holder.py")


@pytest.fixture
def local(tmp_path: Path) -> Location:
    return Location(tmp_path / "run")


@pytest.fixture(params=["local", "remote"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    return Location(tmp_path / "run" if request.param == "local" else f"mock://claims/{tmp_path.name}")


def record_of(process: ProcessIdentity | None = None, **changes: Any) -> ClaimRecord:
    record = ClaimRecord.of(process or this_process(), "of-another", SHORT_S)
    return record.model_copy(update=changes)


def write(folder: Location, record: ClaimRecord | bytes, number: int = 1) -> Location:
    path = claim_path(folder, number)
    path.write_bytes_atomic(record if isinstance(record, bytes) else record.to_bytes())
    return path


def elsewhere(**changes: Any) -> ClaimRecord:
    """A claim of another machine."""
    return record_of(ProcessIdentity("far-away", "another-boot", "pid:[1]", 123, 456), **changes)


def take(folder: Location, said: list[str] | None = None, **settings: Any) -> Claim:
    return take_claim(folder, WORK, say=(said if said is not None else []).append, **settings)


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts holder.py; its processes end with the test."""
    started = []

    def run(*arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, str(HOLDER), *map(str, arguments)]
        root = Path(__file__).parents[2]
        environment = {**os.environ, "PYTHONPATH": str(root)}
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def next_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_of_twenty_processes_in_one_instant_one_wins(
    local: Location, start: Callable[..., subprocess.Popen[str]]
) -> None:
    race = start("race", local, 20)
    lines = [next_line(race).split(" ", 1) for _ in range(20)]
    (winner,) = [pid for pid, line in lines if line == "held"]
    told = f"process {winner} is training the run {local}; wait for it, stop it, or use another storage.name"
    assert {line for _, line in lines} == {"held", told}
    newest = newest_claim(local)
    assert newest is not None
    assert newest.record is not None
    assert (newest.number, str(newest.record.pid)) == (1, winner)
    race.communicate("")  # all end without a release
    wait_until(lambda: holder_seen(local) is None, "the winner has ended")
    take(local).release()


def test_of_twenty_threads_in_one_instant_one_wins(folder: Location) -> None:
    for number in range(1, 4):
        barrier, won, refused = threading.Barrier(20), [], []

        def contend(barrier: Any = barrier, won: list[Claim] = won, refused: list[str] = refused) -> None:
            barrier.wait()
            try:
                won.append(take(folder))
            except ClaimHeldError as error:
                refused.append(str(error))

        threads = [threading.Thread(target=contend) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(won), len(refused)) == (1, 19)
        assert claim_numbers(folder) == [number]
        won[0].release()


def test_numbers_go_on_and_old_claims_are_removed(folder: Location) -> None:
    for number in (1, 2, 3):
        with take(folder):
            assert folder.child(".claim").list() == [f"{number:08d}.json"]
            assert holder_seen(folder) is not None
        newest = newest_claim(folder)
        assert newest is not None
        assert newest.record is not None
        assert newest.record.released
        assert holder_seen(folder) is None


def test_a_killed_process_holds_nothing(local: Location, start: Callable[..., subprocess.Popen[str]]) -> None:
    process = start("hold", local)
    assert next_line(process) == "held"
    with pytest.raises(ClaimHeldError, match=f"process {process.pid} is training the run"):
        take(local)
    process.kill()
    wait_until(
        lambda: holder_seen(local) is None, "the killed process is seen to be dead"
    )  # not yet waited for
    said: list[str] = []
    take(local, said).release()
    assert said == []


def test_a_process_that_got_the_id_of_a_dead_one_holds_nothing(local: Location) -> None:
    here = this_process()
    write(
        local,
        record_of(ProcessIdentity(here.host, here.boot, here.pid_namespace, os.getppid(), here.start + 1)),
    )
    take(local).release()


def test_a_claim_that_this_process_forgot_is_free(local: Location) -> None:
    write(local, record_of())
    take(local).release()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[1]",
        b"{}",
        *(
            json.dumps({**record_of().model_dump(), **damage}).encode()
            for damage in (
                {"pid": 0},
                {"pid": -1},
                {"pid": 10**30},
                {"pid": "12"},
                {"pid": True},
                {"lease_s": "long"},
                {"lease_s": 1e300},
                {"renewed": None},
                {"token": ["x"]},
                {"host": {"a": 1}},
            )
        ),
    ],
)
def test_a_claim_that_does_not_read_is_said_and_taken_over(
    local: Location, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim_module, "SETTLE_S", 0.01)
    path, said = write(local, content), []
    take(local, said).release()
    assert len(said) == 1
    assert said[0].startswith(f"{path} does not read as a claim (")
    assert "\n" not in said[0]


def test_a_claim_that_is_half_written_is_not_taken_over(
    folder: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, b"{")
    monkeypatch.setattr(time, "sleep", lambda seconds: write(folder, record_of(released=True)))
    said: list[str] = []
    take(folder, said).release()
    assert said == []


def test_a_claim_of_another_machine_that_is_renewed_is_refused(folder: Location) -> None:
    write(folder, elsewhere(lease_s=60.0))
    said: list[str] = []

    def renew_when_watched() -> None:
        wait_until(lambda: said, "the claim is watched")
        write(folder, elsewhere(lease_s=60.0, renewed=time.time() + 1))

    renewing = threading.Thread(target=renew_when_watched)
    renewing.start()
    with pytest.raises(ClaimHeldError, match="process 123 on far-away is training the run"):
        take(folder, said)
    renewing.join()
    assert len(said) == 1
    assert "process 123 on far-away" in said[0]
    assert "waiting up to 60 s" in said[0]


def test_a_claim_of_another_machine_that_is_not_renewed_is_taken_over_aloud(folder: Location) -> None:
    write(folder, elsewhere())
    said: list[str] = []
    take(folder, said).release()
    assert len(said) == 2
    assert said[1] == (
        f"process 123 on far-away has not renewed its claim of {folder} for {SHORT_S:g} s; taking it over"
    )


@pytest.mark.parametrize("skew_s", [-HOUR_S, 0.0, HOUR_S])
def test_the_clock_of_another_machine_does_not_matter(local: Location, skew_s: float) -> None:
    record = elsewhere(lease_s=60.0, claimed=time.time() + skew_s, renewed=time.time() + skew_s)
    path, said = write(local, record), []
    written = time.time() - HOUR_S / 2  # by the storage's clock
    os.utime(path.local_path, (written, written))
    take(local, said).release()  # at once
    assert len(said) == 1
    assert "has not renewed its claim" in said[0]
    assert "for 1,80" in said[0]
    write(local, elsewhere(claimed=time.time() + skew_s, renewed=time.time() + skew_s), number=9)
    take(local, said).release()
    assert "waiting up to" in said[1]


def test_a_machine_that_started_again_is_another_machine(local: Location) -> None:
    here = this_process()
    write(
        local,
        record_of(ProcessIdentity(here.host, "an-earlier-boot", here.pid_namespace, here.pid, here.start)),
    )
    said: list[str] = []
    take(local, said).release()
    assert "waiting up to" in said[0]


def test_processes_of_another_container_are_not_seen() -> None:
    here = this_process()
    other = ProcessIdentity(here.host, here.boot, "pid:[17]", here.pid, here.start)
    assert is_held(record_of(other)) is None
    assert is_held(record_of(other, released=True)) is False


def test_a_released_claim_of_another_machine_is_free(folder: Location) -> None:
    write(folder, elsewhere(released=True))
    said: list[str] = []
    take(folder, said).release()
    assert said == []


def test_a_claim_that_is_released_while_it_is_watched_is_free(folder: Location) -> None:
    write(folder, elsewhere(lease_s=60.0))
    said: list[str] = []

    def release_when_watched() -> None:
        wait_until(lambda: said, "the claim is watched")
        write(folder, elsewhere(lease_s=60.0, released=True))

    releasing = threading.Thread(target=release_when_watched)
    releasing.start()
    take(folder, said).release()
    releasing.join()
    assert len(said) == 1


def test_a_claim_is_renewed_while_it_is_held(folder: Location) -> None:
    with take(folder, renew_s=0.02) as claim:
        first = claim_path(folder, 1).read_bytes()
        wait_until(lambda: claim_path(folder, 1).read_bytes() != first, "the claim is renewed")
        claim.ticket.check()


def test_a_claim_that_another_took_over_is_lost(folder: Location) -> None:
    claim = take(folder, renew_s=0.02)
    watch = TicketWatch(claim.ticket, every_s=0.02)
    watch.raise_if_lost()
    later = write(folder, elsewhere(), number=2).read_bytes()
    for check in (claim.ticket.check, claim.renew):
        with pytest.raises(ClaimLostError, match="process 123 on far-away has taken over") as e:
            check()
        assert "\n" not in str(e.value)
    wait_until(lambda: claim.is_lost, "the holder notices")
    with pytest.raises(ClaimLostError):
        claim.raise_if_lost()

    def noticed() -> bool:
        try:
            watch.raise_if_lost()
        except ClaimLostError:
            return True
        return False

    wait_until(noticed, "the watch notices")
    claim.release()
    newest = newest_claim(folder)
    assert newest is not None
    assert (newest.number, newest.content) == (2, later)


def test_damage_to_ones_own_claim_loses_nothing(folder: Location) -> None:
    with take(folder) as claim:
        write(folder, b"{")
        claim.ticket.check()
        claim.renew()
        assert holder_seen(folder) is not None
        folder.child(".claim").delete()
        claim.renew()
        assert holder_seen(folder) is not None


def test_storage_that_fails_for_a_while_loses_nothing(
    local: Location, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(claim_module, "RETRY_S", 0.02)
    with take(local, renew_s=0.02, lease_s=0.05) as claim:
        write_bytes, failures = Location.write_bytes_atomic, []

        def fail(self: Location, data: bytes) -> None:
            failures.append(time.monotonic())
            raise StorageError("the storage does not answer")

        monkeypatch.setattr(Location, "write_bytes_atomic", fail)
        wait_until(lambda: failures and failures[-1] - failures[0] > 0.2, "renewals fail")
        monkeypatch.setattr(Location, "write_bytes_atomic", write_bytes)
        before = claim_path(local, 1).read_bytes()
        wait_until(lambda: claim_path(local, 1).read_bytes() != before, "the claim is renewed again")
        claim.raise_if_lost()
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 1
    assert "could not be renewed for 0.05 s" in warnings[0]
    assert "does not answer" in warnings[0]


def test_who_read_an_old_claim_as_the_newest_does_not_hold_the_folder(
    folder: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between reading claim 1 and making claim 2, others make claims 2 and 3 and remove claim 2."""
    stale = write(folder, record_of(released=True))
    read, reads = claim_module.newest_claim, []

    def read_slowly(where: Location) -> Any:
        found = read(where)
        if not reads:
            write(folder, elsewhere(lease_s=60.0, token="newer"), number=3)
            stale.delete()
        reads.append(found)
        if len(reads) > 2:  # the newer claim is watched by now
            write(folder, elsewhere(lease_s=60.0, token="newer", renewed=1.0), number=3)
        return found

    monkeypatch.setattr(claim_module, "newest_claim", read_slowly)
    with pytest.raises(ClaimHeldError, match="far-away"):
        take(folder)
    assert claim_numbers(folder) == [3]


def test_ids_that_are_none_and_reused_ids_are_no_process() -> None:
    assert not any(pid_exists(pid) for pid in (0, -1, -os.getpid(), 2**31, 10**30))
    assert is_python_since(os.getpid(), time.time())
    assert not is_python_since(os.getpid(), time.time() - 10 * HOUR_S * 24 * 365)  # it started since
    assert not is_python_since(10**30, time.time())
