"""Actions in the background: one at a time or beside one another, and their errors reach whoever waits."""

from __future__ import annotations

import threading

import pytest

from vgim.runs.background import Background, run_beside

WAIT_S = 60.0


def fail() -> None:
    raise ValueError("it failed")


def test_the_error_of_an_action_is_raised_once_by_whatever_comes_next() -> None:
    for ask in (Background.wait, Background.raise_error, lambda background: background.start(fail)):
        background, ended = Background("test"), threading.Event()

        def fail_at_last(ended: threading.Event = ended) -> None:
            ended.wait(WAIT_S)
            fail()

        background.start(fail_at_last)
        assert background.is_running
        background.raise_error()  # nothing is known yet
        ended.set()
        while background.is_running:
            pass
        with pytest.raises(ValueError, match="it failed"):
            ask(background)
        background.wait()
        assert not background.is_running


def test_an_action_starts_when_the_one_before_has_ended() -> None:
    background, order = Background("test"), []
    for number in range(20):
        background.start(lambda number=number: order.append(number))  # type: ignore[misc]
    background.wait()
    assert order == list(range(20))


def test_actions_beside_one_another_all_end_before_an_error_is_raised() -> None:
    both, done = threading.Barrier(2, timeout=WAIT_S), []

    def meet_and_fail() -> None:
        both.wait()
        fail()

    def meet() -> None:
        both.wait()
        done.append(1)

    with pytest.raises(ValueError, match="it failed"):
        run_beside("test", [meet_and_fail, meet])
    assert done == [1]
    run_beside("test", [])
