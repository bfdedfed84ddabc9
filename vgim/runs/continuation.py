"""What the command that trained a run does when it is started again."""

from __future__ import annotations

from collections.abc import Sequence

from vgim.runs.checkpoint import Checkpoint, complete_checkpoints
from vgim.storage import Location


def continuation(run: Location, checkpoints: Sequence[Checkpoint] | None = None) -> str:
    """What the same command will do after an interruption, with the checkpoint's step if there is one.

    Args:
        run: The run's folder.
        checkpoints: Its complete checkpoints, oldest first; None to look for them.
    """
    checkpoints = complete_checkpoints(run) if checkpoints is None else checkpoints
    if checkpoints:
        return f"the same command continues from the checkpoint of step {checkpoints[-1].state.step}"
    return (
        "there is no checkpoint yet, so the same command starts the run again; train.checkpoint_every_steps writes "
        "them more often than once an epoch"
    )
