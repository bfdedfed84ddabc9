"""A file that several processes make at once is made by one of them."""

from __future__ import annotations

import errno
import itertools
import os
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from vgim.errors import StorageError
from vgim.storage import Location, exclusive
from vgim.storage.exclusive import INTENT_LIFE_S, INTENT_MARK, create_by_intent, create_by_link

NUM_CONTENDERS = 20


@pytest.fixture(params=["local", "remote"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    return Location(tmp_path if request.param == "local" else f"mock://exclusive/{tmp_path.name}")


def at_once(num: int, act: Callable[[int], object]) -> list[object]:
    """Results of `act(0)`, `act(1)`, …, all begun in one instant."""
    barrier = threading.Barrier(num)
    results: list[object] = [None] * num

    def run(i: int) -> None:
        barrier.wait()
        results[i] = act(i)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(num)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_one_of_many_makes_the_file(folder: Location) -> None:
    for number in range(5):
        file = folder.child("new", f"{number}.json")
        made = at_once(NUM_CONTENDERS, lambda i, file=file: file.create_exclusive(f"from {i}".encode()))  # type: ignore[misc]
        assert sorted(map(bool, made)) == [False] * (NUM_CONTENDERS - 1) + [True]
        assert file.read_bytes() == f"from {made.index(True)}".encode()
    assert folder.child("new").list() == [f"{number}.json" for number in range(5)]


def test_a_file_that_exists_is_left_alone(folder: Location) -> None:
    file = folder.child("a")
    file.write_bytes_atomic(b"first")
    assert not file.create_exclusive(b"second")
    assert (file.read_bytes(), folder.list()) == (b"first", ["a"])


def test_an_unfinished_file_is_not_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="no space left on the device"):
        Location(tmp_path / "a").create_exclusive(b"x")
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_links_is_served_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert create_by_link(tmp_path / "a", b"first")
    assert not create_by_link(tmp_path / "a", b"second")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a", b"first")]


def test_a_link_whose_answer_was_lost_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def link_twice(source: Path, target: Path) -> None:
        link(source, target)
        link(source, target)  # as NFS repeats a request

    monkeypatch.setattr(os, "link", link_twice)
    assert create_by_link(tmp_path / "a", b"x")


@dataclass
class Schedule:
    """Lets one contender at a time take one step on a store in memory, in a given order."""

    order: Sequence[int]
    num: int
    files: dict[str, bytes] = field(default_factory=dict)
    time: float = 0.0

    def __post_init__(self) -> None:
        self.turns = [threading.Semaphore(0) for _ in range(self.num)]
        self.taken = threading.Semaphore(0)
        self.results: list[bool | BaseException | None] = [None] * self.num
        self.current = threading.local()

    def step(self) -> None:
        """Wait until the scheduler lets this contender go on."""
        self.taken.release()
        self.turns[self.current.number].acquire()

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        self.step()

    def run(self) -> list[bool | BaseException | None]:
        def contend(number: int) -> None:
            self.current.number = number
            self.turns[number].acquire()
            target, data = SteppedFile(self, "target"), f"from {number}".encode()
            try:
                self.results[number] = create_by_intent(
                    target, data, clock=lambda: self.time, sleep=self.sleep
                )
            except BaseException as error:
                self.results[number] = error
            self.taken.release()

        threads = [threading.Thread(target=contend, args=(n,), daemon=True) for n in range(self.num)]
        for thread in threads:
            thread.start()
        # After the given order, any contender may come next, as after sleeps of random lengths.
        rest = iter(lambda: random.randrange(self.num), None)
        for number in itertools.chain(self.order, rest):
            if self.results[number] is None:
                self.turns[number].release()
                self.taken.acquire()
            if None not in self.results:
                break
        for thread in threads:
            thread.join()
        return self.results


@dataclass(frozen=True)
class SteppedFile:
    """A file or the folder of a `Schedule`'s store. Each look and each change is one step."""

    schedule: Schedule
    name: str

    @property
    def uri(self) -> str:
        return self.name

    @property
    def parent(self) -> SteppedFile:
        return SteppedFile(self.schedule, "")

    def child(self, *parts: str) -> SteppedFile:
        return SteppedFile(self.schedule, "/".join(parts))

    def list(self) -> list[str]:
        self.schedule.step()
        return sorted(self.schedule.files)

    def exists(self) -> bool:
        self.schedule.step()
        return self.name in self.schedule.files

    def read_bytes(self) -> bytes:
        self.schedule.step()
        return self.schedule.files[self.name]

    def write_bytes_atomic(self, data: bytes) -> None:
        self.schedule.step()
        self.schedule.files[self.name] = data

    def delete(self) -> None:
        self.schedule.step()
        self.schedule.files.pop(self.name, None)


def assert_one_made_it(schedule: Schedule) -> None:
    made = schedule.run()
    assert made.count(True) == 1, (schedule.order, made)
    assert schedule.files == {"target": f"from {made.index(True)}".encode()}, schedule.order


def test_in_every_order_of_the_steps_of_two_one_makes_the_file() -> None:
    random.seed(0)
    for order in itertools.product((0, 1), repeat=8):
        assert_one_made_it(Schedule(order, 2))


def test_in_random_orders_of_the_steps_of_four_one_makes_the_file() -> None:
    draw = random.Random(1)
    random.seed(0)
    for _ in range(50):
        assert_one_made_it(Schedule(draw.choices(range(4), k=60), 4))


@pytest.fixture
def fast_clock() -> tuple[Callable[[], float], Callable[[float], None]]:
    """A clock that only sleeping moves."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += max(seconds, 0.5)

    return lambda: now[0], sleep


def test_the_intent_of_a_killed_process_is_removed_after_its_life(
    tmp_path: Path, fast_clock: tuple[Callable[[], float], Callable[[float], None]]
) -> None:
    clock, sleep = fast_clock
    folder = Location(f"mock://exclusive/{tmp_path.name}")
    left = folder.child(f"a{INTENT_MARK}of-another")
    left.write_bytes_atomic(b"")
    assert create_by_intent(folder.child("a"), b"x", clock=clock, sleep=sleep)
    assert clock() >= INTENT_LIFE_S
    assert folder.list() == ["a"]


def test_a_suspended_process_does_not_write_on_an_old_intent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Location(f"mock://exclusive/{tmp_path.name}")
    file, now = folder.child("a"), [0.0]
    list_names, suspended = Location.list, []

    def suspend(self: Location) -> list[str]:
        names = list_names(self)
        if (
            not suspended
        ):  # this process is suspended here, while another removes its intent and makes the file
            suspended.append(True)
            now[0] += INTENT_LIFE_S + 1
        elif len(suspended) == 1:
            suspended.append(True)
            file.write_bytes_atomic(b"of another")
        return names

    monkeypatch.setattr(Location, "list", suspend)
    assert not create_by_intent(file, b"x", clock=lambda: now[0], sleep=lambda s: None)
    assert file.read_bytes() == b"of another"


def test_intents_that_never_cease_are_told_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fast_clock: tuple[Callable[[], float], Callable[[float], None]],
) -> None:
    clock, sleep = fast_clock
    folder = Location(f"mock://exclusive/{tmp_path.name}")
    monkeypatch.setattr(exclusive, "INTENT_LIFE_S", float("inf"))
    folder.child(f"a{INTENT_MARK}of-another").write_bytes_atomic(b"")
    with pytest.raises(StorageError, match="other processes have been about to make it") as e:
        create_by_intent(folder.child("a"), b"x", clock=clock, sleep=sleep)
    assert "\n" not in str(e.value)
