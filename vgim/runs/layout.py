"""Names of the files and folders of a run, for all that read or write one.

RUN/  config.yaml  run.json  metrics.jsonl  tensorboard/  report.html
      checkpoints/index.json
      checkpoints/step-00000200/  weights.safetensors  optimizer.safetensors  config.yaml  state.json
                                  statistics.safetensors, if training augmented its crops
      probes/  latents/  features/
      decoder/NAME/  a run of its own, with the encoder that it decodes in encoder/
"""

from __future__ import annotations

CONFIG, RECORD, METRICS, TENSORBOARD = "config.yaml", "run.json", "metrics.jsonl", "tensorboard"
STOP_REQUEST = "stop-request.json"
"""Asks the training of a run to write a checkpoint and stop."""
CHECKPOINTS, PROBES, LATENTS, FEATURES, DECODERS = "checkpoints", "probes", "latents", "features", "decoder"
WEIGHTS, OPTIMIZER, STATE = "weights.safetensors", "optimizer.safetensors", "state.json"
"""Files of a checkpoint, besides its `CONFIG`."""
STATISTICS = "statistics.safetensors"
"""One more file of some checkpoints: buffers that readers take in place of those that training goes on with."""
LINEAGE = "lineage.json"
"""History of the weights of a member of a population."""
INDEX = "index.json"
"""States of a run's checkpoints in one file, in `CHECKPOINTS`: a cache."""
RESULT = "result.json"
"""Result of a probe, a study or an analysis, in its own folder below `PROBES` or `LATENTS`."""
TRIALS = "trials"
"""Folder of the runs of a sweep, in the sweep's."""
