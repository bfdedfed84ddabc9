"""What the command that trained a run does when it is started again."""

from __future__ import annotations

from vgim.runs.checkpoint import complete_checkpoints
from vgim.storage import Location


def continuation(run: Location) -> str:
    """What the same command will do after an interruption, with the checkpoint's step if there is one."""
    checkpoints = complete_checkpoints(run)
    if checkpoints:
        return f"the same command continues from the checkpoint of step {checkpoints[-1].state.step}"
    return (
        "there is no checkpoint yet, so the same command starts the run again; train.checkpoint_every_steps writes "
        "them more often than once an epoch"
    )
