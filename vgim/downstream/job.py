"""Probes from the runs' names to their results: `vgim probe` and ray_jobs/probe.py call `probe_many`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from vgim.arrays import I64
from vgim.data.pcm import Pcm16
from vgim.data.shards.read import Utterance, read_lengths, read_utterances
from vgim.data.stream.crops import first_crop
from vgim.downstream.context import ProbeContext, open_probe_context
from vgim.downstream.features.cache import DamagedCacheError, FeatureCache
from vgim.downstream.features.encoders import Preparation, draws_features, feature_source
from vgim.downstream.features.examples import Gathered, Stream, check_memory, gather, whole
from vgim.downstream.features.features import CutClip, FeatureSource, View, stream_features
from vgim.downstream.pictures import WITHOUT_MATPLOTLIB, can_draw
from vgim.downstream.probe_plan import Outcome, Piece, Runner, Say, one_after_the_other, plan
from vgim.downstream.result import EncoderKind, ProbeOptions, ProbeResult, output_name
from vgim.downstream.scores import score
from vgim.downstream.solvers import ADAM_BATCH, fit_adam, fit_lbfgs
from vgim.downstream.summary import Fit, Splits, summarize
from vgim.downstream.writing import write_epochs_picture, write_modules_picture, write_result
from vgim.errors import VgimError
from vgim.runs.layout import FEATURES
from vgim.storage import Location

SEEDS_IDLE = "the seeds change nothing: features and lbfgs are deterministic, so there is one fit"


class Probed(NamedTuple):
    """What came of one run and one task."""

    run: str
    """Its name among the runs of the command."""
    task: str
    results: list[ProbeResult]
    """In the order of the encoders and modules asked for; those of checkpoints first, oldest first."""


def probe(run: str, options: ProbeOptions, say: Say = lambda line: None) -> list[ProbeResult]:
    """Fit and test a linear classifier on frozen features; write a folder below RUN/probes for each result.

    Args:
        run: A run's folder or a checkpoint's, a path or a URI.
        say: Told notes and progress.

    Returns:
        A result for every encoder and module asked for, in that order.

    Raises:
        VgimError: No run, no checkpoint, no such module, shards that do not fit the task.
    """
    return _only(probe_many([run], [options], say))


def probe_epochs(run: str, options: ProbeOptions, say: Say = lambda line: None) -> list[ProbeResult]:
    """`probe` of every checkpoint that a run kept, oldest first, then once of the baselines.

    Args:
        run: A run's folder, a path or a URI.
        say: As for `probe`.

    Raises:
        VgimError: As `probe`; CheckpointError where the run has no checkpoint.
    """
    return _only(probe_many([run], [options], say, all_epochs=True))


def _only(found: tuple[list[Probed], VgimError | None]) -> list[ProbeResult]:
    (probed,), error = found
    if error is not None:
        raise error
    return probed.results


def probe_many(
    runs: Sequence[str],
    wanted: Sequence[ProbeOptions],
    say: Say = lambda line: None,
    *,
    all_epochs: bool = False,
    runner: Runner = one_after_the_other,
) -> tuple[list[Probed], VgimError | None]:
    """`probe`, or `probe_epochs`, of several runs on several tasks.

    Args:
        runs: Folders, paths or URIs; each once.
        wanted: The options of each task, each once.
        say: Told notes and progress, with the run's name in front where there are several.
        runner: Where the pieces are computed; see `vgim.cluster.tasks`.

    Returns:
        What each run and task gave, and the error that tells what failed; the rest is written all the same.
    """
    groups = plan(runs, wanted, say, all_epochs=all_epochs, check_device=runner is one_after_the_other)
    pieces = [piece for group in groups for piece in group.pieces]
    failed = {f"{group.run} {group.task}": group.error for group in groups if group.error is not None}
    alone = len(pieces) + len(failed) == 1
    if not alone:
        for name, error in failed.items():
            say(f"{name} failed: {error}")
    outcomes = iter(runner(partial(_attempt, quiet=alone), pieces, say))
    found = []
    for group in groups:
        results: list[ProbeResult] = []
        for piece, outcome in zip(group.pieces, outcomes, strict=False):
            if isinstance(outcome, VgimError):
                failed[piece.name] = outcome
            else:
                results += outcome
        _draw(group.folder, results, all_epochs)
        found.append(Probed(group.run, group.task, results))
    if not can_draw():
        say(f"note: {WITHOUT_MATPLOTLIB}")
    return found, _error_of(failed, len(pieces) + sum(group.error is not None for group in groups))


def _error_of(failed: dict[str, VgimError], num: int) -> VgimError | None:
    if not failed:
        return None
    first = next(iter(failed.values()))
    if num == 1:
        return first
    return type(first)(f"{len(failed)} of {num} probes failed: {', '.join(failed)}; the reasons are above")


def _attempt(piece: Piece, say: Say, *, quiet: bool) -> Outcome:
    """A piece's results, or the error that a user caused."""
    try:
        return _probe(piece, lambda line: say(piece.label + line))
    except VgimError as error:
        if not quiet:
            say(f"{piece.name} failed: {error}")
        return error


