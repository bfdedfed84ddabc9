"""Run a sweep on a cluster: `ray job submit --working-dir . -- python ray_jobs/sweep.py configs/sweep-kld.yaml`.

Arguments are those of `vgim sweep run`. Submitting the same job again continues an interrupted sweep.
"""

from __future__ import annotations

import sys

from vgim.cli import main

if __name__ == "__main__":
    sys.exit(main(["sweep", "run", "--address", "auto", *sys.argv[1:]]))
