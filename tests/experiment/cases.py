"""A small experiment's file for tests: two arms on the embedded corpus, trained in this process."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import TINY

FILE = """
seeds: [0, 1]
overrides: [train.max_steps=4, train.checkpoint_every_steps=2]
runs:
  sim: {preset: tiny, overrides: [objective.kld_weight=0.002]}
  gim: {preset: tiny, overrides: [model.family=gim, objective.kld_weight=0, objective.kld_warmup_steps=0]}
"""


def write_file(folder: Path, shards: Path, text: str = FILE, name: str = "two.yaml") -> str:
    """Write an experiment's file and its preset `tiny`; returns the file's path."""
    (folder / "tiny.yaml").write_text(TINY.format(shards=shards, root=folder / "runs"))
    (folder / name).write_text(text)
    return str(folder / name)