def _probe(piece: Piece, say: Say) -> list[ProbeResult]:
    """A piece's results, each written as soon as all are there."""
    setting = open_probe_context(piece.where, piece.options, kinds=(piece.kind,))
    results = []
    for result, confusion_KK in _results(setting, piece.kind, say):
        write_result(setting.opened.folder, result, confusion_KK)
        results.append(result)
    return results


def _draw(run: Location, results: list[ProbeResult], all_epochs: bool) -> None:
    """The pictures of depth and of training, where there is something to compare."""
    if not can_draw() or not results:
        return
    if all_epochs:
        write_epochs_picture(run, results)
    newest = max((result.step or 0 for result in results), default=0)
    last = [result for result in results if result.encoder != "trained" or result.step == newest]
    if len({(result.module, result.layer) for result in last if result.module is not None}) > 1:
        write_modules_picture(run, last)


def _results(setting: ProbeContext, kind: EncoderKind, say: Say) -> list[tuple[ProbeResult, I64]]:
    """Result and confusion matrix of each view of a kind of encoder; features are computed once a seed."""
    options, notes = setting.options, list(setting.notes)
    num_seeds = options.seeds
    if num_seeds > 1 and options.solver == "lbfgs" and not draws_features(setting, kind):
        num_seeds = 1
        notes.append(SEEDS_IDLE)
        say(f"note: {kind}: {SEEDS_IDLE}")
    views: tuple[View, ...] = ()
    splits: list[Splits] = []
    fits: list[list[Fit]] = []
    prepared: list[Preparation] = []
    for seed in range(num_seeds):
        if not splits or draws_features(setting, kind):
            splits = []  # freed before the next are made
            source, made = feature_source(setting, kind, seed, say)
            prepared.append(made)
            views = source.views
            splits = _splits(setting, source, say)
            fits = fits or [[] for _ in views]
        for view, of_view, found in zip(views, splits, fits, strict=True):
            found.append(_fit(setting, of_view, seed))
            of = " ".join((kind, output_name(view.module, view.layer))).rstrip()
            say(f"{options.task} from {of}, seed {seed}: {found[-1].scores.accuracy:.1%}")
    return [
        summarize(setting, kind, view, of_view, found, prepared=prepared, notes=notes)
        for view, of_view, found in zip(views, splits, fits, strict=True)
    ]


def _splits(setting: ProbeContext, source: FeatureSource, say: Say) -> list[Splits]:
    """Each view's examples of the three splits."""
    limit = setting.options.max_utterances
    lengths = list(read_lengths(setting.opened.shards, "train").values())
    check_memory(setting.task, source.views, lengths[: limit or None])
    parts = (gather_split(setting, source, split, say) for split in ("train", "validation", "test"))
    return [Splits(*of_view) for of_view in zip(*parts, strict=True)]


def gather_split(
    setting: ProbeContext, source: FeatureSource, split: str, say: Say = lambda line: None
) -> list[Gathered]:
    """A split's examples in each of the source's views; from kept features where they were asked for."""
    limit = setting.options.max_utterances if split == "train" else 0
    clip: CutClip = whole
    if setting.task.uses_crops and not setting.options.whole_utterances:
        clip = partial(_crop, setting)

    def gathered(stream: Stream) -> list[Gathered]:
        utterances = read_utterances(setting.opened.shards, setting.opened.manifest, split, limit)
        return gather(source, setting.task, utterances, clip, split, stream)

    if not setting.options.cache_features:
        return gathered(stream_features)
    config = setting.opened.config.data
    of_split = {
        "shards": setting.opened.manifest.fingerprint,
        "split": split,
        "limit": limit,
        "clip": "whole" if clip is whole else [config.crop, config.crop_samples],
    }
    cache = FeatureCache(setting.opened.folder.child(FEATURES), of_split)
    try:
        return gathered(cache.stream)
    except DamagedCacheError as error:
        say(f"note: {error}; its features are computed anew")
        cache.drop(source)
        return gathered(cache.stream)


def _crop(setting: ProbeContext, utterance: Utterance) -> Pcm16 | None:
    return first_crop(utterance.audio, setting.opened.config.data)


def _fit(setting: ProbeContext, splits: Splits, seed: int) -> Fit:
    """Train on `train`, choose on `validation`, look at `test` once."""
    options, device, task = setting.options, setting.opened.device, setting.task
    data = splits.train.examples(device), splits.validation.examples(device)
    if options.solver == "lbfgs":
        fitted = fit_lbfgs(*data, len(task.classes), bias=options.bias)
    else:
        fitted = fit_adam(
            *data,
            len(task.classes),
            bias=options.bias,
            seed=seed,
            learning_rate=task.learning_rate,
            epochs=task.epochs,
            batch_size=ADAM_BATCH[task.unit],
            patience=options.patience,
        )
    predicted_N = fitted.predict(splits.test.x_NC.to(device)).cpu()
    scores = score(predicted_N, splits.test.y_N, splits.test.owner_N, len(task.classes))
    return Fit(seed, fitted, scores)
