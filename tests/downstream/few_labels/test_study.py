"""Few labels: nested subsets that all features share, and a study that leaves paired differences."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
import torch

from vgim.downstream.features.examples import SplitExamples
from vgim.downstream.few_labels.fit import LabeledSubsets
from vgim.downstream.few_labels.result import FewLabelsOptions, FewLabelsResult, parse_labels
from vgim.downstream.few_labels.study import study
from vgim.downstream.few_labels.subsets import label_order, labeled, shared_rows
from vgim.errors import ConfigError


def test_subsets_are_nested_balanced_and_of_distinct_utterances() -> None:
    y_N = torch.arange(3).repeat(80)
    owner_N = torch.arange(240) // 24  # ten utterances, eight frames of each class
    order = label_order(y_N, owner_N, 3, seed=0)
    before: set[int] = set()
    for size in (1, 2, 5, 10, 11, 80):
        rows_N = labeled(order, size)
        assert torch.bincount(y_N[rows_N]).tolist() == [size] * 3
        assert before <= set(rows_N.tolist())
        before = set(rows_N.tolist())
        for k in range(3):
            assert len(set(owner_N[order[k][:size]].tolist())) == min(size, 10)
    assert not torch.equal(labeled(order, 5), labeled(label_order(y_N, owner_N, 3, seed=1), 5))


def test_a_class_with_too_few_examples_gives_all_of_them() -> None:
    labels = LabeledSubsets.draw(
        torch.tensor([0, 0, 0, 2]), torch.arange(4), torch.tensor([0]), 3, (2, None), 1
    )
    assert (labels.num_labels(2), labels.num_labels(None), labels.num_short_classes(2)) == (3, 4, 2)


def test_shared_rows_are_the_examples_that_all_features_have() -> None:
    def gathered(**counts: int) -> SplitExamples:
        owner_N = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(list(counts.values())))
        return SplitExamples(
            torch.zeros(len(owner_N), 1), torch.zeros_like(owner_N), owner_N, tuple(counts), 0
        )

    one, other = shared_rows([gathered(a=3, b=2, c=2), gathered(a=2, c=3)])
    assert (one.tolist(), other.tolist()) == ([0, 1, 5, 6], [0, 1, 2, 3])


@pytest.mark.parametrize("text", ["", "0", "1,x", "-1", "1.5", "²"])
def test_lists_of_labels_are_read_strictly(text: str) -> None:
    assert parse_labels("10, 1,all") == (1, 10, None)
    with pytest.raises(ConfigError, match="is no list of numbers"):
        parse_labels(text)


def test_a_study_writes_points_picture_and_paired_gains(probed_run: Path) -> None:
    options = FewLabelsOptions(
        task="speaker",
        module=1,
        encoders=("trained", "mfcc"),
        labels_per_class=(1, 4, None),
        draws=2,
        seeds=3,
    )
    (result,) = study(str(probed_run), options, pdf=True)
    folder = probed_run / "probes" / "speaker-labels-module1"
    assert FewLabelsResult.model_validate_json((folder / "result.json").read_bytes()) == result
    assert (folder / "labels.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "labels.pdf").read_bytes().startswith(b"%PDF")
    rows = list(csv.DictReader(io.StringIO((folder / "points.csv").read_text())))
    assert len(rows) == sum(len(point.accuracies) for point in result.points) == 3 * 7
    names = [(p.encoder, p.features) for p in result.points[::3]]
    assert names == [("trained", "mean"), ("trained", "sample"), ("mfcc", "mean")]
    mean, sample = result.points[0], result.points[3]
    assert sample.draws == 2
    assert sample.gain == pytest.approx(np.mean(np.subtract(sample.accuracies, mean.accuracies)))
    assert mean.num_labels == 4  # speakers
    assert result.points[-1].accuracy > result.points[-3].accuracy  # MFCC learn from more labels
    assert result.points[2].interval is None
    assert study(str(probed_run), options)[0].points == result.points


def test_a_study_refuses_options_that_it_does_not_use(probed_run: Path) -> None:
    for wrong, words in (
        ({"solver": "adam"}, "not --solver adam"),
        ({"sampled": True}, "leave --sampled out"),
    ):
        with pytest.raises(ConfigError, match=words):
            study(str(probed_run), FewLabelsOptions.model_validate({"task": "speaker", **wrong}))
