"""Training of decoders: exact resumption, ranks, metrics, and the files of the run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import distributed as dist
from torch import multiprocessing

from tests.data.shard_damage import drop_split
from tests.gloo_world import leave_world
from vgim.config import DecoderConfig
from vgim.config.schema import AugmentConfig, ModelConfig, ObjectiveConfig
from vgim.data.shards.manifest import read_manifest, write_manifest
from vgim.data.shards.read import read_utterances
from vgim.data.stream.readers import read_in_process
from vgim.decode.learner import DecoderLearner
from vgim.decode.protocol import published_values
from vgim.decode.train import DecoderOptions, decoder_config, keep_encoder, train_decoder
from vgim.errors import CheckpointError, ConfigError
from vgim.model.rank_group import ALONE, RankGroup
from vgim.model.specs import ConvSpec
from vgim.model.stack import build_encoder
from vgim.pretrained.decoder import ENCODER, build_decoder, list_decoders, load_decoder
from vgim.pretrained.encoder import load_encoder
from vgim.progress import MessagesOnly
from vgim.runs.checkpoint import Checkpoint, complete_checkpoints, find_checkpoint
from vgim.runs.folder import RunFolder
from vgim.runs.metrics import read_metrics
from vgim.storage import Location
from vgim.training.job import TrainJob
from vgim.training.learner import Worker
from vgim.training.loop import RankTrainer

QUICK = ("train.batch_size=4", "train.epochs=2", "optim.learning_rate=1e-3", "listen.crops=1")


class Killed(BaseException):
    """Stands for a signal that ends the process."""


class KilledTrainer(RankTrainer):
    """A rank that is killed after it has recorded step 13."""

    def _log(self, record: dict[str, Any], *more: Any) -> None:
        super()._log(record, *more)
        if record["step"] == 13:
            raise Killed


def config_of(run: Path, name: str, *overrides: str, **options: Any) -> DecoderConfig:
    """The config of a decoder whose folder has a copy of the encoder."""
    checkpoint = find_checkpoint(str(run))
    chosen = DecoderOptions(**{"module": 0, "loss": "mse+stft", "name": name, **options})
    config = decoder_config(
        checkpoint, Location(run), chosen, (*QUICK, "train.log_every_steps=1", *overrides)
    )
    keep_encoder(checkpoint, folder_of(config).child(ENCODER))
    return config


def folder_of(config: DecoderConfig) -> Location:
    return Location(config.storage.root).child(config.storage.name)


def rank_of(
    config: DecoderConfig, kind: type[RankTrainer] = RankTrainer, rank: int = 0, world_size: int = 1
) -> RankTrainer:
    worker = Worker(RankGroup(rank, world_size), torch.device("cpu"), read_in_process, lambda *_: None)
    return kind(TrainJob(config=config, run=folder_of(config).uri, learner=DecoderLearner), worker)


def last_tensors(config: DecoderConfig) -> dict[str, torch.Tensor]:
    checkpoint = complete_checkpoints(folder_of(config))[-1]
    return {**checkpoint.weights(), **checkpoint.optimizer()}


def module_metrics(config: DecoderConfig, kind: str) -> list[Any]:
    return [(r["step"], r["modules"]) for r in read_metrics(folder_of(config)) if r["kind"] == kind]


@pytest.mark.parametrize(
    "options", [{}, {"sampled": True, "module": 2, "loss": "mse"}], ids=["mean", "sampled"]
)
def test_killed_run_equals_straight_run(run: Path, options: dict[str, Any]) -> None:
    every = "train.checkpoint_every_steps=6"
    straight, killed = (config_of(run, name, every, **options) for name in ("straight", "killed"))
    rank_of(straight).run()
    with pytest.raises(Killed):
        rank_of(killed, KilledTrainer).run()
    assert complete_checkpoints(folder_of(killed))[-1].state.step == 12
    rank_of(killed).run()
    one, other = last_tensors(straight), last_tensors(killed)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    for kind in ("train", "validation"):
        assert module_metrics(straight, kind) == module_metrics(killed, kind)
    assert len(module_metrics(straight, "train")) == 20


def test_a_decoder_keeps_the_ends_of_every_nth_epoch(run: Path) -> None:
    few = ("train.keep_last=1", "train.keep_best=0", "train.epochs=3", "listen.crops=0")
    config = config_of(run, "thinned", *few, "train.keep_every_epochs=2")
    rank_of(config).run()
    assert [c.state.epoch for c in complete_checkpoints(folder_of(config))] == [2, 3]


def test_training_leaves_a_decoder_that_loads_and_sounds_to_hear(run: Path) -> None:
    lines: list[str] = []
    assert train_decoder(str(run), DecoderOptions(module=0), QUICK, progress=MessagesOnly(lines.append)) == 0
    assert list_decoders(Location(run)) == ["module0-mse"]
    folder = run / "decoder" / "module0-mse"
    assert {path.name for path in folder.iterdir()} == {
        ".claim", "audio", "checkpoints", "config.yaml", "encoder", "metrics.jsonl", "run.json", "tensorboard"
    }  # fmt: skip
    record = RunFolder(Location(folder)).record()
    assert record is not None
    assert (record.state, record.family) == ("finished", "sim")
    losses = [r["loss"] for r in read_metrics(Location(folder)) if r["kind"] == "validation"]
    assert losses[-1] < losses[0]
    entries = json.loads((folder / "audio" / "index.json").read_text())
    assert [e["group"] for e in entries] == ["reconstruction"] * 4 + ["sample"] * 4
    assert all((folder / "audio" / e["file"]).exists() for e in entries)
    tags = EventAccumulator(str(folder / "tensorboard")).Reload().Tags()
    assert set(tags["audio"]) == {"original/0", "reconstruction/0", "draw/0"}
    assert set(tags["images"]) == {"reconstruction/0", "draw/0"}
    assert {"train/module0/loss", "validation/module0/si_sdr_db", "validation/loss"} <= set(tags["scalars"])
    decoder = load_decoder(str(run))
    assert (decoder.module, decoder.layer) == (0, None)
    latents = decoder.encoder(torch.zeros(1, 5_000), decoder.module)
    assert decoder(latents, 5_000).shape == (1, 5_000)
    torch.testing.assert_close(decoder(latents[0].double().numpy(), 5_000), decoder(latents, 5_000))
    with pytest.raises(ValueError, match=r"expected floating-point latents of shape \[B, T, 8\] or \[T, 8\]"):
        decoder(latents[..., :7], 5_000)


def test_a_decoder_loads_after_its_encoder_checkpoint_was_deleted(run: Path) -> None:
    assert train_decoder(str(run), DecoderOptions(module=0), (*QUICK, "train.max_steps=2")) == 0
    shutil.rmtree(run / "checkpoints")
    decoder = load_decoder(str(run / "decoder" / "module0-mse"))
    assert decoder.encoder.checkpoint.state.step == 2
    with pytest.raises(CheckpointError, match=r"is a decoder's checkpoint; load it with vgim\.load_decoder"):
        load_encoder(str(run / "decoder" / "module0-mse"))


def test_a_folder_without_a_trained_decoder_gets_the_encoder_of_the_new_launch(run: Path) -> None:
    config = config_of(run, "a")
    kept = folder_of(config).child(ENCODER)
    state = find_checkpoint(str(run)).state
    other = state.model_copy(
        update={"files": {**state.files, "weights.safetensors": state.files["config.yaml"]}}
    )
    kept.child("state.json").write_bytes_atomic(other.to_json())
    keep_encoder(find_checkpoint(str(run)), kept)
    assert find_checkpoint(kept.uri).state == state


@pytest.mark.parametrize("name", ["config.yaml", "run.json"])
def test_a_decoder_whose_config_or_record_is_lost_still_belongs_to_its_config(run: Path, name: str) -> None:
    settings = (*QUICK, "train.max_steps=2")
    assert train_decoder(str(run), DecoderOptions(module=0), settings) == 0
    folder = run / "decoder" / "module0-mse"
    (folder / name).unlink()
    with pytest.raises(ConfigError, match=r"exists with another config \(train\.seed: 0 → 5\)"):
        train_decoder(str(run), DecoderOptions(module=0), (*settings, "train.seed=5"))
    (folder / name).unlink()
    (folder / "encoder" / "weights.safetensors").write_bytes(b"damaged")
    assert train_decoder(str(run), DecoderOptions(module=0), (*settings, "train.max_steps=3")) == 0
    events = [r["message"] for r in read_metrics(Location(folder)) if r["kind"] == "event"]
    assert any(message.startswith(f"{folder / name} was lost; it is written anew") for message in events)
    assert load_decoder(str(folder)).checkpoint.state.step == 3  # its encoder was copied anew


def test_no_decoder_is_begun_from_a_damaged_encoder(run: Path) -> None:
    (path,) = find_checkpoint(str(run)).location.local_path.glob("weights.*")
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(CheckpointError, match=r"weights\.safetensors is damaged"):
        train_decoder(str(run), DecoderOptions(module=0), QUICK)
    assert not (run / "decoder").exists()


def test_a_decoder_that_lost_its_encoders_state_is_named_with_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "decoder" / "module0-mse"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    with pytest.raises(
        CheckpointError, match=r"no whole decoder: .*/module0-mse/encoder/state\.json is missing"
    ):
        load_decoder(str(tmp_path))


def test_a_run_with_several_decoders_needs_a_name(run: Path) -> None:
    with pytest.raises(CheckpointError, match="has no decoder; train one"):
        load_decoder(str(run))
    for name in ("a", "b"):
        config_of(run, name)
    with pytest.raises(
        CheckpointError, match="has 2 decoders; name one of module0-mse-stft-a, module0-mse-stft-b"
    ):
        load_decoder(str(run))


@pytest.mark.parametrize(
    ("options", "overrides", "message"),
    [
        ({"module": 9}, (), "module=9 but the encoder has 4 modules"),
        ({"layer": 5}, (), "layer=5 but module 0 has its convolutions 0 to 1"),
        ({}, ("decoder.chanels=3",), "did you mean decoder.channels"),
        ({}, ("objective.loss=mel",), "use --module, --layer, --sampled, --loss or --name"),
        (
            {},
            ("train.schedule=sequential",),
            "train.schedule and train.module_epochs have no effect on a decoder",
        ),
        (
            {},
            ("data.augment.reverb_s=1",),
            "data.augment changes the crops that an encoder learns from; a decoder",
        ),
        ({}, ("data.crop_samples=8",), "data.crop_samples=8 makes no frame in module 0"),
        (
            {"loss": "mel"},
            ("data.crop_samples=2048", "objective.padding=reflect"),
            "too short for objective.padding=reflect, which mirrors 2048 samples of loss mel",
        ),
        ({"loss": "fft"}, ("objective.padding=reflect",), "padding=reflect has no effect on loss=fft"),
    ],
)
def test_a_wrong_option_is_refused_in_one_line(
    run: Path, options: dict[str, Any], overrides: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as e:
        config_of(run, "wrong", *overrides, **options)
    assert "\n" not in str(e.value)


def test_defaults_are_published_ones_with_the_data_and_channels_of_the_encoder(run: Path) -> None:
    config = decoder_config(find_checkpoint(str(run)), Location(run), DecoderOptions())
    assert (config.optim.learning_rate, config.train.batch_size, config.train.epochs) == (2e-4, 64, 200)
    assert (config.decoder.channels, config.data.crop_samples, config.encoder.module) == (8, 5_120, 3)


def test_the_decoder_of_an_augmented_encoder_hears_the_audio_itself(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = find_checkpoint(str(run)).config()
    data = encoder.data.model_copy(update={"augment": AugmentConfig(reverb_s=1), "crop": "tile"})
    monkeypatch.setattr(Checkpoint, "config", lambda self: encoder.model_copy(update={"data": data}))
    own = decoder_config(find_checkpoint(str(run)), Location(run), DecoderOptions()).data
    assert (own.augment.is_on, own.crop) == (False, "tile")


def published(run: Path, *overrides: str, **options: Any) -> DecoderConfig:
    chosen = DecoderOptions(protocol="published", **options)
    return decoder_config(find_checkpoint(str(run)), Location(run), chosen, overrides)


@pytest.mark.parametrize(
    ("corpus", "epochs", "batch"), [("artificial-speech", 200, 64), ("librispeech", 50, 8)]
)
def test_the_published_protocol_sets_what_the_reference_has_for_the_corpus(
    run: Path, tmp_path: Path, corpus: str, epochs: int, batch: int
) -> None:
    manifest = read_manifest(published(run).data.shards)
    write_manifest(Location(tmp_path), manifest.model_copy(update={"corpus": corpus}))
    shards = f"data.shards={tmp_path}"
    config = published(run, shards, module=0)
    assert (config.train.epochs, config.train.batch_size, config.optim.learning_rate) == (epochs, batch, 2e-4)
    objective = config.objective
    assert (objective.loss, objective.weight, objective.padding) == ("mse+mel", 1, "reflect")
    assert (config.decoder.extra_layers, config.decoder.mirror_pointwise) == (2, False)
    assert config.encoder.latents == "sample"
    assert config.storage.name == "module0-mse-mel-sampled-published"
    own = published(
        run, shards, "train.epochs=7", "decoder.extra_layers=1", "objective.padding=zeros", module=0
    )
    assert (own.train.epochs, own.decoder.extra_layers, own.objective.padding) == (7, 1, "zeros")


def test_options_win_over_the_published_protocol(run: Path) -> None:
    deeper = published(run, module=2, loss="mse", sampled=False, name="x")
    assert (deeper.decoder.extra_layers, deeper.objective.padding) == (0, "zeros")
    assert (deeper.encoder.latents, deeper.storage.name) == ("mean", "module2-mse-published-x")
    assert published(run, module=0, layer=1).encoder.latents == "mean"  # nothing before it is sampled


@pytest.mark.parametrize(("layer", "extra"), [(0, 0), (1, 2), (2, 2), (4, 0), (7, 0)])
def test_extra_layers_belong_to_the_depth_of_module_0_whatever_the_modules(layer: int, extra: int) -> None:
    """In the published CPC with extra layers, 1×1 convolutions stand behind the convolutions of each module."""
    kernels, strides, paddings = (10, 8, 1, 4, 4, 1, 4, 1), (5, 4, 1, 2, 2, 1, 2, 1), (2, 2, 0, 2, 2, 0, 1, 0)
    convs = [ConvSpec(*conv) for conv in zip(kernels, strides, paddings, strict=True)]
    values = published_values(convs[: layer + 1], "mse", "artificial-speech")
    assert values["decoder"] == {"extra_layers": extra, "mirror_pointwise": False}


def test_without_a_validation_split_the_first_sounds_are_of_the_test_split(run: Path, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    shutil.copytree(config_of(run, "x").data.shards, shards)
    drop_split(shards, "validation")  # as `vgim data prepare --validation-fraction 0` leaves it
    overrides = (*QUICK, "train.max_steps=1", f"data.shards={shards}")
    assert train_decoder(str(run), DecoderOptions(module=0), overrides) == 0
    entries = json.loads((run / "decoder" / "module0-mse" / "audio" / "index.json").read_text())
    test = {u.utterance_id for u in read_utterances(Location(shards), read_manifest(str(shards)), "test", 4)}
    assert len(test) > 1
    assert {e["title"] for e in entries if e["group"] == "reconstruction"} == test


def test_a_published_decoder_is_trained_and_loaded_with_its_extra_layers(run: Path) -> None:
    lines: list[str] = []
    options = DecoderOptions(module=0, protocol="published")
    assert (
        train_decoder(str(run), options, (*QUICK, "train.max_steps=2"), progress=MessagesOnly(lines.append))
        == 0
    )
    assert lines[0].startswith(
        "protocol published: loss mse+mel (objective.padding=reflect), sampled latents, 8 channels, 2 extra layers"
    )
    decoder = load_decoder(str(run / "decoder" / "module0-mse-mel-sampled-published"))
    assert {name.split(".")[0] for name in decoder.decoder.state_dict()} == {
        "deconv0", "deconv1", "extra0_0", "extra0_1", "extra1_0", "extra1_1"
    }  # fmt: skip
    latents = decoder.encoder(torch.zeros(1, 5_000), 0)
    assert decoder(latents, 5_000).shape == (1, 5_000)


def test_a_decoder_without_anything_to_mirror_is_refused(run: Path) -> None:
    config = config_of(run, "x", "decoder.mirror_pointwise=false")
    encoder = build_encoder(
        ModelConfig(kernels=(1,), strides=(1,), paddings=(0,), layers_per_module=(1,)), ObjectiveConfig(), 0
    )
    with pytest.raises(ConfigError, match="module 0 has only 1×1 convolutions; set it to true"):
        build_decoder(config, encoder)


def train_rank(rank: int, config: DecoderConfig, rendezvous: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{rendezvous}", rank=rank, world_size=2)
    rank_of(config, rank=rank, world_size=2).run()
    leave_world()


def test_two_ranks_take_the_step_of_one_with_both_their_crops(run: Path, tmp_path: Path) -> None:
    batch = "train.batch_size={}"
    two = config_of(run, "two", batch.format(4), "train.max_steps=1", loss="mse")
    multiprocessing.set_forkserver_preload([__name__])  # one import of torch for both ranks
    multiprocessing.start_processes(
        train_rank, (two, str(tmp_path / "rendezvous")), nprocs=2, start_method="forkserver"
    )
    both = rank_of(config_of(run, "both", batch.format(4), "train.max_steps=1", loss="mse"))
    parts = [rank_of(two, rank=r, world_size=2) for r in range(2)]
    audio = [
        torch.from_numpy(next(p.batches.train_streams[0].train_batches(0, 0, epochs=1)).audio) / 32_768
        for p in parts
    ]
    from vgim.training.progress import Progress, phases
    from vgim.training.share import Share

    both.learner.begin_phase(phases(both.config)[0], Progress(), Share.of_each(ALONE))
    both.learner.step([torch.cat(audio)], Progress(), measure=True)
    saved = complete_checkpoints(folder_of(two))[-1].weights()
    for name, weight in both.learner.network.state_dict().items():
        torch.testing.assert_close(saved[name], weight, atol=2e-5, rtol=0)


def test_training_on_ray_gives_the_same_weights_as_in_this_process(ray_session: None, run: Path) -> None:
    there = train_decoder(
        str(run), DecoderOptions(module=0, name="ray"), (*QUICK, "train.max_steps=6", "cluster.workers=1")
    )
    here = train_decoder(str(run), DecoderOptions(module=0, name="here"), (*QUICK, "train.max_steps=6"))
    assert (there, here) == (0, 0)
    one, other = (
        complete_checkpoints(Location(run).child("decoder", f"module0-mse-{name}"))[-1].weights()
        for name in ("ray", "here")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)
