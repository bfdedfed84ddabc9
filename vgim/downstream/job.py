"""Probes from the runs' names to their results: `vgim probe` and ray_jobs/probe.py call `probe_many`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from vgim.data.shards.read import read_lengths
from vgim.downstream.abx.measure import measure
from vgim.downstream.board import write_board
from vgim.downstream.classifier import classifier_of, hash_features
from vgim.downstream.context import ProbeContext, open_probe_context
from vgim.downstream.encoders.kinds import (
    EncoderPreparation,
    RandomEncoders,
    depends_on_seed,
    feature_source,
)
from vgim.downstream.features.examples import check_memory
from vgim.downstream.features.source import FeatureSource, FeatureSpec
from vgim.downstream.fit import SeedFit, Splits, fit_and_score
from vgim.downstream.held_out import held_out_note
from vgim.downstream.options import EncoderKind, ProbeOptions
from vgim.downstream.output import Output
from vgim.downstream.predictions import collect_predictions
from vgim.downstream.probe_plan import (
    Log,
    Outcome,
    ProbeWorkItem,
    Runner,
    one_after_the_other,
    plan_probes,
)
from vgim.downstream.protocol import chooses_by_validation
from vgim.downstream.result import ProbeResult
from vgim.downstream.resume import kept_results
from vgim.downstream.split_examples import examples_of_split
from vgim.downstream.summarize import summarize
from vgim.downstream.writing import (
    FittedFiles,
    write_epochs_picture,
    write_modules_picture,
    write_result,
)
from vgim.errors import VgimError
from vgim.plotting import WITHOUT_MATPLOTLIB, can_draw
from vgim.progress import SILENT, MessagesOnly, Progress, WithPrefix
from vgim.runs.layout import PROBES
from vgim.runs.result_folder import refuse_unwritable
from vgim.storage import Location

SEEDS_IDLE = "the seeds change nothing: features and lbfgs are deterministic, so there is one fit"


class RunTaskResults(NamedTuple):
    """The results of one run and one task."""

    run: str
    """The run's name among the runs of the command."""
    task: str
    results: list[ProbeResult]
    """Results of checkpoints, oldest first, then in the order of the encoders and modules in the options."""


def probe(run: str, options: ProbeOptions, progress: Progress = SILENT) -> list[ProbeResult]:
    """Fit and test a linear classifier on frozen features; write a folder below RUN/probes for each result.

    Args:
        run: Folder of a run or of a checkpoint, a path or a URI.
        progress: Where to report how far the work is, notes and accuracies.

    Returns:
        A result for every encoder and module in the options, in their order.

    Raises:
        VgimError: The run, its checkpoint or the module is missing, or the shards do not fit the task.
    """
    return _only_results(probe_many([run], [options], progress=progress))


def probe_epochs(run: str, options: ProbeOptions, progress: Progress = SILENT) -> list[ProbeResult]:
    """Probe every checkpoint that a run kept, oldest first, then each baseline once.

    Args:
        run: The run's folder, a path or a URI.
        progress: Where to report how far the work is, notes and accuracies.

    Raises:
        VgimError: As by `probe`; CheckpointError if the run has no checkpoint.
    """
    return _only_results(probe_many([run], [options], all_epochs=True, progress=progress))


def _only_results(probed: tuple[list[RunTaskResults], VgimError | None]) -> list[ProbeResult]:
    (only,), error = probed
    if error is not None:
        raise error
    return only.results


