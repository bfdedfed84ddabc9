"""The job of analyses: from a run to the files of each analysis."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.latents.cases import SMALL
from tests.recorded import Recorded
from vgim import extras
from vgim.data.corpora.librispeech import find_librispeech
from vgim.data.corpora.synthetic import synthesize
from vgim.data.shards.prepare import prepare
from vgim.errors import ConfigError, DataError, StorageError
from vgim.latents import job
from vgim.latents.figure_names import figure_name, known_name
from vgim.latents.job import analyze
from vgim.latents.registry import ANALYSES
from vgim.latents.result import AnalysisResult, format_table
from vgim.progress import MessagesOnly
from vgim.report.analysis_charts import draw_analysis
from vgim.report.meanings import meaning_of
from vgim.runs.layout import RESULT, TENSORBOARD
from vgim.storage import Location


@pytest.fixture(scope="module")
def results(decoded_run: Path, plain_run: Path) -> list[AnalysisResult]:
    """All analyses of module 0, compared with the run without a decoder."""
    return analyze(str(decoded_run), SMALL, [str(plain_run)])


def test_every_analysis_writes_the_files_that_its_result_lists(
    results: list[AnalysisResult], decoded_run: Path
) -> None:
    assert {result.analysis for result in results} == set(ANALYSES)
    for result in results:
        folder = decoded_run / "latents" / "module0" / result.analysis
        assert AnalysisResult.model_validate_json((folder / RESULT).read_bytes()) == result
        files = {picture.file for picture in result.pictures} | set(result.data_files)
        projector = {TENSORBOARD} if result.analysis == "map" else set()
        assert {path.name for path in folder.iterdir()} == files | {RESULT} | projector
        assert result.summary
        assert result.figures
        for picture in result.pictures:
            assert (folder / picture.file).read_bytes().startswith(b"\x89PNG")
        for table in result.tables:
            assert all(len(row) == len(table.columns) for row in table.rows)


def test_metrics_are_within_their_bounds(results: list[AnalysisResult]) -> None:
    metrics = {result.analysis: result.figures for result in results}
    assert metrics["distribution"]["kl_nats_per_frame"] > 0
    assert 0 <= metrics["distribution"]["active_share"] <= 1
    assert metrics["smoothness"]["path_ratio"] >= 1 - 1e-6
    assert metrics["smoothness"]["largest_step_share"] >= metrics["smoothness"]["even_step_share"] - 1e-9
    (contribution,) = (result for result in results if result.analysis == "contribution")
    for curve in contribution.curves:
        assert curve.y[0] == 1
        assert curve.y[-1] == pytest.approx(0, abs=1e-9)
        assert curve.x[0] == 0


def test_every_figure_has_a_name_and_every_analysis_a_meaning(results: list[AnalysisResult]) -> None:
    for result in results:
        assert [key for key in result.figures if known_name(key) is None] == []
        names = [figure_name(key) for key in result.figures]
        assert len(set(names)) == len(names)
        assert not any("_" in name for name in names)
        assert meaning_of(result.analysis, result.figures) or result.analysis == "correlation"


def test_charts_are_drawn_from_what_an_analysis_wrote(
    results: list[AnalysisResult], decoded_run: Path
) -> None:
    replaced = {}
    for result in results:
        folder = Location(decoded_run).child("latents", "module0", result.analysis)
        drawn = draw_analysis("key", result.analysis, folder, result.figures)
        replaced[result.analysis] = {file for one in drawn for file in one.replaces}
        assert replaced[result.analysis] <= {picture.file for picture in result.pictures}
    assert replaced["distribution"] == {"kl.png"}
    assert {"tsne-phone.png", "pca-speaker.png", "spectrum.png"} <= replaced["map"]
    assert replaced["labels"] == {
        f"{t}-{p}.png" for t in ("speaker", "phone") for p in ("ranking", "concentration")
    }
    assert replaced["sensitivity"] == {"attack.png"}
    assert replaced["contribution"] == {"audio.png", "mel.png"}
    assert replaced["smoothness"] == {"steps.png"}


def test_another_run_is_compared_where_it_can_be(results: list[AnalysisResult], plain_run: Path) -> None:
    for result in results:
        if result.analysis in ("contribution", "smoothness"):
            assert result.compared_with == {}  # the other has no decoder
            assert result.decoder is not None
            assert result.decoder.endswith("module0-mse")
            assert result.notes[-1].startswith("run is not compared: module 0 of ")
        else:
            metrics = result.compared_with["run"]  # whose weights are the same
            assert metrics == pytest.approx(result.figures)
            assert result.decoder is None
    assert "run" in format_table(results).splitlines()[0].split()
    assert not (plain_run / "latents").exists()


def test_the_table_shows_one_metric_for_each_label(results: list[AnalysisResult]) -> None:
    rows = [re.split(r" {2,}", line) for line in format_table(results).splitlines()]
    figures = [row[2] for row in rows if row[1] == "labels"]
    assert figures == [
        f"Dimensions with half of the {label} probe's weight" for label in ("speaker", "phone")
    ]
    smoothness = next(result.figures for result in results if result.analysis == "smoothness")
    assert [row[2] for row in rows if row[1] == "smoothness"] == list(map(figure_name, smoothness))[:3]
    assert f"{100 * smoothness['largest_step_share']:.1f}%" in format_table(results)


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


def test_tensorboard_has_a_text_of_each_analysis_and_no_dots(
    results: list[AnalysisResult], decoded_run: Path
) -> None:
    board = EventAccumulator(str(decoded_run / TENSORBOARD / "latents")).Reload()
    tags = [f"module0/{result.analysis}/text_summary" for result in results]
    assert sorted(board.Tags()["tensors"]) == sorted(tags)
    assert board.Tags()["scalars"] == []
    (text,) = board.Tensors("module0/distribution/text_summary")
    assert text.step == 2
    markdown = text.tensor_proto.string_val[0].decode()
    (result,) = (one for one in results if one.analysis == "distribution")
    assert f"| Active dimensions | {result.figures['active_share']:.1%} |" in markdown
    assert all(sentence in markdown for sentence in result.summary)
    # the points of the projector are all that TensorBoard has of single analyses
    folders = {path.parent.relative_to(decoded_run).as_posix() for path in decoded_run.rglob("*tfevents*")}
    assert {folder for folder in folders if folder.startswith("latents")} == {
        "latents/module0/map/tensorboard"
    }


def test_pdfs_lie_beside_the_pictures_where_asked(plain_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(plain_run, tmp_path / "run")
    (result,) = analyze(str(run), SMALL.model_copy(update={"only": ("distribution",)}), pdf=True)
    folder = run / "latents" / "module0" / "distribution"
    for picture in result.pictures:
        assert (folder / picture.file).with_suffix(".pdf").read_bytes().startswith(b"%PDF")


def test_without_a_decoder_the_log_names_the_command_that_trains_one(plain_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(plain_run, tmp_path / "run")
    lines: list[str] = []
    only = SMALL.model_copy(update={"only": ("distribution", "contribution", "smoothness")})
    results = analyze(str(run), only, progress=MessagesOnly(lines.append))
    assert [result.analysis for result in results] == ["distribution"]
    assert f"`vgim decode train {run} --module 0`" in " ".join(lines)


def test_shards_without_labels_are_the_reason_for_a_skip(
    plain_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "learnable_probes", lambda manifest: {})
    lines: list[str] = []
    assert (
        analyze(
            str(plain_run),
            SMALL.model_copy(update={"only": ("labels",)}),
            progress=MessagesOnly(lines.append),
        )
        == []
    )
    (line,) = lines
    assert line.startswith("note: labels is skipped: the shards ")


def test_an_interrupted_call_keeps_its_analyses_and_the_same_call_makes_the_rest(
    plain_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shutil.copytree(plain_run, tmp_path / "run")
    options = SMALL.model_copy(update={"only": ("distribution", "correlation")})
    made: list[str] = []
    make = job.make_result

    def interrupted(name: str, *rest: Any) -> AnalysisResult:
        made.append(name)
        if made == ["distribution", "correlation"]:
            raise KeyboardInterrupt
        return make(name, *rest)

    monkeypatch.setattr(job, "make_result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        analyze(str(run), options)
    monkeypatch.setattr(job, "make_result", lambda name, *rest: (made.append(name), make(name, *rest))[1])
    heard = Recorded()
    results = analyze(str(run), options, progress=heard)
    assert made == ["distribution", "correlation", "correlation"]
    assert {result.analysis for result in results} == set(options.only)
    assert heard.messages == [
        "1 of 2 analyses were made earlier from the same weights and are kept; --anew makes them again"
    ]
    assert (heard.of("analyzing").total, heard.of("analyzing").done) == (2, 2)
    made.clear()
    heard = Recorded()
    assert analyze(str(run), options, progress=heard) == results
    assert heard.titles == ["analyzing"]  # nothing is encoded for analyses that are kept
    assert made == []
    for change in ({"max_frames": 120}, {"seed": 3}):
        made.clear()
        analyze(str(run), options.model_copy(update=change))
        assert set(made) == set(options.only)
    made.clear()
    analyze(str(run), options.model_copy(update=change), anew=True)
    assert set(made) == set(options.only)
    made.clear()
    (run / "latents" / "module0" / "distribution" / RESULT).write_text("{}")
    analyze(str(run), options.model_copy(update=change))
    assert made == ["distribution"]


def test_nothing_is_analyzed_whose_result_cannot_be_written(
    plain_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shutil.copytree(plain_run, tmp_path / "run", ignore=shutil.ignore_patterns("latents"))
    (run / "latents").write_text("a file in place of the folder")

    def sample(*_: object) -> None:
        raise AssertionError("latents are sampled though no result can be written")

    monkeypatch.setattr(job, "sample_frames", sample)
    with pytest.raises(StorageError, match=r"cannot write .*/run/latents"):
        analyze(str(run), SMALL.model_copy(update={"only": ("distribution",)}))


def test_a_decoder_that_does_not_fit_is_refused(decoded_run: Path) -> None:
    only = {"only": ("smoothness",)}
    with pytest.raises(ConfigError, match=r"--decoder none, but .* has module0-mse; name one of them"):
        analyze(str(decoded_run), SMALL.model_copy(update={**only, "decoder": "none"}))
    with pytest.raises(ConfigError, match="decodes module 0, not the output of module 1"):
        analyze(str(decoded_run), SMALL.model_copy(update={**only, "decoder": "module0-mse", "module": 1}))


def test_a_wrong_module_or_shards_or_a_missing_package_is_refused(
    plain_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="--module 7, but the run's encoder has 4 modules"):
        analyze(str(plain_run), SMALL.model_copy(update={"module": 7}))
    with pytest.raises(ConfigError, match="--dims 9, but module 0 has 8 dimensions; give numbers up to 8"):
        analyze(str(plain_run), SMALL.model_copy(update={"dims": (4, 9)}))
    with pytest.raises(DataError):
        analyze(str(plain_run), SMALL.model_copy(update={"shards": str(tmp_path)}))
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "sklearn" else object())
    with pytest.raises(
        ConfigError, match=r"needs sklearn, not installed here; pip install 'vgim\[analysis\]'"
    ):
        analyze(str(plain_run), SMALL)


def test_probes_of_latents_hold_out_a_part_of_train_where_the_shards_have_no_validation_split(
    plain_run: Path, tmp_path: Path
) -> None:
    synthesize(tmp_path / "corpus", speakers=2, utterances=12, seed=0)
    corpus = find_librispeech(tmp_path / "corpus")
    prepare(corpus, tmp_path / "whole", validation_fraction=0, test_fraction=0.2, workers=0)
    run = shutil.copytree(plain_run, tmp_path / "run")
    options = SMALL.model_copy(update={"only": ("labels",), "shards": str(tmp_path / "whole")})
    (result,) = analyze(str(run), options)
    assert any(
        note.startswith("the shards have no validation split: 2 of the 10 train") for note in result.notes
    )
