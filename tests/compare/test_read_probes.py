"""Probe results among other files below RUN/probes."""

from __future__ import annotations

import shutil
from pathlib import Path

from vgim.compare.read import compare
from vgim.downstream.few_labels.result import FewLabelsOptions
from vgim.downstream.few_labels.study import study


def test_studies_of_few_labels_are_not_compared(runs: tuple[Path, Path], tmp_path: Path) -> None:
    run = Path(shutil.copytree(runs[0], tmp_path / "studied"))
    before = compare([str(run)])
    study(str(run), FewLabelsOptions(task="speaker", labels_per_class=(1, 2), seeds=2, draws=2, device="cpu"))
    assert len(list((run / "probes").glob("speaker-labels*/result.json"))) == 1
    assert compare([str(run)]) == before
