"""Finding presets and laying them over what they extend."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from vgim.config import from_yaml, load_config, to_yaml
from vgim.config.preset_difference import preset_difference
from vgim.config.presets import headline, known_presets
from vgim.config.show import preset_list
from vgim.errors import ConfigError

WritePreset = Callable[[str, str], Path]
SHIPPED = (
    "quickstart",
    "librispeech-sim",
    "librispeech-gim",
    "librispeech-cpc",
    "librispeech-sim-deep",
    "artificial-sim",
    "artificial-gim",
    "artificial-cpc",
)

PUBLISHED = tuple(
    f"published-{corpus}-{family}"
    for corpus in ("artificial", "librispeech")
    for family in ("sim", "gim", "cpc")
)
EXTRA = "published-artificial-cpc-extra"


@pytest.mark.parametrize("name", [*SHIPPED, *PUBLISHED, EXTRA])
def test_shipped_preset_resolves_and_says_what_it_is(name: str) -> None:
    resolved = load_config(name)
    assert resolved.preset_name == resolved.config.storage.name == name
    assert headline(known_presets()[name]).endswith(".")
    assert from_yaml(to_yaml(resolved.config)) == resolved.config


@pytest.mark.parametrize("family", ["sim", "gim", "cpc"])
def test_published_hyperparameters(family: str) -> None:
    speech = load_config(f"librispeech-{family}").config
    assert (speech.train.batch_size, speech.optim.learning_rate) == (8, 2e-4)
    assert (speech.data.crop, speech.data.crop_samples) == ("random", 20_480)
    assert (speech.model.channels, speech.model.batch_norm) == (512, "local")
    assert (speech.objective.prediction_steps, speech.objective.num_negatives) == (12, 10)
    artificial = load_config(f"artificial-{family}").config
    assert (artificial.train.batch_size, artificial.optim.learning_rate) == (64, 2e-4)
    assert (artificial.data.crop, artificial.data.crop_samples) == ("first", 10_240)
    assert (artificial.model.channels, artificial.model.batch_norm) == (512, "none")
    assert (artificial.data.normalize, artificial.model.preemphasis) == ("utterance", 0.97)
    assert (artificial.data.augment.reverb_s, artificial.data.augment.noise_snr_db) == (0.5, 10)
    assert not speech.data.augment.is_on
    assert speech.model.family == artificial.model.family == family
    weights = {"sim": (0.001, 0.01)}.get(family, (0.0, 0.0))
    assert (speech.objective.kld_weight, artificial.objective.kld_weight) == weights


@pytest.mark.parametrize("name", [*PUBLISHED, EXTRA])
def test_published_presets_have_the_references_numbers_and_nothing_of_ours(name: str) -> None:
    config = load_config(name).config
    family, artificial = name.split("-")[2], "artificial" in name
    assert (config.model.family, config.model.head) == (family, "none" if family == "sim" else "linear")
    assert (config.model.channels, config.model.gru_units) == (512, 256)
    assert config.model.batch_norm == ("none" if artificial else "local")
    crops = ("first", 10_240) if artificial else ("random", 20_480)
    assert (config.data.crop, config.data.crop_samples) == crops
    objective = config.objective
    assert (objective.prediction_steps, objective.num_negatives, objective.window_frames) == (10, 10, 128)
    assert (objective.negatives, objective.predictor_init) == ("batch", "uniform")
    assert objective.kld_weight == (0.0 if family != "sim" else 0.01 if artificial else 0.001)
    assert (objective.kl_reduction, objective.kld_warmup_steps, objective.free_bits) == ("time_sum", 0, 0)
    assert (config.optim.learning_rate, config.optim.decay_per_epoch, config.optim.clip_norm) == (2e-4, 1, 0)
    assert (config.train.batch_size, config.train.epochs) == ((64, 1000) if artificial else (8, 100))
    assert (config.train.max_steps, config.train.early_stop_validations, config.train.accumulate) == (0, 0, 1)
    assert "/published-" in config.data.shards


@pytest.mark.parametrize("name", [name for name in SHIPPED if "-sim" in name] + ["quickstart"])
def test_presets_of_sim_hold_a_rate_of_normalized_posteriors_from_the_first_step(name: str) -> None:
    config = load_config(name).config
    objective = config.objective
    if name.startswith("published"):
        assert (config.model.posterior_norm, objective.target_rate) == ("none", 0)
    else:
        assert config.model.posterior_norm == "local"
        rate = 0.25 if name == "artificial-sim" else 0.7
        assert (objective.target_rate, objective.target_rate_unit) == (rate, "channel")
        assert objective.kld_weight > 0
    assert objective.kld_warmup_steps == 0


def test_the_deep_preset_is_librispeech_sim_with_eight_modules() -> None:
    assert preset_difference("librispeech-sim", "librispeech-sim-deep").keys == {
        "model.extra_modules": (0, 4)
    }
    assert load_config("librispeech-sim-deep").config.model.num_modules == 8


def test_published_extra_layers_are_pointwise_without_a_relu() -> None:
    assert set(preset_difference("published-artificial-cpc", "published-artificial-cpc-extra").keys) == {
        f"model.{key}" for key in ("kernels", "strides", "paddings", "relus", "layers_per_module")
    }
    model = load_config("published-artificial-cpc-extra").config.model
    layers = list(zip(model.kernels, model.strides, model.paddings, model.relus, strict=True))
    extra = [layer for layer in layers if not layer[-1]]
    assert extra == [(1, 1, 0, False)] * 3
    plain = load_config("published-artificial-cpc").config.model
    kept = [layer[:3] for layer in layers if layer[-1]]
    assert kept == list(zip(plain.kernels, plain.strides, plain.paddings, strict=True))


def test_extends_merges_mappings_and_replaces_lists(write_preset: WritePreset) -> None:
    write_preset("far", "data: {shards: /s, crop: tile}\nmodel: {kernels: [3, 3], strides: [2, 2]}\n")
    write_preset("base", "extends: far\ntrain: {seed: 5, epochs: 7}\n")
    write_preset(
        "top",
        """\
        extends: base.yaml
        model: {kernels: [9], strides: [3], paddings: [0], layers_per_module: [1]}
        train: {epochs: 2}
        """,
    )
    resolved = load_config("top")
    assert resolved.config.model.kernels == (9,)
    assert (resolved.config.data.crop, resolved.config.train.seed, resolved.config.train.epochs) == (
        "tile",
        5,
        2,
    )
    assert resolved.sources["data.crop"] == "configs/far.yaml"
    assert resolved.sources["train.seed"] == "configs/base.yaml"
    assert resolved.sources["train.epochs"] == "configs/top.yaml"
    assert resolved.sources["train.batch_size"] == "default"


def test_extends_is_relative_to_the_preset_not_to_the_caller(
    write_preset: WritePreset, tmp_path: Path
) -> None:
    write_preset("shared/base", "data: {shards: /s}\n")
    write_preset("mine/top", "extends: ../shared/base\n")
    os.chdir(tmp_path / "configs" / "shared")
    assert load_config(str(tmp_path / "configs" / "mine" / "top.yaml")).config.data.shards == "/s"


def test_a_preset_elsewhere_extends_a_shipped_one(write_preset: WritePreset) -> None:
    write_preset("mine", "extends: librispeech-sim\nmodel: {channels: 64}\n")
    config = load_config("configs/mine.yaml").config
    assert (config.model.channels, config.objective.kld_weight) == (64, 0.001)


def test_own_configs_folder_comes_before_the_shipped_presets(write_preset: WritePreset) -> None:
    write_preset("quickstart", "data: {shards: /mine}\n")
    assert load_config("quickstart").config.data.shards == "/mine"


def test_own_sweeps_experiments_and_what_does_not_read_spoil_no_list_of_presets(
    write_preset: WritePreset,
) -> None:
    scan = write_preset("scan", "# A scan.\nbase: mine\nspace: {train.seed: [1, 2]}\n")
    write_preset("arms", "# Arms.\nruns:\n  a: {preset: mine}\n")
    write_preset("mine", "# Mine.\nextends: quickstart\n")
    (scan.parent / "binary.yaml").write_bytes(b"\xff\xfe")
    (scan.parent / "folder.yaml").mkdir()
    rows = [line.split(maxsplit=1) for line in preset_list().splitlines()]
    assert ["mine", "Mine."] in rows
    assert ["binary"] in rows
    assert not {"scan", "arms", "folder"} & {row[0] for row in rows}
    with pytest.raises(ConfigError, match="known presets: ") as e:
        load_config("sca")
    assert "scan" not in str(e.value)


@pytest.mark.parametrize("parent", ["~nobody-of-this-name/x", "/", "a" * 300])
def test_an_impossible_name_is_a_preset_that_is_not_there(write_preset: WritePreset, parent: str) -> None:
    child = write_preset("child", f"extends: {parent}\n")
    with pytest.raises(ConfigError, match="no preset"):
        load_config(str(child))
    with pytest.raises(ConfigError, match="no preset file"):
        load_config(f"{parent}.yaml")


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"a": "extends: a"}, r"in a circle: configs/a\.yaml → configs/a\.yaml"),
        (
            {"a": "extends: b", "b": "extends: c", "c": "extends: b"},
            "b.yaml → configs/c.yaml → configs/b.yaml",
        ),
        ({"a": "extends: nowhere"}, "configs/a.yaml: extends=nowhere: no preset is called 'nowhere'"),
        ({"a": "extends: [b]"}, "not the name or path"),
        ({"a": "- 1"}, "holds no config"),
        ({"a": "extends: b\nmodel:\n", "b": "data: {shards: /s}"}, r"model is a section, .*configs/a\.yaml"),
    ],
)
def test_bad_chain_is_explained(write_preset: WritePreset, files: dict[str, str], reason: str) -> None:
    for name, text in files.items():
        write_preset(name, text)
    with pytest.raises(ConfigError, match=reason):
        load_config("a")


def test_unknown_preset_names_the_nearest_and_lists_all() -> None:
    with pytest.raises(ConfigError, match=r"did you mean librispeech-sim\?") as caught:
        load_config("librispech-sim")
    assert all(name in str(caught.value) for name in SHIPPED)
    assert "_librispeech" not in str(caught.value)


def test_missing_preset_file_is_named() -> None:
    with pytest.raises(
        ConfigError, match=r"no preset file at nowhere/quickstart\.yaml; did you mean quickstart"
    ):
        load_config("nowhere/quickstart.yaml")


def test_preset_that_is_not_text_is_refused_in_one_line(tmp_path: Path) -> None:
    preset = tmp_path / "binary.yaml"
    preset.write_bytes(b"\x84\x00\xff")
    with pytest.raises(ConfigError, match=r"binary\.yaml is not text; a preset is YAML in UTF-8$"):
        load_config(str(preset))
