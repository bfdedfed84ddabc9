"""A probe as a whole: what it leaves, where, and what it says of options and mistakes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.recorded import Recorded
from vgim import plotting
from vgim.config import ResolvedConfig
from vgim.downstream import pictures, solvers
from vgim.downstream.few_labels.result import FewLabelsOptions
from vgim.downstream.few_labels.study import study
from vgim.downstream.job import SEEDS_IDLE, probe, probe_epochs, probe_many
from vgim.downstream.options import ProbeOptions
from vgim.downstream.predictions import read_predictions
from vgim.downstream.result_table import format_table
from vgim.downstream.writing import read_result
from vgim.errors import CheckpointError, ConfigError, DataError, StorageError
from vgim.storage import Location
from vgim.training.trainer import train

CHANNELS = 16


def test_a_probe_writes_result_confusion_picture_and_events(
    probed_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(solvers, "L2_PATH", (1e-2, 1e-3))
    options = ProbeOptions(task="phone", module=None, encoders=("trained", "mfcc"), max_utterances=5)
    results = probe(str(probed_run), options)
    assert [(r.encoder, r.module) for r in results] == [*(("trained", m) for m in range(4)), ("mfcc", None)]
    names = [*(f"phone-trained-module{m}-first5" for m in range(4)), "phone-mfcc-first5"]
    for name, result in zip(names, results, strict=True):
        folder = probed_run / "probes" / name
        assert read_result(Location(folder)) == result
        json.loads((folder / "result.json").read_text(), parse_constant=pytest.fail)
        stored = np.load(folder / "confusion.npz")
        assert stored["confusion"].sum() == result.num_test
        assert stored["confusion"].trace() / result.num_test == pytest.approx(result.accuracy)
        assert stored["classes"].tolist() == list(result.per_class)
        predictions = read_predictions(Location(folder))
        assert predictions is not None
        assert (predictions.predicted_SN[0] == predictions.truth_N).mean() == pytest.approx(result.accuracy)
        assert predictions.count_U.sum() == len(predictions.truth_N) == result.num_test
        assert len(set(predictions.utterance_ids)) == len(predictions.count_U) == result.num_test_utterances
        assert predictions.classes == tuple(result.per_class)
        assert (folder / "confusion.png").read_bytes().startswith(b"\x89PNG")
        assert not (folder / "tensorboard").exists()
    assert (probed_run / "probes" / "phone-modules.png").exists()
    trained, mfcc = results[0], results[-1]
    assert (trained.step, trained.test_utterances_seen) == (20, 0)
    assert (mfcc.num_features, mfcc.step, mfcc.checkpoint) == (39, None, None)
    assert trained.num_train_utterances == 5
    assert trained.num_train == mfcc.num_train
    assert mfcc.accuracy > mfcc.majority + 0.2


def test_every_layer_of_cpc_is_probed_with_its_own_folder_and_picture(
    tiny_config_in: Callable[..., ResolvedConfig], tmp_path: Path
) -> None:
    train(tiny_config_in(tmp_path, "model.family=cpc", "objective.kld_weight=0", "train.max_steps=1"))
    run = tmp_path / "runs" / "run"
    ((_, _, results),), _ = probe_many([str(run)], [ProbeOptions(task="speaker", all_layers=True)], pdf=True)
    assert [r.layer for r in results] == [0, 1, 2, 3, 4, None]
    assert {r.module for r in results} == {0}
    assert (run / "probes" / "speaker-layers.png").read_bytes().startswith(b"\x89PNG")
    for pdf in ("speaker-layers.pdf", "speaker-trained-module0-layer3/confusion.pdf"):
        assert (run / "probes" / pdf).read_bytes().startswith(b"%PDF")
    assert read_result(Location(run / "probes" / "speaker-trained-module0-layer3")) == results[3]
    (alone,) = probe(str(run), ProbeOptions(task="speaker", layer=-2))
    assert (alone.layer, alone.fits) == (3, results[3].fits)
    assert len({fit.validation_loss for r in results for fit in r.fits}) == 6
    assert "  0 layer 3  " in format_table(results).splitlines()[4]
    assert plotting.as_png(pictures.epochs_picture(results)).startswith(b"\x89PNG")


def test_a_repeated_probe_replaces_its_folder(probed_run: Path) -> None:
    options = ProbeOptions(task="speaker", module=0)
    one = probe(str(probed_run), options)[0]
    again = probe(str(probed_run), options)[0]
    assert one.model_copy(update={"created": again.created}) == again
    assert len(list((probed_run / "tensorboard" / "probes").iterdir())) == 1


def test_random_encoders_vary_with_the_seed_and_record_their_batch_norm_clips(probed_run: Path) -> None:
    (result,) = probe(str(probed_run), ProbeOptions(task="speaker", module=1, encoders=("random",), seeds=3))
    assert result.batch_norm_clips == 40
    assert len({fit.validation_loss for fit in result.fits}) == 3
    assert result.interval_over_seeds is not None
    assert result.accuracy == pytest.approx(np.mean([fit.accuracy for fit in result.fits]))
    assert result.step is None


def test_seeds_that_change_nothing_are_not_run(probed_run: Path) -> None:
    heard = Recorded()
    options = ProbeOptions(task="speaker", seeds=4, whole_utterances=True)
    (result,) = probe(str(probed_run), options, heard)
    assert (len(result.fits), result.interval_over_seeds) == (1, None)
    assert result.notes == (SEEDS_IDLE,)
    assert any(SEEDS_IDLE in line for line in heard.messages)
    (sampled,) = probe(str(probed_run), options.model_copy(update={"sampled": True, "seeds": 2}))
    assert len({fit.validation_loss for fit in sampled.fits}) == 2
    assert (probed_run / "probes" / "speaker-trained-module3-sampled-whole" / "result.json").exists()


def test_adam_trains_the_published_number_of_epochs(probed_run: Path) -> None:
    options = ProbeOptions(task="speaker", solver="adam", seeds=2, encoders=("mfcc",))
    (result,) = probe(str(probed_run), options)
    assert [(fit.seed, fit.epochs, fit.l2) for fit in result.fits] == [(0, 50, None), (1, 50, None)]


def test_the_best_checkpoint_of_a_single_checkpoint_is_refused(probed_run: Path) -> None:
    folder = probed_run / "checkpoints" / "step-00000010"
    with pytest.raises(ConfigError, match=r"--checkpoint best, but \S+ is one checkpoint"):
        probe(str(folder), ProbeOptions(task="speaker", checkpoint="best"))


def test_all_epochs_are_the_checkpoints_and_the_baselines_once(probed_run: Path) -> None:
    options = ProbeOptions(task="speaker", module=0, encoders=("mfcc", "trained", "random"))
    results = probe_epochs(str(probed_run), options)
    assert [(r.encoder, r.step) for r in results] == [
        ("trained", 10),
        ("trained", 20),
        ("mfcc", None),
        ("random", None),
    ]
    last = probe(str(probed_run), ProbeOptions(task="speaker", module=0))[0]
    assert results[1].fits == last.fits
    assert (probed_run / "probes" / "speaker-epochs.png").read_bytes().startswith(b"\x89PNG")
    assert (probed_run / "probes" / "speaker-trained-module0-step10").is_dir()


def test_a_run_may_lie_on_any_storage(probed_run: Path, tmp_path: Path) -> None:
    remote = Location(f"mock://probes/{tmp_path.name}")
    for name in ("config.yaml", "run.json"):
        remote.child(name).write_bytes_atomic((probed_run / name).read_bytes())
    remote.child("checkpoints").upload_dir(probed_run / "checkpoints")
    for _ in range(2):  # the second replaces the first
        (result,) = probe(remote.uri, ProbeOptions(task="speaker"))
    folder = remote.child("probes", "speaker-trained-module3")
    assert folder.list() == [
        "classifier.safetensors",
        "confusion.npz",
        "confusion.png",
        "predictions.npz",
        "result.json",
    ]
    assert len(remote.child("tensorboard", "probes").list()) == 1
    assert read_result(folder) == result


def test_tensorboard_has_a_table_of_each_task_and_curves_over_checkpoints_alone(
    probed_run: Path, tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = tmp_path / "run"
    shutil.copytree(probed_run, run, ignore=shutil.ignore_patterns("probes", "tensorboard"))
    (result,) = probe(str(run), ProbeOptions(task="speaker", module=1))
    (early,) = probe(str(run / "checkpoints" / "step-00000010"), ProbeOptions(task="speaker", module=1))
    probe(str(run), ProbeOptions(task="phone", module=0))
    board = EventAccumulator(str(run / "tensorboard" / "probes")).Reload()
    assert board.Tags()["tensors"] == ["phone/text_summary", "speaker/text_summary"]
    (text,) = board.Tensors("speaker/text_summary")
    markdown = text.tensor_proto.string_val[0].decode()
    assert text.step == 20
    assert f"| trained | module 1 | {result.accuracy:.1%} |" in markdown
    (tag,) = board.Tags()["scalars"]  # the phone probe of one checkpoint is no curve
    assert [(event.step, event.value) for event in board.Scalars(tag)] == [
        (10, pytest.approx(early.accuracy)),
        (20, pytest.approx(result.accuracy)),
    ]


def test_a_checkpoint_may_be_given_instead_of_its_run(probed_run: Path) -> None:
    folder = probed_run / "checkpoints" / "step-00000010"
    (result,) = probe(str(folder), ProbeOptions(task="speaker"))
    assert (result.step, result.checkpoint) == (10, str(folder))
    assert (probed_run / "probes" / "speaker-trained-module3-step10").is_dir()


def test_other_shards_have_a_folder_of_their_own_and_what_was_seen_is_counted(
    probed_run: Path, syllables: Path, tmp_path: Path, tiny_config_in: Callable[..., ResolvedConfig]
) -> None:
    (other,) = probe(str(probed_run), ProbeOptions(task="vowel", shards=str(syllables)))
    assert other.test_utterances_seen == 0
    assert (probed_run / "probes" / f"vowel-trained-module3-data{other.data_fingerprint[:8]}").is_dir()


def test_mistakes_are_reported_in_one_line(probed_run: Path, syllables: Path, tmp_path: Path) -> None:
    wrong: list[tuple[str, dict[str, object], type[Exception], str]] = [
        (
            str(probed_run),
            {"task": "phone", "module": 4},
            ConfigError,
            "--module 4, but the run's encoder has 4",
        ),
        (
            str(probed_run),
            {"task": "phone", "module": 0, "layer": 2},
            ConfigError,
            "--layer 2, but module 0 has its convolutions 0 to 1",
        ),
        (
            str(probed_run),
            {"task": "phone", "layer": 0},
            ConfigError,
            "--layer 0, but module 3 has no convolutions",
        ),
        (str(probed_run), {"task": "phone", "module": None, "layer": 0}, ConfigError, "not --all-modules"),
        (
            str(probed_run),
            {"task": "phone", "layer": 0, "all_layers": True},
            ConfigError,
            "exclude each other",
        ),
        (str(probed_run), {"task": "syllable"}, DataError, "these shards hold the embedded synthetic corpus"),
        (str(probed_run), {"task": "phone", "shards": str(syllables)}, DataError, "needs phone labels"),
        (str(probed_run), {"task": "speaker", "shards": str(syllables)}, DataError, "needs two speakers"),
        (
            str(probed_run),
            {"task": "phone", "shards": f"{tmp_path}/no"},
            DataError,
            "there is no shard folder",
        ),
        (str(tmp_path), {"task": "phone"}, CheckpointError, "is no run: it has no config.yaml"),
    ]
    for run, options, error, words in wrong:
        with pytest.raises(error, match=words) as caught:
            probe(run, ProbeOptions.model_validate(options))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "begin",
    [
        lambda run: probe(run, ProbeOptions(task="speaker")),
        lambda run: study(run, FewLabelsOptions(task="speaker", labels_per_class=(1,))),
    ],
    ids=["probe", "study"],
)
def test_nothing_is_computed_whose_result_cannot_be_written(
    probed_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begin: Callable[[str], object]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(probed_run, run, ignore=shutil.ignore_patterns("probes", "tensorboard", "features"))
    (run / "probes").write_text("a file in place of the folder")

    def compute(*_: object) -> None:
        raise AssertionError("features are made though no result can be written")

    for module in ("job", "few_labels.study"):
        monkeypatch.setattr(f"vgim.downstream.{module}.feature_source", compute)
    with pytest.raises(StorageError, match=r"cannot write .*/run/probes"):
        begin(str(run))


def test_a_run_without_checkpoint_serves_baselines_alone(probed_run: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes((probed_run / "config.yaml").read_bytes())
    with pytest.raises(CheckpointError, match="holds no complete checkpoint"):
        probe(str(tmp_path), ProbeOptions(task="speaker"))
    probe(str(tmp_path), ProbeOptions(task="speaker", encoders=("mfcc", "random")))


def test_options_without_effect_are_noted(probed_run: Path) -> None:
    options = ProbeOptions(task="speaker", encoders=("mfcc",), patience=2, sampled=True, checkpoint="best")
    (result,) = probe(str(probed_run), options)
    assert [note.split(" has no effect")[0] for note in result.notes] == [
        "--patience",
        "--sampled",
        "--checkpoint",
    ]


def test_gim_cannot_be_sampled(tiny_config_in: Callable[..., ResolvedConfig], tmp_path: Path) -> None:
    resolved = tiny_config_in(tmp_path, "model.family=gim", "objective.kld_weight=0", "train.max_steps=1")
    train(resolved)
    with pytest.raises(ConfigError, match=r"--sampled has no effect: model.family=gim has no posterior"):
        probe(str(tmp_path / "runs" / "run"), ProbeOptions(task="speaker", sampled=True))


def test_without_matplotlib_there_is_a_note_and_no_picture(
    probed_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    assert not plotting.can_draw()
    heard = Recorded()
    probe(str(probed_run), ProbeOptions(task="speaker", module=2), heard)
    assert "pip install 'vgim[analysis]'" in heard.messages[-1]
    folder = probed_run / "probes" / "speaker-trained-module2"
    assert sorted(path.name for path in folder.iterdir()) == [
        "classifier.safetensors",
        "confusion.npz",
        "predictions.npz",
        "result.json",
    ]
