"""Probe a run on a cluster: `ray job submit --working-dir . -- python ray_jobs/probe.py /shared/runs/sim --task phone`.

Arguments are those of `vgim probe`. Probes run in the job's own process, or with --workers N in up to N Ray tasks at
the same time. RUN is an absolute path, a URI or the name of a run under $VGIM_HOME/runs; results go to RUN/probes.
"""

from __future__ import annotations

import sys

from vgim.cli import main

if __name__ == "__main__":
    sys.exit(main(["probe", *sys.argv[1:]]))
