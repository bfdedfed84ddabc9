"""Which checkpoints of a run stay."""

from __future__ import annotations

from vgim.runs.checkpoint import by_loss, opened_checkpoints
from vgim.runs.checkpoint_scan import TO_CONTINUE, scan_checkpoints, write_index
from vgim.storage import Location


def is_kept_for_good(step_in_epoch: int, epoch: int, keep_every_epochs: int) -> bool:
    """Whether `train.keep_every_epochs` keeps a checkpoint at this position: the end of every N-th epoch of the run."""
    return keep_every_epochs > 0 and step_in_epoch == 0 and epoch > 0 and epoch % keep_every_epochs == 0


def prune_checkpoints(
    run: Location, *, keep_last: int, keep_best: int, keep_every_epochs: int = 0, keep_step: int | None = None
) -> None:
    """Delete checkpoints of a run, and write its index anew.

    Args:
        keep_last: Number of newest checkpoints to keep.
        keep_best: Number of checkpoints of lowest validation loss to keep.
        keep_every_epochs: Keep the checkpoints at the ends of epochs that are multiples of this number; 0 for none.
        keep_step: Optimizer step of another checkpoint to keep.
    """
    scan = scan_checkpoints(run)
    # A damaged one is none of the newest, and is not deleted.
    checkpoints = opened_checkpoints(scan, TO_CONTINUE)
    kept = {c.location for c in checkpoints[-keep_last:] + by_loss(checkpoints)[:keep_best]}
    for checkpoint in checkpoints:
        state = checkpoint.state
        if is_kept_for_good(state.step_in_epoch, state.epoch, keep_every_epochs):
            continue
        if checkpoint.location not in kept and state.step != keep_step:
            checkpoint.delete()
            del scan.readable[state.step]
    if scan.current_index() != scan.index:
        write_index(run, scan.current_index())
