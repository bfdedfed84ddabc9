"""`vgim decode train`: trains a decoder of a run's latents, in a run of its own below the encoder's run."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from vgim.config import DecoderConfig
from vgim.config.keys import Tree, dump
from vgim.config.load import validate
from vgim.config.overrides import OVERRIDE, merge_layer, parse_override
from vgim.config.paths import resolve_paths
from vgim.data.shards.manifest import read_manifest
from vgim.decode.learner import DecoderLearner
from vgim.decode.losses import DEFAULT_WEIGHTS, reflected_samples
from vgim.decode.protocol import (
    BATCH_SIZE,
    EPOCHS,
    LEARNING_RATE,
    Protocol,
    describe_published,
    published_values,
)
from vgim.decode.protocol import LOSS as PUBLISHED_LOSS
from vgim.decode.sounds import write_first_sounds
from vgim.errors import CheckpointError, ConfigError
from vgim.model.stack import build_encoder
from vgim.pretrained.decoder import ENCODER
from vgim.progress import SILENT, Progress
from vgim.runs.checkpoint import Checkpoint, find_checkpoint
from vgim.runs.folder import RunFolder
from vgim.runs.layout import DECODERS, STATE
from vgim.runs.restore import restore_run
from vgim.storage import Location
from vgim.training.job import TrainJob
from vgim.training.trainer import launch, run_location

DEFAULTS: Tree = {
    "optim": {"learning_rate": LEARNING_RATE},
    "train": {"batch_size": BATCH_SIZE, "epochs": EPOCHS},
}
"""Published values that every decoder starts from."""


@dataclass(frozen=True)
class DecoderOptions:
    """Options of the command, besides KEY=VALUE."""

    module: int = -1
    """Module whose latents are decoded, from 0; negative from the last."""
    layer: int | None = None
    """Convolution of the module whose output is decoded; None for the module's latents."""
    loss: str | None = None
    """A name in `vgim.config.choices.DECODER_LOSSES`; None for mse, or under the published protocol mse+mel."""
    sampled: bool | None = None
    """Decode samples of the posterior instead of its mean; None for the mean, or what the published protocol has."""
    protocol: Protocol = "ours"
    """published: the public reference's network, loss, latents, epochs and batches; KEY=VALUE overrides it."""
    name: str | None = None
    """Suffix of the folder's name, for another decoder of the same kind."""


def train_decoder(
    where: str,
    options: DecoderOptions,
    overrides: Sequence[str] = (),
    *,
    address: str | None = None,
    verbose: bool = False,
    progress: Progress = SILENT,
) -> int:
    """Train a decoder of a run's encoder, or continue its training, and return the exit code, 0.

    Args:
        where: The encoder's run or one of its checkpoints.
        overrides: KEY=VALUE for the decoder's config.
        address: Ray cluster to join.
        verbose: Show Ray's own log lines.
        progress: Where to report what happens and how far the training is.

    Raises:
        VgimError: The training fails or is refused; ConfigError for an unknown module, layer or key.
    """
    checkpoint = find_checkpoint(where)
    run = checkpoint.location.parent.parent
    config = decoder_config(checkpoint, run, options, overrides)
    folder = run_location(config)
    encoder_copy = folder.child(ENCODER)
    notes = tuple(restore_run(folder, DecoderConfig))  # it says which encoder the decoder started with
    earlier = RunFolder(folder).decoder_config() if encoder_copy.child(STATE).exists() else None
    if earlier is not None and Location(where) == run and earlier.encoder.step != config.encoder.step:
        checkpoint = Checkpoint.open(encoder_copy)
        progress.message(
            f"note: {folder.name} continues with the encoder of step {earlier.encoder.step}, with which it started; "
            f"--name NAME trains another decoder, of the encoder's step {config.encoder.step}"
        )
        config = decoder_config(checkpoint, run, options, overrides)
    if options.protocol == "published":
        progress.message(describe_published(config))
    if not encoder_copy.child(STATE).exists():
        checkpoint.check_files(checkpoint.files_for_readers)  # before the decoder's folder is made
    job = TrainJob(config=config, run=folder.uri, learner=DecoderLearner, notes=notes)
    code = launch(
        job,
        address=address,
        verbose=verbose,
        prepare=lambda: keep_encoder(checkpoint, encoder_copy),
        progress=progress,
    )
    write_first_sounds(folder, progress)
    return code


