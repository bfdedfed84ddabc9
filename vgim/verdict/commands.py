"""The command to run next, chosen from a run's findings, ready to paste."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from pathlib import PurePosixPath

from vgim.model.nat_cost import times_published
from vgim.model.target_rate import STEPS_TO_SETTLE
from vgim.runs.layout import CONFIG
from vgim.storage import Location
from vgim.verdict.figures import RunFigures
from vgim.verdict.probes import BASELINES, Probed, missing_baselines, old_probes
from vgim.verdict.training import EARLY_STEPS
from vgim.verdict.verdict import Finding, ModuleVerdict, NextCommand

BEGINNINGS = (("vgim", "train"), ("python", "-m", "vgim", "train"), ("python", "ray_jobs/train.py"))
"""First words of commands that train an encoder; a preset follows."""
LONGER = 2
"""Times the steps that a run should take if its InfoNCE still falls."""
MUCH_LONGER = 10
"""Times the steps that a run should take if it has hardly begun."""
BEYOND_WARMUP = 1.25
"""Times the warm-up of the KL weight that a run should take at least."""
LOWER = 10.0
"""What a KL weight is divided by that holds modules at chance, at least."""
HIGHER = 3.0
"""Times the target rate that modules should get if their KL weights hold them at chance."""


def next_command(
    figures: RunFigures,
    modules: Sequence[ModuleVerdict],
    findings: Sequence[Finding],
    probed: Sequence[Probed],
) -> NextCommand | None:
    """Choose the command that the most important finding calls for.

    In this order: lower a KL weight that holds modules at chance; go on after an interruption or a failure; train
    longer while modules are at chance; probe; train to the full KL weight, or while InfoNCE falls; look at latents;
    train a decoder.
    """
    if figures.state == "running":
        return None
    about = {finding.about: finding for finding in reversed(findings)}
    states = {module.state for module in modules}
    if states & {"collapsed"} or "kl_cost" in about:
        return _lower_kl_weight(figures)
    if figures.state in ("interrupted", "failed") and "not_finite" not in states:
        return NextCommand(purpose="go on where it stopped", command=same_command(figures))
    if "not_finite" in states:
        rate = figures.config.optim.learning_rate / 10
        return _other_run(figures, "train with a lower learning rate", "optim.learning_rate", rate, "lr")
    if states & {"begun", "chance", "unsure", "untrained"}:
        return _begin(figures)
    if not probed:
        return NextCommand(
            purpose="measure what the encoder learned", command=probe_command(figures.uri, figures.task)
        )
    if old_probes(probed, figures.step) is not None:
        options = probed[0].best.options
        command = probe_command(figures.uri, options.task, shards=options.shards, labels=options.labels)
        return NextCommand(purpose=f"probe the encoder of step {figures.step:,}", command=command)
    if missing := [(p, missing_baselines(p)) for p in probed if not p.variant and missing_baselines(p)]:
        first, kinds = missing[0]
        names = " and ".join(BASELINES[kind] for kind in kinds)
        return NextCommand(
            purpose=f"compare with {names}", command=probe_command(figures.uri, first.task, kinds)
        )
    weight = about.get("kl_weight")
    if weight is not None and weight.level == "open":
        objective, aim = figures.config.objective, "full KL weight"
        steps = max(LONGER * _steps(figures), math.ceil(BEYOND_WARMUP * objective.kld_warmup_steps))
        if objective.target_rate:
            steps, aim = max(steps, objective.kld_warmup_steps + STEPS_TO_SETTLE), "target rate"
        return NextCommand(purpose=f"reach the {aim}", command=longer_command(figures, steps))
    if "trend" in about and not _stopped_early(figures):  # validation had stopped falling
        command = longer_command(figures, LONGER * _steps(figures))
        return NextCommand(purpose="train on while InfoNCE falls", command=command)
    run = shlex.quote(figures.uri)
    if not figures.has_latents:
        return NextCommand(purpose="see what each dimension holds", command=f"vgim latents {run}")
    if not figures.has_decoder:
        return NextCommand(purpose="listen to latents", command=f"vgim decode train {run} --module 0")
    return None


def probe_command(
    runs: str | Sequence[str],
    task: str,
    encoders: Sequence[str] = ("trained", "random", "mfcc"),
    *,
    shards: str | None = None,
    labels: str | None = None,
) -> str:
    """The command that probes every module of a run, or of several.

    Args:
        shards: Shards to probe on; None for those of each run.
        labels: Table with a column of the task's name; None for labels of the shards.
    """
    runs = [runs] if isinstance(runs, str) else runs
    words = [
        "vgim",
        "probe",
        *runs,
        "--task",
        task,
        "--all-modules",
        *(["--shards", shards] if shards else []),
        *(["--labels", labels] if labels else []),
    ]
    return shlex.join([*words, *(word for encoder in encoders for word in ("--encoder", encoder))])


def same_command(figures: RunFigures) -> str:
    """The command that started the run."""
    return shlex.join(_train_words(figures))


def longer_command(figures: RunFigures, steps: int) -> str:
    """The run's command with more steps or epochs, which continues the run.

    Args:
        steps: Steps to train to, in each phase of the schedule.
    """
    train = figures.config.train
    done = max(1, _steps(figures))
    steps = round_up(steps)
    changes: dict[str, object] = {}
    if train.max_steps:
        changes["train.max_steps"] = steps
    epochs = round_up(math.ceil(_epochs_of_phase(figures) * steps / done))
    if train.module_epochs:
        longest = max(train.module_epochs)
        if epochs > longest:
            more = [round_up(math.ceil(own * epochs / longest)) for own in train.module_epochs]
            changes["train.module_epochs"] = "[" + ",".join(map(str, more)) + "]"
    elif epochs > train.epochs:
        changes["train.epochs"] = epochs
    if _stopped_early(figures):
        changes["train.early_stop_validations"] = 0
    return shlex.join(with_changes(_train_words(figures), changes))


def program(command: Sequence[str]) -> list[str]:
    """The first words of a recorded command: the program's name instead of its path on the machine."""
    name = PurePosixPath(command[0]).name
    if name == "__main__.py":
        return ["python", "-m", PurePosixPath(command[0]).parent.name]
    return ["python", f"ray_jobs/{name}"] if name.endswith(".py") else [name]


