"""How the processes of ranks that a test has started end."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from torch import distributed as dist


def leave_world() -> NoReturn:
    """End this rank and its process, once all ranks are here.

    torch keeps the group of a DistributedDataParallel alive after `destroy_process_group`, and with it gloo's threads.
    One of them may let go of a tensor while the interpreter ends, which aborts the process: "terminate called without
    an active exception". Therefore the process ends without ending its interpreter.
    """
    dist.barrier()  # a rank that leaves early would break the others' connections
    dist.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
