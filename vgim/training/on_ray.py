"""The loop on Ray: one rank per worker. If a worker is lost, all restart from the last checkpoint.

Ray Train starts the workers, but for the one worker of a private Ray, whose command imports no torch.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial

from vgim.claims.ticket import ClaimLostError
from vgim.cluster.connect import ensure_ray, is_private, starts_private
from vgim.cluster.gpu import gpus_before_torch
from vgim.cluster.placement import DATA_CPUS, Placement
from vgim.config import AnyConfig
from vgim.errors import StorageError, TrainingError, VgimError
from vgim.progress import Progress
from vgim.runs.continuation import continuation
from vgim.runs.folder import RunFolder
from vgim.runs.stop_request import ask_to_stop
from vgim.signals import Stopped, StopSignals, exit_code_of
from vgim.storage import Location
from vgim.text import first_line
from vgim.training.console import Console, modules_without_kl
from vgim.training.errors import causes_of, error_of
from vgim.training.job import AnyTrainJob
from vgim.training.plan.workers import backend_of, describe_placement, place_run
from vgim.training.progress import schedule_of
from vgim.training.ray_alone import RayEndedError, WorkerFailedError, train_alone
from vgim.training.ray_fit import POLL_SECONDS, RAY_MARKER, RAY_SNAPSHOT, ray_train_fit
from vgim.training.starting import starting_worker, starting_workers
from vgim.training.stopping import Grace, call_in_thread, end_within

ENDED_BY_THEMSELVES = ("interrupted", "finished")
"""States of a run that its ranks write when they end after a signal."""
SILENCE_S, EXIT_S = 20.0, 10.0
"""Seconds for which Ray is waited for when the ranks have ended at a signal, and then at this process's end."""


def train_on_ray(
    job: AnyTrainJob,
    *,
    address: str | None,
    verbose: bool,
    placement: Placement | None = None,
    stop: StopSignals,
    grace: Grace,
    progress: Progress,
) -> str:
    """Train with workers on Ray.

    Args:
        address: Ray cluster; None uses $RAY_ADDRESS if it is set, else starts Ray on this machine.
        verbose: let Ray log.
        placement: resources of the workers; None divides the whole cluster among them.
        stop: signals of this process, to which the ranks react by themselves once training has begun.
        grace: watches over the time that they take.
        progress: where to report what is waited for, and how far the training is.

    Returns:
        A sentence on how the run ended.

    Raises:
        VgimError: an error that a worker raised, or workers were lost too often or could not be started.
    """
    cluster = job.config.cluster
    idle_gpu = gpus_before_torch(cluster) if placement is None and starts_private(address) else None
    ensure_ray(
        min_cpus=cluster.max_workers + DATA_CPUS,
        address=address,
        verbose=verbose,
        without_ray=_without_ray(job.config),
        progress=progress,
    )
    import ray

    if placement is None:
        job, placement = _placed(job, idle_gpu, progress)
    folder = RunFolder(Location(job.run))
    # Bound with `partial`: for a train_loop_config, Ray's controller would import all that the job needs.
    train_worker = partial(_train_worker, job, placement)
    fit: Callable[[], object]
    failed: tuple[type[Exception], ...]
    if placement.is_alone:
        failed = (WorkerFailedError, RayEndedError)
        fit = partial(
            train_alone,
            train_worker,
            placement,
            max_failures=cluster.max_failures,
            start_timeout_s=cluster.start_timeout_s,
            is_stopping=lambda: bool(stop.signal),
        )
        starting = starting_worker(folder)
    else:
        with progress.stage("loading Ray Train"):
            from ray.train import TrainingFailedError

            backend = backend_of(cluster, placement)
            fit = ray_train_fit(train_worker, job, placement, backend=backend, verbose=verbose)
        failed = (TrainingFailedError,)
        starting = starting_workers(folder, placement)
    try:
        with Console(folder.location, progress, starting, modules_without_kl(job.config)):
            if threading.current_thread() is threading.main_thread():
                stop.is_patient = job.config.cluster.stop_grace_s > 0
                after_signal = _AfterSignal(folder, stop)
                with grace:
                    call_in_thread(fit, after_signal.ray_is_silent, POLL_SECONDS)
            else:
                fit()
    except (*failed, ray.exceptions.RayError) as error:
        if not _ended_by_signal(error, folder, stop, progress):
            _explain(error, folder, cluster.max_failures)
            raise
    finally:
        with suppress(StorageError):  # it would hide the error that ended the run
            for leftover in (RAY_SNAPSHOT, RAY_MARKER):
                folder.location.child(leftover).delete()
    record = folder.record()
    if record is not None and record.state == "failed":
        raise error_of(record)
    return record.message if record is not None else ""


def _placed(job: AnyTrainJob, idle_gpu: str | None, progress: Progress) -> tuple[AnyTrainJob, Placement]:
    """The placement of a job's workers on the whole cluster, and the job with notes on it.

    Args:
        idle_gpu: why the GPUs of this machine are left idle; None if they need not be.
    """
    import ray

    cluster, resources = job.config.cluster, dict(ray.cluster_resources())
    if idle_gpu is not None:
        resources["GPU"] = 0.0
    placement, warning = place_run(cluster, resources, private=is_private())
    notes = [note for note in (idle_gpu, warning) if note is not None]
    if not placement.on_this_machine:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        for line in describe_placement(cluster, placement, nodes, ray.available_resources()):
            progress.message(line)
    return replace(job, notes=(*job.notes, *notes)), placement


