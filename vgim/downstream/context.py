"""The input of a probe: an opened run, a task and outputs of the encoder, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vgim.data.pcm import Pcm16
from vgim.data.shards.manifest import Manifest
from vgim.data.shards.read import Utterance
from vgim.data.stream.crops import first_crop
from vgim.downstream.features.encoder_features import EncoderOutput
from vgim.downstream.options import SUPERVISED_EPOCHS, EncoderKind, ProbeOptions, Solver
from vgim.downstream.output import Output
from vgim.downstream.probes.own_labels import own_labels_probe
from vgim.downstream.probes.probe import Probe
from vgim.downstream.probes.registry import make_learnable_probe
from vgim.downstream.protocol import ADAM_OPTIONS, FIT_OPTIONS, resolve
from vgim.errors import ConfigError
from vgim.model.specs import module_specs
from vgim.pretrained.opened_run import OpenedRun, open_run
from vgim.storage import Location


@dataclass(frozen=True)
class ProbeContext:
    """A task, on the shards and the run that it is probed on."""

    opened: OpenedRun
    options: ProbeOptions
    task: Probe
    outputs: tuple[EncoderOutput, ...]
    """Outputs of the encoder that features are read from, in the order of depth."""
    notes: tuple[str, ...]
    """Options that have no effect, and what to know of the labels, a sentence each."""
    deviations: tuple[str, ...] = ()
    """Words for given options that differ from those of the protocol and the task."""
    concat: tuple[int, ...] = ()
    """Modules whose concatenated outputs are one more kind of features; empty for none."""

    def results_of(self, kind: EncoderKind) -> list[Output]:
        """What an encoder of a kind gives a result for, in order."""
        if kind == "mfcc":
            return [Output()]
        return [
            *(Output(*output) for output in self.outputs),
            *[Output(concat=self.concat)] * bool(self.concat),
        ]

    @property
    def uses_crops(self) -> bool:
        """Whether utterances are cut to crops."""
        return self.task.uses_crops and not self.options.whole_utterances

    @property
    def labels_digest(self) -> str:
        """Hash of labels that are not in the shards: of a table, or added beside them; empty without such labels."""
        return self.task.labels_digest or self.opened.manifest.labels_digest

    def clip(self, utterance: Utterance) -> Pcm16 | None:
        """The audio of an utterance that is encoded: a crop or the whole; None if it is too short for a crop."""
        return first_crop(utterance.audio, self.opened.config.data) if self.uses_crops else utterance.audio


def open_probe_context(
    run: str,
    options: ProbeOptions,
    kinds: Sequence[EncoderKind] | None = None,
    task: Probe | None = None,
) -> ProbeContext:
    """Find the run, its weights, the shards and the task.

    Args:
        run: Folder of a run or of a checkpoint, a path or a URI.
        kinds: Encoders among the options' that will be used; None for all.
        task: The task, where no labels are read; None makes it from the labels of the shards or of the table.

    Raises:
        VgimError: The run, its weights or the shards are missing, or do not fit the options.
    """
    opened = open_run(run, checkpoint=options.checkpoint, shards=options.shards, device=options.device)
    options = options.model_copy(update={"checkpoint": opened.checkpoint})
    config = opened.config
    outputs, concat = _find_outputs(opened, options), _find_concatenated(config.model.num_modules, options)
    task = task or probe_of(options, opened.shards, opened.manifest)
    raw, kinds = options, options.encoders if kinds is None else kinds
    options, deviations = resolve(options, opened, task, outputs, kinds)
    if concat and not task.is_fitted:
        raise ConfigError(
            f"--concat, but --task {task.name} compares features as they are, and modules differ in scale; leave "
            "--concat out, or use a task that fits a classifier"
        )
    if concat and options.solver == "adam":
        raise ConfigError(
            "--concat needs features that are standardized, which only the lbfgs solver does; leave --solver adam and "
            "--protocol published out"
        )
    if options.sampled and config.model.family != "sim":
        raise ConfigError(
            f"--sampled has no effect: model.family={config.model.family} has no posterior; leave it out"
        )
    if "greedy-supervised" in options.encoders and config.model.num_modules == 1:
        raise ConfigError(
            "--encoder greedy-supervised, but the run's encoder is one module, which makes it the same as --encoder "
            "supervised; use that"
        )
    if "trained" in kinds:
        _ = opened.encoder  # a missing or damaged checkpoint is reported before anything is computed
    notes = (*_options_without_effect(raw, options.solver, task), *task.notes)
    return ProbeContext(opened, options, task, outputs, notes, deviations, concat)


def probe_of(options: ProbeOptions, shards: Location, manifest: Manifest) -> Probe:
    """The probe of a task on shards.

    Raises:
        VgimError: The shards or the table have no labels for it, or what train teaches says nothing of test.
    """
    if options.labels is not None:
        return own_labels_probe(options.task, options.labels, shards, manifest)
    return make_learnable_probe(options.task, manifest)


def _find_concatenated(num_modules: int, options: ProbeOptions) -> tuple[int, ...]:
    """The modules that `--concat` or `--concat-modules` selects, in the order of depth."""
    named = options.concat
    if named is False or named == ():
        return ()
    if num_modules == 1:
        raise ConfigError("--concat, but the run's encoder is one module; leave it out")
    if named is True:
        return tuple(range(num_modules))
    shown = f"--concat-modules {','.join(map(str, named))}"
    if not all(-num_modules <= module < num_modules for module in named):
        raise ConfigError(f"{shown}, but the run's encoder has its modules 0 to {num_modules - 1}; use these")
    modules = sorted({module % num_modules for module in named})
    if len(modules) < len(named) or len(modules) == 1:
        raise ConfigError(f"{shown} names one module alone or twice; name two modules or more, each once")
    return tuple(modules)


def _find_outputs(opened: OpenedRun, options: ProbeOptions) -> tuple[EncoderOutput, ...]:
    """The outputs that `--module`, `--layer` and `--all-layers` select."""
    modules, specs = opened.modules(options.module), module_specs(opened.config.model)
    if options.layer is None:
        inner = {m: specs[m].inner_layers if options.all_layers else () for m in modules}
        return tuple(EncoderOutput(m, layer) for m in modules for layer in (*inner[m], None))
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
    return (EncoderOutput(module, options.layer % num_layers),)


def _options_without_effect(options: ProbeOptions, solver: Solver, task: Probe) -> Iterator[str]:
    if options.whole_utterances and not task.uses_crops:
        yield f"--whole-utterances has no effect: --task {task.name} always looks at whole utterances"
    if not task.is_fitted:
        for name in FIT_OPTIONS:
            if getattr(options, name) != type(options).model_fields[name].get_default():
                yield f"--{name.replace('_', '-')} has no effect: --task {task.name} fits no classifier"
    elif solver == "lbfgs":
        for name in ADAM_OPTIONS:
            if getattr(options, name) != type(options).model_fields[name].get_default():
                yield f"--{name.replace('_', '-')} has no effect: the lbfgs solver goes to the optimum"
    if set(options.encoders) == {"mfcc"}:
        if options.sampled:
            yield "--sampled has no effect on mfcc"
        if options.module != -1:
            yield "--module has no effect on mfcc"
        if options.layer is not None or options.all_layers:
            yield "--layer has no effect on mfcc"
        if options.concat:
            yield "--concat has no effect on mfcc"
    is_supervised = bool({"supervised", "greedy-supervised"} & set(options.encoders))
    if options.supervised_epochs != SUPERVISED_EPOCHS and not is_supervised:
        yield "--supervised-epochs has no effect without --encoder supervised or greedy-supervised"
    if options.checkpoint == "best" and "trained" not in options.encoders:
        yield "--checkpoint has no effect without --encoder trained"
