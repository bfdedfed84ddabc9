"""Run an experiment on a cluster: `ray job submit --working-dir . -- python ray_jobs/experiment.py FILE`.

Arguments are those of `vgim experiment run`. Submitting the same job again continues an interrupted experiment.
"""

from __future__ import annotations

import sys

from vgim.cli import main

if __name__ == "__main__":
    sys.exit(main(["experiment", "run", "--address", "auto", *sys.argv[1:]]))