def with_changes(words: Sequence[str], changes: dict[str, object]) -> list[str]:
    """A command's words with other values of some keys: `key=value` behind the others, without earlier ones."""
    kept = [word for word in words if word.partition("=")[0] not in changes or "=" not in word]
    return [*kept, *(f"{key}={value}" for key, value in changes.items())]


def _begin(figures: RunFigures) -> NextCommand:
    """The command for modules that have not learned yet."""
    steps = _steps(figures)
    untrained = len(figures.trained) < len(figures.config.trained_modules)
    if untrained or steps < EARLY_STEPS:
        target = max(MUCH_LONGER * steps, EARLY_STEPS) if steps < EARLY_STEPS else LONGER * steps
        return NextCommand(purpose="see whether every module learns", command=longer_command(figures, target))
    if figures.config.objective.kld_weight:
        return _lower_kl_weight(figures)
    rate = 3 * figures.config.optim.learning_rate
    return _other_run(figures, "try a higher learning rate", "optim.learning_rate", rate, "lr")


def _lower_kl_weight(figures: RunFigures) -> NextCommand:
    rate = figures.config.objective.target_rate
    if rate:
        return _other_run(figures, "train at a higher KL", "objective.target_rate", HIGHER * rate, "rate")
    weight = figures.config.objective.kld_weight / max(LOWER, times_published(figures.config))
    return _other_run(figures, "train with a lower KL weight", "objective.kld_weight", weight, "kld")


def _other_run(figures: RunFigures, purpose: str, key: str, value: float, word: str) -> NextCommand:
    """A command that trains another run, with another value of a key that a run cannot change."""
    short = f"{value:.2g}"
    name = f"{figures.config.storage.name or Location(figures.uri).name}-{word}{short.replace('+', '')}"
    words = with_changes(_train_words(figures), {key: short, "storage.name": name})
    return NextCommand(purpose=purpose, command=shlex.join(words))


def training_words(command: Sequence[str]) -> tuple[list[str], str] | None:
    """The words of a recorded command that trains an encoder, and its preset among them.

    None for any other command, and for a preset that is a relative path.
    """
    if len(command) < 2:
        return None
    words = [*program(command), *command[1:]]
    begin = next((begin for begin in BEGINNINGS if words[: len(begin)] == list(begin)), None)
    if begin is None or len(words) == len(begin):
        return None
    preset = words[len(begin)]
    if preset.startswith("-") or (not preset.startswith(("/", "~", "$")) and PurePosixPath(preset).suffix):
        return None
    return words, preset


def _train_words(figures: RunFigures) -> list[str]:
    """The words of a command that trains the run, right in any folder.

    They are those of the command that began the run, with absolute shards and root. Where its preset is a relative
    path, or no `vgim train` began the run, the run's own config is the preset.
    """
    began = training_words(figures.command)
    if began is None:
        return [*BEGINNINGS[0], Location(figures.uri).child(CONFIG).uri]
    words, _ = began
    absolute = {"data.shards": figures.config.data.shards, "storage.root": figures.config.storage.root}
    keys = [word.partition("=")[0] for word in words]
    return [
        f"{key}={absolute[key]}" if key in absolute else word for key, word in zip(keys, words, strict=True)
    ]


def _steps(figures: RunFigures) -> int:
    """Steps of the module that was trained longest: under some schedules, each has its own."""
    return max((module.steps for module in figures.trained), default=figures.step)


def _epochs_of_phase(figures: RunFigures) -> float:
    """Epochs of the longest phase, which takes `_steps`."""
    return figures.epoch * _steps(figures) / figures.step if figures.step else 0.0


def _stopped_early(figures: RunFigures) -> bool:
    """Whether early stopping ended training, so that more epochs would change nothing."""
    train = figures.config.train
    if not train.early_stop_validations or figures.state != "finished":
        return False
    by_steps = train.max_steps and _steps(figures) >= train.max_steps
    return not by_steps and _epochs_of_phase(figures) < max(train.module_epochs, default=train.epochs)


def round_up(number: int) -> int:
    """The next number of two significant digits: 3,500 for 3,401."""
    unit: int = 10 ** max(0, len(str(number)) - 2)
    return -(-number // unit) * unit
