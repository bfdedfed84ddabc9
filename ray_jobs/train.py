"""Train on a cluster: `ray job submit --working-dir . -- python ray_jobs/train.py configs/quickstart.yaml`.

Arguments are those of `vgim train`. The exit code and the last lines of the log say how training ended. The job writes
only the run's folder.
"""

from __future__ import annotations

import sys

from vgim.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", "--address", "auto", *sys.argv[1:]]))
