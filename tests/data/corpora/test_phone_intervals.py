"""Phone labels as intervals: TextGrids in both of Praat's forms, and TIMIT's files."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from vgim.data.corpora.librispeech import find_librispeech
from vgim.data.corpora.phone_intervals import plain_name, read_interval_labels
from vgim.data.shards.manifest import read_manifest
from vgim.data.shards.prepare import prepare
from vgim.data.shards.read import read_utterances
from vgim.errors import DataError
from vgim.storage import Location

Tiers = dict[str, list[tuple[float, float, str]]]


def textgrid(tiers: Tiers) -> str:
    """A TextGrid in Praat's long form, as MFA writes it."""
    end = max(interval[1] for tier in tiers.values() for interval in tier)
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0 ", f"xmax = {end} "]
    lines += ["tiers? <exists> ", f"size = {len(tiers)} ", "item []: "]
    for number, (name, intervals) in enumerate(tiers.items(), start=1):
        lines += [f"    item [{number}]:", '        class = "IntervalTier" ', f'        name = "{name}" ']
        lines += [
            "        xmin = 0 ",
            f"        xmax = {end} ",
            f"        intervals: size = {len(intervals)} ",
        ]
        for index, (first, last, text) in enumerate(intervals, start=1):
            lines += [
                f"        intervals [{index}]:",
                f"            xmin = {first} ",
                f"            xmax = {last} ",
            ]
            lines += [f'            text = "{text}" ']
    return "\n".join(lines) + "\n"


def short(tiers: Tiers) -> str:
    """The same in Praat's short form."""
    end = max(interval[1] for tier in tiers.values() for interval in tier)
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "0",
        str(end),
        "<exists>",
        str(len(tiers)),
    ]
    for name, intervals in tiers.items():
        lines += ['"IntervalTier"', f'"{name}"', "0", str(end), str(len(intervals))]
        for first, last, text in intervals:
            lines += [str(first), str(last), f'"{text}"']
    return "\n".join(lines) + "\n"


PHONES: Tiers = {
    "words": [(0.0, 0.06, "go")],
    "phones": [(0.0, 0.02, ""), (0.02, 0.035, "G"), (0.035, 0.06, "OW1")],
}


@pytest.mark.parametrize("form", [textgrid, short])
@pytest.mark.parametrize("name", ["phones", "Ann - phones"])
def test_textgrids_are_read_in_both_forms(tmp_path: Path, form: Callable[[Tiers], str], name: str) -> None:
    tiers = {"words": PHONES["words"], name: PHONES["phones"]}
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann/one.TextGrid").write_text(form(tiers))
    (tmp_path / "ann/two.TextGrid").write_bytes(f"\ufeff{form(tiers)}".encode("utf-16-le"))
    labels = read_interval_labels(Location(tmp_path))
    assert labels.inventory == ("SIL", "G", "OW")
    assert set(labels.phones) == {"ann/one", "ann/two"}
    for classes in labels.phones.values():
        assert classes.tolist() == [0, 0, 1, 2, 2, 2]  # the class at the middle of each 10 ms


def test_files_of_timit_are_read(tmp_path: Path) -> None:
    (tmp_path / "SA1.PHN").write_text("0 320 h#\n320 640 sh\n640 960 ax-h\n960 1120 h#\n")
    labels = read_interval_labels(Location(tmp_path))
    assert labels.inventory == ("SIL", "ax-h", "sh")
    assert labels.phones["SA1"].tolist() == [0, 0, 2, 2, 1, 1, 0]


def test_two_tiers_of_phones_of_one_name_are_refused(tmp_path: Path) -> None:
    tiers = {"phones": [(0.0, 0.2, "AA1")], "speech": [(0.0, 0.2, "B")]}
    (tmp_path / "a.TextGrid").write_text(textgrid(tiers).replace('"speech"', '"phones"'))
    with pytest.raises(
        DataError, match=r"has the tiers phones, phones; call one of them phones, and leave out"
    ):
        read_interval_labels(Location(tmp_path))


