"""`vgim probe`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import click

from vgim.cli.color import table_width
from vgim.cli.completion import complete_run
from vgim.cli.groups import GroupedCommand
from vgim.cli.live import show_progress
from vgim.cli.options import (
    Count,
    FiniteRange,
    LazyChoice,
    address_option,
    checkpoint_option,
    device_option,
    json_option,
    pdf_option,
    refuse_without_matplotlib,
)
from vgim.cli.probe_apply import apply
from vgim.cli.probe_few_labels import refuse_with_study, refuse_without_study, study
from vgim.cli.probe_tasks import TaskName, chosen_tasks
from vgim.cli.results import echo_json
from vgim.errors import ConfigError, told_when_stopped
from vgim.text import shorten

if TYPE_CHECKING:  # torch takes a second to load
    from vgim.downstream.job import RunTaskResults


class _Measure(GroupedCommand):
    """`vgim probe RUN...`, whose usage and errors speak of `vgim probe`."""

    groups: ClassVar[Mapping[str, Sequence[str]]] = {
        "What is measured": (
            "tasks",
            "encoders",
            "module",
            "all_modules",
            "layer",
            "all_layers",
            "concat",
            "concat_modules",
        ),
        "Weights and data": (
            "checkpoint",
            "all_epochs",
            "shards",
            "labels",
            "max_utterances",
            "whole_utterances",
            "sampled",
        ),
        "The classifier": ("protocol", "solver", "bias", "seeds"),
        "Its training by adam": ("epochs", "learning_rate", "batch_size", "clip_norm", "patience"),
        "Few labels": ("labels_per_class", "draws", "logit_std"),
        "Supervised encoders": ("supervised_epochs",),
        "Computing": ("anew", "cache_features", "device", "workers", "address"),
        "Output": ("as_json", "pdf"),
    }

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if parent is not None:
            info_name, parent = parent.info_name, parent.parent
        return super().make_context(info_name, args, parent=parent, **extra)


class ProbeCommands(click.Group):
    """`vgim probe apply ...`, and for any other first word `vgim probe RUN...`; `./apply` is a run."""

    default = ""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or args[0] not in self.commands:
            args = [self.default, *args]
        return super().parse_args(ctx, args)


@click.group(cls=ProbeCommands)
def probe() -> None:
    """Measure how good an encoder is, by linear classifiers of its frozen features."""


@probe.command(
    ProbeCommands.default,
    cls=_Measure,
    epilog="Command: vgim probe apply RUN/probes/NAME FILE... predicts the classes of sound files with a fitted "
    "classifier.",
)
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, shell_complete=complete_run)
@click.option(
    "--task",
    "tasks",
    multiple=True,
    type=TaskName(),
    help="What the classifier reads off the features, or a column of --labels; abx-within and abx-across compare "
    "phones without one. Repeatable [all classifiers that the shards have labels for, or all columns].",
)
@click.option("--module", type=int, help="Index of the module, counted from the input; -1 is the last [-1].")
@click.option("--all-modules", is_flag=True, help="Probe every module.")
@click.option(
    "--layer",
    type=int,
    help="Probe the output of this convolution of the module, from 0, instead of the module's; -1 is the last.",
)
@click.option(
    "--all-layers", is_flag=True, help="Probe every convolution of the module or modules, and their outputs."
)
@click.option(
    "--concat",
    is_flag=True,
    help="Probe the features of all modules too, side by side at the frame rate of the last.",
)
@click.option("--concat-modules", help="--concat of these modules alone, such as 0,2,3.")
@click.option(
    "--encoder",
    "encoders",
    multiple=True,
    type=LazyChoice("vgim.downstream.options:EncoderKind"),
    help="trained (default), or a baseline: random weights, MFCC, or trained on the labels. Repeatable, for one table.",
)
@click.option(
    "--all-epochs", is_flag=True, help="Probe every checkpoint that RUN kept, and draw accuracy by epoch."
)
@checkpoint_option
@click.option(
    "--protocol",
    type=LazyChoice("vgim.downstream.options:Protocol"),
    help="published: as the public reference probes (adam, its epochs, rates and batches, its latents); options that "
    "are given count [ours].",
)
@click.option(
    "--solver",
    type=LazyChoice("vgim.downstream.options:Solver"),
    help="lbfgs: converges to the optimum, deterministic; adam: a number of epochs [lbfgs].",
)
@click.option("--epochs", type=Count(1), help="adam: epochs [phone 20, other tasks 50].")
@click.option(
    "--learning-rate",
    type=FiniteRange(min=0, min_open=True),
    help="adam: learning rate [phone 1e-4, other tasks 1e-3].",
)
@click.option(
    "--batch-size",
    type=Count(0),
    help="adam: examples in a step; 0: all of one utterance [phone 1024, other tasks 32].",
)
@click.option(
    "--clip-norm",
    type=FiniteRange(min=0),
    help="adam: largest norm of the gradient; 0 does not clip [0].",
)
@click.option(
    "--seeds",
    type=Count(1, 1_000),
    help="Repetitions with different seeds [1; 10 subsets of the labels with --labels-per-class].",
)
@click.option(
    "--sampled/--no-sampled",
    default=None,
    help="Use samples of the posterior as features, or its mean [the mean].",
)
@click.option(
    "--whole-utterances",
    is_flag=True,
    help="speaker: average features over whole utterances, instead of crops.",
)
@click.option("--bias/--no-bias", default=None, help="Whether the linear map has a bias [it has].")
@click.option(
    "--patience",
    type=Count(0),
    default=0,
    help="adam: stop after this many epochs without a lower validation loss; 0 never [0].",
)
@click.option(
    "--labels-per-class",
    help="Study few labels: numbers of labeled examples per class, such as 1,10,100,all.",
)
@click.option(
    "--draws",
    type=Count(1, 10_000),
    help="--labels-per-class: posterior samples of each labeled example [16].",
)
@click.option(
    "--logit-std",
    type=FiniteRange(min=0, min_open=True),
    help="--labels-per-class: prior standard deviation of a logit, in nats [4].",
)
@click.option("--shards", help="Shards to probe on, instead of those the run was trained on.")
@click.option(
    "--labels",
    metavar="TABLE",
    help="Labels of your own: a CSV, TSV or JSONL with a column id, path or speaker, and a column for each task.",
)
@click.option(
    "--max-utterances",
    type=Count(0),
    default=0,
    help="Largest number of utterances to train on; 0 for all [0].",
)
@click.option(
    "--supervised-epochs",
    type=Count(1),
    default=40,
    show_default=True,
    help="Largest number of epochs of supervised encoders; validation may end training earlier.",
)
@click.option(
    "--cache-features", is_flag=True, help="Store features in RUN/features, and reuse features stored there."
)
@click.option(
    "--anew", is_flag=True, help="Compute results again that an earlier command left [they are taken]."
)
@device_option
@click.option(
    "--workers",
    type=Count(0, 65_536),
    default=0,
    show_default=True,
    help="Probes that Ray computes at the same time; 0 computes one after the other, without Ray.",
)
@address_option
@pdf_option
@json_option
def measure(
    runs: tuple[str, ...],
    tasks: tuple[str, ...],
    module: int | None,
    all_modules: bool,
    all_epochs: bool,
    concat: bool,
    concat_modules: str | None,
    encoders: tuple[str, ...],
    shards: str | None,
    labels: str | None,
    seeds: int | None,
    labels_per_class: str | None,
    draws: int | None,
    logit_std: float | None,
    device: str,
    workers: int,
    address: str | None,
    anew: bool,
    pdf: bool,
    as_json: bool,
    **options: object,
) -> None:
    """Measure how good an encoder is: fit a linear classifier on its frozen features.

    RUN is a path, a URI, or the name of a run under $VGIM_HOME/runs. The classifier is fitted on the
    train split of the shards, chosen on validation, tested on test. Writes each result to RUN/probes/ as soon as it
    exists, and prints a table per run and task. After an interruption the same command computes the rest.
    """
    from functools import partial

    from vgim.cluster.working_dir import refuse_job_folder
    from vgim.config.paths import resolve_path, resolve_run_path

    of_study = {
        key: value for key, value in (("draws", draws), ("logit_std", logit_std)) if value is not None
    }
    if labels_per_class is None:
        refuse_without_study(of_study)
    else:
        refuse_with_study(len(runs), len(tasks), workers=workers, all_epochs=all_epochs, anew=anew)
    if all_epochs and options["checkpoint"] == "best":
        raise ConfigError("--all-epochs and --checkpoint best exclude each other; give one")
    if all_modules and module is not None:
        raise ConfigError(f"--module {module} and --all-modules exclude each other; give one")
    if address is not None and not workers:
        raise ConfigError(f"--address {address} has no effect without Ray; give --workers too")
    if pdf:
        refuse_without_matplotlib("--pdf")
    paths = [resolve_run_path(run, "RUN") for run in runs]
    for path in paths:
        refuse_job_folder("RUN", path)
    if shards is not None:
        shards = resolve_path(shards, "--shards")
        refuse_job_folder("--shards", shards)
    if labels is not None:
        labels = resolve_path(labels, "--labels")
    chosen: dict[str, object] = {
        **{name: value for name, value in options.items() if value is not None},
        "module": None if all_modules else -1 if module is None else module,
        "concat": concat if concat_modules is None else _numbers(concat_modules),
        "encoders": tuple(dict.fromkeys(encoders)) or ("trained",),
        "shards": shards,
        "device": device,
    }
    table_of = chosen_tasks(paths, tasks, shards=shards, labels=labels, is_quiet=as_json)
    if labels_per_class is not None:
        if len(table_of) > 1:
            raise ConfigError(
                f"--labels-per-class studies one task, and there are labels for {', '.join(table_of)}; give one --task"
            )
        ((task, table),) = table_of.items()
        chosen |= {"task": task, "labels": table, **of_study, "labels_per_class": labels_per_class}
        study(paths[0], chosen, seeds, pdf, as_json)
        return
    chosen["seeds"] = seeds or 1
    with show_progress(is_quiet=as_json) as progress:
        with progress.stage("loading torch"):
            from vgim.cluster.tasks import run_tasks
            from vgim.downstream import job
            from vgim.downstream.options import ProbeOptions
            from vgim.downstream.probe_plan import one_after_the_other

        side_by_side = partial(run_tasks, workers=workers, device=device, address=address, progress=progress)
        with told_when_stopped(
            progress.message, "finished results are written, and the same command computes the rest"
        ):
            found, error = job.probe_many(
                list(dict.fromkeys(paths)),
                [
                    ProbeOptions.model_validate({**chosen, "task": task, "labels": table})
                    for task, table in table_of.items()
                ],
                all_epochs=all_epochs,
                runner=side_by_side if workers else one_after_the_other,
                pdf=pdf,
                goes_on=not anew,
                progress=progress,
            )
    _print(found, as_json)
    if error is not None:
        raise error


def _print(found: Sequence[RunTaskResults], as_json: bool) -> None:
    """Print the results of each run and task, with their notes below."""
    from vgim.downstream.result_table import format_table, notes_below

    probes = [probed for probed in found if probed.results]
    if as_json:
        if probes:
            echo_json(result for probed in probes for result in probed.results)
        return
    for probed in probes:
        if len(found) > 1:
            click.echo(f"{probed.run}, {probed.task}:")
        click.echo(format_table(probed.results, table_width()))
        for note in notes_below(probed.results):
            click.echo(f"note: {note}")


def _numbers(text: str) -> tuple[int, ...]:
    """The modules of `--concat-modules`."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(
            f"--concat-modules {shorten(text)} is no list of modules; write their numbers, such as 0,2,3"
        ) from None


probe.add_command(apply)
