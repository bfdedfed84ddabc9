"""Analyses from a run to their files."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from vgim.data.shards.read import read_utterances
from vgim.downstream.solvers import fit_lbfgs
from vgim.errors import ConfigError, DataError
from vgim.latents import job
from vgim.latents.analysis import AnalysisInput
from vgim.latents.frames import sample_frames
from vgim.latents.job import analyze
from vgim.latents.probing import encoder_features, examples_of, settings
from vgim.latents.result import ANALYSIS_NAMES, AnalysisResult, LatentOptions, format_table
from vgim.latents.sensitivity import Probed, attack
from vgim.latents.subject import open_subject
from vgim.latents.writing import RESULT, TENSORBOARD

SMALL = LatentOptions(
    module=0,
    max_utterances=6,
    max_frames=300,
    map_frames=90,
    information_frames=60,
    density_frames=120,
    subsets=2,
    pairs=2,
    steps=3,
    epsilons=(0.0, 0.001, 0.1),
    device="cpu",
)


def look_at(run: Path, module: int = 0) -> AnalysisInput:
    subject = open_subject(str(run), module=module, device="cpu")
    return AnalysisInput(subject, module, SMALL, sample_frames(subject, module, SMALL), None)


@pytest.fixture(scope="module")
def results(decoded_run: Path, plain_run: Path) -> list[AnalysisResult]:
    """All analyses of module 0, beside the run without a decoder."""
    return analyze(str(decoded_run), SMALL, [str(plain_run)])


def test_every_analysis_leaves_what_it_says(results: list[AnalysisResult], decoded_run: Path) -> None:
    assert {result.analysis for result in results} == set(ANALYSIS_NAMES)
    for result in results:
        folder = decoded_run / "latents" / "module0" / result.analysis
        assert AnalysisResult.model_validate_json((folder / RESULT).read_bytes()) == result
        files = {picture.file for picture in result.pictures} | set(result.data_files)
        assert {path.name for path in folder.iterdir()} == files | {RESULT, TENSORBOARD}
        assert result.summary
        assert result.figures
        for picture in result.pictures:
            assert (folder / picture.file).read_bytes().startswith(b"\x89PNG")
        for table in result.tables:
            assert all(len(row) == len(table.columns) for row in table.rows)


def test_figures_are_within_their_bounds(results: list[AnalysisResult]) -> None:
    of = {result.analysis: result.figures for result in results}
    assert of["distribution"]["kl_nats_per_frame"] > 0
    assert 0 <= of["distribution"]["active_share"] <= 1
    assert of["smoothness"]["path_ratio"] >= 1 - 1e-6
    assert of["smoothness"]["largest_step_share"] >= of["smoothness"]["even_step_share"] - 1e-9
    (contribution,) = (result for result in results if result.analysis == "contribution")
    for curve in contribution.curves:
        assert curve.y[0] == 1
        assert curve.y[-1] == pytest.approx(0, abs=1e-9)
        assert curve.x[0] == 0


def test_another_run_stands_beside_it(results: list[AnalysisResult], plain_run: Path) -> None:
    for result in results:
        if result.analysis in ("contribution", "smoothness"):
            assert result.compared_with == {}  # the other has no decoder
            assert result.decoder is not None
            assert result.decoder.endswith("module0-mse")
        else:
            figures = result.compared_with["run"]  # whose weights are the same
            assert figures == pytest.approx(result.figures)
            assert result.decoder is None
    assert "run" in format_table(results).splitlines()[0].split()
    assert not (plain_run / "latents").exists()


def test_the_projector_gets_points_with_their_labels(
    results: list[AnalysisResult], decoded_run: Path
) -> None:
    folder = decoded_run / "latents" / "module0" / "map" / TENSORBOARD
    (metadata,) = folder.rglob("metadata.tsv")
    (tensors,) = folder.rglob("tensors.tsv")
    header, *rows = metadata.read_text().splitlines()
    assert header.split("\t") == ["utterance", "frame", "speaker", "phone", "vowel"]
    assert len(rows) == len(np.loadtxt(tensors)) == SMALL.map_frames
    assert "metadata.tsv" in (folder / "projector_config.pbtxt").read_text()


def test_tensorboard_has_the_figures(results: list[AnalysisResult], decoded_run: Path) -> None:
    (result,) = (one for one in results if one.analysis == "distribution")
    folder = decoded_run / "latents" / "module0" / "distribution" / TENSORBOARD
    events = EventAccumulator(str(folder)).Reload()
    (event,) = events.Scalars("latents/module0/distribution/active_share")
    assert event.step == result.step == 2
    assert event.value == pytest.approx(result.figures["active_share"])


def test_without_a_decoder_a_note_names_the_command(plain_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(plain_run, tmp_path / "run")
    said: list[str] = []
    only = SMALL.model_copy(update={"only": ("distribution", "contribution", "smoothness")})
    results = analyze(str(run), only, say=said.append)
    assert [result.analysis for result in results] == ["distribution"]
    assert f"`vgim decode train {run} --module 0`" in " ".join(said)


def test_a_module_without_a_posterior_is_looked_at_too(plain_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(plain_run, tmp_path / "run")
    (result,) = analyze(str(run), SMALL.model_copy(update={"module": -1, "only": ("distribution",)}))
    assert result.module == 3
    assert "no posterior" in result.summary[0]
    assert "kl_nats_per_frame" not in result.figures


def test_frames_depend_on_the_seed_alone(plain_run: Path) -> None:
    subject = open_subject(str(plain_run), module=1, device="cpu")
    first, again = sample_frames(subject, 1, SMALL), sample_frames(subject, 1, SMALL)
    other = sample_frames(subject, 1, SMALL.model_copy(update={"seed": 1}))
    assert np.array_equal(first.z_NC, again.z_NC)
    assert not np.array_equal(first.z_NC[:50], other.z_NC[:50])
    assert first.posteriors is not None
    scaled = (first.z_NC - first.posteriors.mu_NC) / first.posteriors.std_NC
    assert scaled.std() == pytest.approx(1, abs=0.05)
    assert not np.array_equal(first.mean_NC, first.posteriors.mu_NC)  # module 0 is sampled before the latter


def test_fgsm_leaves_what_it_does_not_touch_and_beats_noise(plain_run: Path) -> None:
    look = look_at(plain_run)
    setting = next(one for one in settings(look) if one.task.name == "phone")
    utterances = list(read_utterances(setting.shards, setting.manifest, "test", 4))
    source = encoder_features(look)
    train, validation = (examples_of(look, setting, source, split) for split in ("train", "validation"))
    probed = Probed(source, fit_lbfgs(train, validation, len(setting.task.classes)))
    epsilons = (0.0, 0.02)
    fgsm = attack(probed, setting, utterances, epsilons, 0)
    noise = attack(probed, setting, utterances, epsilons, 0, noise_seed=0)
    assert [counts.right[0] for counts in fgsm] == [counts.right[0] for counts in noise]
    assert sum(counts.right[1] for counts in fgsm) < sum(counts.right[1] for counts in noise)
    assert all(0 <= right <= counts.num for counts in fgsm for right in counts.right)


def test_audio_has_a_gradient_through_the_encoder(plain_run: Path) -> None:
    trained = look_at(plain_run).subject.trained
    assert trained is not None
    encoder = trained.encoder.double()
    generator = torch.Generator().manual_seed(0)
    x_BL = torch.randn(1, 4_000, generator=generator, dtype=torch.float64, requires_grad=True)
    direction_BL = torch.randn(1, 4_000, generator=generator, dtype=torch.float64)

    def energy(x: torch.Tensor) -> torch.Tensor:
        for index in range(2):
            x = encoder.module(index).represent(x)
        return x.square().mean()

    (gradient_BL,) = torch.autograd.grad(energy(x_BL), x_BL)
    step = 1e-6 * direction_BL
    with torch.no_grad():
        slope = float(energy(x_BL + step) - energy(x_BL - step)) / 2e-6
    encoder.float()
    assert float((gradient_BL * direction_BL).sum()) == pytest.approx(slope, rel=1e-4)


def test_decoders_are_named_when_they_do_not_fit(decoded_run: Path) -> None:
    only = {"only": ("smoothness",)}
    with pytest.raises(ConfigError, match=r"--decoder none, but .* has module0-mse; name one of them"):
        analyze(str(decoded_run), SMALL.model_copy(update={**only, "decoder": "none"}))
    with pytest.raises(ConfigError, match="decodes module 0, not the output of module 1"):
        analyze(str(decoded_run), SMALL.model_copy(update={**only, "decoder": "module0-mse", "module": 1}))


def test_mistakes_take_a_line(plain_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="--module 7, but the run's encoder has 4 modules"):
        analyze(str(plain_run), SMALL.model_copy(update={"module": 7}))
    with pytest.raises(DataError):
        analyze(str(plain_run), SMALL.model_copy(update={"shards": str(tmp_path)}))
    monkeypatch.setattr(job, "find_spec", lambda name: None if name == "sklearn" else object())
    with pytest.raises(
        ConfigError, match=r"needs sklearn, not installed here; pip install 'vgim\[analysis\]'"
    ):
        analyze(str(plain_run), SMALL)
