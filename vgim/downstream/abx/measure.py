"""ABX accuracies of an encoder's outputs on the test split.

Shapes: N frames, U utterances, S speakers, K phones.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

import numpy as np

from vgim.arrays import F64
from vgim.data.shards.read import read_speakers
from vgim.downstream.abx.discriminate import AbxScores, discriminate
from vgim.downstream.abx.task import AbxTask
from vgim.downstream.abx.tokens import Tokens, find_tokens
from vgim.downstream.classifier import hash_features
from vgim.downstream.context import ProbeContext
from vgim.downstream.encoders.kinds import (
    EncoderPreparation,
    RandomEncoders,
    depends_on_seed,
    feature_source,
)
from vgim.downstream.features.examples import SplitExamples
from vgim.downstream.features.source import FeatureSpec
from vgim.downstream.intervals import interval_over_seeds, note_on_few
from vgim.downstream.options import EncoderKind
from vgim.downstream.result import Interval, ProbeResult, SeedResult
from vgim.downstream.split_examples import examples_of_split
from vgim.downstream.summarize import facts_of
from vgim.errors import DataError
from vgim.progress import Progress

MOST_TOKENS = 10
"""Tokens of a phone by one speaker; more make the figure hardly more exact, and cost their square."""
MOST_ACROSS = 20
"""Tokens of a phone by other speakers with which a speaker's are compared."""


def measure(
    context: ProbeContext, kind: EncoderKind, random: RandomEncoders, progress: Progress
) -> Iterator[ProbeResult]:
    """The result for each output of an encoder.

    Raises:
        DataError: The test split has no speaker with two phones to tell apart.
    """
    seeds = range(context.options.seeds if depends_on_seed(context, kind) else 1)
    scores: list[list[AbxScores]] = []
    tests: list[SplitExamples] = []
    specs: Sequence[FeatureSpec] = ()
    hashes: list[list[str]] = []
    preparations: list[EncoderPreparation] = []
    for seed in seeds:
        with progress.stage(f"preparing {kind}"):
            source, preparation = feature_source(context, kind, seed, progress.message, random)
        preparations.append(preparation)
        specs = source.specs
        hashes.append([hash_features(source, spec, None) for spec in specs])
        tests = examples_of_split(context, source, "test", progress=progress)
        of_seed = []
        for spec, test in zip(specs, tests, strict=True):
            name = f"{context.task.name} of {kind} {spec.output.name}".rstrip()
            of_seed.append(_score(context, test, name, progress))
            progress.message(f"{name}, seed {seed}: {of_seed[-1].accuracy:.1%}")
        scores.append(of_seed)
    for index, spec in enumerate(specs):
        yield _result(
            context,
            kind,
            spec,
            tests[index],
            [of_seed[index] for of_seed in scores],
            preparations,
            hashes[0][index],
        )


def _score(context: ProbeContext, test: SplitExamples, name: str, progress: Progress) -> AbxScores:
    task = context.task
    assert isinstance(task, AbxTask)
    tokens = _tokens(context, test, task)
    num_speakers = len(np.unique(tokens.speaker_M))
    with progress.stage(name, total=num_speakers, unit="speaker") as stage:
        found = discriminate(
            tokens,
            test.x_NC.to(context.opened.device),
            len(task.classes),
            across=task.across,
            most_across=MOST_ACROSS,
            advance=stage.advance,
        )
    if not found.num_triples:
        lacking = "two speakers with labels of" if task.across else "speaker with two tokens of"
        raise DataError(
            f"--task {task.name} finds nothing to compare: the test split of {context.opened.shards.uri} has no "
            f"{lacking} one phone, and a token of another phone; give --shards of a larger test split"
        )
    return found


def _tokens(context: ProbeContext, test: SplitExamples, task: AbxTask) -> Tokens:
    speaker_of = read_speakers(context.opened.shards, "test")
    names = [speaker_of[utterance] for utterance in test.utterance_ids]
    _, speaker_U = np.unique(names, return_inverse=True)
    return find_tokens(
        test.y_N.numpy(), test.owner_N.numpy(), speaker_U, test.utterance_ids, task.silences, most=MOST_TOKENS
    )


def _result(
    context: ProbeContext,
    kind: EncoderKind,
    spec: FeatureSpec,
    test: SplitExamples,
    scores: Sequence[AbxScores],
    preparations: Sequence[EncoderPreparation],
    features_sha256: str,
) -> ProbeResult:
    accuracies = [found.accuracy for found in scores]
    over_seeds = AbxScores(np.mean([found.right_SKK for found in scores], axis=0), scores[0].num_triples)
    low, high = over_seeds.interval()
    few = note_on_few(over_seeds.num_speakers, "speaker")
    seeds_interval = interval_over_seeds(accuracies)
    return ProbeResult(
        **facts_of(context, kind, spec, preparations, [*context.notes, *filter(None, [few])]),
        accuracy=float(np.mean(accuracies)),
        interval_over_utterances=Interval(low=low, high=high),
        interval_over_seeds=None
        if seeds_interval is None
        else Interval(low=seeds_interval[0], high=seeds_interval[1]),
        majority=0.5,
        chance=0.5,
        per_class=dict(zip(context.task.classes, _of_phones(over_seeds.of_pairs), strict=True)),
        num_train=0,
        num_validation=0,
        num_test=over_seeds.num_triples,
        num_train_utterances=0,
        num_validation_utterances=0,
        num_test_utterances=test.num_utterances,
        num_left_out=test.num_left_out,
        fits=tuple(SeedResult(seed=seed, accuracy=accuracy) for seed, accuracy in enumerate(accuracies)),
        features_sha256=features_sha256,
    )


def _of_phones(right_KK: F64) -> list[float | None]:
    """Accuracy with each phone as A; None for a phone that the test split has too few of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of rows without a value
        means = np.nanmean(right_KK, axis=1)
    return [None if np.isnan(mean) else float(mean) for mean in means]
