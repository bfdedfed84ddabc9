"""The folder that attacks start from: a corpus, shards, runs and what commands make of them, all tiny.

The folder always lies at the same path, since runs hold absolute paths: attacks happen in `case/`, which is copied
from `parts/NAME` before each. A part is made when an attack first needs it.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.operations import Hook, Operation
from tests.chaos.process import Outcome
from tests.conftest import TINY

TRAIN = (
    "train.limit_train_batches=3",
    "train.limit_validation_batches=1",
    "train.checkpoint_every_steps=2",
    "train.keep_last=2",
    "train.max_steps=7",
    "train.epochs=3",
    "data.augment.gain_db=3",
)
"""Overrides of a run of seven steps in three epochs, with four checkpoints of which two or three are kept. The last has
statistics of crops without augmentation."""
SWEEP = """
base: tiny
overrides: [train.limit_train_batches=2, train.limit_validation_batches=1, train.epochs=1]
space: {objective.kld_weight: [0.001, 0.1]}
"""
POPULATION = """
base: tiny
overrides: [train.limit_train_batches=2, train.limit_validation_batches=1, train.epochs=3, model.depth=1]
space: {optim.learning_rate: [1e-3, 1e-2]}
scheduler: {kind: pbt, interval_epochs: 1}
"""
EXPERIMENT = """
seeds: [0]
overrides: [train.max_steps=2, train.limit_validation_batches=1]
runs:
  sim: {preset: tiny, overrides: [objective.kld_weight=0.002]}
  gim: {preset: tiny, overrides: [model.family=gim, objective.kld_weight=0, objective.kld_warmup_steps=0]}
probes:
  - {tasks: [speaker], encoders: [trained], max_utterances: 12}
"""
PREPARE = ("data", "prepare", "librispeech", "--corpus", "corpus", "--workers", "0")
PREPARE_FOLDER = ("data", "prepare", "folder", "--corpus", "corpus", "--workers", "0")
"""The same recordings with other ids and another speaker."""
SYNTHESIZE = ("data", "synth", "--speakers", "3", "--utterances", "30")
DECODER = ("decode", "train", "runs/run", "--module", "0", "train.epochs=1", "train.limit_train_batches=2")
DECODER_KEYS = (
    "train.limit_validation_batches=1",
    "train.checkpoint_every_steps=1",
    "train.batch_size=4",
    "decoder.channels=8",
    "cluster.workers=0",
)
PROBE = ("probe", "runs/run", "--task", "speaker")
FEW = ("--max-utterances", "12")
LATENTS = ("latents", "runs/run", "--module", "0", "--only", "distribution", *FEW)
LATENT_KEYS = ("--max-frames", "200", "--subsets", "2")
EXPORT = ("export", "runs/run", "--to", "folder", "--overwrite")
FEATURES = ("features", "runs/run", "shards", "--module", "0", "--module", "2")
DECODER_NAME = "runs/run/decoder"
CACHE = "cache"
"""Folder of the copies of shards."""


@dataclass(frozen=True)
class Part:
    """A part of the template: the parts that it needs, and the commands that make it."""

    needs: tuple[str, ...]
    commands: tuple[tuple[str, ...], ...]
    killed_at: str = ""
    """Path at whose first operation the commands are killed."""


PARTS = {
    "corpus": Part((), ((*SYNTHESIZE, "--out", "corpus"),)),
    "shards": Part(("corpus",), ((*PREPARE, "--out", "shards"),)),
    "two": Part(("shards",), ((*PREPARE_FOLDER, "--out", "two"),)),
    "other": Part(
        ("shards",),
        (
            (*PREPARE, "--out", "other/shards", "--seed", "9"),
            (
                "train",
                "tiny.yaml",
                *TRAIN,
                "train.seed=9",
                "data.shards=other/shards",
                "storage.root=other/runs",
            ),
        ),
    ),
    "half": Part(
        ("shards",), (("train", "tiny.yaml", *TRAIN),), killed_at="runs/run/checkpoints/step-00000006"
    ),
    "run": Part(("shards",), (("train", "tiny.yaml", *TRAIN),)),
    "filled": Part(
        ("shards",), (("train", "tiny.yaml", *TRAIN, "storage.name=earlier", f"data.cache_dir={CACHE}"),)
    ),
    "lower": Part(("shards",), (("train", "tiny.yaml", *TRAIN, "model.depth=1", "storage.name=lower"),)),
    "decoder": Part(("run",), ((*DECODER, *DECODER_KEYS),)),
    "results": Part(
        ("decoder",),
        (
            (*PROBE, *FEW),
            (*LATENTS, *LATENT_KEYS),
            ("decode", "sample", "runs/run", "--count", "1"),
            ("report", "runs/run"),
        ),
    ),
    "sweep": Part(("shards",), (("sweep", "sweep.yaml"),)),
    "experiment": Part(("shards",), (("experiment", "experiment.yaml"),)),
}


@dataclass
class Template:
    """Makes fresh copies of the parts.

    Args:
        root: Folder of the template and of the attacks.
        run: Runs a command in the folder `case`, with a hook for its operations.
        parts: Parts by name.
    """

    root: Path
    run: Callable[[tuple[str, ...], Hook | None], Outcome]
    parts: dict[str, Part] = field(default_factory=lambda: PARTS)
    made: set[str] = field(default_factory=set)

    @property
    def case(self) -> Path:
        """The folder in which attacks happen."""
        return self.root / "case"

    def fresh(self, part: str) -> Path:
        """Put a fresh copy of a part in the folder of attacks; "" for configs alone."""
        if part:
            self.make(part)
        remove(self.case)
        source = self.root / "parts" / part
        if part:
            shutil.copytree(source, self.case)
            for sound in sorted((self.case / "corpus").rglob("*.flac"))[:1]:
                shutil.copy(sound, self.case / "sound.flac")
        else:
            self._begin()
        return self.case

    def _begin(self) -> None:
        self.case.mkdir(parents=True)
        tiny = TINY.format(shards=self.case / "shards", root=self.case / "runs")
        for name, text in {
            "tiny.yaml": tiny,
            "sweep.yaml": SWEEP,
            "population.yaml": POPULATION,
            "experiment.yaml": EXPERIMENT,
        }.items():
            (self.case / name).write_text(text)

    def make(self, name: str) -> None:
        """Make a part, if it is not there yet."""
        if name in self.made:
            return
        part = self.parts[name]
        for needed in part.needs:
            self.make(needed)
        self.fresh(part.needs[0] if part.needs else "")
        for command in part.commands:
            outcome = self.run(command, _killing(part.killed_at) if part.killed_at else None)
            if outcome.code != (-signal.SIGKILL if part.killed_at else 0):
                raise RuntimeError(f"vgim {' '.join(command)} ended with {outcome.code}: {outcome.text}")
        shutil.copytree(self.case, self.root / "parts" / name)
        self.made.add(name)


def _killing(path: str) -> Hook:
    def hook(number: int, operation: Operation) -> None:
        if operation.changes and operation.path.startswith(path):
            os.kill(os.getpid(), signal.SIGKILL)

    return hook


def remove(folder: Path) -> None:
    """Remove a folder, if there is one, that processes may still write into."""
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
    raise RuntimeError(f"cannot remove {folder}")
