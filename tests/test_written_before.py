"""What vgim 0.1.0 wrote is still read, and goes on: shards, runs, a decoder, probes, latents and a sweep.

The files lie in `written_by_0_1`, whose README.md says how they were made. Expected numbers are those that version
0.1.0 wrote, or those of `expected`, which it computed.
"""

from __future__ import annotations

import html
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner, Result
from numpy.typing import NDArray

import vgim
from vgim.cli import main
from vgim.errors import CheckpointError

WRITTEN = Path(__file__).parent / "written_by_0_1"
SIM_STEPS, SIM_BATCH = 4, 3
"""Steps that the run `sim` had taken, and crops in each."""

Record = dict[str, Any]
Vgim = Callable[..., Result]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of all that was written; places in it are relative, so that it is the current directory."""
    folder = tmp_path / "written"
    shutil.copytree(WRITTEN, folder)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return folder


@pytest.fixture
def run_vgim() -> Vgim:
    """`run_vgim("runs", "runs")`: a command that must succeed."""

    def run(*args: str) -> Result:
        result = CliRunner().invoke(main, list(args), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result

    return run


def read_json(path: str | Path) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def read_records(run: str, kind: str) -> list[Record]:
    lines = Path(run, "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == kind]


def read_audio() -> torch.Tensor:
    samples, _ = soundfile.read("audio.flac", dtype="int16")
    return torch.from_numpy(samples)[None]


def all_files(folder: str) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def assert_equal_but_for_rounding(found: NDArray[Any], expected: NDArray[Any]) -> None:
    """Another processor or version of torch may add in another order."""
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * float(np.abs(expected).max()))


def test_shards_are_whole_and_their_manifest_reads(run_vgim: Vgim) -> None:
    info = json.loads(run_vgim("data", "info", "shards", "--json").stdout)
    assert info == read_json("shards/manifest.json")
    assert "every shard is as it was written" in run_vgim("data", "info", "shards", "--verify").output


def test_runs_are_listed_as_they_ended(run_vgim: Vgim) -> None:
    listed = {run["name"]: run for run in json.loads(run_vgim("runs", "runs", "--json").stdout)}
    assert sorted(listed) == ["gim", "sim"]  # the sweep is no run
    for name, run in listed.items():
        validations = read_records(f"runs/{name}", "validation")
        modules = [module["module"] for module in validations[-1]["modules"]]
        losses = [v["loss"] for v in validations if [m["module"] for m in v["modules"]] == modules]
        assert (run["state"], run["family"], run["step"]) == ("finished", name, 4)
        assert run["epoch"] == validations[-1]["epoch"]
        assert run["best_loss"] == min(losses)
        assert run["nce"] == [module["nce"] for module in validations[-1]["modules"]]
        assert run["checkpoints"] == len(list(Path("runs", name, "checkpoints").iterdir()))


def test_an_encoder_gives_the_latents_that_it_gave() -> None:
    encoder = vgim.load_encoder("runs/gim")
    with np.load("expected/latents.npz") as expected:
        assert sorted(expected) == ["module0", "module1"]
        for module in range(2):
            assert_equal_but_for_rounding(
                encoder(read_audio(), module=module).numpy(), expected[f"module{module}"]
            )


def test_an_encoder_of_normalized_audio_takes_the_statistics_of_its_runs_shards() -> None:
    assert "corpus_mean" not in read_json("runs/sim/checkpoints/step-00000004/state.json")
    encoder = vgim.load_encoder("runs/sim")
    with np.load("expected/latents_normalized.npz") as expected:
        for module in range(4):
            assert_equal_but_for_rounding(
                encoder(read_audio(), module=module).numpy(), expected[f"module{module}"]
            )
    Path("shards").rename("elsewhere")
    with pytest.raises(CheckpointError, match=r"holds no corpus statistics.*put the shards back at shards"):
        vgim.load_encoder("runs/sim")


def test_every_checkpoint_opens_by_its_name_and_the_best_by_its_loss() -> None:
    earlier, last = Path("runs/sim/checkpoints/step-00000002"), Path("runs/sim/checkpoints/step-00000004")
    losses = {path: read_json(path / "state.json")["validation_loss"] for path in (earlier, last)}
    assert losses[last] < losses[earlier]
    for where, which, step in ((earlier, "last", 2), (last, "last", 4), (Path("runs/sim"), "best", 4)):
        assert vgim.load_encoder(str(where), which=which).checkpoint.state.step == step
    weights = [vgim.load_encoder(str(path)).encoder.state_dict() for path in (earlier, last)]
    assert any(not torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


def test_an_encoder_of_normalized_audio_gives_the_figures_that_it_gave(run_vgim: Vgim) -> None:
    result = "runs/sim/latents/module0/smoothness/result.json"
    before = read_json(result)
    run_vgim("latents", "runs/sim", "--module", "0", "--only", "smoothness", "--pairs", "2")
    after = read_json(result)
    assert after["figures"] == pytest.approx(before["figures"], rel=1e-3)
    assert before.keys() <= after.keys()  # new keys have defaults, which older results read with


def test_a_decoder_is_listed_and_gives_the_sound_that_it_gave(run_vgim: Vgim) -> None:
    loss = read_records("runs/sim/decoder/module0-mse", "validation")[-1]["loss"]
    row = run_vgim("decode", "list", "runs/sim").stdout.splitlines()[-1].split()
    assert row == ["module0-mse", "finished", "2", "1", f"{loss:.4g}", "1"]
    run_vgim("decode", "file", "audio.flac", "decoded.wav", "--run", "runs/sim")
    (found, _), (expected, _) = (
        soundfile.read(file, dtype="int16") for file in ("decoded.wav", "expected/decoded.wav")
    )
    assert np.abs(expected).max() > 100
    assert len(found) == len(expected)
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_runs_are_compared_by_the_numbers_that_were_written(run_vgim: Vgim) -> None:
    compared = json.loads(run_vgim("compare", "runs/sim", "runs/gim", "--json").stdout)
    sim, gim = compared["runs"]
    assert [(run["name"], run["family"], run["state"], run["step"]) for run in (sim, gim)] == [
        ("sim", "sim", "finished", 4),
        ("gim", "gim", "finished", 4),
    ]
    trained = read_records("runs/sim", "train")
    assert all("utterances_per_s" in record for record in trained)  # a key of version 0.1.0
    assert sim["cost"]["train_s"] == pytest.approx(sum(1 / record["steps_per_s"] for record in trained))
    assert SIM_STEPS * SIM_BATCH in sim["cost"].values()
    expected = read_records("runs/sim", "validation")[-1]["modules"]
    assert [module["nce"] for module in sim["modules"]] == [module["nce"] for module in expected]
    assert [module["kl"] for module in sim["modules"][:3]] == [module["kl"] for module in expected[:3]]
    probes = {probe["encoder"]: probe for probe in sim["probes"]}
    assert sorted(probes) == ["mfcc", "trained"]
    for encoder, folder in (("trained", "phone-trained-module0"), ("mfcc", "phone-mfcc")):
        result = read_json(f"runs/sim/probes/{folder}/result.json")
        assert probes[encoder]["accuracy"] == result["accuracy"]
        assert probes[encoder]["interval_over_utterances"] == result["interval_over_utterances"]
        assert f"{100 * result['accuracy']:.1f}" in run_vgim("compare", "runs/sim").stdout


def test_a_report_shows_the_probes_latents_and_decoder_that_were_written(run_vgim: Vgim) -> None:
    told = run_vgim("report", "runs/sim", "--compare", "runs/gim", "--out", "report.html").output
    assert "left out" not in told
    page = html.unescape(Path("report.html").read_text(encoding="utf-8"))
    for folder in ("phone-trained-module0", "phone-mfcc"):
        assert f"{read_json(f'runs/sim/probes/{folder}/result.json')['accuracy']:.1%}" in page
    study = read_json("runs/sim/probes/speaker-labels-module0/result.json")
    assert "from few labels, module 0" in page
    assert all(f"{point['accuracy']:.1%}" in page for point in study["points"])
    for analysis in ("distribution", "smoothness"):
        result = read_json(f"runs/sim/latents/module0/{analysis}/result.json")
        assert all(sentence in page for sentence in result["summary"])
    decoded = read_records("runs/sim/decoder/module0-mse", "validation")[-1]["modules"][0]
    assert "module0-mse" in page
    assert f"{decoded['si_sdr_db']:.1f}" in page


def test_a_run_goes_on_from_its_last_checkpoint_as_if_it_had_not_paused(run_vgim: Vgim) -> None:
    before = Path("runs/sim/metrics.jsonl").read_text(encoding="utf-8")
    run_vgim("train", "configs/sim.yaml", "train.max_steps=6")
    assert Path("runs/sim/metrics.jsonl").read_text(encoding="utf-8").startswith(before)
    assert [record["step"] for record in read_records("runs/sim", "train")] == [1, 2, 3, 4, 5, 6]
    found = {
        (kind, record["step"]): [module["nce"] for module in record["modules"]]
        for kind in ("train", "validation")
        for record in read_records("runs/sim", kind)
    }
    for expected in read_json("expected/continued.json"):
        assert found[expected["kind"], expected["step"]] == pytest.approx(expected["nce"], rel=1e-5)
    record = read_json("runs/sim/run.json")
    assert (record["state"], record["launches"]) == ("finished", 2)
    assert vgim.load_encoder("runs/sim").checkpoint.state.step == 6
    (compared,) = json.loads(run_vgim("compare", "runs/sim", "--json").stdout)["runs"]
    assert 6 * SIM_BATCH in compared["cost"].values()  # over old records and new ones


def test_a_decoder_goes_on_from_its_last_checkpoint(run_vgim: Vgim) -> None:
    decoder = "runs/sim/decoder/module0-mse"
    run_vgim(
        *("decode", "train", "runs/sim", "--module", "0", "train.batch_size=3"),
        *("train.max_steps=3", "train.keep_best=0", "listen.crops=0"),
    )
    assert [record["step"] for record in read_records(decoder, "train")] == [1, 3]
    assert [record["step"] for record in read_records(decoder, "validation")] == [2, 3]
    assert read_json(f"{decoder}/run.json")["launches"] == 2


def test_finished_runs_are_left_alone(run_vgim: Vgim) -> None:
    before = all_files("runs")
    for name in ("sim", "gim"):
        assert "is finished" in run_vgim("train", f"configs/{name}.yaml").output
    assert all_files("runs") == before


def test_a_new_run_starts_with_the_weights_of_an_old_one(run_vgim: Vgim) -> None:
    run_vgim(
        *("train", "configs/sim.yaml", "--init-from", "sim", "storage.name=new"),
        *("train.max_steps=1", "optim.learning_rate=1e-12"),
    )
    old, new = (dict(vgim.load_encoder(f"runs/{name}").encoder.named_parameters()) for name in ("sim", "new"))
    assert all(torch.allclose(tensor, new[name], atol=1e-9) for name, tensor in old.items())


def test_a_sweep_has_the_results_that_it_had(run_vgim: Vgim) -> None:
    before = read_json("runs/rates/results.json")
    now = json.loads(run_vgim("sweep", "show", "runs/rates", "--json").stdout)
    assert without_places(now, like=before) == without_places(before)
    assert run_vgim("sweep", "best", "runs/rates").stdout.startswith(f"{before['best']}: metric 1.")


def test_a_finished_sweep_trains_nothing(run_vgim: Vgim) -> None:
    results, trials = read_json("runs/rates/results.json"), all_files("runs/rates/trials")
    told = run_vgim("sweep", "configs/rates.yaml").output
    assert "2 of them have ended already and are not run again" in told
    assert all_files("runs/rates/trials") == trials
    assert without_places(read_json("runs/rates/results.json"), like=results) == without_places(results)


def without_places(results: Record, like: Record | None = None) -> Record:
    """Results without the places of runs, and without keys that `like` lacks: later versions add some."""
    keys = like or results
    trials = [
        {key: trial[key] for key in trial if key in keys["trials"][0]} | {"run": ""}
        for trial in results["trials"]
    ]
    return {key: results[key] for key in results if key in keys} | {"trials": trials}
