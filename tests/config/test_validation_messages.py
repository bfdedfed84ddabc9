"""What a wrong config is answered with: one line that names the key, the value, the remedy and the source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from vgim.config import DecoderConfig, RunConfig, load_config
from vgim.config.schema import Section
from vgim.errors import ConfigError
from vgim.experiment.config import ExperimentConfig
from vgim.tune.config import SweepConfig

WritePreset = Callable[[str, str], Path]


def complaint(*overrides: str, preset: str = "quickstart") -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(preset, overrides)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("override", "line"),
    [
        (
            "objective.kld_weigt=1",
            "objective.kld_weigt is not a config key (from override); did you mean objective.kld_weight?",
        ),
        (
            "kld_weight=1",
            "kld_weight is not a config key (from override); did you mean objective.kld_weight?",
        ),
        (
            "model.kld_weight=1",
            "model.kld_weight is not a config key (from override); did you mean objective.kld_weight?",
        ),
        ("optm.seed=1", "optm is not a config key (from override); did you mean optim?"),
        (
            "cluster.workers=a..b",
            "cluster.workers=a..b is not allowed (from override); "
            "it must be an integer at least 0, or a range such as 2..8",
        ),
        (
            "cluster.workers=-1",
            "cluster.workers=-1 is not allowed (from override); "
            "it must be an integer at least 0, or a range such as 2..8",
        ),
        (
            "cluster.workers=8..2",
            "cluster: workers=8..2 has its larger number first; write workers=2..8 (cluster.workers from override)",
        ),
        (
            "cluster.workers=0..4",
            "cluster: workers=0..4 needs at least one worker; write workers=1..4, or workers=0 to train in this "
            "process (cluster.workers from override)",
        ),
        (
            "optim.banana=1",
            "optim.banana is not a config key (from override); "
            "optim has learning_rate, decay_per_epoch, clip_norm",
        ),
        ("train.epochs=0", "train.epochs=0 is not allowed (from override); it must be an integer at least 1"),
        (
            "train.epochs=2.5",
            "train.epochs=2.5 is not allowed (from override); it must be an integer at least 1",
        ),
        (
            "train.epochs=true",
            "train.epochs=true is not allowed (from override); it must be an integer at least 1",
        ),
        (
            "train.epochs=",
            "train.epochs=null is not allowed (from override); it must be an integer at least 1",
        ),
        (
            "optim.learning_rate=fast",
            "optim.learning_rate=fast is not allowed (from override); it must be a number above 0",
        ),
        (
            "optim.learning_rate=.inf",
            "optim.learning_rate=.inf is not allowed (from override); it must be a number above 0",
        ),
        (
            "model.family=vim",
            "model.family=vim is not allowed (from override); it must be one of sim, gim, cpc",
        ),
        (
            "train.compile=on",
            "train.compile='on' is not allowed (from override); it must be true or false",
        ),
        (
            "cluster.threads_per_worker=many",
            "cluster.threads_per_worker=many is not allowed (from override); "
            "it must be an integer at least 1 or auto",
        ),
        (
            "model.kernels=[10, eight]",
            "model.kernels=[10, eight] is not allowed (from override); it must be a list of integers",
        ),
        ("data.shards=''", "data.shards='' is not allowed (from override); it must be text not empty"),
        (
            "storage.name=../x",
            "storage.name=../x is not allowed (from override); "
            "it must be text of letters, digits, dots, underscores and hyphens that starts with a letter or digit",
        ),
        (
            "train.epochs.x=3",
            "train.epochs={x: 3} is not allowed (from override); it must be an integer at least 1",
        ),
        (
            "train.limit_train_batches=1.5",
            "train.limit_train_batches=1.5 is not allowed (from override); it must be an integer at least 0, or "
            "a share in (0, 1]",
        ),
        (
            "train.limit_train_batches=-0.1",
            "train.limit_train_batches=-0.1 is not allowed (from override); it must be an integer at least 0, or "
            "a share in (0, 1]",
        ),
        (
            "train.limit_train_batches=-1",
            "train.limit_train_batches=-1 is not allowed (from override); it must be an integer at least 0, or "
            "a share in (0, 1]",
        ),
        (
            "train.limit_train_batches=0.0",
            "train.limit_train_batches=0.0 is not allowed (from override); it must be an integer at least 0, or "
            "a share in (0, 1]",
        ),
        (
            "train.limit_train_batches=true",
            "train.limit_train_batches=true is not allowed (from override); it must be an integer at least 0, or "
            "a share in (0, 1]",
        ),
        ("train.seed=1e30", "train.seed=1.0e+30 is not allowed (from override); it must be at most 2^63 - 1"),
        (
            "objective.num_negatives=1e8",
            "objective.num_negatives=100000000.0 is not allowed (from override); it must be at most 65536",
        ),
        (
            "optim.learning_rate=1e300",
            "optim.learning_rate=1.0e+300 is not allowed (from override); it must be at most 1e6",
        ),
        (
            f"model.strides=[{', '.join(['2'] * 300)}]",
            f"model.strides=[{', '.join(['2'] * 19)},... is not allowed (from override); it must be a list of "
            "integers, at most 256 of them",
        ),
        (
            "model.depth=7",
            "model: depth=7 but there are only 4 modules; use 0 for all of them (model.depth from override)",
        ),
    ],
)
def test_each_mistake_has_its_line(override: str, line: str) -> None:
    assert complaint(override) == [line]


def test_all_mistakes_are_told_at_once() -> None:
    lines = complaint("train.epochs=0", "optim.learning_rate=-1", "model.chanels=3")
    assert sorted(line.split(" ")[0] for line in lines) == [
        "model.chanels",
        "optim.learning_rate=-1",
        "train.epochs=0",
    ]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("train: {epochs: 3}", ["data.shards is required", "Give data.shards=VALUE"]),
        (
            "data: {shards: /s}\ntrain: {epochs: '3'}",
            ["train.epochs='3'", "from configs/a.yaml", "an integer"],
        ),
        ("data: {shards: /s}\nstorage: {name: 7}", ["storage.name=7", "from configs/a.yaml", "text"]),
        (
            "data: {shards: /s}\nmodel: {family: gim}\nobjective: {kld_weight: 1.0}",
            ["has no effect for model.family=gim", "objective.kld_weight from configs/a.yaml"],
        ),
        (
            "data: {shards: /s}\nmodel: {channels: 8}\nobjective: {kld_weight: 1, target_rate: 2, free_bits: 1}",
            ["target_rate=2 cannot be held where objective.free_bits=1 spares 8 nats a frame of 8 channels"],
        ),
        (
            "data: {shards: /s}\ntrain.seed: 3",
            ["train.seed (from configs/a.yaml) is one name with a dot", "write train: {seed: 3}"],
        ),
        ("data: {shards: /s, synthetic.seed: 3}", ["write synthetic: {seed: 3}"]),
        (
            "data: {shards: /s}\ntrain: {seed.of: {all: 3}}",
            ["train.seed.of is not a config key (from configs/a.yaml)", "did you mean train.seed?"],
        ),
        (
            "data: {shards: /s}\nencoder_config.kld_weight: 0.1",
            ["public reference's spelling (from configs/a.yaml); write objective.kld_weight=0.1"],
        ),
    ],
)
def test_mistakes_in_a_file_name_the_file(write_preset: WritePreset, text: str, parts: Sequence[str]) -> None:
    write_preset("a", text)
    (line,) = complaint(preset="a")
    assert all(part in line for part in parts), line


def test_long_values_are_cut() -> None:
    (line,) = complaint(f"train.epochs={'x' * 500}")
    assert len(line) < 200


@pytest.mark.parametrize("root", [RunConfig, DecoderConfig, SweepConfig, ExperimentConfig])
def test_every_number_of_a_config_has_an_upper_bound(root: type[Section]) -> None:
    numbers = list(_numbers(root.model_json_schema()))
    assert numbers
    unbounded = [path for path, schema in numbers if "maximum" not in schema]
    assert not unbounded


def _numbers(part: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every integer and number of a JSON schema, at any depth, with its path."""
    if isinstance(part, dict) and part.get("type") in ("integer", "number"):
        yield path, part
    items = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    for key, value in items:
        yield from _numbers(value, f"{path}/{key}")


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["cluster.cpus_per_worker=0.5"], "needs whole CPUs, and cpus_per_worker=0.5 is a part of one"),
        (["model.batch_norm=sync"], "use model.batch_norm=local, or a fixed number of workers"),
        (["objective.negatives=global"], "use objective.negatives=batch, or a fixed number of workers"),
    ],
)
def test_a_range_of_workers_refuses_what_needs_a_fixed_number(overrides: list[str], reason: str) -> None:
    (line,) = complaint("cluster.workers=2..4", *overrides)
    assert "workers=2..4" in line
    assert reason in line
    load_config("quickstart", ["cluster.workers=4", *overrides])
    load_config("quickstart", ["cluster.workers=4..4", *overrides])
