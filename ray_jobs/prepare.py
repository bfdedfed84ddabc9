"""Prepare shards on a cluster: `ray job submit --working-dir . -- python ray_jobs/prepare.py librispeech
--corpus /shared/LibriSpeech --out /shared/shards`. Arguments are those of `vgim data prepare`.
"""

from __future__ import annotations

import sys

from vgim.cli import main

if __name__ == "__main__":
    sys.exit(main(["data", "prepare", *sys.argv[1:]]))
