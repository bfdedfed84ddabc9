"""`python -m tests.held_job STEP MARK [STEP MARK ...] ray_jobs/SCRIPT.py ARGUMENTS`: train.py or sweep.py with ranks
that wait at STEP until MARK exists.

A test that does something to a run in the middle of its training makes MARK afterwards. Elastic workers look every
second whether there is room for more of them.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from tests.faults import each_of, hold_until, trials_with, workers_with
from vgim.training import on_ray, ray_fit
from vgim.tune import ray_tuner

if __name__ == "__main__":
    arguments, holds = sys.argv[1:], []
    while arguments[0].isdigit():
        step, mark, *arguments = arguments
        holds.append(hold_until(Path(mark), at_step=int(step)))
    ray_tuner.run_chain = trials_with(each_of(*holds))
    on_ray._train_worker = workers_with(each_of(*holds))
    ray_fit.RESIZE_INTERVAL_S = 1.0
    sys.argv = arguments
    runpy.run_path(sys.argv[0], run_name="__main__")
