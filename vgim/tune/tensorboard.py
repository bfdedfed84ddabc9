"""A sweep in TensorBoard's HParams tab: a session per trial, with the keys of the space and what they led to."""

from __future__ import annotations

import tempfile
from pathlib import Path

from torch.utils.tensorboard.writer import SummaryWriter

from vgim.runs.hparams import session_end, session_start
from vgim.storage import Location
from vgim.tune.results import SweepResult, TrialResult

FOLDER = "tensorboard"
METRIC, NCE, KL, KS = "sweep/metric", "sweep/nce", "sweep/kl_per_element", "sweep/mean_ks"


def write_board(folder: Location, result: SweepResult) -> None:
    """Write SWEEP/tensorboard anew: it is small, and an event file cannot be changed."""
    with tempfile.TemporaryDirectory(prefix="vgim-sweep-") as staging:
        for trial in result.trials:
            if trial.state != "waiting":
                _session(Path(staging) / trial.id, trial)
        folder.child(FOLDER).delete()
        folder.child(FOLDER).upload_dir(staging)


def _session(folder: Path, trial: TrialResult) -> None:
    with SummaryWriter(str(folder)) as board:
        events = board._get_file_writer()
        for summary in session_start(trial.values, (METRIC, NCE, KL, KS)):
            events.add_summary(summary)
        for epoch, value in trial.curve:
            board.add_scalar(METRIC, value, epoch)
        at = trial.curve[-1][0] if trial.curve else 0
        kl = [value for value in trial.kl_per_element if value is not None]
        for tag, figure in ((NCE, trial.nce[-1]), (KL, kl[-1] if kl else None), (KS, trial.mean_ks)):
            if figure is not None:
                board.add_scalar(tag, figure, at)
        if trial.state in ("finished", "failed"):
            events.add_summary(session_end(failed=trial.state == "failed"))
