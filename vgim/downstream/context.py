"""All that a probe needs, found and checked before anything is computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from vgim.config import RunConfig
from vgim.data.shards.manifest import Manifest, check_shards_present, read_manifest
from vgim.downstream.features.features import Reading
from vgim.downstream.probes.probe import Probe
from vgim.downstream.probes.registry import make_probe
from vgim.downstream.result import SUPERVISED_EPOCHS, EncoderKind, ProbeOptions
from vgim.errors import CheckpointError, ConfigError
from vgim.model.stack import module_specs
from vgim.pretrained.encoder import FrozenEncoder, load_encoder
from vgim.runs.checkpoint import STATE
from vgim.runs.folder import CONFIG, RunFolder
from vgim.storage import Location


@dataclass(frozen=True)
class ProbeContext:
    """A task, on the shards and the run it is probed on."""

    run: Location
    """The run's folder, where results go."""
    config: RunConfig
    """The run's."""
    options: ProbeOptions
    shards: Location
    manifest: Manifest
    """Of the shards."""
    task: Probe
    readings: tuple[Reading, ...]
    """In the order of depth."""
    trained: FrozenEncoder | None
    """None if it is not asked for."""
    corpus: tuple[float, float]
    """Mean and deviation that `data.normalize: corpus` takes."""
    device: torch.device
    notes: tuple[str, ...]


def open_probe_context(
    where: str, options: ProbeOptions, kinds: Sequence[EncoderKind] | None = None
) -> ProbeContext:
    """Find the run, its weights, the shards and the task.

    Args:
        where: A run's folder or a checkpoint's, a path or a URI.
        kinds: Those of the options' encoders that will be used; None for all.

    Raises:
        VgimError: One of them is not there, or does not fit another.
    """
    path = Location(where)
    run = path
    if path.child(STATE).exists():
        if options.checkpoint == "best":
            raise ConfigError(
                f"--checkpoint best, but {path.uri} is one checkpoint; name the run, or leave --checkpoint out"
            )
        run = path.parent.parent
        options = options.model_copy(update={"checkpoint": "named"})
    config = RunFolder(path).config()
    if config is None:
        raise CheckpointError(f"{path.uri} is no run: it has no {CONFIG}; name a run's folder")
    readings = _readings(config, options)
    if options.sampled and config.model.family != "sim":
        raise ConfigError(
            f"--sampled has no effect: model.family={config.model.family} has no posterior; leave it out"
        )
    if "greedy-supervised" in options.encoders and config.model.num_modules == 1:
        raise ConfigError(
            "--encoder greedy-supervised, but the run's encoder is one module, which makes it the same as --encoder "
            "supervised; use that"
        )
    device = _device(options)
    shards = Location(options.shards or config.data.shards)
    manifest = read_manifest(shards)
    check_shards_present(shards, manifest)
    task = make_probe(options.task, manifest)
    trained = None
    if "trained" in (options.encoders if kinds is None else kinds):
        which = "best" if options.checkpoint == "best" else "last"
        trained = load_encoder(path.uri, which=which, device=device)
    corpus = (0.0, 1.0)
    if config.data.normalize == "corpus":
        own = manifest if options.shards is None else read_manifest(config.data.shards)
        corpus = (own.corpus_mean, own.corpus_std)
    return ProbeContext(
        run=run,
        config=config,
        options=options,
        shards=shards,
        manifest=manifest,
        task=task,
        readings=readings,
        trained=trained,
        corpus=corpus,
        device=device,
        notes=tuple(_without_effect(options, task)),
    )


def _readings(config: RunConfig, options: ProbeOptions) -> tuple[Reading, ...]:
    modules, specs = _modules(config, options), module_specs(config.model)
    if options.layer is None:
        inner = {m: specs[m].inner_layers if options.all_layers else () for m in modules}
        return tuple(Reading(m, layer) for m in modules for layer in (*inner[m], None))
    if options.all_layers:
        raise ConfigError(f"--layer {options.layer} and --all-layers exclude each other; give one")
    if options.module is None:
        raise ConfigError(f"--layer {options.layer} is of one module; give --module M, not --all-modules")
    (module,), num_layers = modules, len(specs[modules[0]].convs)
    if not num_layers:
        raise ConfigError(
            f"--layer {options.layer}, but module {module} has no convolutions; give --module M with one before it"
        )
    if not -num_layers <= options.layer < num_layers:
        raise ConfigError(
            f"--layer {options.layer}, but module {module} has its convolutions 0 to {num_layers - 1}; use one of "
            "them, or leave --layer out for the module's output"
        )
    return (Reading(module, options.layer % num_layers),)


def _modules(config: RunConfig, options: ProbeOptions) -> tuple[int, ...]:
    num_modules = config.model.num_modules
    if options.module is None:
        return tuple(range(num_modules))
    if not -num_modules <= options.module < num_modules:
        raise ConfigError(
            f"--module {options.module}, but the run's encoder has {num_modules} modules; use 0 to "
            f"{num_modules - 1}, or -1 for the last"
        )
    return (options.module % num_modules,)


def _device(options: ProbeOptions) -> torch.device:
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda, but torch sees no GPU here; use --device auto or cpu")
    if options.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(options.device)


def _without_effect(options: ProbeOptions, task: Probe) -> Iterator[str]:
    if options.whole_utterances and not task.uses_crops:
        yield f"--whole-utterances has no effect: --task {task.name} always looks at whole utterances"
    if options.patience and options.solver == "lbfgs":
        yield "--patience has no effect: the lbfgs solver goes to the optimum"
    if set(options.encoders) == {"mfcc"}:
        if options.sampled:
            yield "--sampled has no effect on mfcc"
        if options.module != -1:
            yield "--module has no effect on mfcc"
        if options.layer is not None or options.all_layers:
            yield "--layer has no effect on mfcc"
    taught = {"supervised", "greedy-supervised"} & set(options.encoders)
    if options.supervised_epochs != SUPERVISED_EPOCHS and not taught:
        yield "--supervised-epochs has no effect without --encoder supervised or greedy-supervised"
    if options.checkpoint == "best" and "trained" not in options.encoders:
        yield "--checkpoint has no effect without --encoder trained"
