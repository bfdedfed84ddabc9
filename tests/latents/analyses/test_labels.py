"""Which dimensions carry a label, where it is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.latents.cases import input_of, labeled, two_classes
from vgim.downstream.solvers import fit_lbfgs
from vgim.latents.analyses import labels
from vgim.latents.analyses.labels import (
    LabelsAnalysis,
    cumulative_share,
    information,
    num_dimensions_for,
    standardized,
)


def test_the_dimension_that_holds_the_label_is_first_by_weight_and_by_information() -> None:
    train = labeled(400, 0)
    weight_KC = standardized(fit_lbfgs(train, labeled(100, 1), 2, bias=False), train)
    nats_C = information(train.x_NC.numpy(), train.y_N.numpy(), seed=0)
    assert np.abs(weight_KC).sum(0).argmax() == 2
    assert nats_C.argmax() == 2
    assert nats_C[2] == pytest.approx(math.log(2), abs=0.15)  # classes hardly overlap
    assert max(np.delete(nats_C, 2)) < 0.1


def test_a_dimension_is_not_heavy_because_its_mean_is_large() -> None:
    train, validation = labeled(400, 0), labeled(100, 1)
    for examples in (train, validation):
        examples.x_NC[:, 4] = 100 + 1e-3 * examples.x_NC[:, 4]
    fitted = fit_lbfgs(train, validation, 2, bias=False)
    weight_KC = standardized(fitted, train)
    deviation_C = train.x_NC.double().numpy().std(0)
    assert weight_KC == pytest.approx(fitted.weight_KC.double().numpy() * deviation_C, rel=1e-4)
    mass_C = np.abs(weight_KC).sum(0)
    assert mass_C.argmax() == 2
    assert num_dimensions_for(0.5, mass_C) == 1


def test_shares_of_weight() -> None:
    assert num_dimensions_for(0.5, np.array([1.0, 1, 1, 1])) == 2
    assert num_dimensions_for(0.5, np.array([0, 0, 9.0, 1])) == 1
    assert num_dimensions_for(0.9, np.array([0.0, 0])) == 2
    assert cumulative_share(np.array([1.0, 3])).tolist() == [0.75, 1]


def test_one_dimension_holds_all_of_a_label(monkeypatch: pytest.MonkeyPatch) -> None:
    splits = {"train": labeled(400, 0), "validation": labeled(100, 1), "test": labeled(300, 2)}
    monkeypatch.setattr(labels, "probe_contexts", lambda inputs: [two_classes()])
    monkeypatch.setattr(labels, "encoder_features", lambda inputs: None)
    monkeypatch.setattr(labels, "examples_of", lambda inputs, context, source, split: splits[split])
    output = LabelsAnalysis().run(input_of())
    metrics = output.metrics
    assert metrics["phone_dimensions_for_half_of_weight"] == 1
    assert metrics["phone_dimensions_for_half_of_information"] == 1
    assert metrics["phone_most_information_nats"] == pytest.approx(math.log(2), abs=0.15)
    assert metrics["phone_chance_information_nats"] < 0.15
    assert metrics["phone_accuracy"] > 0.95
    assert metrics["phone_num_examples"] == 400
    (table,) = output.tables
    rank, by_weight, _, by_information, _ = table.rows[0]
    assert (rank, by_weight, by_information) == (1, 2, 2)
    assert len(output.csv_files["phone.csv"].rows) == 5