def probe_many(
    runs: Sequence[str],
    tasks: Sequence[ProbeOptions],
    *,
    all_epochs: bool = False,
    runner: Runner = one_after_the_other,
    pdf: bool = False,
    goes_on: bool = False,
    progress: Progress = SILENT,
) -> tuple[list[RunTaskResults], VgimError | None]:
    """Probe several runs on several tasks.

    Args:
        runs: Different folders, paths or URIs.
        tasks: Options with different tasks.
        all_epochs: Probe every checkpoint, as `probe_epochs` does.
        runner: Computes the work items; `vgim.cluster.tasks` has one that uses Ray.
        pdf: Writes each picture as PDF too.
        goes_on: Take results that an earlier command wrote and that would be computed alike.
        progress: Where to report notes and accuracies, which begin with the run's name if there are several; and which
            probe is computed here, and how many are done. Other runners report that by themselves.

    Returns:
        The results of each run and task, and an error that names what failed. Other results are written anyway.
    """
    log = progress.message
    groups = plan_probes(runs, tasks, log, all_epochs=all_epochs, check_device=runner is one_after_the_other)
    items = [item for group in groups for item in group.items]
    failed = {f"{group.run} {group.task}": group.error for group in groups if group.error is not None}
    num_all = len(items) + len(failed)
    if num_all > 1:
        for name, error in failed.items():
            log(f"{name} failed: {error}")
    work = partial(_try_probing, log_error=num_all > 1, pdf=pdf, goes_on=goes_on)
    is_here = runner is one_after_the_other
    outcomes = iter(_count(work, items, progress) if is_here else runner(work, items, log))
    probed = []
    for group in groups:
        results: list[ProbeResult] = []
        for item, outcome in zip(group.items, outcomes, strict=False):
            if isinstance(outcome, VgimError):
                failed[item.name] = outcome
            else:
                results += outcome
        _draw(group.folder, results, all_epochs, pdf)
        if results:
            write_board(group.folder)
        probed.append(RunTaskResults(group.run, group.task, results))
    if not can_draw():
        log(f"note: {WITHOUT_MATPLOTLIB}")
    return probed, _summary_error(failed, num_all)


def _count(work: Callable[..., Outcome], items: Sequence[ProbeWorkItem], progress: Progress) -> list[Outcome]:
    """Compute work items one after the other, and report which one and how many are done."""
    random = RandomEncoders()
    with progress.stage("probing", total=len(items), unit="probe", even=False) as stage:

        def counted(item: ProbeWorkItem, log: Log) -> Outcome:
            stage.update(detail=item.name)
            outcome = work(item, log, progress=progress, random=random)
            stage.advance()
            return outcome

        return one_after_the_other(counted, items, progress.message)


def _summary_error(failed: dict[str, VgimError], num_all: int) -> VgimError | None:
    if not failed:
        return None
    first = next(iter(failed.values()))
    if num_all == 1:
        return first
    return type(first)(
        f"{len(failed)} of {num_all} probes failed: {', '.join(failed)}; the reasons are above"
    )


