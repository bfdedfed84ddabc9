"""Two runs that differ in what was probed, in their data and in their negatives."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from vgim.downstream import writing
from vgim.downstream.job import probe
from vgim.downstream.options import ProbeOptions


@pytest.fixture(scope="session")
def runs(probed_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run with probes and baselines, and a run with other data and negatives, one old probe and damaged results."""
    folder = tmp_path_factory.mktemp("compared")
    keep = shutil.ignore_patterns("probes", "tensorboard")
    one, two = (Path(shutil.copytree(probed_run, folder / name, ignore=keep)) for name in ("one", "two"))
    options = {"task": "speaker", "module": None, "encoders": ("trained", "random", "mfcc")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            writing, "can_draw", lambda: False
        )  # confusion pictures are slower than the rest of a tiny probe
        probe(str(one), ProbeOptions.model_validate(options))
        probe(str(two / "checkpoints" / "step-00000010"), ProbeOptions(task="speaker", module=0))
    for name, text in (("foreign", '{"task": "speaker"}'), ("cut", '{"task"'), ("bytes", "\x00")):
        (two / "probes" / name).mkdir()
        (two / "probes" / name / "result.json").write_text(text)
    record = json.loads((two / "run.json").read_text())
    (two / "run.json").write_text(json.dumps({**record, "data_fingerprint": "0" * 64}))
    config = (two / "config.yaml").read_text()
    assert "num_negatives: 5" in config
    (two / "config.yaml").write_text(config.replace("num_negatives: 5", "num_negatives: 6"))
    return one, two
