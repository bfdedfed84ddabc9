"""A sweep in TensorBoard's HParams tab: one session per trial, with the values of the space and the metrics."""

from __future__ import annotations

from pathlib import Path

from vgim.runs.event_file import EventFile, refuse_loss
from vgim.runs.hparams import session_end, session_start
from vgim.runs.layout import TENSORBOARD
from vgim.storage import Location, replace_by, temporary_folder
from vgim.tune.results import SweepResult, TrialResult

METRIC, NCE, KL, KS = "sweep/metric", "sweep/nce", "sweep/kl_per_element", "sweep/mean_ks"


def write_tensorboard(folder: Location, result: SweepResult) -> None:
    """Rewrite SWEEP/tensorboard as a whole: it is small, and event files cannot be changed."""
    with temporary_folder("vgim-sweep-") as staging:
        for trial in result.trials:
            if trial.state != "waiting":
                _session(staging / trial.id, trial)
        replace_by(staging, folder.child(TENSORBOARD))


def _session(folder: Path, trial: TrialResult) -> None:
    with EventFile(folder, refuse_loss) as events:
        for summary in session_start(trial.values, (METRIC, NCE, KL, KS)):
            events.add_summary(summary)
        for at_epoch, metric in trial.curve:
            events.add_scalar(METRIC, metric, at_epoch)
        epoch = trial.curve[-1][0] if trial.curve else 0
        kl = [kl for kl in trial.kl_per_element if kl is not None]
        for tag, value in ((NCE, trial.nce[-1]), (KL, kl[-1] if kl else None), (KS, trial.mean_ks)):
            if value is not None:
                events.add_scalar(tag, value, epoch)
        if trial.state in ("finished", "failed"):
            events.add_summary(session_end(failed=trial.state == "failed"))
