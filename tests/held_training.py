"""`python -m tests.held_training STEP MARK CONFIG`: ray_jobs/train.py with ranks that wait at STEP until MARK exists.

A test that does something to a run in the middle of its training makes MARK afterwards.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from tests.faults import hold_until, workers_with
from vgim.training import on_ray

if __name__ == "__main__":
    step, mark, *arguments = sys.argv[1:]
    on_ray._train_worker = workers_with(hold_until(Path(mark), at_step=int(step)))
    sys.argv = ["ray_jobs/train.py", *arguments]
    runpy.run_path(sys.argv[0], run_name="__main__")
