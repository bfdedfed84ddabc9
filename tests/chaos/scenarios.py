"""The commands that attacks disturb, by name."""

from __future__ import annotations

from tests.chaos.arena import Scenario
from tests.chaos.template import (
    CACHE,
    DECODER,
    DECODER_KEYS,
    EXPORT,
    FEATURES,
    FEW,
    LATENT_KEYS,
    LATENTS,
    PREPARE,
    PROBE,
    SYNTHESIZE,
    TRAIN,
)

TRAINING = Scenario("train", "shards", ("train", "tiny.yaml", *TRAIN))
RESUMED = Scenario("resume", "half", ("train", "tiny.yaml", *TRAIN))
ATTACHED = Scenario("attach", "lower", ("train", "tiny.yaml", *TRAIN, "--attach", "lower"))
CACHED = Scenario("cached", "shards", ("train", "tiny.yaml", *TRAIN, f"data.cache_dir={CACHE}"))
FILLED = Scenario("filled", "filled", CACHED.command)
DECODING = Scenario("decoder", "run", (*DECODER, *DECODER_KEYS))
SYNTHESIZING = Scenario("synth", "", (*SYNTHESIZE, "--out", "corpus"), ("corpus",))
PREPARING = Scenario("prepare", "corpus", (*PREPARE, "--out", "shards"), ("shards",))
MERGING = Scenario("merge", "two", ("data", "merge", "shards", "two", "--out", "both"), ("both",))
SPLITTING = Scenario(
    "split", "shards", ("data", "split", "shards", "--seed", "5", "--out", "resplit"), ("resplit",)
)
PROBING = Scenario("probe", "run", (*PROBE, *FEW))
ANALYZING = Scenario("latents", "run", (*LATENTS, *LATENT_KEYS))
REPORTING = Scenario("report", "results", ("report", "runs/run"))
EXPORTING = Scenario("export", "run", EXPORT)
WRITING_FEATURES = Scenario("features", "run", (*FEATURES, "--out", "features"), ("features",))
# Training has drawn seed 0 already, and what is there is kept.
SAMPLING = Scenario(
    "decode-sample", "decoder", ("decode", "sample", "runs/run", "--count", "2", "--seed", "1")
)
SWEEPING = Scenario("sweep", "shards", ("sweep", "sweep.yaml"))
POPULATION = Scenario("population", "shards", ("sweep", "population.yaml"))
EXPERIMENT = Scenario("experiment", "shards", ("experiment", "experiment.yaml"))

SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        TRAINING,
        RESUMED,
        ATTACHED,
        CACHED,
        FILLED,
        DECODING,
        SYNTHESIZING,
        PREPARING,
        MERGING,
        SPLITTING,
        PROBING,
        ANALYZING,
        REPORTING,
        EXPORTING,
        WRITING_FEATURES,
        SAMPLING,
        SWEEPING,
        POPULATION,
        EXPERIMENT,
    )
}
