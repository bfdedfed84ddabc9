"""A probe from the run's name to its results: `vgim probe` and ray_jobs/probe.py call `probe`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from vgim.data.crops import I64
from vgim.data.cut import I16
from vgim.data.utterances import Utterance, first_crop, read_lengths, read_utterances
from vgim.downstream.feature_cache import FOLDER, DamagedCacheError, FeatureCache
from vgim.downstream.features import Clip, FeatureSource, View, stream_features
from vgim.downstream.gather import Gathered, Stream, check_memory, gather, whole
from vgim.downstream.pictures import WITHOUT_MATPLOTLIB, can_draw
from vgim.downstream.result import EncoderKind, ProbeOptions, ProbeResult, place_name
from vgim.downstream.scores import score
from vgim.downstream.setting import Setting, open_setting
from vgim.downstream.solvers import ADAM_BATCH, fit_adam, fit_lbfgs
from vgim.downstream.sources import Preparation, draws_features, feature_source
from vgim.downstream.summary import Fit, Splits, summarise
from vgim.downstream.writing import write_epochs_picture, write_modules_picture, write_result
from vgim.storage import Location
from vgim.train.checkpoint import complete_checkpoints, find

SEEDS_IDLE = "the seeds change nothing: features and lbfgs are deterministic, so there is one fit"

Say = Callable[[str], None]


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
    folder, results = _probe(run, options, say)
    _draw(folder, results, say)
    return results


def probe_epochs(run: str, options: ProbeOptions, say: Say = lambda line: None) -> list[ProbeResult]:
    """`probe` of every checkpoint that a run kept, oldest first, then once of the baselines.

    Args:
        run: A run's folder, a path or a URI.
        say: As for `probe`.

    Raises:
        VgimError: As `probe`; CheckpointError where the run has no checkpoint.
    """
    find(run)
    trained: list[ProbeResult] = []
    for checkpoint in complete_checkpoints(Location(run)):
        say(f"step {checkpoint.state.step}:")
        _, last = _probe(checkpoint.location.uri, options.model_copy(update={"encoders": ("trained",)}), say)
        trained += last
    kinds = tuple(kind for kind in options.encoders if kind != "trained")
    baselines = _probe(run, options.model_copy(update={"encoders": kinds}), say)[1] if kinds else []
    if can_draw():
        write_epochs_picture(Location(run), [*trained, *baselines])
    _draw(Location(run), [*last, *baselines], say)
    return [*trained, *baselines]


def _probe(run: str, options: ProbeOptions, say: Say) -> tuple[Location, list[ProbeResult]]:
    """The run's folder and the results, each of which is written as soon as it is there."""
    setting = open_setting(run, options)
    for note in setting.notes:
        say(f"note: {note}")
    results = []
    for kind in options.encoders:
        for result, confusion_KK in _results(setting, kind, say):
            write_result(setting.run, result, confusion_KK)
            results.append(result)
    return setting.run, results


def _draw(run: Location, results: list[ProbeResult], say: Say) -> None:
    """The picture of depth, where there are modules to compare."""
    if not can_draw():
        say(f"note: {WITHOUT_MATPLOTLIB}")
    elif len({(result.module, result.layer) for result in results if result.module is not None}) > 1:
        write_modules_picture(run, results)


def _results(setting: Setting, kind: EncoderKind, say: Say) -> list[tuple[ProbeResult, I64]]:
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
            of = " ".join((kind, place_name(view.module, view.layer))).rstrip()
            say(f"{options.task} from {of}, seed {seed}: {found[-1].scores.accuracy:.1%}")
    return [
        summarise(setting, kind, view, of_view, found, prepared=prepared, notes=notes)
        for view, of_view, found in zip(views, splits, fits, strict=True)
    ]


def _splits(setting: Setting, source: FeatureSource, say: Say) -> list[Splits]:
    """Each view's examples of the three splits."""
    limit = setting.options.max_utterances
    lengths = list(read_lengths(setting.shards, "train").values())
    check_memory(setting.task, source.views, lengths[: limit or None])
    parts = (gather_split(setting, source, split, say) for split in ("train", "validation", "test"))
    return [Splits(*of_view) for of_view in zip(*parts, strict=True)]


def gather_split(
    setting: Setting, source: FeatureSource, split: str, say: Say = lambda line: None
) -> list[Gathered]:
    """A split's examples in each of the source's views; from kept features where they were asked for."""
    limit = setting.options.max_utterances if split == "train" else 0
    clip: Clip = whole
    if setting.task.crops and not setting.options.whole_utterances:
        clip = partial(_crop, setting)

    def gathered(stream: Stream) -> list[Gathered]:
        utterances = read_utterances(setting.shards, setting.manifest, split, limit)
        return gather(source, setting.task, utterances, clip, split, stream)

    if not setting.options.cache_features:
        return gathered(stream_features)
    config = setting.config.data
    of_split = {
        "shards": setting.manifest.fingerprint,
        "split": split,
        "limit": limit,
        "clip": "whole" if clip is whole else [config.crop, config.crop_samples],
    }
    cache = FeatureCache(setting.run.child(FOLDER), of_split)
    try:
        return gathered(cache.stream)
    except DamagedCacheError as error:
        say(f"note: {error}; its features are computed anew")
        cache.drop(source)
        return gathered(cache.stream)


def _crop(setting: Setting, utterance: Utterance) -> I16 | None:
    return first_crop(utterance.audio, setting.config.data)


def _fit(setting: Setting, splits: Splits, seed: int) -> Fit:
    """Train on `train`, choose on `validation`, look at `test` once."""
    options, device, task = setting.options, setting.device, setting.task
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
