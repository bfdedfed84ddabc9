"""Train on a cluster: `ray job submit --working-dir . -- python ray_jobs/train.py configs/quickstart.yaml`.

Takes what `vgim train` takes. The exit code and the last line of the log say how it ended; the run's folder is
all that it leaves.
"""

from __future__ import annotations

import sys

from vgim.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", "--address", "auto", *sys.argv[1:]]))
