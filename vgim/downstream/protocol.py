"""The published protocol of probes, and the training of the adam solver that options and task resolve to.

Numbers are from the public reference of Smooth InfoMax: `config_code/sim_setup.py`, `linear_classifiers/*.py`, and the
commands of its README for clipping. It probes a module's convolutions on samples of the posterior, without a bias, and
a GRU's context and phones on means, with a bias.
"""

from __future__ import annotations

from collections.abc import Sequence

from vgim.downstream.features.encoder_features import EncoderOutput
from vgim.downstream.options import EncoderKind, ProbeOptions, ResultModel
from vgim.downstream.probes.probe import Probe
from vgim.errors import ConfigError
from vgim.model.specs import module_specs
from vgim.pretrained.opened_run import OpenedRun

ADAM_OPTIONS = ("epochs", "learning_rate", "batch_size", "clip_norm", "patience")
FIT_OPTIONS = ("solver", *ADAM_OPTIONS, "bias", "max_utterances")
"""Options of a classifier's fit."""
BATCH_SIZE = {"frame": 1024, "utterance": 32}
"""Examples in a step of our adam solver, by the probe's unit."""
PUBLISHED_BATCH_SIZE = {"frame": 0, "utterance": 64}
PUBLISHED_CLIP_NORM = {"phone": 1.0, "speaker": 1.0}
"""Largest norm of the gradient by task, as the README's commands set it; no clipping for other tasks."""


class ProtocolValues(ResultModel):
    """What a protocol sets, unless the option is given."""

    solver: str
    sampled: bool
    bias: bool
    epochs: int
    learning_rate: float
    batch_size: int
    clip_norm: float


def resolve(
    options: ProbeOptions,
    opened: OpenedRun,
    task: Probe,
    outputs: Sequence[EncoderOutput],
    kinds: Sequence[EncoderKind],
) -> tuple[ProbeOptions, tuple[str, ...]]:
    """Options with the values of their protocol and task where none is given.

    Args:
        outputs: Outputs of the encoder that are probed.
        kinds: Encoders that are probed; none while a command is planned.

    Returns:
        The options, and words for given options that make a result differ from the protocol's and the task's.

    Raises:
        ConfigError: The protocol would give the outputs different values.
    """
    if not task.is_fitted:
        if options.protocol == "published":
            raise ConfigError(
                f"--protocol published, but --task {task.name} fits no classifier; leave it out"
            )
        defaults = {name: ProbeOptions.model_fields[name].default for name in FIT_OPTIONS}
        return options.model_copy(update=defaults), ()
    values = _published(opened, task, outputs, kinds) if options.protocol == "published" else _ours(task)
    given = {name for name in options.model_fields_set if getattr(options, name) is not None}
    chosen = {
        name: getattr(options, name) if name in given else value for name, value in values if name != "solver"
    }
    chosen["solver"] = options.solver if "solver" in given else values.solver
    is_adam = chosen["solver"] == "adam"
    if not is_adam:  # so that results of lbfgs do not differ by what it does not read
        chosen |= {"epochs": None, "learning_rate": None, "batch_size": None, "clip_norm": 0.0}
    words = []
    if options.protocol == "published":
        words += [str(chosen["solver"])] * (chosen["solver"] != values.solver)
        words += ["sampled" if chosen["sampled"] else "mean"] * (chosen["sampled"] != values.sampled)
        words += ["bias" if chosen["bias"] else "nobias"] * (chosen["bias"] != values.bias)
    if is_adam:
        words += [f"fit{chosen['epochs']}epochs"] * (chosen["epochs"] != values.epochs)
        words += [f"rate{chosen['learning_rate']:g}"] * (chosen["learning_rate"] != values.learning_rate)
        words += [f"batch{chosen['batch_size']}"] * (chosen["batch_size"] != values.batch_size)
        words += [f"clip{chosen['clip_norm']:g}"] * (chosen["clip_norm"] != values.clip_norm)
        words += [f"patience{options.patience}"] * bool(options.patience)
    return options.model_copy(update=chosen), tuple(words)


def chooses_by_validation(options: ProbeOptions) -> bool:
    """Whether resolved options need utterances that are validated on; the published protocol keeps the last weights."""
    return options.protocol == "ours" or options.solver == "lbfgs" or options.patience > 0


def _ours(task: Probe) -> ProtocolValues:
    return ProtocolValues(
        solver="lbfgs",
        sampled=False,
        bias=True,
        epochs=task.epochs,
        learning_rate=task.learning_rate,
        batch_size=BATCH_SIZE[task.unit],
        clip_norm=0.0,
    )


def _published(
    opened: OpenedRun, task: Probe, outputs: Sequence[EncoderOutput], kinds: Sequence[EncoderKind]
) -> ProtocolValues:
    model = opened.config.model
    specs = module_specs(model)
    is_inner = {output.layer is not None or not specs[output.module].gru_units for output in outputs}
    if len(is_inner) > 1 and kinds and set(kinds) != {"mfcc"}:
        raise ConfigError(
            "--protocol published probes convolutions without a bias and a GRU with one; give one --module, or one "
            "--layer, instead of --all-layers"
        )
    without_bias = is_inner == {True} and task.unit == "utterance" and set(kinds) != {"mfcc"}
    return ProtocolValues(
        solver="adam",
        sampled=without_bias and model.family == "sim",
        bias=not without_bias,
        epochs=task.epochs,
        learning_rate=task.learning_rate,
        batch_size=PUBLISHED_BATCH_SIZE[task.unit],
        clip_norm=PUBLISHED_CLIP_NORM.get(task.name, 0.0),
    )
