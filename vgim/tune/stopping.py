"""Stopping a sweep so that it loses nothing: every trial that trains writes a checkpoint, and none begins."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from vgim.claims.claim import holder_seen
from vgim.errors import Interrupted, VgimError
from vgim.runs.folder import RunFolder
from vgim.runs.stop_request import ask_to_stop, requested_stop, withdraw_stop_request
from vgim.signals import Stopped, name_of, signal_of, stop_signals
from vgim.storage import Location
from vgim.training.stopping import Grace, call_in_thread
from vgim.tune.trials import Trial

POLL_S = 0.5
LOOKS = 5
"""Times that the trials' records are looked at once more, since one may have begun in the instant of the request."""


def run_until_stopped(
    run_trials: Callable[[], None],
    folder: Location,
    known_trials: Callable[[], Sequence[Trial]],
    grace_s: float,
    say: Callable[[str], None],
) -> None:
    """Run a sweep's trials; at a signal, ask them to stop and wait until they have.

    A request to stop that somebody else made in the sweep's folder ends the sweep as a signal does.

    Args:
        run_trials: runs all trials to their end.
        folder: the sweep's folder, where trials look for the request to stop.
        known_trials: the trials that there are so far.
        grace_s: seconds in which the trials must have written their checkpoints; 0 does not wait.
        say: prints a line.

    Raises:
        Interrupted: a signal or a request stopped the sweep; the trials' records say so.
    """

    def training() -> list[Trial]:
        records = [(trial, RunFolder(trial.run).readable_record()) for trial in known_trials()]
        return [trial for trial, record in records if record is not None and record.state == "running"]

    def ask(number: int) -> bool:
        ask_to_stop(folder, number)
        return bool(training())

    withdraw_stop_request(folder)
    try:
        with stop_signals() as stop:
            stop.is_patient = grace_s > 0
            try:
                with Grace(stop, grace_s, say, ask) as grace:
                    call_in_thread(run_trials, lambda: stop.signal > 0 and not training(), POLL_S)
            finally:
                stop.is_patient = False
            # Anybody may have made the request: trials then stopped although this process heard of no signal.
            if number := stop.signal or requested_stop(folder):
                raise Stopped(number)
    except (KeyboardInterrupt, SystemExit) as error:
        number = signal_of(error)
        left: Sequence[Trial] = ()
        with suppress(VgimError):  # what cannot be written must not hide that the sweep was interrupted
            ask_to_stop(folder, number)  # a second signal may have come before the first was passed on
            left = training()
            _record_interruption(training, known_trials, number)
        if left and grace.is_over:
            say(
                f"{', '.join(trial.id for trial in left)}: no checkpoint was written within {grace.limit}: the steps "
                "since the last one are lost"
            )
        say("interrupted; the same command goes on with what is left")
        raise Interrupted(
            number
        ) from None  # the request stays, so that no trial begins while the process ends


def _record_interruption(
    training: Callable[[], Sequence[Trial]], known_trials: Callable[[], Sequence[Trial]], number: int
) -> None:
    """Write the end of trials that cannot do it any more: this process ends, and theirs with it.

    A trial whose folder is claimed is about to say that it runs, or that it has stopped.
    """
    quiet = 0
    for _ in range(LOOKS):
        left = training()
        claimed = left or any(holder_seen(trial.run) is not None for trial in known_trials())
        quiet = 0 if claimed else quiet + 1
        if quiet == 2:
            return
        for trial in left:
            RunFolder(trial.run).set_state("interrupted", f"stopped by {name_of(number)}")
        time.sleep(POLL_S)