def decoder_config(
    checkpoint: Checkpoint, run: Location, options: DecoderOptions, overrides: Sequence[str] = ()
) -> DecoderConfig:
    """Resolve the config of a decoder: defaults, the encoder's data and channels, the protocol, then overrides.

    Raises:
        ConfigError: An option or override does not fit the encoder, or a key is unknown.
        DataError: The published protocol is to be used, and there are no shards that tell their corpus.
    """
    encoder_config = checkpoint.config()
    encoder = build_encoder(encoder_config.model, encoder_config.objective, encoder_config.train.seed)
    greedy = encoder.module(options.module)
    layer = None if options.layer is None else greedy.layer_index(options.layer)
    if options.sampled and encoder_config.model.family != "sim":
        raise ConfigError(
            f"--sampled has no effect: model.family={encoder_config.model.family} has no posterior; leave it out"
        )
    published = options.protocol == "published"
    loss = options.loss or (PUBLISHED_LOSS if published else "mse")
    sampled = options.sampled
    if sampled is None:  # before the first posterior there is nothing to sample
        has_posterior = encoder_config.model.family == "sim" and (greedy.index > 0 or layer is None)
        sampled = published and has_posterior
    parts = [f"module{greedy.index}", *([] if layer is None else [f"layer{layer}"])]
    parts += [loss.replace("+", "-"), *["sampled"] * sampled, *["published"] * published]
    source: Tree = {
        "run": run.uri,
        "step": checkpoint.state.step,
        "weights": checkpoint.sha256_for_readers,
        "family": encoder_config.family,
        "kld_weight": encoder_config.kld_weight,
        "module": greedy.index,
        "layer": -1 if layer is None else layer,
        "latents": "sample" if sampled else "mean",
    }
    name = "-".join([*parts, *filter(None, [options.name])])
    layers: list[tuple[Tree, str]] = [
        (DEFAULTS, "the published defaults"),
        (
            {
                "data": dump(encoder_config.data) | {"augment": {}},
                "train": {"seed": encoder_config.train.seed},
            },
            "the encoder's run",
        ),
        ({"cluster": dump(encoder_config.cluster)}, "the encoder's run"),
        ({"decoder": {"channels": encoder_config.model.channels}, "encoder": source}, "the encoder's run"),
        ({"objective": {"loss": loss, "weight": DEFAULT_WEIGHTS.get(loss, 1.0)}}, "--loss"),
        ({"storage": {"root": run.child(DECODERS).uri, "name": name}}, "the options"),
    ]
    own: list[tuple[Tree, str]] = []
    for override in overrides:
        if override.startswith(("encoder.", "encoder=", "objective.loss=", "storage.")):
            raise ConfigError(
                f"'{override}' is set by RUN and the options; use --module, --layer, --sampled, --loss or --name"
            )
        own.append((parse_override(override, DecoderConfig), OVERRIDE))
    config = _merge([*layers, *own])
    convs = encoder.convs(greedy.index, layer)
    if published:
        corpus = read_manifest(config.data.shards).corpus
        config = _merge([*layers, (published_values(convs, loss, corpus), "--protocol published"), *own])
    min_samples = encoder.min_samples(greedy.index, layer)
    if config.data.crop_samples < min_samples:
        raise ConfigError(
            f"data.crop_samples={config.data.crop_samples} makes no frame in module {greedy.index}; "
            f"use at least {min_samples}"
        )
    reflected = reflected_samples(loss) if config.objective.padding == "reflect" else 0
    if config.data.crop_samples <= reflected:
        raise ConfigError(
            f"data.crop_samples={config.data.crop_samples} is too short for objective.padding=reflect, which mirrors "
            f"{reflected} samples of loss {loss}; use longer crops or objective.padding=zeros"
        )
    return config


def _merge(layers: Sequence[tuple[Tree, str]]) -> DecoderConfig:
    """The config of trees with their sources, later ones on top, its paths resolved."""
    tree: Tree = {}
    sources: dict[str, str] = {}
    for layer, origin in layers:
        merge_layer(tree, layer, origin, sources, root=DecoderConfig)
    return resolve_paths(validate(tree, sources, DecoderConfig))


def keep_encoder(checkpoint: Checkpoint, path: Location) -> None:
    """Copy an encoder's checkpoint, without its optimizer, to `path` in a decoder's folder.

    The decoder needs a copy, because the encoder's run may train on and delete the checkpoint.

    Raises:
        CheckpointError: A file of the checkpoint is missing or damaged.
    """
    state = path.child(STATE)
    if state.exists():
        with suppress(CheckpointError):  # a damaged copy is written anew
            kept = Checkpoint.open(path)
            same = kept.sha256_for_readers == checkpoint.sha256_for_readers
            if same and not kept.damage(kept.files_for_readers):
                return
    contents = {name: checkpoint.read_file(name) for name in checkpoint.files_for_readers}
    state.delete()  # left by a launch that trained nothing; a trained decoder refuses another encoder
    for name, data in contents.items():
        path.child(name).write_bytes_atomic(data)
    state.write_bytes_atomic(
        checkpoint.state.to_json()
    )  # the state last: its file marks a complete checkpoint
