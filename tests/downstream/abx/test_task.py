"""ABX as tasks of `vgim probe`: results that all readers of probes know, and options that need a classifier."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from tests.recorded import Recorded
from vgim.cli import main
from vgim.downstream.job import probe_many
from vgim.downstream.options import ProbeOptions
from vgim.downstream.result import ProbeResult
from vgim.errors import DataError
from vgim.tune.config import MetricConfig


@pytest.fixture(scope="module")
def run(probed_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copied = tmp_path_factory.mktemp("abx") / "run"
    shutil.copytree(probed_run, copied, ignore=shutil.ignore_patterns("probes", "features"))
    return copied


def measure(run: Path, task: str, progress: Recorded, *kinds: str, **how: bool) -> list[ProbeResult]:
    options = ProbeOptions.model_validate({"task": task, "encoders": kinds, "module": None, "device": "cpu"})
    ((_, _, results),), error = probe_many([str(run)], [options], progress=progress, goes_on=True, **how)
    assert error is None
    return results


def vgim(*args: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, [*map(str, args)])
    return result.exit_code, result.output


def test_every_reader_of_probes_knows_abx(run: Path, tmp_path: Path) -> None:
    progress = Recorded()
    results = measure(run, "abx-within", progress, "trained", "mfcc")
    mfcc = results[-1]
    assert (mfcc.unit, mfcc.chance, mfcc.is_fitted, mfcc.module) == ("triple", 0.5, False, None)
    assert mfcc.accuracy > 0.8  # on synthetic phones
    assert mfcc.interval_over_utterances.low <= mfcc.accuracy <= mfcc.interval_over_utterances.high
    assert mfcc.per_class["SIL"] is None
    assert [path.name for path in (run / "probes" / "abx-within-mfcc").iterdir()] == ["result.json"]
    assert "abx-within, % (95 % interval)" in vgim("compare", run)[1]
    page = tmp_path / "report.html"
    assert vgim("report", run, "--out", page)[0] == 0
    assert "ABX, within speakers" in page.read_text()
    assert f"{mfcc.accuracy:.1%}" in page.read_text()
    again = Recorded()
    assert measure(run, "abx-within", again, "trained", "mfcc") == results
    assert any("1 of 1 results are taken from before" in line for line in again.messages)
    whole = run / "probes" / "abx-within-mfcc" / "result.json"
    record = json.loads(whole.read_text())
    whole.write_text(json.dumps({**record, "features_sha256": "of other features"}))
    measure(run, "abx-within", again, "mfcc")
    assert json.loads(whole.read_text())["features_sha256"] == record["features_sha256"]


def test_other_speakers_are_harder(run: Path) -> None:
    (within,) = measure(run, "abx-within", Recorded(), "mfcc")
    (across,) = measure(run, "abx-across", Recorded(), "mfcc")
    assert 0.5 < across.accuracy < within.accuracy
    assert across.num_test_utterances == within.num_test_utterances


def test_a_test_split_of_one_speaker_is_refused_across_speakers(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "vgim.downstream.abx.measure.read_speakers", lambda *_: defaultdict(lambda: "the only one")
    )
    options = ProbeOptions(task="abx-across", encoders=("mfcc",), device="cpu")
    _, error = probe_many([str(run)], [options])
    assert isinstance(error, DataError)
    assert "finds nothing to compare" in str(error)
    assert "no two speakers" in str(error)


def test_random_encoders_of_several_seeds_are_averaged(run: Path) -> None:
    options = ProbeOptions(task="abx-within", module=0, encoders=("random",), seeds=2, device="cpu")
    (((_, _, (result,)),), error) = probe_many([str(run)], [options])
    assert error is None
    assert result.accuracy == pytest.approx(sum(fit.accuracy for fit in result.fits) / 2)
    assert len({fit.accuracy for fit in result.fits}) == 2


def test_what_needs_a_classifier_is_refused_and_what_has_no_effect_is_said(run: Path) -> None:
    measure(run, "abx-within", Recorded(), "mfcc")
    code, said = vgim("probe", "apply", run / "probes" / "abx-within-mfcc", "some.wav")
    assert (code, "fits no classifier" in said) == (2, True)
    for option in (("--protocol", "published"), ("--labels-per-class", "1")):
        code, said = vgim("probe", run, "--task", "abx-within", *option)
        assert (code, "fits no classifier" in said) == (2, True), said
    code, said = vgim("probe", run, "--task", "abx-within", "--encoder", "mfcc", "--max-utterances", "3")
    assert (code, "--max-utterances has no effect" in said) == (0, True)
    with pytest.raises(ValidationError, match="fits no classifier"):
        MetricConfig(kind="probe", task="abx-within")


def test_tasks_without_a_classifier_are_measured_only_where_they_are_asked_for(run: Path) -> None:
    code, said = vgim("probe", run, "--module", "0", "--encoder", "mfcc")
    assert code == 0
    assert "abx" not in said
