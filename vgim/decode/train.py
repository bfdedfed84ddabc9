"""`vgim decode train`: from an encoder's run and a few options to a decoder's run, trained by the trainer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vgim.config import DecoderConfig
from vgim.config.keys import Tree, dump
from vgim.config.load import validate
from vgim.config.overrides import OVERRIDE, merge_layer, parse_override
from vgim.config.paths import resolve_paths
from vgim.decode.learner import DecoderLearner
from vgim.decode.listen import leave_audio
from vgim.decode.losses import DEFAULT_WEIGHTS
from vgim.errors import CheckpointError, ConfigError
from vgim.model.stack import build_encoder
from vgim.pretrained.decoder import ENCODER
from vgim.runs.checkpoint import Checkpoint, find_checkpoint
from vgim.runs.folder import RunFolder
from vgim.runs.layout import CONFIG, DECODERS, STATE, WEIGHTS
from vgim.storage import Location
from vgim.train.loop import TrainJob
from vgim.train.trainer import launch, run_location

PUBLISHED: Tree = {"optim": {"learning_rate": 2e-4}, "train": {"batch_size": 64, "epochs": 200}}


@dataclass(frozen=True)
class DecoderOptions:
    """What the command is asked for, beside KEY=VALUE."""

    module: int = -1
    layer: int | None = None
    loss: str = "mse"
    sampled: bool = False
    name: str | None = None
    """Put behind the folder's name."""


def train_decoder(
    where: str,
    options: DecoderOptions,
    overrides: Sequence[str] = (),
    *,
    address: str | None = None,
    verbose: bool = False,
    say: Callable[[str], None] = print,
) -> int:
    """Train a decoder of a run's encoder, or go on with it; returns the exit code, 0.

    Args:
        where: The encoder's run or one of its checkpoints.

    Raises:
        VgimError: As the trainer's `train`; ConfigError for a module, layer or key that there is not.
    """
    checkpoint = find_checkpoint(where)
    run = checkpoint.location.parent.parent
    config = decoder_config(checkpoint, run, options, overrides)
    folder = run_location(config)
    kept = folder.child(ENCODER)
    earlier = RunFolder(folder).decoder_config() if kept.child(STATE).exists() else None
    if earlier is not None and Location(where) == run and earlier.encoder.step != config.encoder.step:
        checkpoint = Checkpoint.open(kept)
        say(
            f"note: {folder.name} decodes the encoder as it was at step {earlier.encoder.step}, which it goes on with; "
            f"--name makes another one, of step {config.encoder.step}"
        )
        config = decoder_config(checkpoint, run, options, overrides)
    job = TrainJob(config=config, run=folder.uri, learner=DecoderLearner)
    code = launch(job, address=address, verbose=verbose, prepare=lambda: keep_encoder(checkpoint, kept))
    leave_audio(folder, say)
    return code


def decoder_config(
    checkpoint: Checkpoint, run: Location, options: DecoderOptions, overrides: Sequence[str] = ()
) -> DecoderConfig:
    """The resolved config of a decoder: published defaults, the encoder's data and channels, then overrides."""
    of = checkpoint.config()
    encoder = build_encoder(of.model, of.objective, of.train.seed)
    greedy = encoder.module(options.module)
    layer = None if options.layer is None else greedy.layer_index(options.layer)
    if options.sampled and of.model.family != "sim":
        raise ConfigError(
            f"--sampled has no effect: model.family={of.model.family} has no posterior; leave it out"
        )
    parts = [f"module{greedy.index}", *([] if layer is None else [f"layer{layer}"])]
    parts += [options.loss.replace("+", "-"), *(["sampled"] if options.sampled else [])]
    source: Tree = {
        "run": run.uri,
        "step": checkpoint.state.step,
        "weights": checkpoint.state.files[WEIGHTS].sha256,
        "family": of.family,
        "kld_weight": of.kld_weight,
        "module": greedy.index,
        "layer": -1 if layer is None else layer,
        "latents": "sample" if options.sampled else "mean",
    }
    objective = {"loss": options.loss, "weight": DEFAULT_WEIGHTS.get(options.loss, 1.0)}
    layers: list[tuple[Tree, str]] = [
        (PUBLISHED, "the published defaults"),
        ({"data": dump(of.data), "train": {"seed": of.train.seed}}, "the encoder's run"),
        ({"cluster": dump(of.cluster)}, "the encoder's run"),
        ({"decoder": {"channels": of.model.channels}, "encoder": source}, "the encoder's run"),
        ({"objective": objective}, "--loss"),
        (
            {
                "storage": {
                    "root": run.child(DECODERS).uri,
                    "name": "-".join([*parts, *filter(None, [options.name])]),
                }
            },
            "the options",
        ),
    ]
    for override in overrides:
        if override.startswith(("encoder.", "encoder=", "objective.loss=", "storage.")):
            raise ConfigError(
                f"'{override}' is what RUN and the options say; use --module, --layer, --sampled, --loss or --name"
            )
        layers.append((parse_override(override, DecoderConfig), OVERRIDE))
    tree: Tree = {}
    sources: dict[str, str] = {}
    for part, named in layers:
        merge_layer(tree, part, named, sources, root=DecoderConfig)
    config = resolve_paths(validate(tree, sources, DecoderConfig))
    frames = encoder.min_samples(greedy.index, layer)
    if config.data.crop_samples < frames:
        raise ConfigError(
            f"data.crop_samples={config.data.crop_samples} makes no frame in module {greedy.index}; "
            f"use at least {frames}"
        )
    return config


def keep_encoder(checkpoint: Checkpoint, path: Location) -> None:
    """Copy an encoder's checkpoint, less its optimizer, to a decoder's folder: its run may train on and prune it.

    Raises:
        CheckpointError: It has gone.
    """
    if path.child(STATE).exists():
        if Checkpoint.open(path).state.files[WEIGHTS] == checkpoint.state.files[WEIGHTS]:
            return
        path.child(
            STATE
        ).delete()  # of a launch that trained nothing: another encoder would have been refused
    for name in (WEIGHTS, CONFIG, STATE):  # the state last, since it makes a checkpoint of them
        source = checkpoint.location.child(name)
        if not source.exists():
            raise CheckpointError(f"{source.uri} is missing; train the decoder of another checkpoint")
        path.child(name).write_bytes_atomic(source.read_bytes())
