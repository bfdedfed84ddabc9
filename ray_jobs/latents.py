"""Analyze a run on a cluster: `ray job submit --working-dir . -- python ray_jobs/latents.py /shared/runs/sim`.

Arguments are those of `vgim latents`. Analyses run in the job's own process. RUN is an absolute path, a URI or the name
of a run under $VGIM_HOME/runs; results go to RUN/latents.
"""

from __future__ import annotations

import sys

from vgim.cli import main

if __name__ == "__main__":
    sys.exit(main(["latents", *sys.argv[1:]]))
