"""Groups of runs read from their folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from vgim.compare.read_groups import compare_groups
from vgim.storage import Location


def test_modules_that_are_trained_one_after_the_other_each_have_their_last_epoch(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    run = Path(shutil.copytree(runs[0], tmp_path / "sequential", ignore=shutil.ignore_patterns("probes")))
    lines = []
    for module in range(4):
        for half, nce in enumerate((2.0, 1.0, 0.8)):  # an epoch has two records
            metrics = {"step": 3 * module + half + 1, "epoch": 2 * module + (half + 1) / 2, "compute_s": 0.1}
            metrics |= {"steps_per_s": 2.0, "crops_per_s": 8.0, "time": 0.0}
            lines.append({"kind": "train", **metrics, "modules": [{"module": module, "nce": nce + module}]})
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    (group,) = compare_groups({"sequential": [Location(str(run))]}).groups
    means = [module.train_nce.mean for module in group.modules if module.train_nce is not None]
    assert means == pytest.approx([0.9, 1.9, 2.9, 3.9])
