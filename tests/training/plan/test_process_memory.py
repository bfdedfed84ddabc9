"""The estimated memory of a rank's process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from mmap import PAGESIZE, mmap
from pathlib import Path

import pytest

from vgim.config import ResolvedConfig, to_yaml
from vgim.training.plan.process_memory import process_memory, resident_bytes
from vgim.training.plan.rank_memory import RankMemory

Maker = Callable[..., ResolvedConfig]
MIB = 2**20
TRAIN = """
import sys
from pathlib import Path
from vgim.config import load_config
from vgim.training.trainer import train
train(load_config(sys.argv[1]))
print(Path("/proc/self/status").read_text())
"""
PROCESS = re.compile(r"^process of a rank: about ([\d,]+) MiB in all: these ", re.MULTILINE)


def test_a_process_has_libraries_kept_blocks_a_copy_and_crops_beside_its_tensors() -> None:
    memory = RankMemory(
        weights=10 * MIB,
        gradients=9 * MIB,
        moments=20 * MIB,
        passes=100 * MIB,
        modules=(0,),
    )
    whole = process_memory(memory, libraries=600 * MIB, window_bytes=5 * MIB)
    assert (whole.tensors, whole.heap, whole.copy) == (139 * MIB, 100 * MIB, 30 * MIB)
    assert whole.reading == (2 * 5 + 4 * 8) * MIB
    assert whole.total == (600 + 139 + 100 + 30 + 42) * MIB
    assert whole.describe().startswith(
        "about 911 MiB in all: these 139, 600 of torch and other libraries, 100 "
    )


def test_the_memory_of_this_process_grows_with_what_it_writes_to() -> None:
    before = resident_bytes()
    with mmap(-1, 64 * MIB) as held:  # new pages, where torch may get freed ones
        for page in range(0, len(held), PAGESIZE):
            held[page] = 1
        assert 60 * MIB < resident_bytes() - before < 80 * MIB


@pytest.mark.slow
def test_a_training_in_one_process_needs_what_its_dry_run_says(tiny_config: Maker, tmp_path: Path) -> None:
    resolved = tiny_config(
        "cluster.workers=0",
        "cluster.device=cpu",
        "model.channels=64",
        "train.max_steps=4",
        "train.checkpoint_every_steps=2",
        "train.batch_size=8",
    )
    preset = tmp_path / "wide.yaml"
    preset.write_text(to_yaml(resolved.config))
    command = [sys.executable, "-m", "vgim", "train", str(preset)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    said = subprocess.run(
        [*command, "--dry-run"], env=environment, stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    found = PROCESS.search(said)
    assert found, said
    trained = subprocess.run(
        [sys.executable, "-c", TRAIN, str(preset)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    peak = re.search(r"^VmHWM:\s+(\d+) kB$", trained, re.MULTILINE)
    assert peak, trained
    # Without libraries, freed blocks or crops that are read, it would be a quarter of that.
    assert int(peak[1]) / 1024 == pytest.approx(float(found[1].replace(",", "")), rel=0.125), said
