"""An interrupted probe leaves whole results, and the same command computes what is left."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.recorded import Recorded
from vgim.downstream import job
from vgim.downstream.fit import SeedFit, fit_and_score
from vgim.downstream.job import probe_many
from vgim.downstream.options import ProbeOptions
from vgim.downstream.result import ProbeResult
from vgim.progress import SILENT, Progress

pytestmark = pytest.mark.usefixtures("without_confusion_pictures")

OPTIONS = ProbeOptions(task="speaker", module=None, encoders=("trained", "mfcc"), device="cpu")


@pytest.fixture
def run(probed_run: Path, tmp_path: Path) -> Path:
    copied = tmp_path / "run"
    shutil.copytree(probed_run, copied, ignore=shutil.ignore_patterns("probes", "features"))
    return copied


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of features of the classifiers that were fitted."""
    counted: list[int] = []

    def fit(*args: object) -> SeedFit:
        found = fit_and_score(*args)  # type: ignore[arg-type]
        counted.append(found.fitted.weight_KC.shape[1])
        return found

    monkeypatch.setattr(job, "fit_and_score", fit)
    return counted


def go_on(
    run: Path, options: ProbeOptions = OPTIONS, progress: Progress = SILENT, **how: bool
) -> list[ProbeResult]:
    ((_, _, results),), error = probe_many(
        [str(run)], [options], progress=progress, **{"goes_on": True, **how}
    )
    assert error is None
    return results


def test_an_interrupted_probe_goes_on_where_it_was(
    run: Path, fitted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = job.fit_and_score

    def interrupt(*args: object) -> SeedFit:
        if len(fitted) == 2:
            raise KeyboardInterrupt
        return fit(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(job, "fit_and_score", interrupt)
    with pytest.raises(KeyboardInterrupt):
        go_on(run)
    kept = sorted(path.parent.name for path in run.glob("probes/*/result.json"))
    assert kept == ["speaker-trained-module0", "speaker-trained-module1"]
    for name in kept:
        json.loads((run / "probes" / name / "result.json").read_text())
    monkeypatch.setattr(job, "fit_and_score", fit)
    fitted.clear()
    heard = Recorded()
    results = go_on(run, progress=heard)
    assert len(fitted) == 3
    assert [(r.encoder, r.module) for r in results] == [*(("trained", m) for m in range(4)), ("mfcc", None)]
    (taken,) = (line for line in heard.messages if "from before" in line)
    assert taken == "speaker from trained: 2 of 4 results are taken from before; --anew computes them again"
    straight, error = probe_many([str(run)], [OPTIONS])
    assert error is None
    assert [r.fits for r in straight[0].results] == [r.fits for r in results]


def test_a_complete_probe_is_taken_as_it_is(run: Path, fitted: list[int]) -> None:
    first = go_on(run)
    fitted.clear()
    assert go_on(run) == first
    assert not fitted
    assert [result.fits for result in go_on(run, goes_on=False)] == [result.fits for result in first]
    assert len(fitted) == 5


def test_random_encoders_and_seeds_are_taken_too(run: Path, fitted: list[int]) -> None:
    random = OPTIONS.model_copy(update={"encoders": ("random",), "module": 1, "seeds": 2})
    first = go_on(run, random)
    fitted.clear()
    assert go_on(run, random) == first
    assert not fitted
    go_on(run, random.model_copy(update={"seeds": 3}))
    assert len(fitted) == 3


@pytest.mark.parametrize(
    "change", ["options", "weights", "predictions", "classifier", "confusion", "result", "accuracy"]
)
def test_a_result_that_would_be_another_or_is_not_whole_is_computed_again(
    change: str, run: Path, fitted: list[int], probed_run: Path
) -> None:
    options = OPTIONS.model_copy(update={"module": 0, "encoders": ("trained",)})
    go_on(run, options)
    fitted.clear()
    folder = run / "probes" / "speaker-trained-module0"
    if change == "options":
        options = options.model_copy(update={"bias": False})
    elif change == "weights":  # of the same step
        old, new = (run / "checkpoints" / f"step-000000{step}" for step in (10, 20))
        (run / "probes").rename(run / "kept")
        shutil.rmtree(old)
        shutil.copytree(probed_run / "checkpoints" / "step-00000010", old)
        first = (folder.parent.parent / "kept" / folder.name / "result.json").read_text()
        assert '"step": 20' in first
        shutil.rmtree(new)
        (run / "kept").rename(run / "probes")
        record = json.loads(first)
        record["step"] = 10
        (folder / "result.json").write_text(json.dumps(record))
    elif change == "accuracy":
        record = json.loads((folder / "result.json").read_text())
        (folder / "result.json").write_text(json.dumps({**record, "accuracy": float("nan")}))
    elif change == "confusion":
        (folder / "confusion.npz").unlink()
    else:
        names = {
            "predictions": "predictions.npz",
            "classifier": "classifier.safetensors",
            "result": "result.json",
        }
        path = folder / names[change]
        path.write_bytes(path.read_bytes()[:-60])
    go_on(run, options)
    assert len(fitted) == 1
