"""What the published protocol, the task and given options make of a probe's solver, and what its folder is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from vgim.cli import main
from vgim.config import ResolvedConfig
from vgim.downstream.context import open_probe_context
from vgim.downstream.job import probe
from vgim.downstream.options import ProbeOptions
from vgim.downstream.result import folder_name
from vgim.downstream.stored import variant
from vgim.errors import ConfigError
from vgim.report.commands import probe_command
from vgim.training.trainer import train

SOLVER = ("solver", "epochs", "learning_rate", "batch_size", "clip_norm", "sampled", "bias")


def resolved(run: Path, **options: Any) -> dict[str, Any]:
    found = open_probe_context(str(run), ProbeOptions(**options)).options
    return {name: getattr(found, name) for name in SOLVER}


def test_the_published_values_follow_task_and_module(probed_run: Path) -> None:
    speaker = {"solver": "adam", "epochs": 50, "learning_rate": 1e-3, "batch_size": 64, "clip_norm": 1.0}
    convolutions, gru = {"sampled": True, "bias": False}, {"sampled": False, "bias": True}
    assert resolved(probed_run, task="speaker", protocol="published", module=1) == speaker | convolutions
    assert (
        resolved(probed_run, task="speaker", protocol="published", module=0, layer=0)
        == speaker | convolutions
    )
    assert resolved(probed_run, task="speaker", protocol="published") == speaker | gru
    mfcc = resolved(probed_run, task="speaker", protocol="published", module=1, encoders=("mfcc",))
    assert mfcc == speaker | gru
    phone = {"solver": "adam", "epochs": 20, "learning_rate": 1e-4, "batch_size": 0, "clip_norm": 1.0}
    assert resolved(probed_run, task="phone", protocol="published", module=1) == phone | gru


def test_syllables_are_not_clipped_and_a_family_without_posterior_is_not_sampled(
    tiny_config_in: Callable[..., ResolvedConfig], tmp_path: Path, syllables: Path
) -> None:
    train(tiny_config_in(tmp_path, "model.family=gim", "objective.kld_weight=0", "train.max_steps=1"))
    found = resolved(
        tmp_path / "runs" / "run", task="syllable", protocol="published", module=0, shards=str(syllables)
    )
    assert (found["clip_norm"], found["batch_size"], found["sampled"], found["bias"]) == (
        0.0,
        64,
        False,
        False,
    )


def test_convolutions_and_a_gru_are_not_probed_with_the_same_values(
    tiny_config_in: Callable[..., ResolvedConfig], tmp_path: Path
) -> None:
    train(tiny_config_in(tmp_path, "model.family=cpc", "objective.kld_weight=0", "train.max_steps=1"))
    options = ProbeOptions(task="speaker", protocol="published", all_layers=True)
    with pytest.raises(ConfigError, match="probes convolutions without a bias and a GRU with one"):
        probe(str(tmp_path / "runs" / "run"), options)


def test_given_options_count_and_lbfgs_reads_none_of_adam(probed_run: Path) -> None:
    given = resolved(
        probed_run, task="speaker", protocol="published", module=1, epochs=3, sampled=False, clip_norm=0.0
    )
    assert (given["epochs"], given["sampled"], given["clip_norm"], given["bias"]) == (3, False, 0.0, False)
    ours = resolved(probed_run, task="speaker", solver="adam", batch_size=8)
    assert (ours["epochs"], ours["learning_rate"], ours["batch_size"], ours["bias"]) == (50, 1e-3, 8, True)
    context = open_probe_context(str(probed_run), ProbeOptions(task="speaker", epochs=3, clip_norm=1.0))
    assert [note.split(" has no effect")[0] for note in context.notes] == ["--epochs", "--clip-norm"]
    assert context.options.epochs is None


ADAM: dict[str, object] = {"task": "speaker", "encoders": ("mfcc",), "solver": "adam", "epochs": 2}


@pytest.mark.usefixtures("without_confusion_pictures")
def test_results_of_other_options_have_folders_and_variants_of_their_own(probed_run: Path) -> None:
    changes: dict[str, dict[str, object]] = {
        "adam-fit2epochs": {},
        "adam-fit2epochs-rate0.1": {"learning_rate": 0.1},
        "adam-fit2epochs-batch4": {"batch_size": 4},
        "adam-fit2epochs-batch0": {"batch_size": 0},
        "adam-fit2epochs-clip0.01": {"clip_norm": 0.01},
        "adam-fit2epochs-patience1": {"patience": 1},
        "published-fit2epochs": {"protocol": "published"},
    }
    losses = set()
    for name, change in changes.items():
        (result,) = probe(str(probed_run), ProbeOptions.model_validate(ADAM | change))
        assert folder_name(result) == f"speaker-mfcc-{name}"
        assert (probed_run / "probes" / f"speaker-mfcc-{name}" / "result.json").exists()
        assert variant(result) == name.replace("-", ", ")
        assert result.options.epochs == 2
        losses.add(result.fits[0].validation_loss)
    assert len(losses) == len(changes) - 1  # patience of 1 in 2 epochs keeps the second as well
    (plain,) = probe(str(probed_run), ProbeOptions.model_validate({**ADAM, "epochs": 50}))
    assert folder_name(plain) == "speaker-mfcc-adam"


@pytest.mark.usefixtures("without_confusion_pictures")
def test_the_published_protocol_probes_each_module_with_its_values(probed_run: Path) -> None:
    options = ProbeOptions(
        task="speaker", module=None, encoders=("trained", "mfcc"), protocol="published", epochs=1
    )
    results = probe(str(probed_run), options)
    assert [(r.encoder, r.module, r.options.sampled, r.options.bias) for r in results] == [
        *(("trained", module, True, False) for module in range(3)),
        ("trained", 3, False, True),
        ("mfcc", None, False, True),
    ]
    assert {variant(result) for result in results} == {"published, fit1epochs"}
    (command,) = probe_command("RUN", results[:1])
    assert "--protocol published" in command
    assert "--no-bias" in command
    assert "--sampled" in command


def test_few_labels_are_not_studied_with_the_published_protocol(probed_run: Path) -> None:
    words = [
        "probe",
        str(probed_run),
        "--task",
        "speaker",
        "--labels-per-class",
        "1",
        "--protocol",
        "published",
    ]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == ConfigError.exit_code
    assert "--labels-per-class uses lbfgs, not --protocol published" in result.output
