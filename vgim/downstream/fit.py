"""One seed's fit: a linear classifier of the train split's examples, scored on the test split."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from vgim.downstream.context import ProbeContext
from vgim.downstream.features.examples import SplitExamples
from vgim.downstream.protocol import BATCH_SIZE
from vgim.downstream.scores import Scores, score
from vgim.downstream.solvers import Fitted, fit_adam, fit_lbfgs
from vgim.progress import Stage


class Splits(NamedTuple):
    """The examples of all splits, for one spec."""

    train: SplitExamples
    validation: SplitExamples
    test: SplitExamples


class SeedFit(NamedTuple):
    """One seed's classifier and its scores on the test split."""

    seed: int
    fitted: Fitted
    scores: Scores
    predicted_N: Tensor
    """Predicted class of each test example, on the CPU."""
    feature_std_C: Tensor
    """Standard deviation of each feature over the train split."""


def fit_and_score(context: ProbeContext, splits: Splits, seed: int, stage: Stage) -> SeedFit:
    """Fit on the train split, choose penalty or epoch on the validation split, and score on the test split.

    Args:
        stage: Where to report how far the fit is.
    """
    options, device, task = context.options, context.opened.device, context.task
    train, validation = splits.train.examples(device), splits.validation.examples(device)
    if options.solver == "lbfgs":
        fitted = fit_lbfgs(
            train,
            validation,
            len(task.classes),
            bias=options.bias,
            after_fit=lambda done, total: stage.update(done=done, total=total),
        )
    else:
        epochs = options.epochs or task.epochs
        fitted = fit_adam(
            train,
            validation,
            len(task.classes),
            bias=options.bias,
            seed=seed,
            learning_rate=options.learning_rate or task.learning_rate,
            epochs=epochs,
            batch_size=BATCH_SIZE[task.unit] if options.batch_size is None else options.batch_size,
            clip_norm=options.clip_norm,
            owner_N=splits.train.owner_N,
            drop_last=options.protocol == "published",
            patience=options.patience,
            after_epoch=lambda epoch, _: stage.update(done=epoch, total=epochs),
        )
    predicted_N = fitted.predict(splits.test.x_NC.to(device)).cpu()
    scores = score(predicted_N, splits.test.y_N, splits.test.owner_N, len(task.classes))
    return SeedFit(seed, fitted, scores, predicted_N, train.x_NC.std(0, correction=0))
