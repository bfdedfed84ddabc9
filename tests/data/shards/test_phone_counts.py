"""Counts of phone labels equal those of the labels one by one."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from vgim.cli import main
from vgim.data.corpora.librispeech import find_librispeech
from vgim.data.shards.manifest import read_manifest
from vgim.data.shards.phone_counts import count_phones
from vgim.data.shards.prepare import prepare
from vgim.errors import DataError
from vgim.storage import Location


@pytest.fixture
def labeled(make_corpus: Callable[..., Path], tmp_path: Path) -> Path:
    """Shards of thirty utterances, two of which have no labels."""
    root = make_corpus(labels=True)
    lines = (root / "phones.txt").read_text().splitlines(keepends=True)
    (root / "phones.txt").write_text("".join(lines[2:]))
    prepare(find_librispeech(root), tmp_path / "shards", target_shard_bytes=200_000)
    return root


def test_frames_and_stretches_are_those_of_the_labels(labeled: Path, tmp_path: Path) -> None:
    frames, stretches = Counter[int](), Counter[int]()
    for line in (labeled / "phones.txt").read_text().splitlines():
        classes = [int(number) for number in line.split()[1:]]
        frames.update(classes)
        stretches.update(number for number, _ in itertools.groupby(classes))
    shards = Location(tmp_path / "shards")
    counts = count_phones(shards, read_manifest(shards))
    assert counts.frames_K.tolist() == [frames[number] for number in range(3)]
    assert counts.segments_K.tolist() == [stretches[number] for number in range(3)]
    assert counts.mean_ms[1] == pytest.approx(10 * frames[1] / stretches[1])
    assert (counts.num_labeled, counts.num_utterances) == (28, 30)


def test_the_command_shows_them_as_a_table_and_as_json(labeled: Path, tmp_path: Path) -> None:
    command = ["data", "info", str(tmp_path / "shards"), "--phones"]
    table = CliRunner().invoke(main, command).stdout
    assert "28 of 30 utterances with labels" in table
    first = table[table.index("phone  ") :].splitlines()[1].split()
    told = json.loads(CliRunner().invoke(main, [*command, "--json"]).stdout)
    assert set(told["phones"]) == {"SIL", "AA", "T"}
    most = max(told["phones"], key=lambda name: told["phones"][name]["frames"])
    assert first[0] == most
    assert int(first[1]) == told["phones"][most]["class"]


def test_shards_without_labels_say_how_to_get_them(make_corpus: Callable[..., Path], tmp_path: Path) -> None:
    prepare(find_librispeech(make_corpus()), tmp_path / "shards")
    shards = Location(tmp_path / "shards")
    with pytest.raises(DataError, match="has no phone labels; `vgim data align"):
        count_phones(shards, read_manifest(shards))
