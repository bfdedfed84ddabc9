"""Supervised encoders learn the labels, and each label loss reaches the modules it is for and no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from vgim.config import to_yaml
from vgim.data.shards.read import Utterance
from vgim.downstream.context import ProbeContext, open_probe_context
from vgim.downstream.encoders import supervised
from vgim.downstream.encoders.labeled_clips import training_batches
from vgim.downstream.encoders.supervised import SupervisedEncoder, train_on_labels
from vgim.downstream.job import probe
from vgim.downstream.options import ProbeOptions
from vgim.errors import ConfigError, DataError, TrainingError

pytestmark = pytest.mark.usefixtures("without_confusion_pictures")


def context_of(run: Path, **options: Any) -> ProbeContext:
    return open_probe_context(str(run), ProbeOptions(encoders=("supervised",), **options))


def test_each_epoch_holds_the_train_split_in_another_order(probed_run: Path) -> None:
    task = context_of(probed_run, task="speaker")

    def epoch(number: int, seed: int = 0) -> list[Utterance]:
        batches = training_batches(task, min_samples=1, seed=seed, epoch=number)
        return [u for batch in batches for u in batch.utterances]

    orders = [[u.utterance_id for u in epoch(*key)] for key in ((1,), (1,), (2,), (1, 1))]
    assert len(set(orders[0])) == len(orders[0]) == 40
    assert orders[0] == orders[1]
    assert len({tuple(order) for order in orders}) == 3
    assert {tuple(sorted(order)) for order in orders} == {tuple(sorted(orders[0]))}
    few = context_of(probed_run, task="speaker", max_utterances=5)
    assert sum(len(b.utterances) for b in training_batches(few, min_samples=1, seed=0, epoch=1)) == 5


@pytest.mark.parametrize(
    ("kind", "moved"), [("supervised", [True] * 4), ("greedy-supervised", [False, False, True, False])]
)
def test_a_label_loss_trains_its_own_modules_alone(
    probed_run: Path, monkeypatch: pytest.MonkeyPatch, kind: Any, moved: list[bool]
) -> None:
    """Only the third module's label loss is left, or the last's where that is the only one."""
    real = supervised.F.cross_entropy
    task = context_of(probed_run, task="speaker", supervised_epochs=1)
    num_losses = 1 if kind == "supervised" else 4
    calls: list[int] = []

    class Losses:
        @staticmethod
        def cross_entropy(logits: torch.Tensor, y: torch.Tensor, reduction: str = "mean") -> torch.Tensor:
            calls.append(len(calls))
            is_kept = num_losses == 1 or calls[-1] % 4 == 2 or reduction == "sum"
            return real(logits, y, reduction=reduction) * (1.0 if is_kept else 0.0)

    monkeypatch.setattr(supervised, "F", Losses)
    before = supervised.untrained_encoder(task.opened.config, 0).state_dict()
    after = train_on_labels(task, kind, 0).encoder.state_dict()
    names = ["layers.conv0.weight"] * 3 + ["gru.weight_ih_l0"]
    found = [
        not torch.equal(before[f"greedy.{m}.{n}"], after[f"greedy.{m}.{n}"]) for m, n in enumerate(names)
    ]
    assert found == moved
    nce = [torch.equal(before[f"greedy.{m}.nce.weight"], after[f"greedy.{m}.nce.weight"]) for m in range(4)]
    assert all(nce)


def test_training_ends_after_the_best_epoch_and_keeps_it(
    probed_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([3.0, 2.0, 2.5, 2.4, 2.0, 2.2, 2.1, 1.0])
    monkeypatch.setattr(supervised, "_validate", lambda *_: next(losses))
    task = context_of(probed_run, task="speaker", supervised_epochs=8, max_utterances=8)
    logged: list[str] = []
    stopped = train_on_labels(task, "supervised", 0, logged.append)
    assert (stopped.epochs, stopped.validation_loss, len(logged)) == (2, 2.0, 2 + supervised.PATIENCE)
    monkeypatch.undo()
    two = train_on_labels(
        context_of(probed_run, task="speaker", supervised_epochs=2, max_utterances=8), "supervised", 0
    )
    weights = [t.encoder.state_dict() for t in (stopped, two)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.fixture(scope="module")
def taught(probed_run: Path) -> SupervisedEncoder:
    """A greedy encoder after two epochs on phones."""
    return train_on_labels(
        context_of(probed_run, task="phone", supervised_epochs=2, max_utterances=8), "greedy-supervised", 0
    )


def test_supervised_weights_depend_on_the_seed_alone(probed_run: Path, taught: SupervisedEncoder) -> None:
    task = context_of(probed_run, task="phone", supervised_epochs=2, max_utterances=8)
    again, other = (train_on_labels(task, "greedy-supervised", seed) for seed in (0, 1))
    name = "greedy.0.layers.conv0.weight"
    assert torch.equal(taught.encoder.state_dict()[name], again.encoder.state_dict()[name])
    assert not torch.equal(taught.encoder.state_dict()[name], other.encoder.state_dict()[name])


def test_supervised_encoders_beat_untrained_ones_and_note_that_they_saw_labels(
    probed_run: Path, syllables: Path
) -> None:
    options = ProbeOptions(
        task="syllable",
        shards=str(syllables),
        encoders=("random", "supervised", "greedy-supervised"),
        module=2,
        seeds=2,
        supervised_epochs=12,
    )
    random, *taught = probe(str(probed_run), options)
    assert random.label_epochs == ()
    for result in taught:  # seeds are fixed; here accuracies differ by 0.3 and more
        assert result.accuracy > random.accuracy + 0.1
        assert len(result.label_epochs) == len(result.fits) == 2
        assert any("was trained on the labels" in note for note in result.notes)
        assert (result.batch_norm_clips, result.step, result.checkpoint) == (0, None, None)
    names = {path.name for path in (probed_run / "probes").iterdir()}
    assert any(name.startswith("syllable-greedy-supervised-module2-epochs12-data") for name in names)


def test_a_supervised_encoder_without_labels_or_with_an_infinite_loss_is_an_error(
    probed_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = context_of(probed_run, task="speaker")
    monkeypatch.setattr(supervised, "training_batches", lambda *_, **__: iter(()))
    with pytest.raises(DataError, match="gives no labeled clip for --task speaker"):
        train_on_labels(task, "supervised", 0)
    monkeypatch.setattr(supervised, "_train_epoch", lambda *_: float("nan"))
    with pytest.raises(TrainingError, match="label loss of --encoder supervised is not finite in epoch 1"):
        train_on_labels(task, "supervised", 0)


def test_an_encoder_of_one_module_is_not_trained_greedily_on_labels(
    tiny_config_in: Any, tmp_path: Path
) -> None:
    resolved = tiny_config_in(tmp_path, "model.family=cpc", "objective.kld_weight=0")
    (tmp_path / "config.yaml").write_text(to_yaml(resolved.config))
    with pytest.raises(ConfigError, match="the run's encoder is one module"):
        probe(str(tmp_path), ProbeOptions(task="speaker", encoders=("greedy-supervised",)))
