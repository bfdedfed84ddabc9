"""Train a decoder on a cluster: `ray job submit --working-dir . -- python ray_jobs/decode.py /shared/runs/sim
--module 0 --loss mse+stft`.

Arguments are those of `vgim decode train`. RUN is an absolute path, a URI or the name of a run under
$VGIM_HOME/runs. The job writes only the decoder's folder, below RUN/decoder.
"""

from __future__ import annotations

import sys

from vgim.cli import main

if __name__ == "__main__":
    sys.exit(main(["decode", "train", "--address", "auto", *sys.argv[1:]]))