def _ended_by_signal(error: Exception, folder: RunFolder, stop: StopSignals, progress: Progress) -> bool:
    """Whether an error of Ray follows a signal at which the ranks ended by themselves; this process then ends soon.

    Who stops a command often sends the signal to all its processes, Ray's among them.

    Raises:
        Stopped: Ray ended before the ranks.
    """
    record = folder.record() if stop.signal else None
    if record is None:
        return False
    if record.state == "running":
        progress.message(f"no checkpoint was written: Ray ended before the workers ({first_line(error)})")
        raise Stopped(stop.signal) from error
    if record.state not in ENDED_BY_THEMSELVES:
        return False
    end_within(EXIT_S, _exit_code(record.state, stop.signal))
    return True


def _without_ray(config: AnyConfig) -> str:
    """What the user may do where Ray does not start: settings with which the same steps are taken in one process."""
    overrides = ["cluster.workers=0"]
    if schedule_of(config).has_stages:
        overrides.insert(0, "train.schedule=joint")
    if config.cluster.max_workers > 1 and not config.train.virtual_ranks:
        overrides.append(f"train.virtual_ranks={config.cluster.max_workers}")
    return f"train the same steps without Ray ({' '.join(overrides)})"


class _AfterSignal:
    """Looks, after a signal, whether Ray says nothing although the ranks have written how they ended.

    A signal to all processes ends Ray's own at once, while the ranks write their checkpoint.
    """

    def __init__(self, folder: RunFolder, stop: StopSignals) -> None:
        self._folder, self._stop = folder, stop
        self._ended_at, self._exit_code = 0.0, 0

    def ray_is_silent(self) -> bool:
        """Whether the ranks ended `SILENCE_S` seconds ago; the process then ends without Ray."""
        if not self._stop.signal:
            return False
        with suppress(StorageError):
            record = self._folder.record()
            if record is not None and record.state in ENDED_BY_THEMSELVES:
                self._ended_at = self._ended_at or time.monotonic()
                self._exit_code = _exit_code(record.state, self._stop.signal)
        silent = self._ended_at > 0 and time.monotonic() - self._ended_at > SILENCE_S
        if silent:
            end_within(EXIT_S, self._exit_code)
        return silent


def _exit_code(state: str, signal_number: int) -> int:
    """Exit code of the command, after a signal, whose ranks ended with this state."""
    return 0 if state == "finished" else exit_code_of(signal_number)


def ask_ranks_to_stop(folder: RunFolder, signal_number: int) -> bool:
    """Ask the ranks of a run to stop; returns False if none of them has begun to train.

    Raises:
        StorageError: the request cannot be written.
    """
    record = folder.record()
    if record is None or not record.attempts:
        return False
    ask_to_stop(folder.location, signal_number)
    return True


def _train_worker(job: AnyTrainJob, placement: Placement) -> None:
    """Train on one rank; Ray runs this in every worker. The command itself needs no torch."""
    from vgim.training.ray_rank import train_rank

    train_rank(job, placement)


def _explain(error: Exception, folder: RunFolder, max_failures: int) -> None:
    """Raise the VgimError behind an error of Ray; return if there is none, which is a defect of ours."""
    import ray

    if isinstance(error, RayEndedError):
        raise TrainingError(
            f"Ray ended before its worker ({first_line(error)}); {continuation(folder.location)}"
        ) from error
    failures = getattr(error, "worker_failures", {})
    for failure in (*failures.values(), getattr(error, "controller_failure", None)):
        for cause in causes_of(failure):
            if isinstance(cause, ClaimLostError):
                raise cause from error  # run.json is another process's now
    record = folder.record()
    if record is not None and record.state == "failed":
        raise error_of(record) from error
    for rank, failure in sorted(failures.items()):
        for cause in causes_of(failure):
            if isinstance(cause, VgimError):
                raise cause from error
            if isinstance(cause, ray.exceptions.RayActorError | ray.exceptions.NodeDiedError):
                reason = first_line(cause)
                raise TrainingError(
                    f"worker {rank} was lost ({reason}) and cluster.max_failures={max_failures} is used up; "
                    + continuation(folder.location)
                ) from error
    if isinstance(error, ray.exceptions.RayActorError):
        raise TrainingError(
            f"Ray's controller of the workers was lost ({first_line(error)}); {continuation(folder.location)}"
        ) from error
    controller = getattr(error, "controller_failure", None)
    if controller is not None:
        *_, innermost = causes_of(
            controller
        )  # Ray's wrapper of a VgimError is one too, with a traceback as its text
        if isinstance(innermost, VgimError):
            raise innermost from error
        if isinstance(controller, VgimError):
            raise controller from error
        if innermost is not controller:  # a worker raised it before training began
            raise TrainingError(
                f"the workers could not begin ({type(innermost).__name__}: {first_line(innermost)}); check that every "
                "node has the same vgim and packages"
            ) from error
        raise TrainingError(
            f"the workers could not be started ({first_line(controller)}); check `ray status` for the resources that "
            "cluster.workers needs"
        ) from error
