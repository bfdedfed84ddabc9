"""`key=value` on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vgim.config import ResolvedConfig, load_config
from vgim.config.overrides import merge_layer, parse_override
from vgim.config.schema import SyntheticConfig
from vgim.config.yaml_text import to_flow
from vgim.errors import ConfigError

NAMES = st.lists(st.from_regex(r"\A[a-z_][a-z0-9_]{0,8}\Z"), min_size=1, max_size=4).map(".".join)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()


def at(tree: Any, name: str) -> Any:
    for part in name.split("."):
        tree = tree[part]
    return tree


@settings(max_examples=60, deadline=None)
@given(NAMES, SCALARS | st.lists(SCALARS))
def test_any_value_written_as_an_override_reads_back(name: str, value: Any) -> None:
    assert at(parse_override(f"{name}={to_flow(value)}"), name) == value


@settings(deadline=None)
@given(st.text(st.characters(exclude_characters="=")))  # `A=0!=1` is the value 0!=1 of A
def test_any_other_text_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_override(f"{text}!=1")
    assert "\n" not in str(caught.value).replace(text, "")


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 10**9), st.floats(1e-12, 1e3), st.sampled_from(["fp32", "bf16"]), st.booleans())
def test_values_reach_the_config_with_their_type(
    epochs: int, rate: float, precision: str, compiled: bool
) -> None:
    config = load_config(
        "quickstart",
        [
            f"train.epochs={epochs}",
            f"optim.learning_rate={rate}",
            f"train.precision={precision}",
            f"train.compile={to_flow(compiled)}",
        ],
    ).config
    assert (config.train.epochs, config.optim.learning_rate) == (epochs, rate)
    assert (config.train.precision, config.train.compile) == (precision, compiled)


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("optim.learning_rate=2e-4", "optim.learning_rate", 2e-4),
        ("optim.learning_rate=1", "optim.learning_rate", 1.0),
        ("train.max_steps=1e4", "train.max_steps", 10_000),
        ("storage.name=007", "storage.name", "007"),
        ("storage.root=/runs #2", "storage.root", "/runs #2"),
        ("storage.root='/runs: 3'", "storage.root", "/runs: 3"),
        ("storage.name=2e-4", "storage.name", "2e-4"),
        ("storage.name='12'", "storage.name", "12"),
        ("model.strides=[5, 4, 2, 2, 1]", "model.strides", (5, 4, 2, 2, 1)),
        ("cluster.cpus_per_worker=0.5", "cluster.cpus_per_worker", 0.5),
        ("cluster.cpus_per_worker=auto", "cluster.cpus_per_worker", "auto"),
        ("data.synthetic=null", "data.synthetic", None),
        ("data.synthetic={speakers: 2}", "data.synthetic.speakers", 2),
    ],
)
def test_override_is_typed_by_its_key(override: str, key: str, value: Any) -> None:
    config: Any = load_config("quickstart", [override]).config
    for part in key.split("."):
        config = getattr(config, part)
    assert config == value
    assert type(config) is type(value)


def test_later_override_wins() -> None:
    assert load_config("quickstart", ["train.seed=1", "train.seed=2"]).config.train.seed == 2


def test_an_empty_mapping_opens_an_optional_section_with_its_defaults() -> None:
    config = load_config("librispeech-gim", ["data.synthetic={}"]).config
    assert config.data.synthetic is not None
    assert config.data.synthetic.speakers == 12


def test_an_empty_mapping_over_a_presets_keys_is_refused_with_their_defaults() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("artificial-sim", ["data.augment={}"])
    message, _, undo = str(caught.value).rpartition(": ")
    assert message.startswith("data.augment={} (from override) changes nothing, ")
    config = load_config("artificial-sim", undo.split()).config
    assert load_config("artificial-sim").config.data.augment.is_on
    assert not config.data.augment.is_on


def test_an_empty_mapping_over_defaults_changes_nothing() -> None:
    assert load_config("quickstart", ["data.augment={}"]).config == load_config("quickstart").config


@pytest.mark.parametrize("nothing", ["", "null", "~", "''"])
@pytest.mark.parametrize("key", ["data.cache_dir", "attach.run"])
def test_nothing_after_the_equals_sign_empties_a_text_of_a_preset(
    key: str, nothing: str, tmp_path: Path
) -> None:
    section, name = key.split(".")
    preset = tmp_path / "preset.yaml"
    preset.write_text(f"extends: quickstart\n{section}: {{{name}: /somewhere}}\n")
    emptied = tmp_path / "emptied.yaml"
    emptied.write_text(f"extends: preset.yaml\n{section}:\n  {name}: {nothing}\n")

    def value(resolved: ResolvedConfig) -> str:
        return str(getattr(getattr(resolved.config, section), name))

    assert value(load_config(str(preset))) == "/somewhere"
    assert value(load_config(str(emptied))) == ""
    override = load_config(str(preset), [f"{key}={nothing}"])
    assert value(override) == ""
    assert override.sources[key] == "override"


def test_a_name_of_nothing_is_the_presets() -> None:
    assert load_config("quickstart", ["storage.name=x", "storage.name="]).config.storage.name == "quickstart"


def test_nothing_is_no_value_of_a_text_that_must_not_be_empty() -> None:
    with pytest.raises(
        ConfigError, match=r"data\.shards=null is not allowed \(from override\); it must be text not empty"
    ):
        load_config("quickstart", ["data.shards="])


def test_a_key_of_a_closed_section_opens_it() -> None:
    config = load_config("quickstart", ["data.synthetic=null", "data.synthetic.seed=4"]).config
    assert config.data.synthetic is not None
    assert (config.data.synthetic.seed, config.data.synthetic.speakers) == (4, 12)


@pytest.mark.parametrize("text", ["train.epochs", "=3", "train..epochs=3", "train.=3", "--x=3", "a b=1", ""])
def test_text_that_names_no_key_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"key=value"):
        parse_override(text)


@pytest.mark.parametrize("override", ["train=3", "model=null", "data.synthetic=yes", "optim=[1]"])
def test_a_section_takes_no_value(override: str) -> None:
    with pytest.raises(ConfigError, match=r"is a section.* \(from override\); set its keys, for example "):
        load_config("quickstart", [override])


def test_replacing_a_mapping_forgets_where_its_keys_came_from() -> None:
    sources: dict[str, str] = {}
    tree: dict[str, Any] = {}
    merge_layer(tree, {"data": {"synthetic": {"seed": 1}}}, "a.yaml", sources)
    merge_layer(tree, {"data": {"synthetic": None}}, "b.yaml", sources)
    assert tree == {"data": {"synthetic": None}}
    assert sources == {"data.synthetic": "b.yaml"}


def test_a_section_that_is_closed_and_opened_again_forgets_the_preset(tmp_path: Path) -> None:
    preset = tmp_path / "few.yaml"
    preset.write_text("extends: quickstart\ndata:\n  synthetic:\n    utterances: 40\n")
    reopened = load_config(
        str(preset), ["data.synthetic=", "data.synthetic.speakers=3"]
    ).config.data.synthetic
    changed = load_config(str(preset), ["data.synthetic.speakers=3"]).config.data.synthetic
    assert reopened == SyntheticConfig(speakers=3)
    assert changed == SyntheticConfig(speakers=3, utterances=40)


@pytest.mark.parametrize("emptied_first", [True, False])
def test_emptying_a_section_beside_an_override_of_it_is_refused(emptied_first: bool) -> None:
    both = ["model={}", "model.channels=16"]
    with pytest.raises(ConfigError, match="changes nothing"):
        load_config("quickstart", both if emptied_first else both[::-1])
