"""The resolved config: places, names, sources, differences."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vgim.config import blocking_difference, config_difference, from_yaml, load_config, to_yaml
from vgim.config.keys import config_keys, dump, flatten
from vgim.errors import ConfigError

WritePreset = Callable[[str, str], Path]


@pytest.mark.parametrize(
    ("given", "resolved"),
    [
        ("shards/", "{cwd}/shards"),
        ("../x/./y", "{parent}/x/y"),
        ("/abs", "/abs"),
        ("~/s", "{home}/s"),
        ("$VGIM_HOME/s", "{vgim_home}/s"),
        ("${VGIM_HOME}/s", "{vgim_home}/s"),
        ("s3://bucket/a/../b", "s3://bucket/a/../b"),
        ("gs://bucket/$PLACE", "gs://bucket/here"),
        ("file:///tmp/x", "file:///tmp/x"),
    ],
)
def test_places_do_not_depend_on_who_reads_them(
    given: str, resolved: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vgim_home: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/of/mine")
    monkeypatch.setenv("PLACE", "here")
    config = load_config("quickstart", [f"data.shards={given}", f"storage.root={given}"]).config
    expected = resolved.format(
        cwd=tmp_path, parent=tmp_path.parent, home="/home/of/mine", vgim_home=vgim_home
    )
    assert config.data.shards == config.storage.root == expected


def test_home_is_used_where_vgim_home_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VGIM_HOME")
    monkeypatch.setenv("HOME", "/home/of/mine")
    config = load_config("quickstart").config
    assert config.data.shards == "/home/of/mine/vgim/shards/quickstart"
    assert config.storage.root == "/home/of/mine/vgim/runs"


def test_unset_variable_is_named() -> None:
    with pytest.raises(ConfigError, match=r"data\.shards=\$NOT_SET/x: .*NOT_SET is not set"):
        load_config("quickstart", ["data.shards=$NOT_SET/x"])


@pytest.mark.parametrize(
    ("stem", "name"),
    [("plain", "plain"), ("_base", "base"), ("my run (2)", "my-run-2-"), ("(2)", "2-"), ("()", "run")],
)
def test_run_is_named_after_the_preset(write_preset: WritePreset, stem: str, name: str) -> None:
    path = write_preset(stem, "data: {shards: /s}\n")
    resolved = load_config(str(path))
    assert resolved.config.storage.name == name
    assert resolved.sources["storage.name"] == "the preset's name"


def test_every_key_has_a_source() -> None:
    resolved = load_config("librispeech-sim", ["train.seed=3"])
    assert set(resolved.sources) == set(flatten(dump(resolved.config)))
    assert resolved.sources["train.seed"] == "override"


def test_every_key_is_documented() -> None:
    assert not [key.name for key in config_keys().leaves.values() if not key.doc]


def test_a_saved_config_reads_back_the_same() -> None:
    config = load_config("quickstart", ["optim.learning_rate=1e-05", "data.synthetic=null"]).config
    assert from_yaml(to_yaml(config)) == config


@pytest.mark.parametrize("text", ["[]", "data: 3", "data: {}", "data: {shards: /s}\nmodel: {chanels: 3}"])
def test_a_damaged_saved_config_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        from_yaml(text, "RUN/config.yaml")


def test_a_decoders_config_is_told_from_a_damaged_one() -> None:
    text = "data: {shards: /s}\nencoder: {run: r}\ndecoder: {channels: 8}\nlisten: {}"
    with pytest.raises(
        ConfigError,
        match=r"^RUN/config\.yaml is the config of a decoder; name the run of its encoder instead$",
    ):
        from_yaml(text, "RUN/config.yaml")


def test_differences_name_key_old_and_new() -> None:
    old = load_config("quickstart").config
    new = load_config(
        "quickstart", ["model.channels=32", "train.epochs=3", "data.synthetic=null", "model.depth=3"]
    ).config
    assert config_difference(old, old) == []
    assert config_difference(old, new) == [
        "data.synthetic: {speakers: 12, utterances: 360, seed: 0} → null",
        "model.channels: 64 → 32",
        "model.depth: 0 → 3",
        f"train.epochs: {old.train.epochs} → 3",
    ]


def test_only_differences_that_change_the_numbers_block() -> None:
    old = load_config("quickstart").config
    harmless = ["train.epochs=3", "cluster.workers=2", "data.shards=/elsewhere", "storage.root=/other"]
    assert blocking_difference(old, load_config("quickstart", harmless).config) == []
    other = load_config("quickstart", [*harmless, "train.seed=9"]).config
    assert blocking_difference(old, other) == ["train.seed: 0 → 9"]


@pytest.mark.parametrize(
    ("written", "limit"),
    [("1", 1), ("1.0", 1.0), ("0.01", 0.01), ("1e-2", 0.01), ("0", 0), ("2.0", 2), ("1e2", 100)],
)
def test_a_limit_of_batches_is_a_number_or_a_share_and_stays_it(written: str, limit: float) -> None:
    keys = ("train.limit_train_batches", "train.limit_validation_batches")
    config = load_config("quickstart", [f"{key}={written}" for key in keys]).config
    for read in (config, from_yaml(to_yaml(config), "saved")):
        for value in (read.train.limit_train_batches, read.train.limit_validation_batches):
            assert value == limit
            assert type(value) is type(limit)


def test_one_batch_and_the_share_of_all_are_different_runs() -> None:
    one, every = (
        load_config("quickstart", [f"train.limit_train_batches={value}"]).config for value in ("1", "1.0")
    )
    assert blocking_difference(one, every) == ["train.limit_train_batches: 1 → 1.0"]
    assert config_difference(one, one) == []


@pytest.mark.parametrize(
    ("written", "fewest", "most", "elastic"),
    [("0", 0, 0, False), ("3", 3, 3, False), ("2..8", 2, 8, True), ("2..2", 2, 2, False)],
)
def test_workers_are_a_number_or_a_range_and_stay_it(
    written: str, fewest: int, most: int, elastic: bool
) -> None:
    config = load_config("quickstart", [f"cluster.workers={written}"]).config
    for read in (config, from_yaml(to_yaml(config), "saved")):
        cluster = read.cluster
        assert (cluster.min_workers, cluster.max_workers, cluster.is_elastic) == (fewest, most, elastic)
        assert str(cluster.workers) == written
