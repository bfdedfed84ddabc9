"""Reports how many trials of a sweep have ended, and how far those are that train now."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from vgim.errors import VgimError
from vgim.progress import Stage
from vgim.runs.folder import RunFolder
from vgim.runs.metrics import MetricsRecord
from vgim.runs.metrics_follower import MetricsFollower
from vgim.tune.trials import Trial

LOCAL_POLL_S, REMOTE_POLL_S = 2.0, 15.0
"""Seconds between two looks at the trials' folders on local storage and elsewhere."""
ENDED = ("finished", "stopped", "failed")


class TrialsWatch:
    """Looks at the trials' folders now and then, in a thread; a context manager around the sweep.

    Args:
        stage: Where to report; its unit is a trial.
        known_trials: The trials that there are so far.
        missing: Says what trials that start wait for; empty if they wait for nothing.
    """

    def __init__(
        self, stage: Stage, known_trials: Callable[[], Sequence[Trial]], missing: Callable[[], str] = str
    ) -> None:
        self._stage, self._known_trials, self._missing = stage, known_trials, missing
        self._began_at = time.time()
        self._followers: dict[str, MetricsFollower] = {}
        self._newest: dict[str, MetricsRecord] = {}
        self._first_steps: dict[str, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="trials", daemon=True)

    def __enter__(self) -> TrialsWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def look(self) -> bool:
        """Report once; returns whether all that is looked at is on local storage."""
        trials = self._known_trials()
        num_ended, begun, training = 0, 0.0, []
        for trial in trials:
            record = RunFolder(trial.run).readable_record()
            if record is None:
                continue
            num_ended += record.state in ENDED
            if record.state == "running":
                training.append(self._words(trial, record.attempts))
                begun += self._share(trial)
        if not training and num_ended < len(trials) and (missing := self._missing()):
            training.append(missing)
        self._stage.update(done=num_ended, detail="  ".join(training), begun=begun)
        return all(trial.run.is_local for trial in trials)

    def _words(self, trial: Trial, attempts: int) -> str:
        """`learning_rate0.001: step 120/400`, or that the trial starts, or what its workers wait for.

        Args:
            attempts: How often its workers have started.
        """
        follower = self._followers.setdefault(trial.id, MetricsFollower(trial.run, since=self._began_at))
        for record in follower.new_records():
            if record["kind"] == "train":
                self._newest[trial.id] = record
                self._first_steps.setdefault(trial.id, record["step"])
        newest = self._newest.get(trial.id)
        if newest is not None:
            how_far = f"step {newest['step']}/{newest['last_step']}"
        else:
            waits = trial.config.cluster.max_workers and not attempts
            how_far = (waits and self._missing()) or "starts"
        return f"{trial.id}: {how_far}"

    def _share(self, trial: Trial) -> float:
        """Share of a trial's steps that were taken since this launch first heard of it."""
        newest = self._newest.get(trial.id)
        if newest is None or newest["last_step"] <= 0:
            return 0.0
        steps: int = newest["step"] - self._first_steps[trial.id]
        share: float = steps / newest["last_step"]
        return max(0.0, share)  # a member may continue from an earlier step

    def _watch(self) -> None:
        poll_s = LOCAL_POLL_S
        while not self._stop.wait(poll_s):
            with suppress(VgimError):  # storage that fails must not end it; the next look may succeed
                poll_s = LOCAL_POLL_S if self.look() else REMOTE_POLL_S
