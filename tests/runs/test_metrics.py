"""What a run writes while it trains reads back: in TensorBoard's own reader, and line by line."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from torch.utils.tensorboard.summary import hparams

from tests.runs.metric_cases import PER_MODULE, board
from tests.training.cases import last_checkpoint, records, run_location, single_rank_trainer
from vgim.config import ResolvedConfig
from vgim.data.shards.manifest import read_manifest
from vgim.data.stream.readers import read_in_process
from vgim.errors import DataError
from vgim.model.rank_group import RankGroup
from vgim.runs.hparams import session_start
from vgim.runs.listing import list_runs
from vgim.runs.metrics import parse_record, read_metrics
from vgim.storage import Location
from vgim.training.learner import Worker
from vgim.training.trainer import train

Maker = Callable[..., ResolvedConfig]
RUN_WIDE = (
    "optim/learning_rate",
    "optim/kld_weight",
    "speed/crops_per_s",
    "speed/steps_per_s",
    "speed/data_wait_s",
    "speed/compute_s",
    "speed/epoch",
)


def steps(reader: EventAccumulator, tag: str) -> list[int]:
    return [event.step for event in reader.Scalars(tag)]


def test_a_rate_of_crops_that_0_1_wrote_under_another_name_is_read() -> None:
    assert parse_record(
        '{"kind": "train", "step": 1, "epoch": 1, "utterances_per_s": 2.5, "modules": []}'
    ) == {
        "kind": "train",
        "step": 1,
        "epoch": 1,
        "crops_per_s": 2.5,
        "modules": [],
    }


def test_tensorboard_reads_every_figure(tiny_config: Maker) -> None:
    config = tiny_config("train.max_steps=15").config
    single_rank_trainer(config).run()
    reader = board(run_location(config).local_path)
    tags = reader.Tags()
    expected = {f"train/module{m}/{name}" for m in range(4) for name in (*PER_MODULE, "grad_norm")}
    expected |= {f"validation/module{m}/{name}" for m in range(4) for name in PER_MODULE}
    assert expected | {*RUN_WIDE, "validation/loss"} <= set(tags["scalars"])
    assert set(tags["histograms"]) == {
        *(f"latents/module{m}/mu" for m in range(4)),
        *(f"latents/module{m}/sigma" for m in range(3)),
    }
    assert steps(reader, "train/module3/nce") == list(range(1, 16))
    assert steps(reader, "validation/module0/nce") == [10, 15]
    assert [h.step for h in reader.Histograms("latents/module2/sigma")] == [10, 15]
    assert reader.Histograms("latents/module2/sigma")[0].histogram_value.min > 0
    assert any("events" in tag for tag in tags["tensors"])


def test_tensorboards_figures_are_those_of_metrics_jsonl(tiny_config: Maker) -> None:
    config = tiny_config("train.max_steps=12").config
    single_rank_trainer(config).run()
    reader, run = board(run_location(config).local_path), run_location(config)
    for kind, names in (("train", (*PER_MODULE, "grad_norm")), ("validation", PER_MODULE)):
        told = records(run, kind)
        for m in range(4):
            for name in names:
                shown = [event.value for event in reader.Scalars(f"{kind}/module{m}/{name}")]
                assert shown == pytest.approx([r["modules"][m][name] for r in told], rel=1e-6)
    for tag in RUN_WIDE:
        shown = [event.value for event in reader.Scalars(tag)]
        assert shown == pytest.approx([r[tag.partition("/")[2]] for r in records(run, "train")], rel=1e-6)


def test_the_figures_mean_what_they_say(tiny_config: Maker) -> None:
    config = tiny_config("objective.kld_weight=0.01", "optim.decay_per_epoch=0.5").config
    single_rank_trainer(config).run()
    told = records(run_location(config), "train")
    assert [r["kld_weight"] for r in told[:9]] == pytest.approx([0.01 * min(s, 8) / 8 for s in range(9)])
    assert {r["learning_rate"] for r in told[:10]} == {1e-3}
    assert {r["learning_rate"] for r in told[10:]} == {5e-4}
    assert told[0]["modules"][0]["nce"] == pytest.approx(math.log(6), rel=1e-3)  # predictors start at zero
    for record in told:
        for module, frames in zip(record["modules"], (255, 64, 32), strict=False):
            assert module["kl"] == pytest.approx(frames * module["kl_per_element"], rel=0.02)
            assert module["kl_per_frame"] == pytest.approx(8 * module["kl_per_element"], rel=1e-6)
            assert module["loss"] == pytest.approx(
                module["nce"] + record["kld_weight"] * module["kl"], rel=1e-4
            )
        assert record["crops_per_s"] == pytest.approx(4 * record["steps_per_s"])
        total = record["data_wait_s"] + record["compute_s"] + record["overhead_s"]
        assert total == pytest.approx(1 / record["steps_per_s"], rel=0.05)
    assert [r["epoch"] for r in told] == pytest.approx([step / 10 for step in range(1, 21)])
    for record in records(run_location(config), "validation"):
        assert record["loss"] == pytest.approx(np.mean([m["loss"] for m in record["modules"]]))


def test_hyperparameters_are_written_as_torchs_own_writer_writes_them() -> None:
    values = {"batch_norm": True, "channels": 8, "rate": 1e-3, "family": "sim"}
    expected = hparams(values, {"nce": 0.0, "kl": 0.0})[:2]

    assert [_plugin_data(summary) for summary in session_start(values, ["nce", "kl"])] == [
        _plugin_data(summary) for summary in expected
    ]


def _plugin_data(summary: Any) -> tuple[str, plugin_data_pb2.HParamsPluginData]:
    """Tag and content; the bytes of a map are in any order."""
    (value,) = summary.value
    content = value.metadata.plugin_data.content
    return value.tag, plugin_data_pb2.HParamsPluginData.FromString(content)


def test_hyperparameters_are_there_for_tensorboards_tab(tiny_config: Maker) -> None:
    config = tiny_config("train.max_steps=2").config
    single_rank_trainer(config).run()
    reader = board(run_location(config).local_path)
    content = reader.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    start = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
    assert start.hparams["model.channels"].number_value == 8
    assert start.hparams["objective.kld_weight"].number_value == 0.001
    assert start.hparams["model.family"].string_value == "sim"
    content = reader.summary_metadata["_hparams_/experiment"].plugin_data.content
    experiment = plugin_data_pb2.HParamsPluginData.FromString(content).experiment
    shown = {info.name.tag for info in experiment.metric_infos}
    assert shown
    assert shown <= set(reader.Tags()["scalars"])  # its columns show values that are really there


def test_a_whole_run_on_storage_that_is_no_file_system(tiny_config: Maker, tmp_path: Path) -> None:
    root = f"mock://training/{tmp_path.name}"
    for max_steps in (3, 5):
        assert train(tiny_config(f"storage.root={root}", f"train.max_steps={max_steps}")) == 0
    (summary,) = list_runs(root)
    assert (summary.state, summary.step, summary.checkpoints) == ("finished", 5, 2)
    assert [r["step"] for r in read_metrics(Location(root).child("run")) if r["kind"] == "train"] == [
        1,
        2,
        3,
        4,
        5,
    ]
    config = tiny_config(f"storage.root={root}").config
    assert last_checkpoint(config).weights()


@pytest.mark.parametrize("mode", ["none", "corpus", "utterance"])
def test_audio_reaches_the_model_normalized_as_the_config_says(tiny_config: Maker, mode: str) -> None:
    from vgim.training.prefetch import DeviceBatch

    rank = single_rank_trainer(tiny_config(f"data.normalize={mode}").config)
    batch = next(rank.batches.train_streams[0].train_batches(0, 0, epochs=1))
    found = rank.batches.audio(DeviceBatch(*map(torch.from_numpy, (batch.audio, batch.mean, batch.std))))
    plain = batch.audio.astype(np.float64) / 32_768
    manifest = read_manifest(tiny_config().config.data.shards)
    mean, std = {
        "none": (0.0, 1.0),
        "corpus": (manifest.corpus_mean, manifest.corpus_std),
        "utterance": (batch.mean[:, None], batch.std[:, None]),
    }[mode]
    np.testing.assert_allclose(found.numpy(), (plain - mean) / std, rtol=1e-4, atol=1e-5)
    assert found.dtype == torch.float32
    if mode != "none":
        assert 0.3 < float(found.std()) < 3


def test_a_collapsed_posterior_is_told_and_ends_the_run_where_the_config_says_stop(
    tiny_config: Maker,
) -> None:
    from vgim.training.errors import CollapsedError

    hopeless = [
        "objective.kld_weight=5",
        "objective.kld_warmup_steps=0",
        "objective.collapse_patience_steps=5",
    ]
    hopeless += ["train.epochs=6", "train.validate_every_epochs=9", "optim.learning_rate=3e-2"]
    warned = tiny_config(*hopeless, "storage.name=warned").config
    single_rank_trainer(warned).run()
    told = [r["message"] for r in records(run_location(warned), "event") if "has collapsed" in r["message"]]
    assert told
    assert "objective.kld_warmup_steps" in told[0]
    stopped = tiny_config(*hopeless, "storage.name=stopped", "objective.on_collapse=stop").config
    with pytest.raises(CollapsedError, match=r"module \d has collapsed.*objective.on_collapse=stop"):
        single_rank_trainer(stopped).run()


def test_a_nat_dearer_than_published_is_warned_of_once_at_the_start(tiny_config: Maker) -> None:
    config = tiny_config("train.epochs=1", "train.checkpoint_every_steps=5").config
    single_rank_trainer(config).run()
    longer = tiny_config("train.epochs=2").config
    single_rank_trainer(longer).run()
    found = [r for r in records(run_location(longer), "event") if "makes a nat a frame" in r["message"]]
    assert [r["step"] for r in found] == [0]
    assert found[0]["message"].startswith("warning: objective.kld_weight=0.001 ")
    assert "6.4 times as dear" in found[0]["message"]  # 0.001 at 8 channels, 0.01 at 512
    per_frame = tiny_config(
        "objective.kl_reduction=frame", "objective.kld_weight=6e-4", "storage.name=f"
    ).config
    single_rank_trainer(per_frame).run()
    assert "makes a nat" not in run_location(per_frame).child("metrics.jsonl").read_text()
    for record in records(run_location(per_frame), "train")[8:]:  # after the warm-up
        for module in record["modules"]:
            term = 6e-4 * module["kl_per_frame"]
            assert module["loss"] == pytest.approx(module["nce"] + term, abs=1e-5)


def test_an_error_of_the_stream_ends_the_run_with_its_own_message(
    tiny_config: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vgim.data.stream import stream

    cut_crops = stream.cut_crops
    calls: list[int] = []

    def fail_late(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise DataError("shard x has gone")
        return cut_crops(*args)

    monkeypatch.setattr(stream, "cut_crops", fail_late)
    with pytest.raises(DataError, match="shard x has gone"):
        train(tiny_config())
    (summary,) = list_runs(run_location(tiny_config().config).parent.uri)
    assert (summary.state, summary.message) == ("failed", "shard x has gone")
    assert json.loads(run_location(tiny_config().config).child("run.json").read_text())["state"] == "failed"


def test_records_name_the_device_that_steps_are_taken_on(
    tiny_config: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config("train.max_steps=2").config
    single_rank_trainer(config).run()
    assert {record["device"] for record in records(run_location(config), "train")} == {"cpu"}
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device.index}")
    on_gpu = Worker(
        RankGroup(1, 2), torch.device("cuda", 1), read_in_process, lambda figures, checkpoint: None
    )
    assert on_gpu.device_name == "GPU 1"
