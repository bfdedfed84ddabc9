"""The next command, chosen from the findings in the order of their importance."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from tests.verdict.verdict_cases import CHANCE, config, falling, figures, probes
from vgim.verdict.commands import with_changes
from vgim.verdict.judge import judge

TRAIN = "vgim train librispeech-sim"
AT_CHANCE = (CHANCE,) * 3
PROBE = "vgim probe /runs/run --task"
GOOD = probes(0.5, 0.3, 0.4)
FALLING = falling(2.4, 1.4, 2000)


@pytest.mark.parametrize(
    ("case", "command"),
    [
        (
            {"nce": AT_CHANCE, "steps": 300, "of": config(epochs=3)},
            f"{TRAIN} storage.name=run train.epochs=30",
        ),
        (
            {"nce": AT_CHANCE, "steps": 300, "of": config(early_stop_validations=2)},
            f"{TRAIN} train.epochs=100 storage.name=run train.early_stop_validations=0",
        ),
        (
            {"nce": AT_CHANCE, "steps": 12, "of": config(max_steps=12, epochs=10_000)},
            f"{TRAIN} train.epochs=100 storage.name=run train.max_steps=1000",
        ),
        (
            {"nce": (1.4, CHANCE, 1.6), "active": (0.9, 0.0, 0.9)},
            f"{TRAIN} train.epochs=100 objective.kld_weight=0.0001 storage.name=run-kld0.0001",
        ),
        (
            {"nce": AT_CHANCE, "steps": 60, "of": config(kld_weight=10.0)},
            f"{TRAIN} train.epochs=100 objective.kld_weight=0.01 storage.name=run-kld0.01",
        ),
        (
            {"nce": AT_CHANCE, "steps": 5000, "of": config(family="gim")},
            f"{TRAIN} train.epochs=100 optim.learning_rate=0.0006 storage.name=run-lr0.0006",
        ),
        (
            {"nce": (None, 1.4, 1.5)},
            f"{TRAIN} train.epochs=100 optim.learning_rate=2e-05 storage.name=run-lr2e-05",
        ),
        ({"state": "interrupted"}, f"{TRAIN} train.epochs=100 storage.name=run"),
        ({"state": "failed", "message": "the disk is full"}, f"{TRAIN} train.epochs=100 storage.name=run"),
        ({}, f"{PROBE} speaker --all-modules --encoder trained --encoder random --encoder mfcc"),
        ({"task": "phone"}, f"{PROBE} phone --all-modules --encoder trained --encoder random --encoder mfcc"),
        (
            {"of": config(warmup=3500), "steps": 200, "reached": 5e-5},
            f"{PROBE} speaker --all-modules --encoder trained --encoder random --encoder mfcc",
        ),
        (
            {"of": config(warmup=3500, max_steps=2000), "reached": 5e-5, "probes": GOOD},
            f"{TRAIN} train.epochs=100 storage.name=run train.max_steps=4400",
        ),
        (
            {
                "of": config(warmup=600, target_rate=12.0, max_steps=300),
                "rates": (30, 30),
                "steps": 300,
                "probes": probes(0.5, 0.3, 0.4, step=300),
            },
            f"{TRAIN} train.epochs=100 storage.name=run train.max_steps=950",
        ),
        (
            {"curve": FALLING, "probes": GOOD, "epoch": 100},
            f"{TRAIN} storage.name=run train.epochs=200",
        ),
        ({"probes": probes(0.5, 0.3, None)}, f"{PROBE} phone --all-modules --encoder mfcc"),
        (
            {"probes": GOOD, "steps": 4000},
            f"{PROBE} phone --all-modules --encoder trained --encoder random --encoder mfcc",
        ),
        ({"probes": GOOD}, "vgim latents /runs/run"),
        ({"probes": GOOD, "has_latents": True}, "vgim decode train /runs/run --module 0"),
        ({"probes": GOOD, "has_latents": True, "has_decoder": True}, None),
        ({"state": "running"}, None),
    ],
)
def test_the_next_command(case: dict[str, Any], command: str | None) -> None:
    following = judge(figures(**case)).next
    assert (None if following is None else following.command) == command


def test_a_run_that_no_vgim_train_began_goes_on_from_its_own_config() -> None:
    following = judge(
        figures(AT_CHANCE, steps=300, of=config(epochs=3), command=("/home/me/script.py",))
    ).next
    assert following is not None
    assert following.command == "vgim train /runs/run/config.yaml train.epochs=30"


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (
            "quickstart data.shards=shards storage.root=runs x=1",
            "quickstart data.shards=/nowhere storage.root=/runs x=1",
        ),
        ("configs/quickstart.yaml x=1", "/runs/run/config.yaml"),
        ("quickstart.yaml x=1", "/runs/run/config.yaml"),
        ("/home/me/quickstart.yaml x=1", "/home/me/quickstart.yaml x=1"),
        ("--verbose quickstart", "/runs/run/config.yaml"),
    ],
)
def test_the_command_is_right_in_any_folder(words: str, command: str) -> None:
    following = judge(figures(state="interrupted", command=("/bin/vgim", "train", *words.split()))).next
    assert following is not None
    assert following.command == f"vgim train {command}"


def test_a_module_as_a_program_and_a_job_keep_their_own_beginning() -> None:
    programs = {"/x/vgim/__main__.py": "python -m vgim train a", "/x/train.py": "python ray_jobs/train.py a"}
    for program, words in programs.items():
        rest = ("train", "a") if "vgim" in words else ("a",)
        following = judge(figures(state="interrupted", command=(program, *rest))).next
        assert following is not None
        assert following.command == words


def test_a_change_takes_the_place_of_an_earlier_value_and_is_quoted() -> None:
    words = with_changes(["vgim", "train", "a preset", "train.epochs=2", "x=1"], {"train.epochs": 4})
    assert shlex.join(words) == "vgim train 'a preset' x=1 train.epochs=4"


def test_a_schedule_with_epochs_of_each_module_lengthens_each() -> None:
    of = config(schedule="sequential", module_epochs=(10, 20, 20))
    following = judge(figures(AT_CHANCE, of=of, steps=500, epoch=20)).next
    assert following is not None
    assert following.command.endswith("'train.module_epochs=[100,200,200]'")


def test_a_run_without_figures_has_a_verdict() -> None:
    of = figures(())
    assert judge(of).sentences == (
        "The run has no record of training, so that nothing can be said about it.",
    )
