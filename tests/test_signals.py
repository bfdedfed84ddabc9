"""Signals that ask a command to stop: whom they reach, how often, and which handlers stay."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from vgim.errors import Interrupted
from vgim.signals import STOP_SIGNALS, Stopped, StopSignals, handlers_kept, name_of, stop_signals


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_raises_unless_a_training_is_patient_and_then_the_second_does(
    number: signal.Signals,
) -> None:
    before = signal.getsignal(number)
    with stop_signals() as stop:
        with pytest.raises(Stopped) as e:
            send(number)
        assert (e.value.signal_number, e.value.exit_code) == (number, 128 + number)
        assert stop.signal == 0
        stop.is_patient = True
        send(number)
        assert stop.signal == number
        with pytest.raises(Stopped):
            send(number)
    assert signal.getsignal(number) == before


def test_a_context_within_another_shares_its_signals() -> None:
    with stop_signals() as outer:
        outer.is_patient = True
        with stop_signals() as inner:
            send(signal.SIGTERM)
            assert inner is outer
        assert outer.signal == signal.SIGTERM
        assert signal.getsignal(signal.SIGTERM) == outer.handle  # until the outer one ends


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with stop_signals():
            send(signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_thread_gets_an_object_of_its_own_and_sets_no_handler() -> None:
    found: list[StopSignals] = []

    def enter() -> None:
        with stop_signals() as stop:
            found.append(stop)

    with stop_signals() as stop:
        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        assert found[0] is not stop
        assert signal.getsignal(signal.SIGINT) == stop.handle


def test_handlers_that_a_library_sets_are_put_back_and_its_processes_do_not_hear_of_a_hangup() -> None:
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    with handlers_kept():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        assert signal.SIGHUP in signal.pthread_sigmask(signal.SIG_BLOCK, [])  # a child inherits it
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before
    assert signal.SIGHUP not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_sigterm_while_a_library_handles_it_stops_the_command_as_ever() -> None:
    def start() -> None:
        with handlers_kept():
            signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))  # as `ray.init` does
            signal.raise_signal(signal.SIGTERM)

    with stop_signals(), pytest.raises(Stopped) as stopped:
        start()
    assert stopped.value.exit_code == 143


def test_an_interruption_knows_its_exit_code() -> None:
    assert Interrupted().exit_code == 130
    assert Interrupted(signal.SIGHUP).exit_code == 129
    assert [name_of(15), name_of(250)] == ["SIGTERM", "signal 250"]


@pytest.mark.parametrize("is_ignored", [False, True])
def test_ctrl_c_while_modules_are_imported_ends_without_a_traceback(is_ignored: bool) -> None:
    code = f"""
import os, signal, sys
class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == "vgim.cli":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupts())
if {is_ignored}:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
sys.argv = ["vgim", "--version"]
from vgim.__main__ import run
run()
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == (0 if is_ignored else -signal.SIGINT)
    assert ended.stderr == ""
    assert ended.stdout.startswith("vgim, version") is is_ignored
