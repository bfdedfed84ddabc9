"""Overrides that are spelled as in the public reference, and the table of their counterparts."""

from __future__ import annotations

from itertools import chain

import pytest

from vgim.config import DecoderConfig, load_config
from vgim.config.keys import config_keys
from vgim.config.load import validate
from vgim.config.overrides import OVERRIDE, merge_layer, parse_override
from vgim.config.reference_downstream_keys import CLASSIFIER, DECODER
from vgim.config.reference_encoder_keys import ENCODER, MODULE, TOP
from vgim.config.reference_row import Spelling
from vgim.config.reference_spelling import (
    TABLES,
    command_of,
    find_spelling,
    markdown_table,
    nearest_key,
    written_here,
)
from vgim.errors import ConfigError

ROWS = list(chain.from_iterable(TABLES.values()))


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("encoder_config.kld_weight=0.0033", "write objective.kld_weight=0.0033"),
        ("encoder_config.dataset.batch_size=128", "write train.batch_size=128"),
        ("encoder_config.use_batch_norm=False", "write model.batch_norm=none"),
        ("encoder_config.subsample=False", "write objective.window_frames=0"),
        ("encoder_config.dataset.limit_train_batches=1", "write train.limit_train_batches=1.0"),
        ("seed=4", "write train.seed=4"),
        ("device=cpu", "write cluster.device=cpu"),
        ("encoder_config.dataset.dataset=1", "here it is: vgim train published-librispeech-sim"),
        ("encoder_config.deterministic=False", "here it is: vgim probe RUN --sampled"),
        ("syllables_classifier_config.num_epochs=10", "here it is: vgim probe RUN --epochs 10"),
        ("classifier_config_phones.num_epochs=10", "here it is: vgim probe RUN --epochs 10"),
        ("phones_classifier_config.gradient_clipping=1.0", "here it is: vgim probe RUN --clip-norm 1.0"),
        ("speakers_classifier_config.encoder_module=-1", "here it is: vgim probe RUN --module 2"),
        ("syllables_classifier_config.dataset.labels=vowels", "here it is: vgim probe RUN --task vowel"),
        ("decoder_config.decoder_loss=4", "here it is: vgim decode train RUN --loss mse+fft+fft_phase"),
        ("decoder_config.num_epochs=50", "here it is: vgim decode train RUN train.epochs=50"),
    ],
)
def test_override_spelled_as_in_the_reference_is_refused_with_ours(theirs: str, ours: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("quickstart", [theirs])
    key = theirs.partition("=")[0]
    assert str(caught.value) == f"{key} is the public reference's spelling (from override); {ours}"


@pytest.mark.parametrize(
    ("theirs", "reason"),
    [
        (
            "use_wandb=False",
            r"^use_wandb=false of the public reference has no counterpart .*metrics\.jsonl.*; leave",
        ),
        (
            "seed=-1",
            r"^seed=-1 of the public reference has no counterpart .*does not seed.*; leave it out$",
        ),
        (
            "vision_classifier_config.bias=True",
            r"has no counterpart .*: images have no counterpart; leave it out$",
        ),
        ("encoder_config.dataset.dataset=7", r"has no counterpart .*; leave it out$"),
        (
            "encoder_config.kld_weigth=1",
            r"in the public reference .*; did you mean encoder_config\.kld_weight\?$",
        ),
        ("decoder_config.dataset.batchsize=1", r"did you mean decoder_config\.dataset\.batch_size\?$"),
    ],
)
def test_override_without_a_counterpart_is_refused_with_the_reason(theirs: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        load_config("quickstart", [theirs])


def test_every_override_of_a_copied_command_gets_its_line() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(
            "quickstart", ["encoder_config.num_epochs=9", "encoder_config.dataset.batch_size=3", "seed=1"]
        )
    lines = str(caught.value).splitlines()
    assert [line.rpartition(" ")[2] for line in lines] == [
        "train.epochs=9",
        "train.batch_size=3",
        "train.seed=1",
    ]


def test_decoder_is_told_its_own_keys() -> None:
    tree: dict[str, object] = {}
    sources: dict[str, str] = {}
    for text in ("decoder_config.num_epochs=50", "encoder_config.num_epochs=9"):
        merge_layer(tree, parse_override(text, DecoderConfig), OVERRIDE, sources, root=DecoderConfig)
    with pytest.raises(ConfigError) as caught:
        validate(tree, sources, DecoderConfig)
    message = str(caught.value)
    assert (
        "decoder_config.num_epochs is the public reference's spelling (from override); write train.epochs=50"
        in message
    )
    assert "here it is: vgim train PRESET train.epochs=9" in message


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key)
def test_counterpart_is_a_key_of_the_config(row: Spelling) -> None:
    root = DecoderConfig if row in DECODER else None
    known = (config_keys(root) if root else config_keys()).leaves
    for written in (f"{row.ours}=0" if row.ours else "", *row.values.values()):
        for word in (written or "").split():
            if "=" in word and not written.startswith(("--", "vgim ")):  # type: ignore[union-attr]
                assert word.partition("=")[0] in known


@pytest.mark.parametrize("row", [*TOP, *ENCODER], ids=lambda row: row.key)
def test_what_is_written_for_a_value_loads(row: Spelling) -> None:
    values = [value for value in (row.default, *row.values) if value]
    for value in values:
        written = written_here(row, value)
        if written and command_of(row.key, written) == "train" and not written.startswith("vgim "):
            load_config("quickstart", written.split())


def test_a_row_without_a_counterpart_says_why() -> None:
    assert [row.key for row in ROWS if not row.ours and not row.note] == []


def test_classifiers_share_their_rows() -> None:
    rows = [
        find_spelling(f"{name}_classifier_config.num_epochs") for name in ("syllables", "phones", "speakers")
    ]
    assert rows == [CLASSIFIER[0]] * 3


def test_keys_of_a_module_are_no_overrides() -> None:
    assert [row.key for row in MODULE if find_spelling(row.key) is not None] == []


def test_nearest_key_stays_in_its_section() -> None:
    assert nearest_key("decoder_config.epochs") == "decoder_config.num_epochs"
    assert nearest_key("sed") == "seed"


def test_table_has_a_line_for_every_row() -> None:
    for name, rows in TABLES.items():
        lines = markdown_table(name).splitlines()[2:]
        assert [line.split("`")[1] for line in lines] == [row.key for row in rows]
