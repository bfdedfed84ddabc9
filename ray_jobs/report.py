"""Write a run's page on a cluster: `ray job submit --working-dir . -- python ray_jobs/report.py /shared/runs/sim`.

Arguments are those of `vgim report`. RUN is an absolute path, a URI or the name of a run under $VGIM_HOME/runs.
"""

from __future__ import annotations

import sys

from vgim.cli import main

if __name__ == "__main__":
    sys.exit(main(["report", *sys.argv[1:]]))