def test_two_kinds_of_labels_for_one_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "SA1.PHN").write_text("0 1600 h#\n1600 3200 aa\n")
    (tmp_path / "SA1.TextGrid").write_text(textgrid({"phones": [(0.0, 0.2, "AA1")]}))
    with pytest.raises(DataError, match=r"two label files for SA1, the second is SA1\.TextGrid; remove one"):
        read_interval_labels(Location(tmp_path))


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("AH0", "AH"),
        ("ER2", "ER"),
        ("sp", "SIL"),
        ("", "SIL"),
        ("H#", "SIL"),
        ("spn", "spn"),
        ("B1", "B1"),
        ("a b", "a_b"),
    ],
)
def test_stress_is_left_out_and_silence_has_one_name(name: str, plain: str) -> None:
    assert plain_name(name) == plain


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("x.phn", "0 320\n", "line 1: expected `FIRST LAST PHONE`"),
        ("x.phn", "0 -3 a\n", "line 1: expected `FIRST LAST PHONE`"),
        ("x.phn", "320 0 a\n", "a is from 0.02 to 0 s"),
        ("x.phn", "0 640 a\n320 900 b\n", "a ends at 0.04 s, after b begins at 0.02 s"),
        ("x.phn", "", "holds no phones"),
        ("x.TextGrid", "", "is no TextGrid"),
        ("x.TextGrid", "no grid", "is no TextGrid"),
        ("x.TextGrid", textgrid(PHONES)[:300], "is no TextGrid"),
        (
            "x.TextGrid",
            textgrid({"a": PHONES["words"], "b": PHONES["phones"]}),
            "has the tiers a, b; call one tier phones",
        ),
        ("x.txt", "", "holds no label file"),
    ],
)
def test_what_is_no_label_file_is_told_in_one_line(tmp_path: Path, file: str, text: str, told: str) -> None:
    (tmp_path / file).write_text(text)
    with pytest.raises(DataError, match=told) as e:
        read_interval_labels(Location(tmp_path))
    assert "\n" not in str(e.value)


@given(st.binary(max_size=80), st.sampled_from([".phn", ".TextGrid"]), st.integers(0, 600))
def test_any_bytes_are_labels_or_one_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, suffix: str, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / f"x{suffix}").write_bytes(textgrid(PHONES)[:cut].encode() + data)
    with suppress(DataError):
        assert read_interval_labels(Location(folder)).phones


@pytest.mark.parametrize("by_path", [True, False])
def test_a_folder_of_labels_gives_an_utterance_its_phones(
    make_corpus: Callable[..., Path], tmp_path: Path, by_path: bool
) -> None:
    root = make_corpus(speakers=2, utterances=6)
    for file in root.rglob("*.flac"):
        seconds = soundfile.info(file).duration
        tiers = {"phones": [(0.0, 0.5, "sil"), (0.5, seconds, "AA1")]}
        place = (
            tmp_path
            / "labels"
            / (file.stem.replace("-", "/") if by_path else f"{file.parts[-3]}/{file.stem}")
        )
        place.parent.mkdir(parents=True, exist_ok=True)
        place.with_name(f"{place.name}.TextGrid").write_text(textgrid(tiers))
    prepare(find_librispeech(root), tmp_path / "shards", labels=str(tmp_path / "labels"))
    folder = Location(tmp_path / "shards")
    manifest = read_manifest(folder)
    assert manifest.phone_inventory == ("SIL", "AA")
    assert not manifest.warnings
    for utterance in read_utterances(folder, manifest, "train"):
        assert utterance.phones is not None
        np.testing.assert_array_equal(utterance.phones[:50], 0)
        np.testing.assert_array_equal(utterance.phones[50:], 1)


def test_two_files_for_one_utterance_are_refused(make_corpus: Callable[..., Path], tmp_path: Path) -> None:
    root = make_corpus(speakers=1, utterances=3)
    for name in ("a/1-7-0000.phn", "b/1-7-0000.phn"):
        (tmp_path / "labels" / name).parent.mkdir(parents=True)
        (tmp_path / "labels" / name).write_text("0 320 a\n")
    with pytest.raises(DataError, match=r"has a/1-7-0000 and b/1-7-0000 for 1-7-0000; remove one of them"):
        prepare(find_librispeech(root), tmp_path / "shards", labels=str(tmp_path / "labels"))