def _try_probing(
    item: ProbeWorkItem,
    log: Log,
    *,
    log_error: bool,
    pdf: bool,
    goes_on: bool,
    random: RandomEncoders | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """The results of a work item, or the error that a user caused.

    Args:
        log: Prints a line, of whichever process the item is computed in.
        progress: Where to report the item's stages too; None where they are not shown.
    """
    labeled = WithPrefix(progress or MessagesOnly(log), item.label)
    try:
        return _probe_item(item, random or RandomEncoders(), labeled, pdf=pdf, goes_on=goes_on)
    except VgimError as error:
        if log_error:
            log(f"{item.name} failed: {error}")
        return error


def _probe_item(
    item: ProbeWorkItem, random: RandomEncoders, progress: Progress, *, pdf: bool, goes_on: bool
) -> list[ProbeResult]:
    """Compute a work item's results, and write each as soon as it exists."""
    context = open_probe_context(item.source, item.options, kinds=(item.kind,))
    outputs = context.results_of(item.kind)
    results = kept_results(context, item.kind, pdf=pdf) if goes_on else {}
    if results:
        progress.message(
            f"{item.options.task} from {item.kind}: {len(results)} of {len(outputs)} results are taken from before; "
            "--anew computes them again"
        )
    if len(results) < len(outputs):
        refuse_unwritable(context.opened.folder.child(PROBES))
        if item.kind != "mfcc":
            left = tuple(output for output in context.outputs if Output(*output) not in results)
            concat = () if Output(concat=context.concat) in results else context.concat
            context = replace(context, outputs=left, concat=concat)
        for result, fitted in _compute(context, item.kind, random, progress):
            write_result(context.opened.folder, result, fitted, pdf=pdf)
            results[result.output] = result
    return [results[output] for output in outputs]


def _compute(
    context: ProbeContext, kind: EncoderKind, random: RandomEncoders, progress: Progress
) -> Iterator[tuple[ProbeResult, FittedFiles | None]]:
    """The result for each output, with what a fitted classifier leaves."""
    if context.task.is_fitted:
        yield from _fit(context, kind, random, progress)
    else:
        for result in measure(context, kind, random, progress):
            yield result, None


def _draw(run: Location, results: list[ProbeResult], all_epochs: bool, pdf: bool) -> None:
    """Draw accuracy against depth and against training, where there are several points."""
    if not can_draw() or not results:
        return
    if all_epochs:
        write_epochs_picture(run, results, pdf=pdf)
    newest = max((result.step or 0 for result in results), default=0)
    last = [result for result in results if result.encoder != "trained" or result.step == newest]
    if has_depth(last):
        write_modules_picture(run, last, pdf=pdf)


def has_depth(results: Sequence[ProbeResult]) -> bool:
    """Whether results are of several modules or layers, so that a picture against depth can be drawn."""
    return len({(result.module, result.layer) for result in results if result.module is not None}) > 1


def _fit(
    context: ProbeContext, kind: EncoderKind, random: RandomEncoders, progress: Progress
) -> Iterator[tuple[ProbeResult, FittedFiles]]:
    """The result for each spec of an encoder, as soon as its last seed is fitted; features are computed once a seed."""
    options, notes = context.options, list(context.notes)
    note = held_out_note(context.opened, chooses=chooses_by_validation(options))
    if note is not None:
        notes.append(note)  # printed once for all encoders and modules, by the plan
    num_seeds = options.seeds
    if num_seeds > 1 and options.solver == "lbfgs" and not depends_on_seed(context, kind):
        num_seeds = 1
        notes.append(SEEDS_IDLE)
        progress.message(f"note: {kind}: {SEEDS_IDLE}")
    specs: tuple[FeatureSpec, ...] = ()
    hashes: list[str] = []
    splits_by_spec: list[Splits] = []
    fits_by_spec: list[list[SeedFit]] = []
    preparations: list[EncoderPreparation] = []
    features_sha256: list[list[str]] = []
    crop = context.opened.config.data if context.uses_crops else None
    for seed in range(num_seeds):
        if not splits_by_spec or depends_on_seed(context, kind):
            splits_by_spec = []  # frees the last seed's examples before the next are made
            with progress.stage(f"preparing {kind}"):
                source, preparation = feature_source(context, kind, seed, progress.message, random)
            preparations.append(preparation)
            specs = source.specs
            hashes = [hash_features(source, spec, crop) for spec in specs]
            splits_by_spec = _split_examples(context, source, progress)
            fits_by_spec = fits_by_spec or [[] for _ in specs]
        features_sha256.append(hashes)
        for index, (spec, fits) in enumerate(zip(specs, fits_by_spec, strict=True)):
            features = f"{kind} {spec.output.name}".rstrip()
            unit = "fit" if options.solver == "lbfgs" else "epoch"
            title = f"fitting {options.task} from {features}, seed {seed}"
            with progress.stage(title, unit=unit, even=unit == "epoch") as stage:
                fits.append(fit_and_score(context, splits_by_spec[index], seed, stage))
            progress.message(f"{options.task} from {features}, seed {seed}: {fits[-1].scores.accuracy:.1%}")
            if seed < num_seeds - 1:
                continue
            splits = splits_by_spec[index]
            result, confusion_KK = summarize(
                context, kind, spec, splits, fits, preparations=preparations, notes=notes
            )
            predictions = collect_predictions(context.task, splits.test, fits)
            of_spec = [of_seed[index] for of_seed in features_sha256]
            classifier = classifier_of(context.opened, result, fits, of_spec)
            yield result, FittedFiles(confusion_KK, predictions, classifier)


def _split_examples(context: ProbeContext, source: FeatureSource, progress: Progress) -> list[Splits]:
    """The examples of the three splits, for each spec of a source."""
    lengths = list(read_lengths(context.opened.shards, "train").values())
    check_memory(context.task, source.specs, lengths[: context.options.max_utterances or None])
    chooses = chooses_by_validation(context.options)
    examples = (
        examples_of_split(context, source, split, validates=chooses or split != "train", progress=progress)
        for split in ("train", "validation", "test")
    )
    return [Splits(*of_spec) for of_spec in zip(*examples, strict=True)]
