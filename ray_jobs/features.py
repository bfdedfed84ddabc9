"""Write features on a cluster: `ray job submit --working-dir . -- python ray_jobs/features.py /shared/runs/sim
/shared/shards --out /shared/features --workers 8`.

Arguments are those of `vgim features`. Parts of the corpus are encoded in up to --workers Ray tasks at the same time.
"""

from __future__ import annotations

import sys

from vgim.cli import main

if __name__ == "__main__":
    sys.exit(main(["features", *sys.argv[1:]]))
